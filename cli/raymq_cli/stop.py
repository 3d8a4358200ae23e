"""``raymq stop``: asks supervisors to stop, and waits until they have."""

from __future__ import annotations

import psutil

from raymq_cli.runtime import State

PATIENCE = 30.0
"""Seconds for an instance to stop: the longest of its own limits, and some more."""


def stop(state: State, patience: float = PATIENCE) -> bool:
    """Send SIGTERM to an instance's supervisor and wait for its end; returns whether it ended.

    The process is compared by its creation time too, so a process that got the pid later is never signalled.
    """
    process = state.process()
    if process is None:
        return True
    try:
        process.terminate()
        process.wait(patience)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True
