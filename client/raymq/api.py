"""The module's functions, ``raymq.get`` and so on: Ray's names, on the default session."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

from raymq.actors import ActorHandle
from raymq.connecting import open_session
from raymq.context import RuntimeContext
from raymq.decorating import decorate
from raymq.errors import NotConnected, NotOnClient
from raymq.generators import ObjectRefGenerator
from raymq.lives import Reconnect
from raymq.logging_config import LoggingConfig
from raymq.named import check_named
from raymq.options import check_init_options
from raymq.publications import Publication
from raymq.refs import ObjectRef, Waitable
from raymq.session import Session

if TYPE_CHECKING:
    from raymq.signatures import Remote

T = TypeVar("T")

CONNECT_TIMEOUT = 10.0
"""Seconds that ``connect`` waits unless it is told otherwise."""

OWN_OPTIONS = ("timeout", "session", "takeover", "ttl", "compression")
"""What ``init`` takes beside Ray's options, as ``connect`` does."""

_default: Session | None = None
_default_lock = threading.Lock()


def current_session() -> Session:
    """The default session.

    Raises:
        NotConnected: there is none.
    """
    if _default is None:
        raise NotConnected('there is no session: call raymq.connect("head:10001") first')
    return _default


def connect(
    address: str | None = None,
    *,
    timeout: float = CONNECT_TIMEOUT,
    namespace: str | None = None,
    runtime_env: dict[str, Any] | None = None,
    log_to_driver: bool = True,
    logging_config: LoggingConfig | None = None,
    session: str | None = None,
    takeover: bool = False,
    ttl: float | str | None = None,
    reconnect: Reconnect = None,
    compression: str | None = "auto",
) -> Session:
    """Open a session on a Ray cluster, and make it the default one.

    Args:
        address: ``HOST``, ``HOST:PORT`` or ``raymq://HOST:PORT`` of the broker; the port is 10001 if it is left out.
            None stands for ``$RAYMQ_ADDRESS``, or for ``$RAY_ADDRESS`` if that begins with ``raymq://``.
        timeout: seconds to wait for what waiting can heal: a broker that is not up yet, or has no bridge yet.
        namespace: the namespace of named actors; an anonymous one if left out.
        runtime_env: as in ``ray.init``, for all tasks and actors of the session. A ``working_dir`` or ``py_modules``
            on this machine are uploaded first, unless the cluster has them already, without what ``excludes`` and
            ignore files name. That takes another short session, so a few seconds, and a place for it.
        log_to_driver: print here what the session's workers print.
        logging_config: how Python's logging writes in the session's tasks and actors.
        session: the name of the session. If there is one of this name on the broker, it is attached to, as
            ``session.detach()`` or a lost client left it; else it is opened. A named session outlives its client:
            when that is gone without a goodbye, it waits for ``ttl`` instead of the broker's grace period.
        takeover: take the named session from a client that is attached to it.
        ttl: how long the named session waits for a client: seconds, or a text such as ``"90s"``, ``"30m"``,
            ``"24h"``, ``"7d"``; a day if left out.
        reconnect: what to do when the session is lost: when its bridge died, it expired, or the broker cannot be
            reached any more. (A connection that breaks is no loss: it is made again, and calls go on.) None: each
            call raises ``SessionLost`` from then on. ``"new"``: references and handles from before do so, but the
            next call that makes something new or asks the cluster opens a new session in place of the lost one,
            empty, with the same address and options. Functions and actor classes work on; ``id`` and ``info``
            change; a warning in the log says what happened. Not after ``close()``, and not where somebody ended the
            session or took it over.
        compression: what values of more than 64 KiB are compressed with on their way: ``"zstd"``, ``"lz4"``, nothing
            (None), or ``"auto"``: the one that suits the way as it was measured, and nothing on a fast one. What does
            not become smaller goes as it is. Needs the extra ``raymq[compression]``; without it ``"auto"`` is None.

    Returns:
        The session: a context manager, with everything that the module has as its methods.

    Raises:
        AddressError: the address cannot be read.
        NameNotResolved: the host's name has no address.
        NothingListens: nobody listens there.
        NotABroker: something listens there that is no broker.
        ProtocolMismatch: no protocol version in common.
        PythonMismatch: another Python minor version than the cluster's.
        RayMismatch: another Ray is installed here than the cluster's.
        NoBridge: the broker has no bridge.
        NoCluster: the bridge has no cluster.
        ValueError: nothing is where the ``runtime_env`` names a file of this machine, or no such thing.
        RuntimeEnvSetupError: that is too large, or cannot be read.
        ModuleNotFoundError: the library of that compression is not installed here.
        LimitReached: the broker has as many sessions as it may.
        SessionAttached: another client is attached to the session of this name.
        ConnectTimeout: the time was over in another stage.
    """
    opened = opening(
        address, timeout=timeout, namespace=namespace, runtime_env=runtime_env, log_to_driver=log_to_driver,
        logging_config=logging_config, session=session, takeover=takeover, ttl=ttl, reconnect=reconnect,
        compression=compression,
    )()  # fmt: skip
    make_default(opened)
    return opened


def opening(
    address: str | None, *, namespace: str | None, runtime_env: dict[str, Any] | None,
    logging_config: LoggingConfig | None, session: str | None, takeover: bool, ttl: float | str | None, **options: Any,
) -> Callable[..., Session]:  # fmt: skip
    """``open_session`` with the arguments of ``connect``, checked; it is still to be called."""
    logs = None if logging_config is None else logging_config.to_dict()
    job = {"namespace": namespace, "runtime_env": runtime_env, "logging_config": logs}
    named = check_named(session, ttl, takeover=takeover)
    return functools.partial(open_session, address, job=job, named=named, **options)


def make_default(session: Session) -> None:
    """Make a session the one that the module's functions use."""
    global _default
    with _default_lock:
        _default = session


def init(
    address: str | None = None,
    *,
    namespace: str | None = None,
    runtime_env: dict[str, Any] | None = None,
    log_to_driver: bool = True,
    logging_config: LoggingConfig | None = None,
    reconnect: Reconnect = None,
    ignore_reinit_error: bool = False,
    **options: Any,
) -> Session:
    """``connect`` under the name and with the keywords of ``ray.init``.

    Args:
        address: as in ``connect``.
        namespace: as in ``connect``.
        runtime_env: as in ``connect``.
        log_to_driver: as in ``connect``.
        logging_config: as in ``connect``.
        reconnect: as in ``connect``.
        ignore_reinit_error: return the session that is open already instead of raising an error.
        options: what else ``connect`` takes, or ``ray.init``. What only makes sense for a new cluster is refused.

    Raises:
        RuntimeError: there is a session already.
        ValueError: an option that a session on a running cluster cannot have.
        ConnectError: as in ``connect``.
    """
    if options.get("job_config") is not None:
        raise ValueError("init() takes no job_config: give it the namespace and the runtime_env themselves")
    own = {name: options.pop(name) for name in OWN_OPTIONS if name in options}
    check_init_options(options)
    if is_initialized():
        if ignore_reinit_error:
            return current_session()
        raise RuntimeError("raymq.init() was called twice: shutdown() first, or pass ignore_reinit_error=True")
    return connect(
        address,
        namespace=namespace,
        runtime_env=runtime_env,
        log_to_driver=log_to_driver,
        logging_config=logging_config,
        reconnect=reconnect,
        **own,
    )


class ClientBuilder:
    """The original form of Ray Client: ``client("head:10001").namespace("ns").env({...}).connect()``.

    Ray itself makes one for ``ray.init("raymq://head:10001")`` where it is installed, and gets the builder of
    ``raymq.dropin`` then, with which all of that Ray goes over the session.
    """

    def __new__(cls, address: str | None = None) -> Any:
        """A builder of sessions, or for Ray one that connects Ray."""
        if sys._getframe(1).f_globals.get("__name__") == "ray.client_builder":
            from raymq.dropin.builder import Builder

            return Builder(address)
        return super().__new__(cls)

    def __init__(self, address: str | None = None) -> None:
        self._address = address
        self._namespace: str | None = None
        self._runtime_env: dict[str, Any] | None = None
        self._reconnect: Reconnect = None

    def namespace(self, namespace: str) -> ClientBuilder:
        """Set the namespace of named actors."""
        self._namespace = namespace
        return self

    def env(self, env: dict[str, Any]) -> ClientBuilder:
        """Set the runtime environment."""
        self._runtime_env = env
        return self

    def reconnect(self, reconnect: Reconnect) -> ClientBuilder:
        """Set what to do when the session is lost; see ``raymq.connect``."""
        self._reconnect = reconnect
        return self

    def connect(self) -> Session:
        """Open the session; see ``raymq.connect``."""
        return connect(
            self._address, namespace=self._namespace, runtime_env=self._runtime_env, reconnect=self._reconnect
        )


def client(address: str | None = None) -> ClientBuilder:
    """Begin to describe a session, as the original Ray Client did."""
    return ClientBuilder(address)


def is_initialized() -> bool:
    """Whether there is a default session, and calls can be made: it is open, or starts over with the next one."""
    return _default is not None and _default.is_open


def shutdown(*, wait_for_processes: bool = False, _exiting_interpreter: bool = False) -> None:
    """Close the default session; does nothing if there is none.

    Args:
        wait_for_processes: has no effect, as with Ray Client: there are no processes of Ray's on this side.
        _exiting_interpreter: the same.
    """
    global _default
    with _default_lock:
        session, _default = _default, None
    if session is not None:
        session.close()


if TYPE_CHECKING:
    remote: Remote
else:

    def remote(*args: Any, **options: Any) -> Any:
        """Make a function or a class remote: ``@remote``, or with Ray's options ``@remote(num_cpus=2)``.

        Raises:
            TypeError: it decorates neither a function nor a class.
            ValueError: an option is unknown.
        """
        return decorate(current_session, args, options)


def put(value: T) -> ObjectRef[T]:
    """``Session.put`` of the default session."""
    return current_session().put(value)


@overload
def get(object_refs: ObjectRef[T], *, timeout: float | None = None) -> T: ...


@overload
def get(object_refs: Sequence[ObjectRef[T]], *, timeout: float | None = None) -> list[T]: ...


@overload
def get(object_refs: ObjectRefGenerator[T], *, timeout: float | None = None) -> ObjectRefGenerator[T]: ...


def get(object_refs: Any, *, timeout: float | None = None) -> Any:
    """``Session.get`` of the default session."""
    return current_session().get(object_refs, timeout=timeout)


def wait(
    ray_waitables: list[Waitable], *, num_returns: int = 1, timeout: float | None = None, fetch_local: bool = True
) -> tuple[list[Waitable], list[Waitable]]:
    """``Session.wait`` of the default session."""
    return current_session().wait(ray_waitables, num_returns=num_returns, timeout=timeout, fetch_local=fetch_local)


def kill(actor: ActorHandle, *, no_restart: bool = True) -> None:
    """``Session.kill`` of the default session."""
    current_session().kill(actor, no_restart=no_restart)


def cancel(
    ray_waitable: ObjectRef[Any] | ObjectRefGenerator[Any], *, force: bool = False, recursive: bool = True
) -> None:
    """``Session.cancel`` of the default session."""
    current_session().cancel(ray_waitable, force=force, recursive=recursive)


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """``Session.get_actor`` of the default session."""
    return current_session().get_actor(name, namespace)


def detach(ttl: float | str | None = None) -> None:
    """``Session.detach`` of the default session."""
    current_session().detach(ttl)


def keep(name: str, held: ObjectRef[Any] | ActorHandle) -> None:
    """``Session.keep`` of the default session."""
    current_session().keep(name, held)


def kept(name: str) -> Any:
    """``Session.kept[name]`` of the default session."""
    return current_session().kept[name]


def publish(
    name: str, what: ObjectRef[Any] | ActorHandle, *, ttl: float | str | None = None, replace: bool = False
) -> None:
    """``Session.publish`` of the default session."""
    current_session().publish(name, what, ttl=ttl, replace=replace)


def lookup(name: str) -> Any:
    """``Session.lookup`` of the default session."""
    return current_session().lookup(name)


def unpublish(name: str) -> None:
    """``Session.unpublish`` of the default session."""
    current_session().unpublish(name)


def published() -> list[Publication]:
    """``Session.published`` of the default session."""
    return current_session().published()


def nodes() -> list[dict[str, Any]]:
    """``Session.nodes`` of the default session."""
    return current_session().nodes()


def cluster_resources() -> dict[str, float]:
    """``Session.cluster_resources`` of the default session."""
    return current_session().cluster_resources()


def available_resources() -> dict[str, float]:
    """``Session.available_resources`` of the default session."""
    return current_session().available_resources()


def get_gpu_ids() -> NoReturn:
    """In tasks and actors, where this is Ray's own: the GPUs that this one was given.

    Raises:
        NotOnClient: always, on a client: it was given none.
    """
    raise NotOnClient(
        "get_gpu_ids() tells which GPUs a task or an actor was given, and a client is neither: "
        "call it in a remote function",
        name="get_gpu_ids",
    )


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """``Session.timeline`` of the default session."""
    return current_session().timeline(filename)


def get_runtime_context() -> RuntimeContext:
    """``Session.get_runtime_context`` of the default session."""
    return current_session().get_runtime_context()
