"""Who waits for what: values that were asked for, references that are watched, requests that are under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Union

from raymq.protocol.messages import Failure, Pickled, Refusal, Reply, Value
from raymq.refs import Hold

Outcome = Union[Value, Failure, Reply, Refusal, BaseException]
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
        self.callbacks: list[Callable[[Pending], None]] = []

    def complete(self, outcome: Outcome, holds: Iterable[Hold]) -> None:
        """The answer is there. ``holds``: the references that it brings along, each held once more from now on."""
        self.outcome = outcome
        self.holds = {hold.number: hold for hold in holds}
        failed = not isinstance(outcome, Value | Reply)
        for waiter in self.waiters:
            waiter.count_down(at_once=failed)
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback(self)


def payload_of(outcome: Value | Failure | Reply | Refusal) -> Pickled:
    """The payload of an answer whose bytes are all here."""
    if not isinstance(outcome.payload, Pickled):
        raise TypeError("the payload has not arrived yet")
    return outcome.payload
