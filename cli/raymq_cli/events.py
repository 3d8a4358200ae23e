"""What the supervisor's core is told (events) and what it says to do (actions)."""

from __future__ import annotations

import enum
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class Role(enum.Enum):
    """What a child process is."""

    CLUSTER = "cluster"
    BROKER = "broker"
    BRIDGE = "bridge"


# What happens.


@dataclass(frozen=True)
class Spawned:
    """A child was started and got this process id."""

    child: int
    pid: int


@dataclass(frozen=True)
class Ready:
    """The cluster or the broker is ready, at this address.

    Attributes:
        env: what others need in their environment to talk with the cluster.
        ours: False for a cluster that was found running: the process that told us then ends, the cluster stays.
    """

    child: int
    address: str
    env: Mapping[str, str] = field(default_factory=dict)
    ours: bool = True


@dataclass(frozen=True)
class Listed:
    """The broker told the process ids of its bridges, and how many clients wait for one."""

    child: int
    idle: frozenset[int]
    busy: frozenset[int]
    waiting: int


@dataclass(frozen=True)
class Failed:
    """A child told why it cannot run; its end follows."""

    child: int
    message: str


@dataclass(frozen=True)
class Exited:
    """A child ended; ``code`` is minus the signal's number if a signal ended it, ``last_line`` is from its stderr."""

    child: int
    code: int
    last_line: str = ""


@dataclass(frozen=True)
class StopRequested:
    """Somebody asked us to stop; asked twice, nobody gets the time to stop cleanly."""


Event = Spawned | Ready | Listed | Failed | Exited | StopRequested

# What to do about it.


@dataclass(frozen=True)
class Spawn:
    """Start a process.

    Attributes:
        address: for a bridge the cluster's; for a broker that is started again, the one it had.
        env: to be added to the environment.
    """

    child: int
    role: Role
    address: str = ""
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Send:
    """Send a signal to a child."""

    child: int
    signal: signal.Signals


@dataclass(frozen=True)
class Announce:
    """Clients can connect: the broker's address."""

    address: str


@dataclass(frozen=True)
class Note:
    """Something to log."""

    level: str
    event: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finish:
    """All children are gone: end with this exit code; ``role`` and ``message`` say who failed and why."""

    code: int
    role: Role | None = None
    message: str = ""


Action = Spawn | Send | Announce | Note | Finish
