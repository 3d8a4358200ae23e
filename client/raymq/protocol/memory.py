"""Memory for large payloads that arrive, which is used again when nobody looks at it any longer."""

from __future__ import annotations

import sys
from typing import Any

MAPPED_MIN = 4 << 20
"""Bytes from which a part gets pages of its own: of 2 MiB each, which Linux clears as they are first written to.

100 MB take 11 ms so, the copy included. A bytearray is cleared at once, page by small page: 50 ms, and 8 for the copy.
"""

KEPT_MAX = 256 << 20
"""Bytes that are kept to be used again. To clear new pages was a quarter of what a put of 100 MB cost all processes."""

KEPT_SECONDS = 2.0
"""Seconds without use after which they are given back."""


class Memory:
    """Where one end of a session puts what comes to it. What was in a region before is written over as a whole."""

    def __init__(self) -> None:
        self._kept: list[Any] = []
        self._taken = False
        self._until = 0.0

    def take(self, size: int) -> memoryview:
        """Memory to be written to; given back when the last view of it is gone."""
        region = self._free(size) if size >= MAPPED_MIN else None
        if region is None:
            region = _new(size)
            if MAPPED_MIN <= size <= KEPT_MAX:
                self._keep(region)
        return memoryview(region)[:size]

    def _free(self, size: int) -> Any:
        """A region that is large enough, and not much too large, without a view."""
        self._taken = True
        for place in range(len(self._kept)):
            if size <= len(self._kept[place]) <= 2 * size and _references(self._kept, place) == _ALONE:
                return self._kept[place]
        return None

    def _keep(self, region: Any) -> None:
        self._kept.append(region)
        while sum(map(len, self._kept)) > KEPT_MAX:
            del self._kept[0]  # it lives as long as its views

    def tidy(self, now: float) -> None:
        """Give back what was not used for a while."""
        if self._taken:
            self._taken, self._until = False, now + KEPT_SECONDS
        elif self._kept and now >= self._until:
            self._kept.clear()


def _references(regions: list[Any], place: int) -> int:
    """What refers to a region; each view of it does."""
    return sys.getrefcount(regions[place])


_ALONE = _references([object()], 0)


def _new(size: int) -> Any:
    if size < MAPPED_MIN:
        return bytearray(size)
    import mmap

    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return bytearray(size)
    mapped = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        mapped.madvise(mmap.MADV_HUGEPAGE)
    except OSError:
        pass  # this kernel has small pages only
    return mapped
