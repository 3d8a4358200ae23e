"""How many bytes a second a way takes, as the sender sees it: by what is acknowledged while something is under way."""

from __future__ import annotations

from collections import deque

ENOUGH = 4 << 20
"""Bytes after which there is a figure. It holds the time that the way takes, too: fewer would tell more of that."""

FRESH = 10.0
"""Seconds for which a figure holds: then the way is measured anew, as it is without compression."""


class Bandwidth:
    """Measures one lane in one direction."""

    def __init__(self) -> None:
        self._under_way: deque[tuple[int, int]] = deque()
        self._since = 0.0
        self._seconds = 0.0
        self._nbytes = 0
        self._figure: float | None = None
        self._measured_at = 0.0

    def sent(self, seq: int, nbytes: int, now: float) -> None:
        """A packet of so many bytes goes out."""
        if not self._under_way:
            self._since = now
        self._under_way.append((seq, nbytes))

    def acknowledged(self, seq: int, now: float) -> None:
        """All packets up to this one have come."""
        if not self._under_way or self._under_way[0][0] > seq:
            return
        while self._under_way and self._under_way[0][0] <= seq:
            self._nbytes += self._under_way.popleft()[1]
        self._seconds += now - self._since
        self._since = now
        if self._nbytes >= ENOUGH:
            self._figure = self._nbytes / max(self._seconds, 1e-9)
            self._measured_at = now
            self._nbytes, self._seconds = 0, 0.0

    def figure(self, now: float) -> float | None:
        """Bytes per second; None where none were measured lately."""
        return self._figure if now - self._measured_at <= FRESH else None
