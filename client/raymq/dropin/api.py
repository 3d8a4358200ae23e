"""What Ray calls while its client mode is on, done by a session."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import ray
import ray.runtime_context

from raymq.dropin.actors import Handle
from raymq.dropin.dialect import actor_class, function
from raymq.dropin.functions import Converted, ConvertedClass, ConvertedFunction, check_arguments
from raymq.dropin.internals import SCRIPT_MODE, client_mode_hook
from raymq.dropin.refs import Ref, as_ray
from raymq.session import Session


class Api:
    """Ray's functions, under Ray's names.

    Args:
        session: does what they do.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._own = session.dialect.own

    # --- objects

    def put(self, value: Any, *, _owner: Any = None, _tensor_transport: str | None = None) -> Ref:
        """``ray.put``.

        Raises:
            ValueError: another owner or transport is wanted than the object store's.
        """
        for name, given in (("_owner", _owner), ("_tensor_transport", _tensor_transport)):
            if given not in (None, "object_store"):
                raise ValueError(f"ray.put() takes no {name} through raymq: put the value in a task or an actor, there")
        if isinstance(value, Ref):
            value = value._held  # an error that the session explains
        return Ref(self.session.put(value))

    def get(self, object_refs: Any, *, timeout: float | None = None, _use_object_store: bool = False) -> Any:
        """``ray.get``; there is no other way for a value than through the object store."""
        if isinstance(object_refs, ray.ObjectRefGenerator):
            return object_refs
        if isinstance(object_refs, list):
            return self.session.get([self._held(ref) for ref in object_refs], timeout=timeout)
        return self.session.get(self._held(object_refs), timeout=timeout)

    def wait(self, ray_waitables: Any, **options: Any) -> tuple[list[Any], list[Any]]:
        """``ray.wait``."""
        if not isinstance(ray_waitables, list):
            return self.session.wait(self._held(ray_waitables), **options)
        held = [self._held(waitable) for waitable in ray_waitables]
        ready, others = self.session.wait(held, **options)
        given = dict(zip(held, ray_waitables, strict=True))
        return [given[one] for one in ready], [given[one] for one in others]

    def cancel(self, ray_waitable: Any, *, force: bool = False, recursive: bool = True) -> None:
        """``ray.cancel``."""
        self.session.cancel(self._held(ray_waitable), force=force, recursive=recursive)

    def _held(self, value: Any) -> Any:
        own = self._own(value)
        return value if own is None else own

    # --- functions and actors: the names that Ray's hooks call

    def remote(self, *args: Any, **options: Any) -> Any:
        """``ray.remote``."""
        return ray.remote(*args, **options)

    def method(self, *args: Any, **options: Any) -> Any:
        """``ray.method``."""
        with client_mode_hook.disable_client_hook():
            return ray.method(*args, **options)

    def _convert_function(self, remote: Any) -> ConvertedFunction:
        made: ConvertedFunction = function(remote)
        return made

    def _convert_actor(self, remote: Any) -> ConvertedClass:
        made: ConvertedClass = actor_class(remote)
        return made

    def _converted_key_exists(self, key: Any) -> bool:
        return isinstance(key, Converted)

    def _get_converted(self, key: Converted) -> _Callable:
        return _Callable(self.session, key)

    def kill(self, actor: Any, *, no_restart: bool = True) -> None:
        """``ray.kill``."""
        self.session.kill(self._held(actor), no_restart=no_restart)

    def get_actor(self, name: str, namespace: str | None = None) -> Any:
        """``ray.get_actor``."""
        if not name:
            raise ValueError("Please supply a non-empty value to get_actor")
        return self.session.get_actor(name, namespace)

    def list_named_actors(self, all_namespaces: bool = False) -> list[Any]:
        """``ray.util.list_named_actors``."""
        return self.session.list_named_actors(all_namespaces)

    # --- the cluster

    def is_initialized(self) -> bool:
        """``ray.is_initialized``."""
        return self.session.is_open

    def nodes(self) -> list[dict[str, Any]]:
        """``ray.nodes``."""
        return self.session.nodes()

    def cluster_resources(self) -> dict[str, float]:
        """``ray.cluster_resources``."""
        return self.session.cluster_resources()

    def available_resources(self) -> dict[str, float]:
        """``ray.available_resources``."""
        return self.session.available_resources()

    def get_gpu_ids(self) -> list[Any]:
        """``ray.get_gpu_ids``: as in any driver."""
        return []

    def timeline(self, filename: str | None = None) -> Any:
        """``ray.timeline``."""
        return self.session.timeline(filename)

    def _get_dashboard_url(self) -> str:
        return self.session.info.dashboard_url

    def get_runtime_context(self) -> Any:
        """``ray.get_runtime_context``."""
        return ray.runtime_context.RuntimeContext(Driver(self.session))

    # --- Ray's internal key-value store

    def _internal_kv_initialized(self) -> bool:
        return True

    def _internal_kv_get(self, key: Any, *, namespace: Any = None) -> Any:
        return self._kv("get", key, namespace)

    def _internal_kv_exists(self, key: Any, *, namespace: Any = None) -> Any:
        return self._kv("exists", key, namespace)

    def _internal_kv_put(self, key: Any, value: Any, overwrite: bool = True, *, namespace: Any = None) -> Any:
        return self._kv("put", key, namespace, _bytes(value), overwrite)

    def _internal_kv_del(self, key: Any, *, del_by_prefix: bool = False, namespace: Any = None) -> Any:
        return self._kv("del", key, namespace, del_by_prefix=del_by_prefix)

    def _internal_kv_list(self, prefix: Any, *, namespace: Any = None) -> Any:
        return self._kv("list", prefix, namespace)

    def _kv(self, what: str, key: Any, namespace: Any, *args: Any, **kwargs: Any) -> Any:
        return self.session.request("internal_kv", what, _bytes(key), *args, namespace=_bytes(namespace), **kwargs)

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(
            f"ray.{name} is there in tasks and actors only, and not in the program that uses the cluster through raymq"
        )


def _bytes(text: Any) -> Any:
    return text.encode() if isinstance(text, str) else text


class _Callable:
    """A remote function or an actor class in one session."""

    def __init__(self, session: Session, converted: Converted) -> None:
        self._session = session
        self._converted = converted

    def _remote(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        args, kwargs = tuple(args or ()), kwargs or {}
        made = self._converted
        calls = self._session._lives.for_call(args, kwargs).calls
        if isinstance(made, ConvertedClass):
            check_arguments(made.signatures.get("__init__"), args, kwargs)
            return Handle(calls.actor(made.callee(options), args, kwargs), made.signatures)
        if isinstance(made, ConvertedFunction):
            made.signature.bind(*args, **kwargs)
            return as_ray(calls.function(made.callee(options), args, kwargs))
        raise TypeError(f"{made!r} is neither a function nor a class")


class Driver:
    """What Ray's runtime context asks of the process that it tells of: here the session's driver."""

    mode = SCRIPT_MODE

    def __init__(self, session: Session) -> None:
        self._told = session.get_runtime_context()

    @property
    def current_job_id(self) -> Any:
        """The session's job."""
        return ray.JobID.from_hex(self._told.get_job_id())

    @property
    def current_node_id(self) -> Any:
        """The node of the driver."""
        return ray.NodeID.from_hex(self._told.get_node_id())

    @property
    def worker_id(self) -> Any:
        """The driver's process."""
        return ray.WorkerID.from_hex(self._told.get_worker_id())

    @property
    def actor_id(self) -> Any:
        """A driver is no actor."""
        return ray.ActorID.nil()

    @property
    def placement_group_id(self) -> Any:
        """A driver is in no placement group."""
        return ray.PlacementGroupID.nil()

    @property
    def current_node_labels(self) -> dict[str, str]:
        """The labels of the driver's node."""
        return self._told.get_node_labels()

    def get_accelerator_ids_for_accelerator_resource(self, resource_name: str, resource_regex: str) -> list[str]:
        """A driver has been given no accelerators."""
        return []

    @property
    def namespace(self) -> str:
        """The namespace of named actors."""
        return self._told.namespace

    @property
    def current_temp_dir(self) -> str:
        """Ray's directory on the driver's node."""
        return self._told.get_temp_dir()

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether what the driver starts goes into its placement group."""
        return self._told.should_capture_child_tasks_in_placement_group

    @property
    def runtime_env(self) -> str:
        """The runtime environment, as JSON."""
        return self._told.get_runtime_env_string()

    @property
    def gcs_client(self) -> Any:
        """Has the GCS's address."""
        return SimpleNamespace(address=self._told.gcs_address)

    @property
    def node(self) -> Any:
        """Has the name of the cluster's run."""
        return SimpleNamespace(session_name=self._told.get_session_name())

    def check_connected(self) -> None:
        """Raises the end of the session, if it has ended."""
        self._told.get_job_id()
