"""raymq: use a remote Ray cluster from a thin Python client, over ZeroMQ.

Example::

    import raymq as ray

    ray.connect("head:10001")


    @ray.remote
    def f(x):
        return x * x


    print(ray.get(f.remote(7)))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raymq import (
        actor,
        client_builder,
        exceptions,
        experimental,
        remote_function,
        runtime_context,
        runtime_env,
        types,
        util,
    )
    from raymq.actors import ActorClass, ActorHandle, ActorMethod, method
    from raymq.api import (
        ClientBuilder,
        available_resources,
        cancel,
        client,
        cluster_resources,
        connect,
        detach,
        get,
        get_actor,
        get_gpu_ids,
        get_runtime_context,
        init,
        is_initialized,
        keep,
        kept,
        kill,
        lookup,
        nodes,
        publish,
        published,
        put,
        remote,
        shutdown,
        timeline,
        unpublish,
        wait,
    )
    from raymq.async_session import AsyncSession, aconnect
    from raymq.errors import (
        ActorLost,
        AddressError,
        AlreadyPublished,
        ConnectError,
        ConnectTimeout,
        ForkedSession,
        LimitReached,
        NameNotResolved,
        NoBridge,
        NoCluster,
        NotABroker,
        NotConfirmed,
        NotConnected,
        NothingListens,
        NotOnClient,
        NotPicklable,
        NotPublishable,
        NotPublished,
        NotUnpicklable,
        ObjectLost,
        PayloadError,
        PayloadTooLarge,
        ProtocolMismatch,
        PublicationError,
        PythonMismatch,
        RayIsThere,
        RayMismatch,
        RaymqError,
        Refused,
        SessionAttached,
        SessionClosed,
        SessionError,
        SessionLost,
        WrongSession,
    )
    from raymq.functions import RemoteFunction
    from raymq.generators import DynamicObjectRefGenerator, ObjectRefGenerator
    from raymq.ids import (
        ActorClassID,
        ActorID,
        FunctionID,
        JobID,
        NodeID,
        PlacementGroupID,
        TaskID,
        UniqueID,
        WorkerID,
    )
    from raymq.info import SessionInfo
    from raymq.keeping import Kept
    from raymq.logging_config import LoggingConfig
    from raymq.protocol.version import __version__
    from raymq.publications import Publication
    from raymq.refs import ObjectID, ObjectRef
    from raymq.session import Session
    from raymq.standing_in import install_as_ray

__all__ = [
    "ActorClass",
    "ActorClassID",
    "ActorHandle",
    "ActorID",
    "ActorLost",
    "ActorMethod",
    "AddressError",
    "AlreadyPublished",
    "AsyncSession",
    "ClientBuilder",
    "ConnectError",
    "ConnectTimeout",
    "DynamicObjectRefGenerator",
    "ForkedSession",
    "FunctionID",
    "JobID",
    "Kept",
    "LimitReached",
    "LoggingConfig",
    "NameNotResolved",
    "NoBridge",
    "NoCluster",
    "NodeID",
    "NotABroker",
    "NotConfirmed",
    "NotConnected",
    "NotOnClient",
    "NotPicklable",
    "NotPublishable",
    "NotPublished",
    "NotUnpicklable",
    "NothingListens",
    "ObjectID",
    "ObjectLost",
    "ObjectRef",
    "ObjectRefGenerator",
    "PayloadError",
    "PayloadTooLarge",
    "PlacementGroupID",
    "ProtocolMismatch",
    "Publication",
    "PublicationError",
    "PythonMismatch",
    "RayIsThere",
    "RayMismatch",
    "RaymqError",
    "Refused",
    "RemoteFunction",
    "Session",
    "SessionAttached",
    "SessionClosed",
    "SessionError",
    "SessionInfo",
    "SessionLost",
    "TaskID",
    "UniqueID",
    "WorkerID",
    "WrongSession",
    "__version__",
    "aconnect",
    "actor",
    "available_resources",
    "cancel",
    "client",
    "client_builder",
    "cluster_resources",
    "connect",
    "detach",
    "exceptions",
    "experimental",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "init",
    "install_as_ray",
    "is_initialized",
    "keep",
    "kept",
    "kill",
    "lookup",
    "method",
    "nodes",
    "publish",
    "published",
    "put",
    "remote",
    "remote_function",
    "runtime_context",
    "runtime_env",
    "shutdown",
    "timeline",
    "types",
    "unpublish",
    "util",
    "wait",
]

_MODULES = (
    "actor", "client_builder", "exceptions", "experimental", "remote_function", "runtime_context", "runtime_env",
    "types", "util",
)  # fmt: skip

_HOMES = (
    "raymq.protocol.version",
    "raymq.errors",
    "raymq.api",  # what is used first is here, and needs most of the others
    "raymq.refs",
    "raymq.functions",
    "raymq.generators",
    "raymq.actors",
    "raymq.ids",
    "raymq.info",
    "raymq.keeping",
    "raymq.logging_config",
    "raymq.publications",
    "raymq.session",
    "raymq.standing_in",
    "raymq.async_session",  # at the end: it needs asyncio, which is large
)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used.

    The broker and the bridge import ``raymq.protocol``, and with it this package: they must not get the client, its
    threads and its pickling for that.

    Raises:
        NotOnClient: Ray has the name, and clients have not.
    """
    if name in _MODULES:
        return import_module(f"raymq.{name}")
    for home in _HOMES if name in __all__ else ():
        module = import_module(home)
        if hasattr(module, name):
            globals()[name] = value = getattr(module, name)
            return value
    raise import_module("raymq.absent").missing(__name__, name)


def __dir__() -> list[str]:
    return sorted(__all__)
