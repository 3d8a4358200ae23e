"""One life of a session on the cluster, from the handshake to its end: what is said, awaited and held in it."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from raymq import connection as core
from raymq.ahead import Guess
from raymq.calling import Calls
from raymq.errors import ForkedSession, RaymqError, SessionClosed, SessionLost
from raymq.generators import ObjectRefGenerator
from raymq.info import SessionInfo
from raymq.packing import Packer
from raymq.protocol.limits import INLINE_MAX, REFS_PER_MESSAGE
from raymq.protocol.messages import Ahead, Detach, Fetch, Goodbye, Message, Pickled, Request, Unfetch, Value, Watch
from raymq.receiving import Receiver
from raymq.recent import Recent
from raymq.refs import Held, ObjectRef
from raymq.steps import Kind, Steps, in_thread
from raymq.waiting import Ledger, Pending, Waiter
from raymq.wire import Wire

if TYPE_CHECKING:
    import asyncio
    import concurrent.futures

    from raymq.awaiting import Arrivals
    from raymq.session import Session


class Life:
    """What a session has with one bridge.

    References belong to the life that made them: numbers begin anew with each.

    Args:
        session: whose life it is.
        life_id: the 16 bytes by which broker and bridge know it.
        log_to_driver: print what its workers print.
    """

    info: SessionInfo

    def __init__(self, session: Session, life_id: bytes, *, log_to_driver: bool) -> None:
        self.session = session
        self.id = life_id
        self.dropped: deque[int] = deque()
        self.ledger = Ledger()
        self.recent = Recent()
        self._ahead = Guess()
        self.receiver = Receiver(
            self.ledger, self.recent, self.dropped, log_to_driver=log_to_driver, ended=self._on_end
        )
        self.calls = Calls(self)
        self.packer = Packer(self)
        self.arrivals: WeakValueDictionary[int, Arrivals] = WeakValueDictionary()
        self.ended: SessionLost | SessionClosed | None = None
        self.lost_by = self.how_lost = ""
        self._released: dict[int, list[Callable[[], None]]] = {}
        self._pid = os.getpid()
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._wire: Wire | None = None
        self._requests = itertools.count(1)

    def open(self, wire: Wire, info: SessionInfo, object_max: int) -> None:
        """The handshake is done; from now on calls can be made."""
        self.packer.object_max, self.info, self._wire = object_max, info, wire

    def forget(self, numbers: list[int]) -> None:
        """References are about to be released; called by the I/O thread."""
        self.ledger.forget(numbers)
        self.recent.forget(numbers)
        for number in numbers if self._released else ():
            for call in self._released.pop(number, ()):
                self.session._completions.put(call)

    def when_released(self, held: Held, call: Callable[[], None]) -> None:
        """Have something called, in the thread that completes futures, when the program has let go of what is held."""
        self._released.setdefault(self.packer.own(held), []).append(call)

    # --- the end

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return self._wire is not None and self.ended is None and self.is_ours

    @property
    def is_ours(self) -> bool:
        """False in a forked child."""
        return os.getpid() == self._pid

    def check(self, held: Held | None = None) -> None:
        """Raise what keeps calls from being made, or something that is held from being used.

        Raises:
            ForkedSession: this process is a child of the one that has the session.
            SessionClosed: it was closed.
            SessionLost: it was lost.
        """
        if not self.is_ours:
            raise ForkedSession("a session does not survive a fork: call connect() in the child, or spawn it instead")
        if self.ended is not None:
            raise self._end(held)

    def close(self, timeout: float) -> None:
        """Say goodbye, and wait at most ``timeout`` seconds for the answer. Does nothing if it is over."""
        if self.is_open:
            with contextlib.suppress(SessionClosed, SessionLost):  # it may end at the same time otherwise
                self._leave(Goodbye(), SessionClosed("the session is closed"), timeout)

    def detach(self, ttl: float, timeout: float) -> bool:
        """Leave the session, which waits ``ttl`` seconds for its next client; False if that was not confirmed."""
        self.check()
        return self._leave(Detach(math.ceil(ttl)), SessionClosed("the session was detached from this process"), timeout)

    def _leave(self, farewell: Goodbye | Detach, ended: SessionClosed, timeout: float) -> bool:
        with self._lock:
            wire = self._wire
            if wire is None or self.ended is not None:
                raise self._end()
            self.ended = ended
        try:
            return wire.close(farewell, timeout)
        finally:
            self._over()

    def _on_end(self, event: core.Ended) -> None:
        # Called by the I/O thread.
        with self._lock:
            if self.ended is None:
                self.how_lost = (
                    f"session {self.id.hex()} was lost at {time.strftime('%Y-%m-%d %H:%M:%S')}, "
                    f"{time.monotonic() - self._began:.1f} s after it began ({event.code}): {event.message.rstrip()}"
                )
                self.lost_by = event.code
                self.ended = SessionLost(f"{self.how_lost}\n{self.session._what_now(event.code)}")
        self._over()

    def _over(self) -> None:
        self.ledger.end(self._end())
        self._wire = None  # and with it whatever was still on its way

    def _end(self, held: Held | None = None) -> RaymqError:
        """What it ended with, as a fresh exception: one raised in many threads would gather all their tracebacks.

        Args:
            held: what cannot be used because of that.
        """
        if not isinstance(self.ended, SessionLost):
            return SessionClosed(str(self.ended))
        return SessionLost(str(self.ended)) if held is None else held._lost(f"{held!r} is gone: {self.ended}")

    # --- sending; ``held`` is always what the caller has of this life, for the error that says so

    def post(self, message: Message, payload: Pickled | None = None, *, held: Held | None = None) -> None:
        """Queue a message; waits only where too much is queued, or the payload's memory could be changed meanwhile."""
        self.check(held)
        wire = self._wire
        if wire is not None:
            if payload is None:
                wire.post(message, wait_room=False)  # a question: how long it may take is its own matter
            elif payload.nbytes <= INLINE_MAX:
                wire.post(message, payload.nbytes)
            else:
                writable = any(not memoryview(buffer).readonly for buffer in payload.buffers)
                wire.post(message, payload.nbytes, wait_delivered=writable)
        if self.ended is not None:  # also while it waited
            raise self._end(held)

    def request(
        self, operation: str, args: tuple[Any, ...], kwargs: dict[str, Any], *, held: Held | None = None
    ) -> Any:
        """Ask the bridge for an operation, and wait for its answer."""
        self.check(held)
        payload = self.packer.pack_call(operation, args, kwargs)
        pending = in_thread(self._ask(lambda number: Request(number, operation, payload), Waiter, payload, held=held))
        return self._outcome(pending, held)

    def _ask(
        self,
        message: Callable[[int], Message],
        kind: Kind,
        payload: Pickled | None = None,
        *,
        held: Held | None = None,
        until: float | None = None,
    ) -> Steps[Pending]:
        """Ask, and wait for the answer, which has not come if there is no outcome."""
        number, waiter = next(self._requests), kind(1)
        pending = self.ledger.expect_reply(number, waiter)
        try:
            self.post(message(number), payload, held=held)
            yield waiter, _left(until)
        finally:
            self.ledger.expect_no_reply(number)
        return pending

    # --- values

    def fetch(self, refs: Sequence[ObjectRef[Any]], timeout: float | None, kind: Kind) -> Steps[dict[int, Pending]]:
        """Wait for the values of references, or for the first failure among them; ``values`` takes them from these."""
        if (at_hand := self.at_hand(refs)) is not None:
            return at_hand
        numbers = [ref._hold.number for ref in refs]
        wanted = dict(zip(numbers, refs, strict=True))
        limit = yield from self._get_limit(wanted, timeout, kind)
        waiter = kind(len(wanted))
        if len(numbers) == 1:
            self._look_ahead(numbers[0], refs[0])
        pending = self._want(wanted, waiter)
        try:
            if not (yield waiter, limit):
                missing = sum(entry.outcome is None for entry in pending.values())
                raise self._timeout(f"get() waited {timeout} s; {missing} of {len(wanted)} values are not there yet")
        finally:
            self._want_no_more(pending, waiter)
        return pending

    def values(self, refs: Sequence[ObjectRef[Any]], pending: dict[int, Pending]) -> list[Any]:
        """The values that have come, one for each reference; or raise the first failure."""
        wanted = {ref._hold.number: ref for ref in refs}
        for number, entry in pending.items():
            if entry.outcome is not None and not isinstance(entry.outcome, Value):
                self._outcome(entry, wanted[number])
        values = {number: self._outcome(entry, wanted[number]) for number, entry in pending.items()}
        return [values[ref._hold.number] for ref in refs]

    def at_hand(self, refs: Sequence[ObjectRef[Any]]) -> dict[int, Pending] | None:
        """The values, for ``values``, if all of them are here."""
        numbers = [self.packer.own(ref) for ref in refs]
        self.check(_any(refs))
        recent = self.recent.find(numbers)
        if recent is None:
            return None
        for number in numbers[-1:]:
            self._ahead.hit(number)
        return {number: Pending(Value(number, payload)) for number, payload in zip(numbers, recent, strict=True)}

    def _look_ahead(self, number: int, ref: ObjectRef[Any]) -> None:
        """Have the values come along that may be wanted after this one."""
        soon = self.recent.missing(self._ahead.miss(number))
        if soon:
            self.post(Ahead(soon), held=ref)

    def _get_limit(self, wanted: dict[int, ObjectRef[Any]], timeout: float | None, kind: Kind) -> Steps[float | None]:
        """How long a get waits. A timeout of 0 asks what is ready there; the way here takes the time that it takes."""
        if timeout != 0:
            return timeout
        yield from self._watch(wanted, kind, fetch_local=True)
        missing = len(wanted) - len(self.ledger.ready_among(list(wanted), local=True))
        if missing:
            raise self._timeout(f"{missing} of {len(wanted)} values are not ready")
        return None

    def _timeout(self, text: str) -> BaseException:
        made: BaseException = self.session.dialect.exceptions.GetTimeoutError(text)
        return made

    def future(self, ref: ObjectRef[Any]) -> concurrent.futures.Future[Any]:
        """A future of a reference's value."""
        from raymq import awaiting

        return awaiting.thread_future(self, ref)

    def as_future(self, ref: ObjectRef[Any]) -> asyncio.Future[Any]:
        """The same, of the running event loop."""
        from raymq import awaiting

        return awaiting.loop_future(self, ref)

    def _want(self, wanted: dict[int, ObjectRef[Any]], waiter: Waiter | None) -> dict[int, Pending]:
        """Want values; what nobody has asked for yet is fetched."""
        self.check(_any(wanted.values()))
        pending, ask = self.ledger.want(list(wanted), waiter)
        for part in _parts(ask):
            self.post(Fetch(part), held=wanted[part[0]])
        return pending

    def _want_no_more(self, pending: dict[int, Pending], waiter: Waiter | None) -> None:
        unwanted = self.ledger.want_no_more(pending, waiter)
        for part in _parts(unwanted) if self.is_open else ():
            self.post(Unfetch(part))

    def _outcome(self, pending: Pending, held: Held | None) -> Any:
        """The value of a completed answer, or raise what it failed with."""
        outcome = pending.outcome
        if outcome is None or isinstance(outcome, BaseException):
            raise self._end(held)
        return self.packer.unpack(outcome, pending.holds)

    # --- readiness

    def wait(
        self, refs: Sequence[Held], num_returns: int, timeout: float | None, kind: Kind, *, fetch_local: bool
    ) -> Steps[list[int]]:
        """The places in the list of those that are ready, ``num_returns`` at most; see ``Session.wait``.

        Where so many are known to be ready, the bridge is not asked about the others.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        self.check(refs[0])  # before a lock is taken, which another thread may have held at a fork
        numbers = self._numbers(refs)
        ready = self.ledger.first_ready(numbers, num_returns, local=fetch_local)
        if len(ready) < num_returns:
            # To look without waiting is to ask, and the way to the cluster takes the time that it takes.
            until = deadline if timeout else None
            yield from self._watch(dict(zip(numbers, refs, strict=True)), kind, fetch_local=fetch_local, until=until)
            waiter = kind(num_returns)
            self.ledger.wait_for(numbers, waiter, local=fetch_local)
            try:
                yield waiter, _left(deadline)
            finally:
                self.ledger.wait_no_more(numbers, waiter, local=fetch_local)
            ready = self.ledger.first_ready(numbers, num_returns, local=fetch_local)
        self.check(refs[0])
        return ready

    def _numbers(self, refs: Sequence[Held]) -> list[int]:
        """The numbers of references, which have to be of this life."""
        ours = [ref._hold.number for ref in refs if ref._life is self]
        return ours if len(ours) == len(refs) else [self.packer.own(ref) for ref in refs]

    def _watch(
        self, wanted: Mapping[int, Held], kind: Kind, *, fetch_local: bool, until: float | None = None
    ) -> Steps[None]:
        """Have the bridge tell when references become ready; ends when it has told of those that are, or at a time.

        What it has not told by then comes when it comes.
        """
        self.check(_any(wanted.values()))
        for held in wanted.values():
            if isinstance(held, ObjectRefGenerator):
                held._expect()
        for part in _parts(self.ledger.watch(list(wanted), local=fetch_local)):
            watch, first = functools.partial(Watch, refs=part, fetch_local=fetch_local), wanted[part[0]]
            told = yield from self._ask(watch, kind, held=first, until=until)
            if told.outcome is not None:
                self._outcome(told, first)


def _any(held: Iterable[Held]) -> Held | None:
    return next(iter(held), None)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _parts(numbers: list[int]) -> Iterator[list[int]]:
    """A list of references in pieces that fit into a message."""
    for start in range(0, len(numbers), REFS_PER_MESSAGE):
        yield numbers[start : start + REFS_PER_MESSAGE]
