"""Who waits for what: values that were asked for, references that are watched, requests that are under way.

The I/O thread reports here what came; the program's threads ask and wait. One lock, held for a few lines at a time and
never while anything is sent, pickled or waited for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Union

from raymq.protocol.messages import Failure, Pickled, Refusal, Reply, Value
from raymq.refs import Hold

Answer = Union[Value, Failure, Reply, Refusal]
Outcome = Union[Answer, BaseException]
"""How a wait ends: with an answer that is complete, or because the session ended."""


class Waiter:
    """A thread that waits for a number of things, or for the first failure among them."""

    __slots__ = ("_event", "_left")

    def __init__(self, count: int) -> None:
        self._left = count
        self._event = threading.Event()
        if count <= 0:
            self._event.set()

    def count_down(self, *, at_once: bool = False) -> None:
        """One of the things is there; ``at_once``: it is a failure, or the end of the session."""
        self._left -= 1
        if self._left <= 0 or at_once:
            self._event.set()

    def wait(self, timeout: float | None) -> bool:
        """Wait for it, at most ``timeout`` seconds; False if it did not come to pass."""
        return self._event.wait(timeout)


class Pending:
    """One answer that is under way, and everybody who wants it."""

    __slots__ = ("callbacks", "holds", "outcome", "users", "waiters")

    def __init__(self) -> None:
        self.users = 0
        self.outcome: Outcome | None = None
        self.holds: dict[int, Hold] = {}
        self.waiters: list[Waiter] = []
        self.callbacks: list[Callable[[], None]] = []

    def complete(self, outcome: Outcome, holds: Iterable[Hold] = ()) -> None:
        """The answer is there. ``holds``: the references that it brings along, each held once more from now on."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        self.holds = {hold.number: hold for hold in holds}
        failed = not isinstance(outcome, Value | Reply)
        for waiter in self.waiters:
            waiter.count_down(at_once=failed)
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback()

    def notify(self, waiter: Waiter) -> None:
        """Have this waiter told; at once if the answer is there already."""
        if self.outcome is None:
            self.waiters.append(waiter)
        else:
            waiter.count_down(at_once=not isinstance(self.outcome, Value | Reply))


class Ledger:
    """What a session's threads wait for. Every method is atomic, and none of them waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[int, Pending] = {}
        self._replies: dict[int, Pending] = {}
        self._ready: set[int] = set()
        self._watched: dict[int, list[Waiter]] = {}
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

    def when_complete(self, pending: Pending, callback: Callable[[], None]) -> None:
        """Call back when the answer is there; from the I/O thread, or at once from this one."""
        with self._lock:
            if pending.outcome is None:
                pending.callbacks.append(callback)
                return
        callback()

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

    def watch(self, numbers: Sequence[int]) -> list[int]:
        """Watch references; returns those that the bridge has not been asked to watch before."""
        with self._lock:
            unknown = [n for n in numbers if n not in self._ready and n not in self._watched]
            self._watched.update({number: [] for number in unknown})
            return unknown

    def ready_among(self, numbers: Sequence[int]) -> list[int]:
        """Those that are known to be ready."""
        with self._lock:
            return [number for number in numbers if number in self._ready]

    def wait_for(self, numbers: Sequence[int], count: int) -> Waiter:
        """A waiter that is done when so many of the references are ready, or the session has ended."""
        with self._lock:
            missing = [number for number in numbers if number not in self._ready]
            waiter = Waiter(0 if self._ended is not None else count - (len(numbers) - len(missing)))
            for number in missing:
                self._watched.setdefault(number, []).append(waiter)
            return waiter

    def wait_no_more(self, numbers: Sequence[int], waiter: Waiter) -> None:
        """Undo ``wait_for``."""
        with self._lock:
            for number in numbers:
                if waiter in self._watched.get(number, ()):
                    self._watched[number].remove(waiter)

    # --- the I/O thread

    def value_came(self, message: Value | Failure, holds: list[Hold]) -> None:
        """A fetched reference has a value, or an error."""
        self.became_ready([message.ref])
        with self._lock:
            pending = self._values.get(message.ref)
            if pending is not None:
                pending.complete(message, holds)

    def reply_came(self, message: Reply | Refusal, holds: list[Hold]) -> None:
        """A request was answered."""
        with self._lock:
            pending = self._replies.get(message.request)
            if pending is not None:
                pending.complete(message, holds)

    def became_ready(self, numbers: Iterable[int]) -> None:
        """References have a value or an error now."""
        with self._lock:
            for number in numbers:
                if number not in self._ready:
                    self._ready.add(number)
                    for waiter in self._watched.pop(number, ()):
                        waiter.count_down()

    def forget(self, numbers: Iterable[int]) -> None:
        """These references were released: what is known of them goes with them."""
        with self._lock:
            for number in numbers:
                self._ready.discard(number)
                if not self._watched.get(number):
                    self._watched.pop(number, None)

    def leave_waiting(self) -> None:
        """Forget all who wait: at the interpreter's exit these are daemon threads, and end with it, without a word."""
        with self._lock:
            self._values.clear()
            self._replies.clear()
            self._watched.clear()

    def end(self, error: BaseException) -> None:
        """The session has ended: whoever waits, now or later, gets this error."""
        with self._lock:
            self._ended = self._ended or error
            for pending in (*self._values.values(), *self._replies.values()):
                pending.complete(self._ended)
            for waiting in self._watched.values():
                for waiter in waiting:
                    waiter.count_down(at_once=True)


def payload_of(answer: Answer) -> Pickled:
    """The payload of an answer whose bytes are all here."""
    if not isinstance(answer.payload, Pickled):
        raise TypeError("the payload has not arrived yet")
    return answer.payload
