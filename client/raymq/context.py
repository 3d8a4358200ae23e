"""What ``ray.get_runtime_context()`` tells a driver, told by the session's driver: its bridge."""

from __future__ import annotations

import json
import logging
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

from raymq.ids import JobID, NodeID, PlacementGroupID
from raymq.info import SessionInfo

if TYPE_CHECKING:
    from raymq.session import Session

log = logging.getLogger("raymq")


class RuntimeContext:
    """Where a session's driver runs, and as what. On a worker it is Ray's own, of the worker.

    The session's driver is its bridge, a process on the head node; a program that uses raymq is no process of the
    cluster's, and so has no node and no worker id of its own. What only tasks and actors have is None here, or raises
    an error, as in Ray. Anything but the job, the node and the namespace is asked of the bridge, each time. When the
    session has ended, its end is raised; one that is to start over does so.

    Args:
        session: whose driver this tells of.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    # --- the driver

    @property
    def namespace(self) -> str:
        """The namespace of the session's named actors."""
        return self._info.namespace

    def get_job_id(self) -> str:
        """The Ray job of the session, as 8 hexadecimal digits."""
        return self._info.job_id

    def get_node_id(self) -> str:
        """The node of the session's driver, as 56 hexadecimal digits."""
        return self._info.node_id

    def get_worker_id(self) -> str:
        """The process of the session's driver, as 56 hexadecimal digits."""
        return str(self._ask("get_worker_id"))

    def get_temp_dir(self) -> str:
        """Ray's directory on the driver's node."""
        return str(self._ask("get_temp_dir"))

    def get_session_name(self) -> str:
        """The name of the cluster's run, as its metrics have it. (Not the name of a raymq session.)

        Raises:
            AttributeError: the cluster has a Ray that does not tell.
        """
        return str(self._ask("get_session_name"))

    @property
    def gcs_address(self) -> str:
        """The address of the cluster's GCS, ``HOST:PORT``, as it is known there."""
        return str(self._ask("gcs_address"))

    def get_runtime_env_string(self) -> str:
        """The runtime environment of the session, as JSON."""
        return str(self._ask("get_runtime_env_string"))

    @property
    def runtime_env(self) -> dict[str, Any]:
        """The runtime environment of the session. (In Ray a ``RuntimeEnv``, which is a dict; here a plain one.)"""
        return dict(json.loads(self.get_runtime_env_string() or "{}"))

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether what the driver starts goes into its placement group; it has none."""
        return bool(self._ask("should_capture_child_tasks_in_placement_group"))

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """The ids of the accelerators that the driver may use, by resource: none of any."""
        return dict(self._ask("get_accelerator_ids"))

    def get_node_labels(self) -> dict[str, str]:
        """The labels of the driver's node."""
        return dict(self._ask("get_node_labels"))

    @property
    def _info(self) -> SessionInfo:
        life = self._session._lives.for_call((), {})
        life.check()
        return life.info

    def _ask(self, name: str) -> Any:
        return self._session.request("runtime_context", name)

    # --- what only tasks and actors have

    def get_task_id(self) -> None:
        """None: this is no task."""
        _warn("get_task_id")

    def get_task_name(self) -> None:
        """None: this is no task."""
        _warn("get_task_name")

    def get_task_function_name(self) -> None:
        """None: this is no task."""
        _warn("get_task_function_name")

    def get_actor_id(self) -> None:
        """None: this is no actor."""

    def get_actor_name(self) -> None:
        """None: this is no actor."""
        _warn("get_actor_name")

    def get_placement_group_id(self) -> None:
        """None: a driver is in no placement group."""

    @property
    def current_actor(self) -> NoReturn:
        """Only there in an actor.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("current_actor is there in an actor only; this is the program that uses the cluster")

    @property
    def was_current_actor_reconstructed(self) -> NoReturn:
        """Only there in an actor.

        Raises:
            AssertionError: always, as in Ray.
        """
        _only_on_workers("was_current_actor_reconstructed")

    def is_canceled(self) -> NoReturn:
        """Only there in tasks.

        Raises:
            RuntimeError: always, as in Ray.
        """
        raise RuntimeError("is_canceled() tells a task whether it was cancelled: call it in a remote function")

    def get_assigned_resources(self) -> NoReturn:
        """Only there in tasks and actors.

        Raises:
            AssertionError: always, as in Ray.
        """
        _only_on_workers("get_assigned_resources()")

    # --- names that Ray has given up

    def get(self) -> dict[str, Any]:
        """Deprecated by Ray: job, node and namespace in a dict."""
        _deprecated("get()", "the get_..._id() methods")
        return {
            "job_id": JobID.from_hex(self.get_job_id()),
            "node_id": NodeID.from_hex(self.get_node_id()),
            "namespace": self.namespace,
        }

    @property
    def job_id(self) -> JobID:
        """Deprecated by Ray: ``get_job_id``."""
        _deprecated("job_id", "get_job_id()")
        return JobID.from_hex(self.get_job_id())

    @property
    def node_id(self) -> NodeID:
        """Deprecated by Ray: ``get_node_id``."""
        _deprecated("node_id", "get_node_id()")
        return NodeID.from_hex(self.get_node_id())

    @property
    def task_id(self) -> NoReturn:
        """Deprecated by Ray: ``get_task_id``. Raises an AssertionError, as in Ray."""
        _deprecated("task_id", "get_task_id()")
        _only_on_workers("task_id")

    @property
    def actor_id(self) -> NoReturn:
        """Deprecated by Ray: ``get_actor_id``. Raises an AssertionError, as in Ray."""
        _deprecated("actor_id", "get_actor_id()")
        _only_on_workers("actor_id")

    @property
    def current_placement_group_id(self) -> PlacementGroupID:
        """Deprecated by Ray: ``get_placement_group_id``."""
        _deprecated("current_placement_group_id", "get_placement_group_id()")
        return PlacementGroupID.nil()

    def get_resource_ids(self) -> dict[str, list[str]]:
        """Deprecated by Ray: ``get_accelerator_ids``."""
        _deprecated("get_resource_ids()", "get_accelerator_ids()")
        return self.get_accelerator_ids()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a runtime context tells of one process: call ray.get_runtime_context() where it is wanted")


def _warn(name: str) -> None:
    log.warning("%s() tells of the task or actor that calls it; here it is None", name)


def _only_on_workers(name: str) -> NoReturn:
    raise AssertionError(
        f"{name} is there in tasks and actors only; this is the program that uses the cluster. "
        "Ask for it in a remote function."
    )


def _deprecated(name: str, instead: str) -> None:
    text = f"{name} of the runtime context is deprecated by Ray: use {instead}"
    warnings.warn(text, DeprecationWarning, stacklevel=3)
