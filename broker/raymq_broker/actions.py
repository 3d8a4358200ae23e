"""What goes into the broker's core and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, Union

from raymq.protocol.route import Route


class Side(Enum):
    """The broker's two sockets."""

    CLIENTS = "clients"
    BRIDGES = "bridges"


class Came(NamedTuple):
    """A packet came: the connection's routing id, then the packet's frames."""

    side: Side
    peer: bytes
    frames: Sequence[Any]


class Packet(NamedTuple):
    """A packet that came, with its frame 0 read. ``weight``: the bytes that it takes in a queue."""

    side: Side
    peer: bytes
    route: Route
    frames: Sequence[Any]
    weight: int


Handler = Callable[[Packet, dict[str, Any], float], None]
"""What takes in a control packet: the packet, its map, and the time."""


@dataclass(frozen=True)
class Unreachable:
    """The connection with this routing id is gone: a send to it failed."""

    side: Side
    peer: bytes


@dataclass(frozen=True)
class Flooded:
    """A client's connection has brought more bytes than can be taken in, and is closed now.

    Attributes:
        peer: its routing id; empty if no whole packet came over it.
        nbytes: what waits of it.
        guilty: it is above its own limits; otherwise it has to go since all of them together are above theirs.
    """

    peer: bytes
    nbytes: int
    guilty: bool


@dataclass(frozen=True)
class BridgeEnded:
    """The supervisor says that the process of a bridge has ended.

    Attributes:
        at: the time of day, for people.
        reason: what ended it.
        lines: the last that it wrote to its log.
    """

    pid: int
    at: str
    reason: str
    lines: Sequence[str]


@dataclass(frozen=True)
class ClusterLost:
    """The supervisor says that the Ray cluster is gone which these bridges (by their processes' ids) belong to."""

    pids: frozenset[int]
    at: str
    message: str


Event = Union[Came, Unreachable, Flooded, BridgeEnded, ClusterLost]


class Send(NamedTuple):
    """Send a packet to a connection."""

    side: Side
    peer: bytes
    frames: Sequence[Any]


@dataclass(frozen=True)
class Log:
    """Write a line to the log."""

    level: str
    event: str
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pool:
    """The bridges that are there changed, or the number of clients that wait for one."""

    idle: tuple[int, ...]
    busy: tuple[int, ...]
    waiting: int


Action = Union[Send, Log, Pool]
