"""Waiting in event loops, and by futures: no thread waits. Imported when it is first needed, since asyncio is large.

What comes for a loop is laid down by the client's I/O thread, which calls the loop once, however much comes until the
loop looks. Values are unpickled in the loop's own thread, where whoever awaits them would use them anyway.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from raymq.errors import SessionError
from raymq.refs import ObjectRef
from raymq.waiting import Pending, Waiter

if TYPE_CHECKING:
    from raymq.life import Life
    from raymq.steps import Steps

T = TypeVar("T")

AT_ONCE = 100
"""Values that are unpickled in a loop before its other callbacks get their turn."""


class LoopWaiter(Waiter):
    """A coroutine that waits for a number of things; of the running loop."""

    __slots__ = ("_woken",)

    def __init__(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        self._woken: asyncio.Future[None] = loop.create_future()
        super().__init__(count, functools.partial(_ring, loop, self._woken))

    async def come(self, limit: float | None) -> bool:
        """Wait for it, at most so many seconds; False if it did not come to pass."""
        if limit is None:
            await self._woken
        else:
            await asyncio.wait([self._woken], timeout=limit)
        return self._woken.done()


def _ring(loop: asyncio.AbstractEventLoop, woken: asyncio.Future[None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop was closed, and nobody waits in it any longer
        loop.call_soon_threadsafe(_wake, woken)


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


async def in_loop(steps: Steps[T]) -> T:
    """Carry an operation out whose waiters are a loop's; see ``raymq.steps``."""
    try:
        waiter, limit = next(steps)
        while True:
            waiter, limit = steps.send(await waiter.come(limit))
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()  # a cancellation comes while it waits


class Arrivals:
    """Values that have come for one loop, and that it has not taken yet. It lives as long as anybody awaits one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._here: deque[Awaited] = deque()
        self._called = False

    def put(self, awaited: Awaited) -> None:
        """A value is there; called with the ledger's lock, so by one thread at a time."""
        self._here.append(awaited)
        if not self._called:
            self._called = True
            try:
                self._loop.call_soon_threadsafe(self._take)
            except RuntimeError:  # the loop was closed, and nobody waits in it any longer
                self._here.clear()

    def _take(self) -> None:
        for _ in range(min(len(self._here), AT_ONCE)):
            self._here.popleft().settle()
        self._called = False  # before the look: what comes after it calls
        if self._here:
            self._called = True
            self._loop.call_soon(self._take)


class Awaited:
    """A value that a future is to have. It is wanted until it is there, or the future is cancelled.

    Args:
        life: whose reference it is.
        ref: the reference, which is held until then.
        future: of asyncio, or of ``concurrent.futures``.
    """

    def __init__(self, life: Life, ref: ObjectRef[Any], future: Any) -> None:
        self.future = future
        self._life = life
        self._ref = ref
        number = ref._hold.number
        self._entry: Pending = life._want({number: ref}, None)[number]
        self._waiter: Waiter | None = None
        future.add_done_callback(self._over)

    def notify(self, ring: Callable[[], None]) -> None:
        """Have this called when there is something to settle; at once if there is already."""
        self._waiter = Waiter(1, ring)
        self._life.ledger.notify(self._entry, self._waiter)

    def settle(self) -> None:
        """Give the future what has come, unless it was cancelled."""
        _settle(self.future, self._life, self._entry, self._ref)

    def _over(self, future: Any) -> None:
        with contextlib.suppress(SessionError):  # the session has ended: nothing is wanted of it any longer
            self._life._want_no_more({self._ref._hold.number: self._entry}, self._waiter)
        self._waiter = None  # it knows whom to call: a cycle, which would hold the reference


def _settle(future: Any, life: Life, entry: Pending, ref: ObjectRef[Any]) -> None:
    in_a_loop = asyncio.isfuture(future)
    if future.done() if in_a_loop else not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(life._outcome(entry, ref))
    except BaseException as error:
        if in_a_loop and isinstance(error, StopIteration):  # it would end the coroutine as if that had returned
            error = _wrapped(error)
        future.set_exception(error)
    finally:
        del future  # the error knows this frame, and the future the error: a cycle, which would hold the reference


def _wrapped(error: StopIteration) -> RuntimeError:
    """What Python makes of a StopIteration in a coroutine (PEP 479)."""
    wrapped = RuntimeError(f"what was awaited raised StopIteration: {error}")
    wrapped.__cause__ = error
    return wrapped


def _is_at_hand(life: Life, ref: ObjectRef[Any], future: Any) -> bool:
    """Whether the value is here already; then the future is done."""
    here = life.at_hand([ref])
    if here is not None:
        _settle(future, life, here[ref._hold.number], ref)
    return here is not None


def loop_future(life: Life, ref: ObjectRef[Any]) -> asyncio.Future[Any]:
    """A future of the running loop for a reference's value."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    if not _is_at_hand(life, ref, future):
        arrivals = life.arrivals.get(id(loop))
        if arrivals is None:  # nothing else is awaited there: it may be one after the other
            life.arrivals[id(loop)] = arrivals = Arrivals(loop)
            life._look_ahead(ref._hold.number, ref)
        awaited = Awaited(life, ref, future)
        awaited.notify(functools.partial(arrivals.put, awaited))
    return future


def thread_future(life: Life, ref: ObjectRef[Any]) -> concurrent.futures.Future[Any]:
    """A future for a reference's value that threads can wait for; a thread of the session's completes it."""
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    if not _is_at_hand(life, ref, future):
        awaited = Awaited(life, ref, future)
        awaited.notify(functools.partial(life.session._completions.put, awaited.settle))
    return future
