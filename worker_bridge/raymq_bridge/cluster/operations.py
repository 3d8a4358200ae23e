"""What a client may ask of Ray by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
import ray.util
import ray.util.queue

from raymq_bridge.cluster.generators import completed
from raymq_bridge.cluster.references import signatures


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
