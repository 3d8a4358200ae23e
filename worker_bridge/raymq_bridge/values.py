"""Values on their way to the client: asked of Ray, gathered, pickled and sent."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from raymq import pickling
from raymq.errors import PayloadTooLarge
from raymq.protocol.limits import INLINE_MAX
from raymq.protocol.messages import Ahead, Failure, Fetch, Message, Pickled, Unfetch, Value
from raymq_bridge import cluster
from raymq_bridge.belongings import Belongings, failed
from raymq_bridge.cluster import NOT_AT_HAND
from raymq_bridge.crowds import CROWD_MIN, Crowd
from raymq_bridge.failures import Failed, clip, own
from raymq_bridge.fetches import Fetches, Together, guess_size
from raymq_bridge.outbox import Outbox

GATHER = 0.005
"""Seconds that a value waits for others which the client wants together with it: fewer packets, and fewer wake-ups."""

AHEAD_MAX = 256 << 10
"""Bytes of values that are sent at once for an Ahead."""

THERE = object()
"""Makes the thread of values ask for a value."""

NO_VALUE = 0, None
"""Makes the thread of values see whether there is room again."""


class Values:
    """Sends the values that a client wants, in a thread of its own.

    Those that are at hand when they are asked for are sent by whichever thread asks.

    Args:
        belongings: where the references are.
        outbox: takes messages for the client.
        broken: called when something fails in one of Ray's own threads, where nobody would see it.
    """

    def __init__(self, belongings: Belongings, outbox: Outbox, broken: Callable[[Exception], None]) -> None:
        self._belongings = belongings
        self._table = belongings.table
        self._outbox = outbox
        self._send = outbox.put
        self._broken = broken
        self._queue: queue.SimpleQueue[tuple[int, Any] | None] = queue.SimpleQueue()
        self._fetches = Fetches()
        self._hurry = threading.Event()
        self._crowds: set[Crowd] = set()

    def stop(self) -> None:
        """Make ``run`` return."""
        self._hand_over(None)

    def delivered(self) -> None:
        """The client holds a large value that was sent to it: there may be room for another one."""
        self._hand_over(NO_VALUE)

    def _hand_over(self, item: tuple[int, Any] | None, *, hurry: bool = True) -> None:
        self._queue.put(item)
        if hurry:
            self._hurry.set()

    # --- called by the thread of calls, and by Ray's

    def fetch(self, message: Fetch) -> None:
        """The client wants values."""
        together = Together() if len(message.refs) > 1 else None
        crowded = len(message.refs) >= CROWD_MIN
        missing: dict[int, Any] = {}
        for number in message.refs:
            stored = self._belongings.stored(number)
            if stored is not None:
                self._outbox.wait_for_room()
                self._send(Value(number, stored))
            elif self._fetches.want(number, together):
                if not crowded:
                    self._ask(number, alone=together is None)
                elif (real := self._reference(number)) is not None:
                    missing[number] = real
        if missing:
            crowd = Crowd(missing, time.monotonic())
            self._send_found(crowd)
            self._hand_over((0, crowd))

    def ahead(self, message: Ahead) -> None:
        """Send what may be wanted soon, as far as it costs little."""
        self.send_cheap(message.refs, INLINE_MAX)

    def send_cheap(self, numbers: Iterable[int], largest: int) -> bool:
        """Send those values that are at hand, have no more than ``largest`` bytes and mention no references.

        Returns:
            Whether these were all.
        """
        nbytes, all_sent = 0, True
        for number in numbers:
            payload = self._cheap_value(number, largest)
            all_sent = all_sent and payload is not None
            if payload is not None:
                self._send(Value(number, payload))
                nbytes += payload.nbytes
            if nbytes > AHEAD_MAX:
                return False
        return all_sent

    def _cheap_value(self, number: int, largest: int) -> Pickled | None:
        stored = self._belongings.stored(number)
        real = self._table.peek(number)
        if stored is not None or real is None or not cluster.is_reference(real):
            return stored
        value = cluster.value_at_hand(real)
        if value is NOT_AT_HAND or cluster.is_error(value) or guess_size(value) > largest:
            return None
        with contextlib.suppress(BaseException):  # whoever asks for it is told
            payload = self._belongings.dump(value)
            if payload.nbytes <= largest and not payload.refs and pickling.is_plain(payload):
                return payload
            self._belongings.take_back(payload.refs)
        return None

    def _ask(self, number: int, *, alone: bool = True) -> None:
        """Ask Ray for a value; one that is not wanted alone is asked for when it is there, and then it is at hand."""
        real = self._reference(number)
        if real is None:
            return
        value = cluster.value_at_hand(real)
        if value is NOT_AT_HAND:
            if alone:
                cluster.on_arrival(real, self._guarded(self._on_value, number))
            else:
                cluster.on_ready(real, self._guarded(self._is_there, number))
            return
        self._outbox.wait_for_room()
        if self._fetches.came(number, guess_size(value)) and self._fetches.taken(number):
            self._send_value(number, value, self._send)
        if self._fetches.has_off:
            self._hand_over(NO_VALUE)

    def _reference(self, number: int) -> Any:
        """What stands behind a number that is wanted; None, and the client is told, if that can have no value."""
        try:
            real = self._belongings.real(number)
            if not cluster.is_reference(real):
                raise TypeError("only objects have values; this is an actor")
        except Exception as error:
            self._on_value(number, failed(error, "a reference"))
            return None
        return real

    def _on_value(self, number: int, value: Any) -> None:
        """Ray has handed over a value, in a thread of its own, which is not to wait and not to run anybody's code."""
        nbytes = value.nbytes if isinstance(value, cluster.Serialized) else guess_size(value)
        kept = self._fetches.came(number, nbytes)
        plain = type(value) in pickling.PLAIN and nbytes <= INLINE_MAX
        if plain and kept and self._outbox.has_room and self._queue.empty():
            if self._fetches.taken(number):
                self._send_value(number, value, self._send)
            kept = False
            if not self._fetches.has_off:
                return
        self._hand_over((number, value) if kept else NO_VALUE)

    def _is_there(self, number: int) -> None:
        """Ray has a value, it says in a thread of its own."""
        self._hand_over((number, THERE), hurry=not self._fetches.is_there(number))

    def unfetch(self, message: Unfetch) -> None:
        """The client does not want them any longer."""
        self._fetches.want_no_more(message.refs)

    def _guarded(self, call: Callable[..., None], number: int) -> Callable[..., None]:
        """For Ray's own threads, where an exception would be lost, and with it a value that somebody waits for."""

        def run(*values: Any) -> None:
            try:
                call(number, *values)
            except Exception as error:
                self._broken(error)

        return run

    # --- the thread of values

    def run(self) -> None:
        """Send what is handed over, until ``stop``; then nothing of it is held, whatever Ray has yet to announce."""
        try:
            self._send_what_comes()
        finally:
            for crowd in self._crowds:
                crowd.missing.clear()
            self._queue = queue.SimpleQueue()

    def _send_what_comes(self) -> None:
        while (item := self._next_value()) is not None:
            number, value = item
            if isinstance(value, Crowd):
                value.announced(number)
                self._look(value)
            elif value is THERE:
                self._ask(number)
            elif number:
                self._outbox.wait_for_room()
                if self._fetches.taken(number):
                    self._send_value(number, value, self._send)
            del item, value
            for number in self._fetches.again(large=self._outbox.holds_little):
                self._ask(number)
            now = time.monotonic()
            for crowd in [crowd for crowd in self._crowds if crowd.due <= now]:
                self._look(crowd)

    def _look(self, crowd: Crowd) -> None:
        """Send those of a crowd that are there, and see to it that the others are not forgotten."""
        self._crowds.discard(crowd)
        if not self._send_found(crowd):
            for number in crowd.missing:
                self._ask(number, alone=False)
            crowd.missing.clear()
        elif crowd.missing:
            self._crowds.add(crowd)
            self._announce(crowd)

    def _send_found(self, crowd: Crowd) -> bool:
        """Send those of a crowd that are there; whether to go on looking for the others."""
        go_on, all_there = True, True
        while crowd.missing and go_on and all_there:
            now = time.monotonic()
            front = crowd.front(now)
            values = cluster.values_at_hand([crowd.missing[number] for number in front])
            here = {number: value for number, value in zip(front, values, strict=True) if value is not NOT_AT_HAND}
            go_on, all_there = crowd.found(here, now), len(here) == len(front)
            self._outbox.wait_for_room()
            answers: list[Message] = []
            for number in self._fetches.taken_at_once(here):
                self._send_value(number, here[number], answers.append)
            self._outbox.put_all(answers)
        return go_on

    def _announce(self, crowd: Crowd) -> None:
        """Have Ray announce the next sentinel of a crowd."""
        sentinel = crowd.next_sentinel()
        if sentinel:
            is_there = self._guarded(lambda number: self._hand_over((number, crowd)), sentinel)
            cluster.on_ready(crowd.missing[sentinel], is_there)

    def _next_value(self) -> tuple[int, Any] | None:
        with contextlib.suppress(queue.Empty):
            return self._queue.get_nowait()
        wait = max(0.0, min(crowd.due for crowd in self._crowds) - time.monotonic()) if self._crowds else None
        try:
            item = self._queue.get(timeout=wait)
        except queue.Empty:
            return NO_VALUE
        self._hurry.wait(GATHER)
        self._hurry.clear()
        return item

    def _send_value(self, number: int, value: Any, send: Callable[[Message], None]) -> None:
        answer = self._answer(number, value)
        payload: Any = answer.payload
        if payload.nbytes > INLINE_MAX and not self._outbox.holds_little:
            self._belongings.take_back(payload.refs)
            self._fetches.put_off(number)
            self._hand_over(NO_VALUE)  # there may have come to be room meanwhile
        else:
            send(answer)

    def _answer(self, number: int, value: Any) -> Value | Failure:
        if isinstance(value, Failed):
            return self._failure(number, value)
        if cluster.is_error(value):
            return self._failure(number, failed(value, ""))
        try:
            return Value(number, self._belongings.dump(value))
        except PayloadTooLarge as error:
            return self._failure(number, own("PayloadTooLarge", f"the value{_of_type(value)} {error}"))
        except BaseException as error:
            text = f"the value{_of_type(value)} cannot be sent back: {type(error).__name__}: {error}"
            return self._failure(number, own("NotPicklable", clip(text)))

    def _failure(self, number: int, failure: Failed) -> Failure:
        return Failure(number, failure.error, self._belongings.dump_cause(failure))


def _of_type(value: Any) -> str:
    """The type of a value, if that is known here."""
    kind = type(value)
    return "" if kind is cluster.Serialized else f" of type {kind.__module__}.{kind.__qualname__}"
