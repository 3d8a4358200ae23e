"""What comes from the bridge, in the I/O thread: handed to whoever waits for it, printed, or the end."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from raymq import pickling
from raymq.connection import Ended, Event
from raymq.protocol.channel import Arrived, Received
from raymq.protocol.messages import Coming, Failure, Log, Message, Pickled, Ready, Refusal, Reply, Value, Yielded
from raymq.recent import Recent
from raymq.refs import Hold
from raymq.waiting import Answer, Ledger

WATCHED = pickling.dumps(None, lambda value: None)
"""What a Watch is answered with, as far as whoever waits for the answer is concerned."""


class Receiver:
    """Handles the events of one session's connection. All of it runs in the I/O thread, and none of it waits.

    Args:
        ledger: who waits for what.
        recent: takes small values, for whoever wants them again.
        dropped: where references go that nobody takes.
        log_to_driver: print what the session's workers print.
        ended: called when the session is over.
    """

    def __init__(
        self,
        ledger: Ledger,
        recent: Recent,
        dropped: deque[int],
        *,
        log_to_driver: bool,
        ended: Callable[[Ended], None],
    ) -> None:
        self._ledger = ledger
        self._recent = recent
        self._dropped = dropped
        self._log_to_driver = log_to_driver
        self._ended = ended
        self._arriving: dict[int, Message] = {}

    def handle(self, event: Event) -> None:
        """Take in an event of the connection."""
        if isinstance(event, Received):
            for message in event.messages:
                payload = getattr(message, "payload", None)
                if isinstance(payload, Coming):
                    self._arriving[payload.transfer] = message
                else:
                    self._dispatch(message)
        elif isinstance(event, Arrived):
            filled: Any = self._arriving.pop(event.transfer)
            self._dispatch(filled._replace(payload=event.payload))
        elif isinstance(event, Ended):
            self._ended(event)

    def _dispatch(self, message: Message) -> None:
        handler = _HANDLERS.get(type(message))
        if handler is not None:
            handler(self, message)

    def _value(self, message: Value | Failure) -> None:
        if isinstance(message, Value) and isinstance(message.payload, Pickled):
            self._recent.keep(message.ref, message.payload)
        self._ledger.value_came(message, self._holds(message))

    def _reply(self, message: Reply | Refusal) -> None:
        self._ledger.reply_came(message, self._holds(message))

    def _holds(self, message: Answer) -> list[Hold]:
        # Each reference that comes along was counted once by the bridge. If nobody takes these, they are released.
        return [Hold(number, self._dropped) for number in message.payload.refs]

    def _ready(self, message: Ready) -> None:
        self._ledger.became_ready(message.refs, local=message.local)
        if message.request:
            self._ledger.reply_came(Reply(message.request, WATCHED), [])

    def _yielded(self, message: Yielded) -> None:
        self._ledger.items_came(message, [Hold(number, self._dropped) for number in message.refs])

    def _log(self, message: Log) -> None:
        if self._log_to_driver:
            stream = sys.stderr if message.source.get("stream") == "stderr" else sys.stdout
            try:
                stream.write("".join(f"{line}\n" for line in message.lines))
                stream.flush()
            except (OSError, ValueError):
                pass  # the program has closed its output; its workers may go on printing


_HANDLERS: dict[type, Callable[[Receiver, Any], None]] = {
    Value: Receiver._value,
    Failure: Receiver._value,
    Reply: Receiver._reply,
    Refusal: Receiver._reply,
    Ready: Receiver._ready,
    Log: Receiver._log,
    Yielded: Receiver._yielded,
}
