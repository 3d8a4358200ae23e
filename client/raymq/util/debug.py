"""``log_once`` and its like. They are about the process that calls them."""

from __future__ import annotations

import time

PERIOD = 60.0
"""Seconds after which ``log_once`` begins anew, with ``enable_periodic_logging``."""


class _Logged:
    """What was logged in this process."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.disabled = False
        self.periodic = False
        self.since = 0.0


_logged = _Logged()


def log_once(key: str) -> bool:
    """Whether this is the first call with a key in this process, for what is to be logged once only."""
    if _logged.disabled:
        return False
    now = time.monotonic()
    if _logged.periodic and now - _logged.since > PERIOD:
        _logged.keys.clear()
    if key in _logged.keys:
        return False
    _logged.keys.add(key)
    _logged.since = now
    return True


def disable_log_once_globally() -> None:
    """Have ``log_once`` say no from now on, in this process."""
    _logged.disabled = True


def enable_periodic_logging() -> None:
    """Have ``log_once`` say yes again when nothing was logged for a minute, in this process."""
    _logged.periodic = True


def reset_log_once(key: str | None = None) -> None:
    """Forget that a key was logged; None forgets all."""
    if key is None:
        _logged.keys.clear()
    else:
        _logged.keys.discard(key)
