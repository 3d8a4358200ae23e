"""Who waits for what: values that were asked for, references that are watched, requests that are under way.

The I/O thread reports here what came; the program's threads ask and wait. One lock, held for a few lines at a time and
never while anything is sent, pickled or waited for.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Union

from raymq.protocol.messages import Failure, Pickled, Refusal, Reply, Value, Yielded
from raymq.readiness import Readiness
from raymq.refs import Hold

Answer = Union[Value, Failure, Reply, Refusal]
Outcome = Union[Answer, BaseException]
"""How a wait ends: with an answer that is complete, or because the session ended."""


class Waiter:
    """A thread that waits for a number of things, or for the first failure among them."""

    __slots__ = ("_bell", "_left", "_ring")

    def __init__(self, count: int, ring: Callable[[], object] | None = None) -> None:
        """``ring``: called when the wait is over, if it is no thread that waits; must be quick and must not raise."""
        self._left = count
        self._bell = threading.Lock()  # released when the wait is over: an Event is five times as dear
        self._bell.acquire()
        self._ring: Callable[[], object] | None = ring or self._bell.release
        if count <= 0:
            self._end()

    def _end(self) -> None:
        ring, self._ring = self._ring, None
        if ring is not None:
            ring()

    def count_down(self, *, at_once: bool = False) -> None:
        """One of the things is there; ``at_once``: it is a failure, or the end of the session."""
        self._left -= 1
        if self._left <= 0 or at_once:
            self._end()

    def wait(self, timeout: float | None) -> bool:
        """Wait for it, at most ``timeout`` seconds; False if it did not come to pass."""
        over = self._bell.acquire(timeout=_limit(timeout))
        if over:
            self._bell.release()  # and so it stays
        return over


def _limit(timeout: float | None) -> float:
    """A timeout as a lock takes it."""
    return -1.0 if timeout is None else min(max(0.0, timeout), threading.TIMEOUT_MAX)


class Pending:
    """One answer that is under way, and everybody who wants it."""

    __slots__ = ("holds", "outcome", "users", "waiters")

    def __init__(self, outcome: Outcome | None = None) -> None:
        self.users = 0
        self.outcome = outcome
        self.holds: dict[int, Hold] = {}
        self.waiters: list[Waiter] = []

    def complete(self, outcome: Outcome, holds: Iterable[Hold] = ()) -> None:
        """The answer is there. ``holds``: the references that it brings along, each held once more from now on."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        self.holds = {hold.number: hold for hold in holds}
        failed = not isinstance(outcome, Value | Reply)
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter.count_down(at_once=failed)

    def notify(self, waiter: Waiter) -> None:
        """Have this waiter told; at once if the answer is there already."""
        if self.outcome is None:
            self.waiters.append(waiter)
        else:
            waiter.count_down(at_once=not isinstance(self.outcome, Value | Reply))


class _Items:
    """What is known of a generator's items: those that are here, how many more were asked for, whether it is done."""

    __slots__ = ("asked", "done", "here")

    def __init__(self) -> None:
        self.here: deque[Hold] = deque()
        self.asked = 0
        self.done = False


class Ledger:
    """What a session's threads wait for. Every method is atomic, and none of them waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[int, Pending] = {}
        self._replies: dict[int, Pending] = {}
        self._items: dict[int, _Items] = {}
        self._exists, self._local = Readiness(), Readiness()
        self._ended: BaseException | None = None

    # --- the program's threads

    def want(self, numbers: Sequence[int], waiter: Waiter | None = None) -> tuple[dict[int, Pending], list[int]]:
        """Want the values of references.

        Returns:
            What is pending for each of them, and those that have to be fetched, since nobody has asked before.
        """
        found: dict[int, Pending] = {}
        ask = []
        with self._lock:
            for number in numbers:
                pending = self._values.get(number)
                if pending is None:
                    pending = self._values[number] = self._new_pending()
                    ask.append(number)
                pending.users += 1
                found[number] = pending
                if waiter is not None:
                    pending.notify(waiter)
        return found, ask

    def want_no_more(self, pending: dict[int, Pending], waiter: Waiter | None = None) -> list[int]:
        """Undo ``want``.

        Returns:
            Those that nobody wants any longer, although they have not come.
        """
        unwanted = []
        with self._lock:
            for number, entry in pending.items():
                entry.users -= 1
                if waiter is not None and waiter in entry.waiters:
                    entry.waiters.remove(waiter)
                if not entry.users:
                    self._values.pop(number, None)
                    if entry.outcome is None:
                        unwanted.append(number)
        return unwanted

    def notify(self, pending: Pending, waiter: Waiter) -> None:
        """Have a waiter told when an answer is there."""
        with self._lock:
            pending.notify(waiter)

    def expect_reply(self, request: int, waiter: Waiter) -> Pending:
        """Expect the answer to a request that is about to be sent."""
        with self._lock:
            pending = self._replies[request] = self._new_pending()
            pending.notify(waiter)
            return pending

    def expect_no_reply(self, request: int) -> None:
        """Undo ``expect_reply``."""
        with self._lock:
            self._replies.pop(request, None)

    def _new_pending(self) -> Pending:
        pending = Pending()
        if self._ended is not None:
            pending.complete(self._ended)
        return pending

    def watch(self, numbers: Sequence[int], *, local: bool) -> list[int]:
        """Watch references; returns those that the bridge has not been asked to watch before.

        ``local``, here and below: to be ready is to be on the bridge's node, and not only to exist somewhere.
        """
        with self._lock:
            return self._readiness(local).watch(number for number in numbers if number not in self._items)

    def _readiness(self, local: bool) -> Readiness:
        return self._local if local else self._exists

    def ready_among(self, numbers: Sequence[int], *, local: bool = False) -> list[int]:
        """Those that are known to be ready."""
        with self._lock:
            readiness = self._readiness(local)
            return [number for number in numbers if number in readiness]

    def first_ready(self, numbers: Sequence[int], count: int, *, local: bool) -> list[int]:
        """The places of the first so many that are known to be ready."""
        with self._lock:
            return self._readiness(local).first(numbers, count)

    def wait_for(self, numbers: Sequence[int], waiter: Waiter, *, local: bool = False) -> None:
        """Have a waiter count the references that are ready; the end of the session ends every wait."""
        with self._lock:
            if self._ended is not None:
                waiter.count_down(at_once=True)
                return
            self._readiness(local).wait_for(numbers, waiter)

    def wait_no_more(self, numbers: Sequence[int], waiter: Waiter, *, local: bool = False) -> None:
        """Undo ``wait_for``."""
        with self._lock:
            self._readiness(local).wait_no_more(numbers, waiter)

    # --- items of generators

    def expect_items(self, number: int) -> None:
        """A generator is about to be called."""
        with self._lock:
            self._items[number] = _Items()

    def ask_for_items(self, number: int, window: int) -> int:
        """How many items to ask for now, so that ``window`` are here or under way; a few are not worth a message."""
        with self._lock:
            items = self._items[number]
            missing = window - items.asked - len(items.here)
            if items.done or missing * 2 < window:
                return 0
            items.asked += missing
            return missing

    def take_item(self, number: int) -> tuple[Hold | None, bool]:
        """The next item of a generator, if it is here; and whether there is none after it."""
        with self._lock:
            items = self._items[number]
            item = items.here.popleft() if items.here else None
            if not items.here and not items.done:
                self._exists.be_ready_no_more(number)
                self._local.be_ready_no_more(number)
            return item, items.done and not items.here

    def drop_items(self, number: int) -> None:
        """Nobody wants any more items of a generator."""
        with self._lock:
            self._items[number].done = True
            self._items[number].here.clear()
            self._become_ready(number)

    def are_items_finished(self, number: int) -> bool:
        """Whether all items of a generator have been taken."""
        with self._lock:
            return self._items[number].done and not self._items[number].here

    # --- the I/O thread

    def items_came(self, message: Yielded, holds: list[Hold]) -> None:
        """A generator has brought items, or has come to its end."""
        with self._lock:
            items = self._items.get(message.generator)
            if items is not None and not items.done:  # else nobody wants them any longer
                items.here.extend(holds)
                items.asked -= len(holds)
                items.done = message.done
                self._become_ready(message.generator)

    def value_came(self, message: Value | Failure, holds: list[Hold]) -> None:
        """A reference has a value, or an error. It may have been released meanwhile, and nobody asks for it then."""
        with self._lock:
            pending = self._values.get(message.ref)
            if pending is not None:
                self._become_ready(message.ref)
                pending.complete(message, holds)

    def reply_came(self, message: Reply | Refusal, holds: list[Hold]) -> None:
        """A request was answered."""
        with self._lock:
            pending = self._replies.get(message.request)
            if pending is not None:
                pending.complete(message, holds)

    def became_ready(self, numbers: Sequence[int], *, local: bool) -> None:
        """References that are watched have a value or an error now."""
        with self._lock:
            self._readiness(local).told(numbers)

    def _become_ready(self, number: int) -> None:
        self._exists.become_ready(number)
        self._local.become_ready(number)

    def forget(self, numbers: Iterable[int]) -> None:
        """These references were released: what is known of them goes with them."""
        with self._lock:
            for number in numbers:
                self._exists.forget(number)
                self._local.forget(number)
                self._items.pop(number, None)
                if number in self._values and self._values[number].outcome is not None:
                    del self._values[number]  # it was wanted in an event loop that was closed

    def leave_waiting(self) -> None:
        """Forget all who wait: at the interpreter's exit these are daemon threads, and end with it, without a word."""
        with self._lock:
            self._values.clear()
            self._replies.clear()
            self._exists.leave_waiting()
            self._local.leave_waiting()

    def end(self, error: BaseException) -> None:
        """The session has ended: whoever waits, now or later, gets this error."""
        with self._lock:
            self._ended = self._ended or error
            for pending in (*self._values.values(), *self._replies.values()):
                pending.complete(self._ended)
            self._exists.end()
            self._local.end()


def payload_of(answer: Answer) -> Pickled:
    """The payload of an answer whose bytes are all here."""
    if not isinstance(answer.payload, Pickled):
        raise TypeError("the payload has not arrived yet")
    return answer.payload
