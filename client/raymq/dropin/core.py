"""What Ray's libraries ask of Ray's own process, which a program without one has not: asked of the session's driver."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from raymq.dropin.refs import Ref

AT_THE_DRIVER = frozenset({
    "get_local_actor_state",
    "get_disable_job_level_lineage_reconstruction",
    "get_local_memory_store_bytes_used",
    "get_local_ongoing_lineage_reconstruction_tasks",
})  # fmt: skip
"""What is asked of the driver's core, as it is."""


class Core:
    """Stands in the place of Ray's core worker. ``ray.data`` asks these things of it, and fails without.

    Args:
        request: asks the session of the present context for an operation.
    """

    def __init__(self, request: Callable[..., Any]) -> None:
        self._request = request

    def add_object_out_of_scope_callback(self, ref: Any, callback: Callable[[bytes], None]) -> bool:
        """Call back with the id of an object when the program has let go of it; False if it is not the program's."""
        if not isinstance(ref, Ref):
            return False
        ref._held._life.when_released(ref._held, partial(callback, ref.binary()))
        return True

    def get_local_object_locations(self, refs: list[Any]) -> dict[Any, dict[str, Any]]:
        """Where objects are and how large."""
        found: dict[Any, dict[str, Any]] = self._request("local_object_locations", refs)
        return found

    def get_object_locations(self, refs: list[Any], timeout_ms: int = -1) -> dict[Any, dict[str, Any]]:
        """The same."""
        return self.get_local_object_locations(refs)

    def add_object_ref_reference(self, ref: Any) -> None:
        """A reference of Ray's own was made, a nil one: nothing to count."""

    def remove_object_ref_reference(self, ref: Any) -> None:
        """It is gone."""

    def get_current_node_id(self) -> NoReturn:
        """What a second ``ray.init(ignore_reinit_error=True)`` without an address asks first.

        Raises:
            RuntimeError: always; Ray could only describe a process of the cluster.
        """
        raise RuntimeError(
            "ray is connected through raymq: give ray.init its address again, as in "
            'ray.init("raymq://head:10001", ignore_reinit_error=True), or set RAY_ADDRESS to it'
        )

    def __getattr__(self, name: str) -> Any:
        if name not in AT_THE_DRIVER:
            raise AttributeError(f"core_worker.{name} is for Ray's own processes; this program goes through raymq")
        return partial(self._request, "core", name)


class State:
    """Stands in the place of Ray's way to the tables of the cluster: ``ray._private.state`` asks it.

    Args:
        request: asks the session of the present context for an operation.
    """

    def __init__(self, request: Callable[..., Any]) -> None:
        self._request = request

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("get_"):
            raise AttributeError(f"the state of the cluster has no {name!r} for a program that goes through raymq")
        return partial(self._request, "tables", name)
