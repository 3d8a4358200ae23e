"""Many values that are wanted in one go: looked for together, rather than announced by Ray one by one. Pure.

Ray announces each object by itself, from a thread of its own and with the interpreter's lock. For a thousand short
calls that takes a good part of the processors which the calls need. So only one in a hundred is announced, the
*sentinel*, and then those around it are looked for as well. Where few of them are found, they come slowly or are large,
and it is better to be told of each.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from typing import Any

CROWD_MIN = 20
"""Values that are worth it."""

STRIDE = 100
"""Values from one sentinel to the next."""

PATIENCE = 0.05
"""Seconds after which is looked although no sentinel was announced."""

WORTHWHILE = 10
"""Values that have to be found in that time; if it were fewer, each is to be announced."""

ROUND = 0.2
"""Seconds after which is looked for all: one far behind may have failed, which the client is to hear."""


class Crowd:
    """What is missing of such values.

    Args:
        missing: numbers and references, in the order in which they may be expected.
        now: the time, in seconds of any monotonic clock, as everywhere here.
    """

    def __init__(self, missing: dict[int, Any], now: float) -> None:
        self.missing = missing
        self.due = now
        """When to look, if no sentinel is announced before."""
        self._round = now + ROUND
        self._sentinel = 0
        self._is_announced = False
        self._found = WORTHWHILE  # there was no time yet to find any

    def front(self, now: float) -> list[int]:
        """The numbers of those to look for now."""
        count = STRIDE + STRIDE // 2
        if now >= self._round:
            count, self._round = len(self.missing), now + ROUND
        return list(islice(self.missing, count))

    def found(self, numbers: Collection[int], now: float) -> bool:
        """These were there; whether to go on looking."""
        for number in numbers:
            del self.missing[number]
        if self._is_announced and self._sentinel in self.missing:
            return False  # it is in the object store, since it is large: so may the others be
        self._found += len(numbers)
        if now < self.due:
            return True
        worthwhile = self._found >= WORTHWHILE
        self.due, self._found = now + PATIENCE, 0
        return worthwhile

    def next_sentinel(self) -> int:
        """The number of the value that is to be announced next; 0 if one is to be already."""
        if self._sentinel in self.missing:
            return 0
        self._sentinel = next(islice(self.missing, min(STRIDE, len(self.missing)) - 1, None))
        self._is_announced = False
        return self._sentinel

    def announced(self, number: int) -> None:
        """This value exists; nothing is done about one that was found meanwhile."""
        self._is_announced = self._is_announced or number == self._sentinel
