"""What the supervisor's core knows of a process that it had started."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from raymq.daemon import how_it_ended
from raymq_cli.events import Died, Role

START_LIMIT = {Role.CLUSTER: 120.0, Role.BROKER: 30.0, Role.BRIDGE: 120.0}
"""Seconds until a child has to be ready. A Ray cluster takes 7 s on two cores, a bridge 2 s."""

STOP_LIMIT = {Role.CLUSTER: 20.0, Role.BROKER: 5.0, Role.BRIDGE: 8.0}
"""Seconds between SIGTERM and SIGKILL. Ray needs up to 8 s to take a cluster down that still starts."""


@dataclass
class Child:
    """A process of ours.

    Attributes:
        address: what it was started with: a bridge the cluster's.
        message: why it cannot run, in its own words or in ours.
        died_of: what ended its process.
        kill_at: when to send SIGKILL, once it was told to stop.
        ready_at: when it was ready (a bridge: when the broker first listed it); None before.
    """

    number: int
    role: Role
    started_at: float
    address: str = ""
    pid: int | None = None
    ready_at: float | None = None
    kill_at: float | None = None
    killed: bool = False
    message: str = ""
    died_of: str = ""

    @property
    def stopping(self) -> bool:
        return self.kill_at is not None


def why_it_died(child: Child, event: Died) -> str:
    """For people: what ended a process."""
    if event.code == -signal.SIGKILL and child.killed:
        return "raymq ended it (SIGKILL), since it did not stop by itself"
    if event.code == -signal.SIGKILL and event.out_of_memory:
        return "SIGKILL ended it, most likely the kernel's out-of-memory killer"
    return how_it_ended(event.code)
