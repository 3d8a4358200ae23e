"""How fast chunks of large payloads may follow each other: while small calls are made, they step back.

They have a lane of their own, but share the processors, and the way, with everything else: on two cores a small call
took four times as long beside a put at full speed, and takes one and a half times as long at this pace.
(``tox -e bench -- --only latency``)
"""

from __future__ import annotations

from raymq.protocol.limits import CHUNK_PAUSE, LIVELY


class Pacing:
    """The chunks that one end of a session sends."""

    def __init__(self) -> None:
        self._lively_until = float("-inf")
        self._last_chunk = float("-inf")

    def call_sent(self, now: float) -> None:
        """Something small was sent that somebody waits for."""
        self._lively_until = now + LIVELY

    def chunk_sent(self, now: float) -> None:
        """A chunk was sent."""
        self._last_chunk = now

    @property
    def next_chunk(self) -> float:
        """When the next chunk may go."""
        return min(self._lively_until, self._last_chunk + CHUNK_PAUSE)
