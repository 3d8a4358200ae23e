"""What goes into the broker's core and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Union


class Side(Enum):
    """The broker's two sockets."""

    CLIENTS = "clients"
    BRIDGES = "bridges"


@dataclass(frozen=True)
class Came:
    """A packet came: the connection's routing id, then the packet's frames."""

    side: Side
    peer: bytes
    frames: Sequence[Any]


@dataclass(frozen=True)
class Unreachable:
    """The connection with this routing id is gone: a send to it failed."""

    side: Side
    peer: bytes


Event = Union[Came, Unreachable]


@dataclass(frozen=True)
class Send:
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
