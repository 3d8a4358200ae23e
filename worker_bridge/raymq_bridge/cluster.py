"""The cluster face: what a bridge does with Ray. Beside it only the holder of publications knows of Ray's internals.

Each internal that is touched has one name here, in ``INTERNALS``, and a test that says so by that name when a new
Ray moves it. Everything else is Ray's public API.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import io
import os
import socket
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # else a call that comes after the cluster's death starts one of its own

import ray
import ray.exceptions
import ray.experimental
import ray.util
import ray.util.queue
from ray._private.ray_logging import global_worker_stdstream_dispatcher
from ray._private.worker import print_worker_logs
from ray.experimental import internal_kv

from raymq.pickling import SHARED
from raymq.protocol.messages import HELD_BACK, STREAMING
from raymq_bridge.sentry import Place, peer_of

INTERNALS = (
    "RAY_ENABLE_AUTO_CONNECT",
    "ObjectRef._on_completed(callback)",
    "ObjectRef._on_ready(callback)",
    "ray._private.worker.global_worker.core_worker.object_exists(reference, memory_store_only=True)",
    "ActorHandle._ray_method_signatures",
    "ActorHandle._ray_method_num_returns",
    "ActorHandle._ray_method_is_generator",
    "ActorHandle._ray_method_generator_backpressure_num_objects",
    "ObjectRefGenerator._next_sync(timeout_s)",
    "ObjectRefGenerator._generator_ref",
    "ObjectRefGenerator.worker.core_worker.peek_object_ref_stream(generator_ref)",
    "ActorHandle._ray_actor_creation_function_descriptor.class_name",
    "RemoteFunction: _function, _default_options, _is_cross_language",
    "ActorClass: __ray_metadata__.modified_class.__ray_actor_class__, _default_options",
    "ActorHandle._actor_id",
    "ray._private.ray_logging.global_worker_stdstream_dispatcher",
    "ray._private.worker.print_worker_logs",
    "RayContext.address_info['raylet_socket_name']",
    "Queue.__dict__: maxsize, actor",
    "DynamicObjectRefGenerator.__dict__: _refs",
    "ActorHandle._ray_method_signatures: without self, with _ray_trace_ctx",
    "PlacementGroup.__dict__: id, bundle_cache",
    "NodeAffinitySchedulingStrategy.__dict__: node_id, soft, _spill_on_unavailable, _fail_on_unavailable",
    "PlacementGroupSchedulingStrategy.__dict__: as its constructor's arguments",
    "In.__dict__: values",
    "ray.experimental.internal_kv._internal_kv_get('extra_usage_tag_gcs_storage', namespace='usage_stats')",
)

REACH_TIME = 5.0
"""Seconds that the cluster's GCS gets to accept a connection."""

VERSION: str = ray.__version__


class NoCluster(Exception):
    """The Ray cluster cannot be reached."""


def connect(address: str, job: dict[str, Any], redis: dict[str, str]) -> tuple[dict[str, Any], Place]:
    """Become a driver of the cluster: a Ray job of its own.

    Args:
        address: the GCS, ``HOST:PORT``, or ``auto``.
        job: ``namespace`` and ``runtime_env`` as in ``ray.init``, and ``logging_config``, a dict; each may be missing.
        redis: ``username`` and ``password`` for the cluster's Redis, either may be missing.

    Returns:
        ``job_id``, ``node_id``, ``dashboard_url``, ``namespace``, ``address``; and what to watch from now on.

    Raises:
        NoCluster: nothing answers at the address, or it refuses us.
    """
    check_reachable(address)
    options = {f"_redis_{key}": value for key, value in redis.items() if value}
    if job.get("logging_config"):  # of the workers alone: ray.init(logging_config=...) would change this process's, too
        options["job_config"] = config = ray.job_config.JobConfig()
        config.set_py_logging_config(ray.LoggingConfig(**job["logging_config"]))
    try:
        context = ray.init(
            address=address,
            namespace=job.get("namespace"),
            runtime_env=job.get("runtime_env"),
            log_to_driver=True,
            configure_logging=False,
            **options,
        )
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        if isinstance(error, RuntimeError) and job.get("runtime_env"):
            raise  # else it says that the cluster is still on its way up: its GCS answers, but no node is there yet
        raise NoCluster(f"no Ray cluster at {address}: {_causes(error)}") from error
    os.environ["RAY_ADDRESS"] = context.address_info["address"]  # ray.util.state minds it more than its argument
    # Workers' output goes to the client, not to the bridge's own log.
    global_worker_stdstream_dispatcher.remove_handler("ray_print_logs")
    here = ray.get_runtime_context()
    described = {
        "job_id": here.get_job_id(),
        "node_id": here.get_node_id(),
        "namespace": here.namespace,
        "dashboard_url": context.dashboard_url or "",
        "address": context.address_info["address"],
    }
    place = Place(
        address=context.address_info["address"],
        raylet=peer_of(context.address_info.get("raylet_socket_name") or ""),
        fault_tolerant=_storage() in ("redis", "rocksdb") or any(redis.values()),
    )
    return described, place


def _storage() -> str:
    """Where the GCS keeps its tables: "memory", "redis" or "rocksdb"; empty if it does not tell."""
    told = internal_kv._internal_kv_get(b"extra_usage_tag_gcs_storage", namespace=b"usage_stats")
    return told.decode(errors="replace") if told else ""


def check_reachable(address: str) -> None:
    """Knock at the GCS. Ray itself would try for most of a minute, and then end the process.

    Raises:
        NoCluster: nothing listens there.
    """
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal():
        return  # "auto", and whatever else Ray finds out by itself
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_TIME).close()
    except OSError as error:
        raise NoCluster(f"no Ray cluster answers at {address} ({error}): is it running, and is that its GCS?") from None


def _causes(error: BaseException | None) -> str:
    texts = []
    while error is not None:
        texts.append(str(error) or type(error).__name__)
        error = error.__cause__
    return ": ".join(texts)


def disconnect() -> None:
    """End the job: Ray drops its objects, cancels its tasks, and terminates its actors that are not detached."""
    ray.shutdown()


def listen_to_workers(callback: Callable[[str, list[str]], None]) -> None:
    """Call ``callback(stream, lines)`` with what the job's workers print, formatted as Ray would print it."""

    def handle(data: dict[str, Any]) -> None:
        with io.StringIO() as text:
            print_worker_logs(data, text)
            callback("stderr" if data["is_err"] else "stdout", text.getvalue().splitlines())

    global_worker_stdstream_dispatcher.remove_handler("raymq")  # that of the session's client before
    global_worker_stdstream_dispatcher.add_handler("raymq", handle)


# --- calls


def remote(target: Any, options: dict[str, Any]) -> Any:
    """Make a remote function or an actor class, as the decorator ``@ray.remote(**options)`` does."""
    for _, member in inspect.getmembers(target, inspect.isroutine) if isinstance(target, type) else ():
        function = inspect.unwrap(getattr(member, "__func__", member))  # where Ray looks for its marks
        method_options = getattr(function, "__raymq_method__", None)
        if method_options:
            ray.method(**method_options)(function)  # leaves them there
    return ray.remote(**options)(target) if options else ray.remote(target)


def put(value: Any) -> Any:
    """Store a value in the cluster."""
    return ray.put(value)


def submit(callee: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
    """Call a remote function or an actor's method; one reference for each value that it returns."""
    returned = callee.remote(*args, **kwargs)
    if returned is None:
        return []
    return returned if isinstance(returned, list) else [returned]


def create(actor_class: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Create an actor."""
    return actor_class.remote(*args, **kwargs)


def method(handle: Any, name: str, options: dict[str, Any]) -> Any:
    """A method of an actor, ready to be called."""
    found = getattr(handle, name)
    return found.options(**options) if options else found


# --- references


def is_reference(value: Any) -> bool:
    """Whether this is a reference to an object."""
    return isinstance(value, ray.ObjectRef)


def is_actor(value: Any) -> bool:
    """Whether this is a handle to an actor."""
    return isinstance(value, ray.actor.ActorHandle)


def definition(value: Any) -> tuple[Any, dict[str, Any]] | None:
    """What was decorated, and the options: of a remote function or an actor class; None for anything else."""
    if isinstance(value, ray.remote_function.RemoteFunction) and not value._is_cross_language:
        return value._function, value._default_options
    if isinstance(value, ray.actor.ActorClass) and value.__ray_metadata__.modified_class is not None:
        return value.__ray_metadata__.modified_class.__ray_actor_class__, value._default_options
    return None


def identity(value: Any) -> bytes:
    """What makes two references, or two handles, the same."""
    return bytes(value._actor_id.binary() if is_actor(value) else value.binary())


def actor_shape(handle: Any) -> tuple[str, dict[str, int]]:
    """An actor's class name, and for each of its methods the number of values that it returns, or STREAMING's like."""
    methods = {name: _returns(handle, name) for name in handle._ray_method_signatures}
    return handle._ray_actor_creation_function_descriptor.class_name, methods


RAY_S_OWN = "_ray_trace_ctx"
"""A parameter that Ray adds to every method."""


def signatures(handle: Any) -> dict[str, list[tuple[str, int, bool]]]:
    """For each of an actor's methods the parameters: name, kind, and whether there is a default."""
    return {
        method: [(p.name, int(p.kind), p.default is not p.empty) for p in parameters if p.name != RAY_S_OWN]
        for method, parameters in handle._ray_method_signatures.items()
    }


def _returns(handle: Any, name: str) -> int:
    count = handle._ray_method_num_returns.get(name)
    if count == "streaming" or (count is None and handle._ray_method_is_generator.get(name)):
        limit = handle._ray_method_generator_backpressure_num_objects.get(name)
        return STREAMING if limit in (None, -1) else HELD_BACK
    return count if isinstance(count, int) else 1


# --- generators


def is_generator(value: Any) -> bool:
    """Whether this is a generator of references."""
    return isinstance(value, ray.ObjectRefGenerator)


def next_item(generator: Any) -> Any:
    """The reference to the next item; None if there is none yet. A task that failed yields its error at last.

    Raises:
        StopIteration: there are no more.
    """
    reference = generator._next_sync(0)
    return None if reference.is_nil() else reference


def on_item(generator: Any, callback: Callable[[], None]) -> None:
    """Call back when there is a next item, or none will come; from a thread of Ray's."""
    awaited, _ = generator.worker.core_worker.peek_object_ref_stream(generator._generator_ref)
    on_ready(awaited, callback)


def completed(generator: Any) -> Any:
    """A reference that is ready when the generator's task has ended."""
    return generator.completed()


# --- when something is there


def on_value(reference: Any, callback: Callable[[Any], None]) -> None:
    """Call back with the value, or with Ray's exception object, when it is there; from a thread of Ray's."""

    def completed(value: Any, held: Any = reference) -> None:
        # Ray ends the process with a failed check where the last reference to an object dies that is being fetched
        # from the object store: the callback holds one until it is called.
        callback(value)

    reference._on_completed(completed)


NOT_AT_HAND = object()
"""Says that a value has to be waited for, or is not known to be small."""


def value_at_hand(reference: Any) -> Any:
    """A value that a task has returned, and that is in this process already, which small ones are; or NOT_AT_HAND.

    To ask is 0.5 us and to get it 15, where a callback takes 100 (Ray 2.60). Errors are left to ``on_value``.
    """
    with contextlib.suppress(BaseException):  # user code may run in there, when the value is unpickled
        if is_at_hand(reference):
            return ray.get(reference)
    return NOT_AT_HAND


def is_at_hand(reference: Any) -> bool:
    """Whether this is a small value, or an error, that is in this process already."""
    return bool(ray._private.worker.global_worker.core_worker.object_exists(reference, memory_store_only=True))


def on_ready(reference: Any, callback: Callable[[], None]) -> None:
    """Call back when the object exists, or its error; its value is not fetched."""

    def completed(outcome: Any, held: Any = reference) -> None:
        callback()

    if hasattr(reference, "_on_ready"):
        reference._on_ready(completed)
    else:  # Ray before 2.60 has no such thing, and the value comes along for nothing
        reference._on_completed(completed)


def ready_now(references: Sequence[Any], *, fetch_local: bool) -> set[bytes]:
    """The identities of those references that are ready, without waiting.

    Args:
        references: which.
        fetch_local: to be ready is to be on this node. Ray begins to copy here what is only on others, and goes on.
    """
    if not references:
        return set()
    each = list(set(references))
    ready, _ = ray.wait(each, num_returns=len(each), timeout=0, fetch_local=fetch_local)
    return {identity(reference) for reference in ready}


def is_error(value: Any) -> bool:
    """Whether what came for a reference is Ray's way to say that there is no value."""
    return isinstance(value, ray.exceptions.RayError)


def is_own_error(value: Any) -> bool:
    """Whether this is an error of Ray's own making, and no task's."""
    return isinstance(value, ray.exceptions.RayError) and not isinstance(value, ray.exceptions.RayTaskError)


def is_actor_gone(value: Any) -> bool:
    """Whether what came for a call of an actor's method says that the actor is dead, or out of reach for now."""
    return isinstance(value, ray.exceptions.RayActorError)


def raised(error: Any) -> BaseException:
    """What a task raised, or Ray's own error."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error


def is_error_class(value: Any) -> bool:
    """Whether this is one of Ray's exception classes; the client has one of the same name."""
    return isinstance(value, type) and value.__module__ == ray.exceptions.__name__


def shared_class(value: type) -> tuple[str, str] | None:
    """Module and name, within ray, of a class that clients have, too; None for any other."""
    home = str(value.__module__), value.__qualname__
    where = _HOMES.get(home) or (home[0].removeprefix("ray."), home[1])
    return where if where in SHARED and named(*where) is value else None


def task_error(task: tuple[Any, ...], cause: BaseException | None) -> Any:
    """A ``RayTaskError`` as a client describes one that it hands on.

    Args:
        task: the message, the function, the traceback, the process id and the node.
        cause: what the task raised, or None where the client could not rebuild it.
    """
    message, function, text, pid, ip = task
    raised = cause or ray.exceptions.RayError(message)
    return ray.exceptions.RayTaskError(function, text, raised, pid=pid, ip=ip).as_instanceof_cause()


# --- names of raymq on a worker


def named(module: str, name: str = "") -> Any:
    """What a module of raymq, or a name in it, means on a worker: the same in ray.

    Where Ray has no such module, an empty one stands for it: cloudpickle sends along every module of a package that a
    function mentions whose name is also that of an attribute in there (``ray`` and ``options``, say).

    Raises:
        AttributeError: ray has no such name.
    """
    full = ".".join(filter(None, ("ray", module)))
    try:
        found: Any = importlib.import_module(full)
    except ModuleNotFoundError as error:
        if not f"{full}.".startswith(f"{error.name}."):
            raise  # Ray has it, but not what it needs
        found = ModuleType(full, "A module of raymq that Ray has not.")
    return functools.reduce(getattr, filter(None, name.split(".")), found)


_HOMES = {
    (kind.__module__, kind.__qualname__): where for where in SHARED if "." not in where[0] for kind in [named(*where)]
}
"""Where Ray has the shared classes of its upper modules; the others are in the modules that they are named by."""


# --- requests


def kill(handle: Any, *, no_restart: bool = True) -> None:
    """Terminate an actor by force."""
    ray.kill(handle, no_restart=no_restart)


def cancel(reference: Any, *, force: bool = False, recursive: bool = True) -> None:
    """Cancel the task that makes an object, or that yields a generator's."""
    ray.cancel(reference, force=force, recursive=recursive)


CONTEXT = frozenset({
    "get_job_id", "get_node_id", "namespace", "get_worker_id", "get_temp_dir", "get_session_name", "gcs_address",
    "get_runtime_env_string", "should_capture_child_tasks_in_placement_group", "get_accelerator_ids", "get_node_labels",
})  # fmt: skip
"""What a driver's runtime context can tell."""


def runtime_context(name: str) -> Any:
    """What the runtime context of this driver says under a name."""
    if name not in CONTEXT:
        raise ValueError(f"the runtime context of a driver has no {name!r}")
    told = getattr(ray.get_runtime_context(), name)
    return told() if callable(told) else told


def placement_group(bundles: Any, *args: Any, **kwargs: Any) -> Any:
    """Reserve resources.

    Raises:
        ValueError: less than nothing of one is wanted. Ray would take that for more than the node has, and its raylet
            would end, and with it the sessions of all clients.
    """
    for bundle in bundles if isinstance(bundles, list) else ():
        for name, amount in bundle.items() if isinstance(bundle, dict) else ():
            if isinstance(amount, int | float) and amount < 0:
                raise ValueError(f"The quantity of resource {name} cannot be negative")
    return ray.util.placement_group(bundles, *args, **kwargs)


def placement_group_ready(group: Any) -> Any:
    """A reference that is ready when a placement group is."""
    return group.ready()


def task_id(reference: Any) -> Any:
    """The id of the task that makes an object."""
    return reference.task_id()


def job_id(reference: Any) -> Any:
    """The id of the job of that task."""
    return reference.job_id()


def itself(value: Any) -> Any:
    """The same reference or handle: it comes back under the number by which the client has known it first."""
    return value


def owner_address(reference: Any) -> bytes:
    """The process that owns an object, Ray's message ``Address``."""
    return bytes(reference.owner_address())


def call_site(reference: Any) -> str:
    """The line that made a reference, if Ray records these."""
    return str(reference.call_site())


def actor_id(handle: Any) -> Any:
    """The id of an actor."""
    return handle._actor_id


OPERATIONS: dict[str, Callable[..., Any]] = {
    "kill": kill,
    "cancel": cancel,
    "completed": completed,
    "get_actor": ray.get_actor,
    "list_named_actors": ray.util.list_named_actors,
    "nodes": ray.nodes,
    "cluster_resources": ray.cluster_resources,
    "available_resources": ray.available_resources,
    "runtime_context": runtime_context,
    "node_ip_address": ray.util.get_node_ip_address,
    "queue": ray.util.queue.Queue,
    "placement_group": placement_group,
    "placement_group_ready": placement_group_ready,
    "remove_placement_group": ray.util.remove_placement_group,
    "get_placement_group": ray.util.get_placement_group,
    "placement_group_table": ray.util.placement_group_table,
    "task_id": task_id,
    "job_id": job_id,
    "itself": itself,
    "owner_address": owner_address,
    "call_site": call_site,
    "actor_id": actor_id,
    "signatures": signatures,
}
"""What a client may ask for by name."""
