"""How many lines the log may get: a burst, and then so many a second, so that clients cannot fill the disk. Pure."""

from __future__ import annotations


class Allowance:
    """A bucket of tokens.

    Args:
        burst: tokens that it holds; it begins full.
        rate: tokens that come in each second.
        now: the time, in seconds of any monotonic clock, as everywhere here.
    """

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._tokens = burst
        self._at = now

    def take(self, now: float) -> bool:
        """Take a token; False if there is none."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
