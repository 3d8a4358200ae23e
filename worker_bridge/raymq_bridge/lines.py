"""What the workers print, on its way to a client that may not read: the newest of it, and how much is missing. Pure."""

from __future__ import annotations

import threading
from collections import deque

from raymq.protocol.limits import TEXT_MAX
from raymq.protocol.messages import Log

LINES_MAX = 4 << 20
"""Characters of lines that are kept; older ones are dropped."""

LINE_COST = 100
"""Characters that a line counts beside its own."""


class Lines:
    """Takes lines in as they are printed, and gives them out when there is room.

    Threads of Ray's print, and the loop sends; each method is atomic.
    """

    def __init__(self, kept: int = LINES_MAX) -> None:
        self._kept = kept
        self._lines: deque[tuple[str, str]] = deque()
        self._size = 0
        self._dropped = 0
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, stream: str, lines: list[str]) -> None:
        """Take lines in. The oldest make room."""
        with self._lock:
            for line in lines:
                self._lines.append((stream, line))
                self._size += len(line) + LINE_COST
                while self._size > self._kept and len(self._lines) > 1:
                    self._size -= len(self._lines.popleft()[1]) + LINE_COST
                    self._dropped += 1

    def take(self) -> Log | None:
        """The next lines, as far as they go into one message; None if there are none."""
        with self._lock:
            if not self._lines:
                return None
            stream = self._lines[0][0]
            if self._dropped:
                text = f"... {self._dropped:,} lines dropped: the client did not read them in time"
                self._dropped = 0
                return Log({"stream": "stderr"}, [text])
            lines: list[str] = []
            size = 0
            while self._lines and self._lines[0][0] == stream:
                line = self._lines[0][1]
                if lines and size + len(line) > TEXT_MAX:
                    break
                lines.append(line)
                size += len(line)
                self._lines.popleft()
            self._size -= size + LINE_COST * len(lines)
            return Log({"stream": stream}, lines)
