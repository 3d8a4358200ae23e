"""Whether the kernel's out-of-memory killer has been at work: told from the counters that it keeps.

It says nothing to the one that it kills, nor to the parent, who sees a SIGKILL like any other. But it counts: in
``memory.events`` (cgroup v2) or ``memory.oom_control`` (v1) of the cgroup of the killed, which is ours too, since
children inherit it; and in ``/proc/vmstat`` for the whole machine, which is asked only where no cgroup tells.
"""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path

LOOK_INTERVAL = 5.0
"""Seconds between two looks at the counters."""

LOOKS = 3
"""Looks that are kept: a kill counts as recent for two to three intervals."""


def kills(root: Path = Path("/")) -> int | None:
    """How many processes the kernel has ended for want of memory, here and so far; None where nothing tells it."""
    for path in _counters(root):
        found = re.search(r"^oom_kill (\d+)$", _text(path), re.MULTILINE)
        if found:
            return int(found[1])
    return None


def _counters(root: Path) -> list[Path]:
    """The files that may tell, the one that tells of the fewest processes first."""
    mounted = root / "sys/fs/cgroup"
    paths: list[Path] = []
    # "0::/user.slice" is a line of v2, "4:memory:/docker/1a2b" one of v1.
    for controllers, group in re.findall(r"^\d+:([^:]*):(.*)$", _text(root / "proc/self/cgroup"), re.MULTILINE):
        if not controllers:
            # In a container the path may be the host's, which is not to be seen from inside: what is mounted is ours.
            paths += [base / at / "memory.events" for base in (mounted, mounted / "unified") for at in _places(group)]
        elif "memory" in controllers.split(","):
            paths += [mounted / "memory" / at / "memory.oom_control" for at in _places(group)]
    return [*paths, root / "proc/vmstat"]


def _places(group: str) -> tuple[str, str]:
    return group.lstrip("/"), ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


class Recent:
    """Remembers the counter for a while, so that a rise is told from what happened long ago."""

    def __init__(self) -> None:
        self._looks: deque[int | None] = deque(maxlen=LOOKS)
        self._next = 0.0

    def next_look(self) -> float:
        """When ``look`` is due."""
        return self._next

    def look(self, count: int | None, now: float) -> None:
        """Take in what the counter says now."""
        self._next = now + LOOK_INTERVAL
        self._looks.append(count)

    def has_risen_to(self, count: int | None) -> bool:
        """Whether that is more than it was a while ago."""
        then = self._looks[0] if self._looks else None
        return count is not None and then is not None and count > then
