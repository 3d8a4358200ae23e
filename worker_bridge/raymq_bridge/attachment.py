"""One client's time with the bridge: its channel, the executor behind it, and what passes between the two.

A named session has several of these in turn, each of them new: numbers of references, functions and streams mean
nothing to the next client. What they share is the Ray job and the shelf.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from raymq.errors import PayloadTooLarge
from raymq.protocol.channel import Arrived, Channel, Delivered, Received
from raymq.protocol.limits import ACK_DELAY, INLINE_MAX
from raymq.protocol.messages import Coming, Detach, Goodbye, Pickled
from raymq_bridge.executor import Executor
from raymq_bridge.outbox import QUIET, Consumed, Outbox, Taken


class Attachment:
    """Hands what came over the channel to the executor, and what the executor sends to the channel.

    Args:
        channel: to the client.
        operations: what the client may ask for by name.
        wake: makes the loop call ``take_outbox``; callable from any thread.
    """

    def __init__(
        self, channel: Channel, operations: Mapping[str, Callable[..., Any]], wake: Callable[[], None]
    ) -> None:
        self.farewell: Goodbye | Detach | None = None
        """What the client said last: it has ended the session, or left it."""
        self.failure: Exception | None = None
        """A bug in the executor, or a value that cannot be sent."""
        self._channel = channel
        self._wake = wake
        self._outbox = Outbox(wake)
        self._held: dict[int, int] = {}
        self._unconsumed = 0
        self._executor = Executor(self._outbox, self._said_farewell, self._failed, channel.object_max, operations)

    def start(self) -> None:
        """Begin to carry out what comes."""
        self._executor.start()

    def stop(self) -> None:
        """Carry out what has come, and let go of all that the client held."""
        self._executor.stop()

    @property
    def objects(self) -> int:
        """References and actors that the client holds."""
        return self._executor.objects

    def came(self, event: Received | Arrived | Delivered) -> None:
        """Something came over the channel."""
        if isinstance(event, Delivered):
            self._outbox.delivered(self._held.pop(event.transfer))
            self._executor.delivered()
        else:
            self._unconsumed += isinstance(event, Received)
            self._executor.put(event)

    def next_look(self, now: float) -> float:
        """When ``take_outbox`` is due, although nobody wakes the loop: word of what was dealt with, or news."""
        return min(
            now + ACK_DELAY if self._unconsumed else float("inf"),
            self._outbox.next_look if self._is_quiet else float("inf"),
        )

    @property
    def _is_quiet(self) -> bool:
        """Whether little enough waits to be sent for what is no answer to anything."""
        return self._channel.backlog < QUIET

    # --- called from the executor's threads

    def _said_farewell(self, message: Goodbye | Detach) -> None:
        self.farewell = message
        self._wake()

    def _failed(self, error: Exception) -> None:
        self.failure = error
        self._wake()

    # --- the loop

    def take_outbox(self, now: float) -> None:
        """Hand the channel what the executor has sent."""
        for message in self._outbox.take():
            if isinstance(message, Consumed):
                self._unconsumed -= 1
                self._channel.consumed(1, now)
            elif isinstance(message, Taken):
                self._channel.taken(message.nbytes, now)
            else:
                self._send(message)
        if self._is_quiet:
            for news in self._outbox.take_news(now):
                self._send(news)
                if not self._is_quiet:
                    break
        while self._is_quiet and (lines := self._outbox.take_lines()) is not None:
            self._send(lines)

    def make_room(self) -> None:
        """The channel has sent what could go: whoever waits with more may go on."""
        self._outbox.left(self._channel.backlog)

    def _send(self, message: Any) -> None:
        try:
            payload = getattr(message, "payload", None)
            if isinstance(payload, Pickled):
                announced = self._channel.announce(payload)
                if isinstance(announced, Coming):
                    self._held[announced.transfer] = payload.nbytes if payload.nbytes > INLINE_MAX else 0
                    message = message._replace(payload=announced)
            self._channel.send(message)
        except PayloadTooLarge as error:
            self.failure = error
