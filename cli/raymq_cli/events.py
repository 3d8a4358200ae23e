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
class Joined:
    """A bridge became a driver of the cluster; ``raylet`` is the process of the Ray node that it is on.

    For the shell alone, which looks at that process when the bridge has died.
    """

    child: int
    raylet: int


@dataclass(frozen=True)
class Died:
    """A child's process ended; processes that it started may still be there.

    Attributes:
        code: minus the signal's number if a signal ended it.
        lines: the last that it wrote to stderr.
        out_of_memory: the kernel has just ended a process for want of memory.
        node_ended: of a bridge: the Ray node that it was on has ended, too.
    """

    child: int
    code: int
    lines: tuple[str, ...] = ()
    out_of_memory: bool = False
    node_ended: bool = False


@dataclass(frozen=True)
class Exited:
    """Nothing of a child is left; ``code`` as in ``Died``, ``last_line`` is from its stderr."""

    child: int
    code: int
    last_line: str = ""


@dataclass(frozen=True)
class StopRequested:
    """Somebody asked us to stop; asked twice, nobody gets the time to stop cleanly."""


Event = Spawned | Ready | Listed | Failed | Died | Exited | StopRequested

# What to do about it.


@dataclass(frozen=True)
class Spawn:
    """Start a process.

    Attributes:
        address: for a bridge the cluster's; for a broker that is started again, the one it had.
        env: to be added to the environment.
        bridges: for a broker, the process ids of the bridges that are there and will come to it.
    """

    child: int
    role: Role
    address: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    bridges: tuple[int, ...] = ()


@dataclass(frozen=True)
class Send:
    """Send a signal to a child."""

    child: int
    signal: signal.Signals


@dataclass(frozen=True)
class Tell:
    """Tell a child what happened, as a line on its stdin."""

    child: int
    event: str
    fields: Mapping[str, Any]


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


Action = Spawn | Send | Tell | Announce | Note | Finish
