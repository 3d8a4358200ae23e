"""Waiting longer after each failure, so that what cannot work does not eat the machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Backoff:
    """Exponential backoff of one kind of process.

    Attributes:
        first: seconds to wait after the first failure.
        limit: the longest wait; a failure after twice as long a peace counts as a first one again.
    """

    first: float = 0.5
    limit: float = 30.0
    failures: int = 0
    retry_at: float = 0.0

    def failed(self, now: float) -> float:
        """Count a failure; returns the seconds until the next try."""
        if self.failures and now - self.retry_at > 2 * self.limit:
            self.failures = 0
        delay = min(self.first * 2.0 ** min(self.failures, 32), self.limit)
        self.failures += 1
        self.retry_at = now + delay
        return delay

    def succeeded(self) -> None:
        """Forget the failures."""
        self.failures = 0
        self.retry_at = 0.0
