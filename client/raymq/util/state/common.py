"""What ``raymq.util.state`` tells of actors, tasks and so on. The fields are Ray's; times are in ms since 1970.

A newer Ray's instances have its further fields, too, and an older one's lack some.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass
class StateSchema:
    """What is known of one thing: its fields are attributes, and also read as those of a dict."""

    @classmethod
    def columns(cls) -> set[str]:
        """The names of all fields."""
        return {field.name for field in dataclasses.fields(cls)}

    def asdict(self) -> dict[str, Any]:
        """All fields in a dict."""
        return {
            name: dataclasses.asdict(value) if isinstance(value, DriverInfo) else value
            for name, value in vars(self).items()
        }

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self, key, value)

    def get(self, key: str, default: Any = None) -> Any:
        """A field, or something else where there is none of that name."""
        return getattr(self, key, default)


@dataclass
class ActorState(StateSchema):
    """An actor."""

    actor_id: str
    class_name: str
    state: str
    job_id: str
    name: str | None
    node_id: str | None
    pid: int | None
    ray_namespace: str | None
    serialized_runtime_env: str | None = None
    required_resources: dict[str, Any] | None = None
    death_cause: dict[str, Any] | None = None
    is_detached: bool | None = None
    placement_group_id: str | None = None
    repr_name: str | None = None
    num_restarts: int | None = None
    num_restarts_due_to_lineage_reconstruction: int | None = None
    num_restarts_due_to_node_preemption: int | None = None
    call_site: str | None = None
    label_selector: dict[str, Any] | None = None
    fallback_strategy: dict[str, Any] | None = None


@dataclass
class PlacementGroupState(StateSchema):
    """A placement group."""

    placement_group_id: str
    name: str
    creator_job_id: str
    state: str
    bundles: list[dict[str, Any]] | None = None
    is_detached: bool | None = None
    stats: dict[str, Any] | None = None
    topology_strategy: dict[str, Any] | None = None
    topology_assignments: dict[str, Any] | None = None


@dataclass
class NodeState(StateSchema):
    """A node."""

    node_id: str
    node_ip: str
    is_head_node: bool
    state: str
    state_message: str | None
    node_name: str
    resources_total: dict[str, Any]
    labels: dict[str, Any]
    start_time_ms: int | None = None
    end_time_ms: int | None = None


@dataclass
class WorkerState(StateSchema):
    """A process of the cluster's."""

    worker_id: str
    is_alive: bool
    worker_type: str
    exit_type: str | None
    node_id: str
    ip: str
    pid: int
    exit_detail: str | None = None
    worker_launch_time_ms: int | None = None
    worker_launched_time_ms: int | None = None
    start_time_ms: int | None = None
    end_time_ms: int | None = None
    debugger_port: int | None = None
    num_paused_threads: int | None = None


@dataclass
class ClusterEventState(StateSchema):
    """Something that happened in the cluster."""

    severity: str
    time: str
    source_type: str
    message: str
    event_id: str
    custom_fields: dict[str, Any] | None = None


@dataclass
class TaskState(StateSchema):
    """A task, or one attempt at it."""

    task_id: str
    attempt_number: int
    name: str
    state: str
    job_id: str
    actor_id: str | None
    type: str
    func_or_class_name: str
    parent_task_id: str
    node_id: str | None
    worker_id: str | None
    worker_pid: int | None
    error_type: str | None
    language: str | None = None
    required_resources: dict[str, Any] | None = None
    runtime_env_info: dict[str, Any] | None = None
    placement_group_id: str | None = None
    events: list[dict[str, Any]] | None = None
    profiling_data: dict[str, Any] | None = None
    creation_time_ms: int | None = None
    start_time_ms: int | None = None
    end_time_ms: int | None = None
    task_log_info: dict[str, Any] | None = None
    error_message: str | None = None
    is_debugger_paused: bool | None = None
    call_site: str | None = None
    label_selector: dict[str, Any] | None = None
    fallback_strategy: dict[str, Any] | None = None


@dataclass
class ObjectState(StateSchema):
    """A reference to an object, by one process."""

    object_id: str
    object_size: int
    task_status: str
    attempt_number: int
    reference_type: str
    call_site: str
    type: str
    pid: int
    ip: str


@dataclass
class RuntimeEnvState(StateSchema):
    """A runtime environment on a node."""

    runtime_env: dict[str, Any]
    success: bool
    creation_time_ms: float | None
    node_id: str
    ref_cnt: int | None = None
    error: str | None = None


@dataclass
class DriverInfo:
    """The driver of a job."""

    id: str
    node_ip_address: str
    pid: str


@dataclass
class JobState(StateSchema):
    """A job: a driver, or what was submitted to run one. ``type`` and ``status`` are plain strings."""

    type: str
    status: str
    entrypoint: str
    job_id: str | None = None
    submission_id: str | None = None
    driver_info: DriverInfo | None = None
    message: str | None = None
    error_type: str | None = None
    start_time: int | None = None
    end_time: int | None = None
    metadata: dict[str, str] | None = None
    runtime_env: dict[str, Any] | None = None
    driver_agent_http_address: str | None = None
    driver_node_id: str | None = None
    driver_exit_code: int | None = None


_KINDS: dict[str, type[StateSchema]] = {kind.__name__: kind for kind in StateSchema.__subclasses__()}


def rebuild(name: str, fields: dict[str, Any]) -> StateSchema:
    """What Ray tells of something, as it came from the cluster.

    Args:
        name: the name of its class.
        fields: its fields.
    """
    kind = _KINDS.get(name, StateSchema)
    made = kind.__new__(kind)
    vars(made).update(fields)
    if fields.get("driver_info") is not None:
        vars(made)["driver_info"] = DriverInfo(**fields["driver_info"])
    return made
