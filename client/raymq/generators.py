"""Generators in the cluster: their items come as references, a few ahead of whoever reads them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NoReturn

from raymq.errors import ObjectLost, SessionError
from raymq.protocol.messages import HELD_BACK, STREAMING, Next
from raymq.refs import Hold, Identified, ObjectRef, T_co
from raymq.steps import Kind, Steps, in_thread
from raymq.waiting import Waiter

if TYPE_CHECKING:
    from raymq.life import Life

log = logging.getLogger("raymq")

WINDOWS = {STREAMING: 64, HELD_BACK: 1}
"""Items that are asked for ahead, so that reading on does not wait for the network. With 1, none is asked for before it
is wanted: the generator may run ahead of its reader as far as its own option says, and no further."""


class ObjectRefGenerator(Identified, Generic[T_co]):
    """What a call of a remote generator returns: an iterator over references, each of them to one item.

    It can be iterated over with ``for`` and ``async for``, in one thread or several, and given to ``wait``, which
    finds it ready when ``next`` would not wait. A generator that raises yields one reference more, whose ``get`` raises
    the error. When it is dropped before its end, the task in the cluster runs on, as in Ray; ``close`` stops it.
    """

    __slots__ = ("_window",)

    _lost = ObjectLost

    def __init__(self, life: Life, hold: Hold, window: int) -> None:
        super().__init__(life, hold)
        self._window = window
        life.ledger.expect_items(hold.number)

    def _begin(self) -> None:
        """The call has been sent: ask for the first items, unless it is held back."""
        if self._window > 1:
            self._expect()

    def _expect(self) -> None:
        """See to it that items come."""
        count = self._life.ledger.ask_for_items(self._hold.number, self._window)
        if count:
            self._life.post(Next(self._hold.number, count), held=self)

    def __iter__(self) -> ObjectRefGenerator[T_co]:
        return self

    def __next__(self) -> ObjectRef[T_co]:
        """The reference to the next item; waits until there is one.

        Raises:
            StopIteration: there are no more.
            ObjectLost: the session was lost.
        """
        item = None
        while item is None:
            item = self._next_within(None)
        return item

    def _next_within(self, timeout: float | None) -> ObjectRef[Any] | None:
        """The same, or None if there is none in this time, in seconds."""
        item, done = self._take()
        if item is None and not done:
            in_thread(self._coming(Waiter, timeout))
            item, done = self._take()
        if item is None and done:
            raise StopIteration
        return item

    def __aiter__(self) -> ObjectRefGenerator[T_co]:
        return self

    async def __anext__(self) -> ObjectRef[T_co]:
        """The same for coroutines."""
        while True:
            item, done = self._take()
            if item is not None:
                return item
            if done:
                raise StopAsyncIteration
            from raymq import awaiting

            await awaiting.in_loop(self._coming(awaiting.LoopWaiter))

    def _take(self) -> tuple[ObjectRef[T_co] | None, bool]:
        """The next item, if it is here, and whether there are no more; sees to it that others come."""
        self._life.check(self)
        hold, done = self._life.ledger.take_item(self._hold.number)
        if not done and (hold is None or self._window > 1):
            self._expect()
        return (None if hold is None else ObjectRef(self._life, hold)), done

    def _coming(self, kind: Kind, timeout: float | None = None) -> Steps[None]:
        """Wait until an item is here, or there are no more, or so many seconds are over."""
        waiter = kind(1)
        self._life.ledger.wait_for([self._hold.number], waiter)
        try:
            yield waiter, timeout
        finally:
            self._life.ledger.wait_no_more([self._hold.number], waiter)

    def completed(self) -> ObjectRef[Any]:
        """A reference that is ready when the task has ended; its ``get`` raises what made the task fail.

        Raises:
            Exception: the call could not be made, and so there is no task.
        """
        ref: ObjectRef[Any] = self._life.request("completed", (self._as_ref(),), {}, held=self)
        return ref

    def next_ready(self) -> bool:
        """Whether there is an item that ``next`` would return without waiting."""
        self._life.check(self)
        self._expect()
        return self._life.ledger.ready_among([self._hold.number]) != [] and not self.is_finished()

    def is_finished(self) -> bool:
        """Whether the task has ended and all its items have been read."""
        self._life.check(self)
        return self._life.ledger.are_items_finished(self._hold.number)

    def close(self) -> None:
        """Stop the task, by cancelling it, and drop what has not been read. Does nothing at its end.

        Ray's own generators have no such method; Python's have.
        """
        self._life.check(self)
        if not self._life.ledger.are_items_finished(self._hold.number):
            self._life.ledger.drop_items(self._hold.number)
            try:
                self.cancel()
            except SessionError:
                raise
            except Exception:
                log.debug("%r has no task to be stopped", self, exc_info=True)  # its call could not be made

    def cancel(self, *, force: bool = False, recursive: bool = True) -> None:
        """Cancel the task; see ``Session.cancel``. The last item is an error then."""
        self._life.request("cancel", (self._as_ref(),), {"force": force, "recursive": recursive}, held=self)

    def _as_ref(self) -> ObjectRef[Any]:
        """What stands for it in a request."""
        return ObjectRef(self._life, self._hold)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a generator cannot be passed to another task or stored: pass the references that it yields")

    def __repr__(self) -> str:
        return f"ObjectRefGenerator({self.hex()})"


class DynamicObjectRefGenerator:
    """The value of a call with ``num_returns="dynamic"``: the references to what the generator has yielded.

    Args:
        refs: the references.
    """

    def __init__(self, refs: Iterable[ObjectRef[Any]]) -> None:
        self._refs = deque(refs)  # the state is Ray's, too: these travel

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_refs"])  # type: ignore[misc]  # an older Ray has a list

    def __iter__(self) -> Iterator[ObjectRef[Any]]:
        """The references that have not been taken yet; each is taken by this."""
        while self._refs:
            yield self._refs.popleft()

    def __len__(self) -> int:
        return len(self._refs)
