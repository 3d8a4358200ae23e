"""Which values will be wanted next: ``for ref in refs: ray.get(ref)`` would pay the way to the cluster for each. Pure.

References that were made one after the other have numbers at even steps. Who gets two of them in this order probably
goes on; so the next ones are asked for along with the second, and twice as many the next time, as long as they prove
to be of use. (Operating systems read files ahead in this way.)
"""

from __future__ import annotations

from collections.abc import Iterable

AHEAD = 256
"""References that are asked for ahead at a time, at most."""

PAUSE_MAX = 63
"""References, at most, that are gotten one by one after asking ahead was of no use, until it is tried again."""

FEW = 4
"""References that are asked for ahead while it is not known whether that is of use."""


class Guess:
    """Of one session. Threads that get different things at the same time make it guess worse, and do no harm."""

    def __init__(self) -> None:
        self._last = self._step = self._hits = 0
        self._window = 0
        self._pause = self._skip = 0

    def hit(self, number: int) -> None:
        """A value was wanted, and was here."""
        self._step, self._last = number - self._last, number
        self._hits += 1

    def miss(self, number: int) -> Iterable[int]:
        """A value was wanted, and has to be asked for; returns the numbers of those that should come along."""
        step, before, hits = number - self._last, self._step, self._hits
        self._step, self._last, self._hits = step, number, 0
        if step != before or step == 0:
            self._window = self._pause = self._skip = 0
            return ()
        if self._skip:
            self._skip -= 1
            return ()
        if 2 * hits < self._window:  # what was asked for ahead did not come: not at hand, too large, ...
            self._window, self._pause = 0, min(2 * self._pause + 1, PAUSE_MAX)
            self._skip = self._pause
            return ()
        self._window = min(2 * self._window, AHEAD) or FEW
        end = number + step * (self._window + 1)
        return (soon for soon in range(number + step, end, step) if soon > 0)
