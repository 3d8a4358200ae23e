"""What the executor's threads, and Ray's, hand over for the client; bounded, since the client may not read.

Answers wait for their turn in the channel, and when too many do, whoever makes more of them waits, too. So nothing
more is carried out for a client that does not read, its own messages get no more credit, and it stops as well. What
nobody can wait with, because it comes from the workers, is kept small: lines are dropped, and references that became
ready are numbers until they are sent.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Union

from raymq.protocol.channel import MESSAGE_COST
from raymq.protocol.limits import INLINE_MAX, REFS_PER_MESSAGE
from raymq.protocol.messages import NOTHING, Failure, Log, Message, Ready, Refusal
from raymq_bridge.failures import clip
from raymq_bridge.lines import Lines

BACKLOG_MAX = 64 << 20
"""Bytes of answers that may wait to be sent before no more are made."""

HELD_MAX = 256 << 20
"""Bytes of large pickled values that may wait to be sent before the next one is pickled."""

UNTOLD_MAX = 16
"""Packets that were dealt with before the loop is woken to tell the client so: a quarter of its credit."""

QUIET = 1 << 20
"""Bytes that may wait to be sent when lines and news of references are added to them."""


NEWS_PAUSE = 0.002
"""Seconds after news of references in which more of them gather: a packet for each would cost more than the wait."""


class Consumed(NamedTuple):
    """A packet of the calls lane has been dealt with."""


class Taken(NamedTuple):
    """A large payload of so many bytes has been dealt with."""

    nbytes: int


Outgoing = Union[Message, Consumed, Taken]
_WORD = (Consumed, Taken)
_ERRORS = (Failure, Refusal)


def weigh(message: Outgoing) -> tuple[int, int]:
    """About how many bytes a message takes until it is sent on the calls lane, and of a large payload beside it."""
    if isinstance(message, _WORD):
        return 0, 0
    nbytes = MESSAGE_COST
    if isinstance(message, _ERRORS):
        nbytes += sum(len(text) for text in message.error.values() if isinstance(text, str))
    elif isinstance(message, Ready):
        nbytes += 9 * len(message.refs)
    payload = getattr(message, "payload", NOTHING).nbytes
    return (nbytes, payload) if payload > INLINE_MAX else (nbytes + payload, 0)


class Outbox:
    """Between the threads that answer and the loop that sends.

    Args:
        wake: makes the loop call ``take``; callable from any thread.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._messages: deque[tuple[Outgoing, int]] = deque()
        self._untold = 0
        self._ready: dict[bool, deque[int]] = {False: deque(), True: deque()}
        self._pause_ends: float | None = None
        self._lines = Lines()
        self._room = threading.Condition()
        self._posted = 0
        self._queued = 0
        self._held = 0
        self._stopped = False

    # --- called from any thread

    def put(self, message: Outgoing) -> None:
        """Hand over a message, or word of what has been dealt with. Does not wait."""
        nbytes, large = weigh(message)
        if nbytes:
            with self._room:
                self._posted += nbytes
                self._held += large
        if self._stopped:
            return
        self._messages.append((message, nbytes))
        if isinstance(message, Consumed):  # the loop comes for it by itself, see ``Attachment.next_look``
            self._untold += 1
            if self._untold < UNTOLD_MAX:
                return
        self._wake()

    def put_all(self, messages: Sequence[Message]) -> None:
        """Hand over several at once. Does not wait."""
        weighed = [(message, *weigh(message)) for message in messages]
        with self._room:
            self._posted += sum(nbytes for _, nbytes, _ in weighed)
            self._held += sum(large for _, _, large in weighed)
        if not self._stopped:
            self._messages.extend((message, nbytes) for message, nbytes, _ in weighed)
            self._wake()

    def became_ready(self, number: int, *, local: bool) -> None:
        """A reference that the client watches has a value or an error; ``local``: on this node."""
        self._ready[local].append(number)
        if self._pause_ends is None:
            self._wake()

    def add_lines(self, stream: str, lines: list[str]) -> None:
        """The workers have printed something."""
        self._lines.add(stream, [clip(line) for line in lines])
        self._wake()

    def wait_for_room(self) -> None:
        """Wait while too much waits to be sent."""
        if not self.has_room:
            with self._room:
                self._room.wait_for(lambda: self.has_room)

    @property
    def has_room(self) -> bool:
        """Whether little enough waits to be sent."""
        return self._posted + self._queued < BACKLOG_MAX or self._stopped

    @property
    def holds_little(self) -> bool:
        """Whether there is room for another large value."""
        return self._held < HELD_MAX or self._stopped

    def stop(self) -> None:
        """Nobody sends any longer: nobody is to wait, and nothing is kept."""
        with self._room:
            self._stopped = True
            self._room.notify_all()
        self._messages.clear()

    # --- the loop

    def take(self) -> list[Outgoing]:
        """The messages that were handed over."""
        self._untold = 0
        taken = [self._messages.popleft() for _ in range(len(self._messages))]
        nbytes = sum(nbytes for _, nbytes in taken)
        if nbytes:
            with self._room:
                self._posted -= nbytes
                self._queued += nbytes  # until the loop says what is really left
        return [message for message, _ in taken]

    def take_news(self, now: float) -> Iterator[Ready]:
        """What is known of references that became ready, unless there were such news just now."""
        if self._pause_ends is not None and now < self._pause_ends:
            return
        self._pause_ends = None  # before the look, so that whoever has more from now on wakes the loop
        for local, ready in self._ready.items():
            while ready:
                self._pause_ends = now + NEWS_PAUSE
                count = min(len(ready), REFS_PER_MESSAGE)
                yield Ready(0, [ready.popleft() for _ in range(count)], local)

    def take_lines(self) -> Log | None:
        """The next lines."""
        return self._lines.take()

    @property
    def next_look(self) -> float:
        """When ``take_news`` is due, although nobody wakes the loop."""
        return float("inf") if self._pause_ends is None else self._pause_ends

    def left(self, backlog: int) -> None:
        """So many bytes of what was taken wait to be sent."""
        if backlog != self._queued:
            with self._room:
                self._queued = backlog
                self._room.notify_all()

    def delivered(self, nbytes: int) -> None:
        """The client holds a large payload that was sent to it."""
        with self._room:
            self._held -= nbytes
