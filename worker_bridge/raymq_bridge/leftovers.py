"""Processes that a stopped Ray leaves behind: waited for, then ended.

Measured with Ray 2.60: the dashboard's modules outlive ``ray.shutdown()`` by about two seconds, and the agents of a
raylet that was stopped while it still started never end. All of them stay in the session (as in ``setsid``) of the
process that started Ray, which is how they are told from everybody else's.
"""

from __future__ import annotations

import contextlib
import os
import time

import psutil

_POLL = 0.05

_KILL_TIME = 3.0
"""Seconds that a process gets to be gone once it was killed."""


def lead_a_session() -> bool:
    """Make this process the leader of a session of its own, where it can be one.

    Returns:
        Whether it leads one: not if a shell made it the leader of a job, then it stays in the terminal's session.
    """
    if os.getsid(0) != os.getpid() and os.getpgid(0) != os.getpid():
        os.setsid()
    return os.getsid(0) == os.getpid()


def end_others_of_session(patience: float) -> int:
    """Wait until this process is the last of the session that it leads; end those that are left then.

    Args:
        patience: seconds that they have to end by themselves.

    Returns:
        How many had to be ended.
    """
    deadline = time.monotonic() + patience
    while (left := _others()) and time.monotonic() < deadline:
        time.sleep(_POLL)
    _kill(left)
    return len(left)


def end_descendants() -> None:
    """End all processes that this one started, and those that they started."""
    _kill(psutil.Process().children(recursive=True))


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=_KILL_TIME)


def _others() -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _is_ours(process)]


def _is_ours(process: psutil.Process) -> bool:
    try:
        return os.getsid(process.pid) == os.getpid() and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, psutil.Error):  # it is gone, or it is none of our business
        return False
