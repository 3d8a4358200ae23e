"""``raymq stop``: asks supervisors to stop, and waits until they have."""

from __future__ import annotations

import time

import psutil

from raymq_cli.runtime import State

PATIENCE = 30.0
"""Seconds for an instance to stop: each of its three stages usually takes one or two."""

_POLL = 0.05


def stop(state: State, patience: float = PATIENCE) -> bool:
    """Send SIGTERM to an instance's supervisor and wait for its end; returns whether it ended.

    The process is compared by its creation time too, so a process that got the pid later is never signalled.
    """
    process = state.process()
    if process is None:
        return True
    deadline = time.monotonic() + patience
    try:
        process.terminate()
        # Not process.wait(): that also waits until its parent has taken notice, which in a container may be never.
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
    except psutil.NoSuchProcess:
        pass
    return True
