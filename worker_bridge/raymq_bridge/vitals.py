"""The processes without which a Ray cluster is none: looked at by the process that started them.

Nobody else does: a driver goes on for a minute when the GCS is gone, and is not told at all when its raylet is.
"""

from __future__ import annotations

import psutil

from raymq import daemon

NAMES = ("gcs_server", "raylet")


class Vital:
    """One of them."""

    def __init__(self, process: psutil.Process, name: str) -> None:
        self._process = process
        self._name = name

    def death(self) -> str:
        """How it ended, for people; empty while it runs."""
        try:
            code = self._process.wait(timeout=0)
        except psutil.TimeoutExpired:
            return ""
        what = f"its {self._name} (pid {self._process.pid})"
        return f"{what} ended" if code is None else daemon.how_it_ended(code, what)


def find() -> list[Vital]:
    """Those that this process has started."""
    children = {child: child.name() for child in psutil.Process().children()}
    return [Vital(child, name) for child, name in children.items() if name in NAMES]


def first_death(vitals: list[Vital]) -> str:
    """Which of them has ended, and how; empty while all are there."""
    return next(filter(None, (vital.death() for vital in vitals)), "")
