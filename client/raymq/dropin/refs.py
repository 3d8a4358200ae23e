"""References and generators as Ray has them, of a session's objects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import ray

from raymq.dropin.pickled import reduced
from raymq.generators import ObjectRefGenerator
from raymq.refs import ObjectRef

if TYPE_CHECKING:
    import concurrent.futures


class Ref(ray.ObjectRef):  # type: ignore[misc]
    """A ``ray.ObjectRef`` that stands for a reference of a session.

    Args:
        held: that reference.
    """

    def __init__(self, held: ObjectRef[Any]) -> None:
        self._held = held
        self._set_id(held.binary())

    def task_id(self) -> Any:
        """The task that makes the object. Asks the cluster."""
        return self._held.task_id()

    def job_id(self) -> Any:
        """The job of that task. Asks the cluster."""
        return self._held.job_id()

    def future(self) -> concurrent.futures.Future[Any]:
        """A future of the value."""
        return self._held.future()

    def as_future(self, _internal: bool = False) -> asyncio.Future[Any]:
        """A future of the value in the running event loop."""
        return self._held.as_future()

    def __await__(self) -> Generator[Any, None, Any]:
        return self._held.__await__()

    def _on_completed(self, py_callback: Callable[[Any], None]) -> None:
        """Call back with the value, or with the error, from a thread of raymq's."""

        def completed(future: concurrent.futures.Future[Any]) -> None:
            error = future.exception()
            py_callback(future.result() if error is None else error)

        self._held.future().add_done_callback(completed)

    def __repr__(self) -> str:
        return f"ObjectRef({self.hex()})"

    def __copy__(self) -> Ref:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Ref:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self)


class Items(ray.ObjectRefGenerator):  # type: ignore[misc]
    """A ``ray.ObjectRefGenerator`` that stands for a generator of a session.

    Args:
        held: that generator.
    """

    worker = None
    """Ray's destructor looks here for the process that has the generator: that is not this one."""

    def __init__(self, held: ObjectRefGenerator[Any]) -> None:
        self._held = held
        self._end: Ref | None = None

    def __next__(self) -> Ref:
        return Ref(next(self._held))

    async def __anext__(self) -> Ref:
        return Ref(await self._held.__anext__())

    def _next_sync(self, timeout_s: float | None = None) -> Any:
        """The next reference; a nil one if there is none in this time. A negative time is for ever."""
        item = self._held._next_within(None if timeout_s is None or timeout_s < 0 else timeout_s)
        return ray.ObjectRef.nil() if item is None else Ref(item)

    async def _next_async(self, timeout_s: float | None = None) -> Any:
        """The same for coroutines."""
        timeout = None if timeout_s is None or timeout_s < 0 else timeout_s
        try:
            return Ref(await asyncio.wait_for(self._held.__anext__(), timeout))
        except asyncio.TimeoutError:
            return ray.ObjectRef.nil()

    def _stream_exhausted(self) -> bool:
        """Whether there are no more items, as far as it is known here."""
        return self._held.is_finished()

    def completed(self) -> Ref:
        """A reference that is ready when the task has ended."""
        if self._end is None:
            self._end = self._held.completed()  # type: ignore[assignment]  # the session speaks Ray's dialect
        return self._end  # type: ignore[return-value]

    @property
    def _generator_ref(self) -> Ref:
        return self.completed()

    def next_ready(self) -> bool:
        """Whether there is an item that ``next`` would return without waiting."""
        return self._held.next_ready()

    def is_finished(self) -> bool:
        """Whether the task has ended and all its items have been read."""
        return self._held.is_finished()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Items) and self._held == other._held

    def __hash__(self) -> int:
        return hash(self._held)

    def __repr__(self) -> str:
        return repr(self._held)


def as_ray(made: Any) -> Any:
    """What a call returns, as Ray has it: references, a generator, None, or a list of references."""
    if isinstance(made, list):
        return [Ref(reference) for reference in made]
    if isinstance(made, ObjectRefGenerator):
        return Items(made)
    return None if made is None else Ref(made)
