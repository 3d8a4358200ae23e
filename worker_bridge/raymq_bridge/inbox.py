"""The order in which messages are carried out, while large payloads are still on their way. Pure.

A message whose payload comes on the bulk lane waits for it, and so does every message that needs what it makes; all
others go ahead. So a large ``put`` delays only what uses it, and nothing is ever seen out of order: messages that
share a reference, a function or an actor are carried out as they were sent.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

from raymq.protocol.limits import INLINE_MAX
from raymq.protocol.messages import (
    Call,
    Coming,
    Create,
    Define,
    Detach,
    Fetch,
    Goodbye,
    Message,
    Next,
    Pickled,
    Put,
    Release,
    Request,
    Task,
    Unfetch,
    Watch,
)


def touches(message: Message) -> Iterator[Hashable]:
    """All that a message needs or makes: numbers of references and actors, and ids of functions."""
    if isinstance(message, Task | Create | Define):
        yield message.function
    if isinstance(message, Create | Call):
        yield message.actor
    if isinstance(message, Put):
        yield message.ref
    if isinstance(message, Next):
        yield message.generator
    if isinstance(message, Task | Call | Fetch | Unfetch | Watch | Release):
        yield from message.refs
    if isinstance(message, Define | Put | Task | Create | Call | Request):
        yield from message.payload.refs


TOUCH_COST = 100
"""Bytes that each number which a message touches takes while the message waits."""


class _Deferred(NamedTuple):
    message: Message
    touches: frozenset[Hashable]

    @property
    def nbytes(self) -> int:
        """About how many bytes it takes while it waits, without a payload that came on the bulk lane."""
        payload = getattr(self.message, "payload", None)
        inline = min(payload.nbytes, INLINE_MAX) if isinstance(payload, Pickled) else 0
        return TOUCH_COST * (1 + len(self.touches)) + len(getattr(self.message, "options", b"")) + inline


class Inbox:
    """Takes messages as they come and gives them back as they may be carried out."""

    def __init__(self) -> None:
        self._deferred: list[_Deferred] = []
        self._blocked: set[Hashable] = set()
        self._arrived: dict[int, Any] = {}
        self.nbytes = 0
        """About how many bytes the messages take that wait."""

    def take(self, message: Message) -> list[Message]:
        """Take in one message; what may be carried out now, in order."""
        if not self._deferred and not isinstance(getattr(message, "payload", None), Coming):
            return [message]
        deferred = _Deferred(message, frozenset(touches(message)))
        if self._may_go(deferred):
            return [message]
        self._defer(deferred)
        return []

    def waits_for(self, transfer: int) -> Message | None:
        """The message whose payload this transfer is."""
        for message, _ in self._deferred:
            payload = getattr(message, "payload", None)
            if isinstance(payload, Coming) and payload.transfer == transfer:
                return message
        return None

    def arrive(self, transfer: int, payload: Any) -> list[Message]:
        """A large payload is complete, or what was made of it already; what may be carried out now, in order."""
        self._arrived[transfer] = payload
        waiting, self._deferred, self._blocked, self.nbytes = self._deferred, [], set(), 0
        ready: list[Message] = []
        for deferred in waiting:
            own = getattr(deferred.message, "payload", None)
            if isinstance(own, Coming) and own.transfer in self._arrived:
                filled: Any = deferred.message
                deferred = deferred._replace(message=filled._replace(payload=self._arrived.pop(own.transfer)))
            if self._may_go(deferred):
                ready.append(deferred.message)
            else:
                self._defer(deferred)
        return ready

    def _may_go(self, deferred: _Deferred) -> bool:
        if isinstance(deferred.message, Goodbye | Detach):
            return not self._deferred
        return not isinstance(getattr(deferred.message, "payload", None), Coming) and self._blocked.isdisjoint(
            deferred.touches
        )

    def _defer(self, deferred: _Deferred) -> None:
        self._deferred.append(deferred)
        self.nbytes += deferred.nbytes
        self._blocked |= deferred.touches
