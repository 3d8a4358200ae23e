"""Frame 0: the fixed binary route, all that the broker reads of session traffic."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from raymq.errors import RemoteProtocolError
from raymq.protocol.version import PROTOCOL_NEWEST

MAGIC = b"RYMQ"
_LAYOUT = struct.Struct(">4sBBBB16s")
ROUTE_SIZE = _LAYOUT.size

NO_SESSION = bytes(16)
"""The session id of traffic that belongs to none: between bridge or administrator and broker."""


class Kind(IntEnum):
    """What a packet is, in its route. 1 to 31 open and keep a session, 32 to 47 are switched through, ..."""

    # between client and broker
    HELLO = 1
    ATTACH = 2
    BYE = 3
    WELCOME = 8
    REFUSED = 9
    ATTACHED = 10
    UNBOUND = 11
    ENDED = 12
    # on both hops
    PING = 16
    # end to end, switched by the broker without a look inside
    DATA = 32
    ACK = 33
    SYNC = 34
    # between bridge and broker
    REGISTER = 48
    REGISTERED = 49
    OPEN = 50
    OPENED = 51
    OPEN_FAILED = 52
    CLOSE = 53
    CLOSED = 54
    # between an administrator (on the bridges' endpoint) and broker
    STATUS = 80
    STATUS_REPLY = 81
    KILL = 82
    KILLED = 83


SWITCHED = frozenset({Kind.DATA, Kind.ACK, Kind.SYNC})
"""The kinds that the broker passes from one end of a session to the other."""


class Lane(IntEnum):
    """The two roads of a session: small messages never wait behind large payloads."""

    CALLS = 0
    BULK = 1


class Route(NamedTuple):
    """A decoded frame 0."""

    version: int
    kind: int
    lane: int
    session: bytes


def encode_route(kind: Kind, session: bytes = NO_SESSION, lane: Lane = Lane.CALLS) -> bytes:
    """Pack a route: 24 bytes, big-endian; the last byte before the session id is reserved and zero."""
    return _LAYOUT.pack(MAGIC, PROTOCOL_NEWEST, kind, lane, 0, session)


def decode_route(frame: bytes | memoryview) -> Route:
    """Unpack frame 0.

    The version is handed back unchecked: HELLO and REFUSED keep their form in all versions, so that two sides
    which share none can tell each other so.

    Raises:
        RemoteProtocolError: the frame has another size or another magic, or names an unknown lane.
    """
    if len(frame) != ROUTE_SIZE:
        raise RemoteProtocolError(f"a route has {ROUTE_SIZE} bytes, this frame has {len(frame)}")
    magic, version, kind, lane, _, session = _LAYOUT.unpack(frame)
    if magic != MAGIC:
        raise RemoteProtocolError(f"a route begins with {MAGIC!r}, this frame with {magic!r}")
    if lane > Lane.BULK:
        raise RemoteProtocolError(f"unknown lane {lane}")
    return Route(version, kind, lane, session)
