"""Which lines of a dead process's log tell the most of its death. Pure."""

from __future__ import annotations

from collections import deque

KEPT = 100
TOLD = 10
LINE_MAX = 300
"""Characters of each line."""


class LastWords:
    """Hears a log line by line, and remembers its end."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=KEPT)

    def hear(self, line: str) -> None:
        """Take in one more line."""
        if line.strip():
            self._lines.append(line.rstrip()[:LINE_MAX])

    @property
    def last(self) -> str:
        """The very last one."""
        return self._lines[-1].strip() if self._lines else ""

    def telling(self) -> tuple[str, ...]:
        """The last lines; of a crash those with which Python tells of it, whose dump has its best lines first."""
        lines = list(self._lines)
        for position, line in enumerate(lines):
            if line.startswith("Fatal Python error"):
                return tuple(lines[position : position + TOLD])
        return tuple(lines[-TOLD:])
