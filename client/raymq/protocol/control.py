"""The maps that open and end things: HELLO, WELCOME, REGISTER, ...: which keys they must have, of which types.

Keys that this version does not know are ignored, so that a later one may add some.
"""

from __future__ import annotations

from reprlib import repr as brief
from typing import Any

from raymq.errors import RemoteProtocolError
from raymq.protocol.codec import pack, unpack
from raymq.protocol.limits import Timing
from raymq.protocol.messages import Buffer
from raymq.protocol.route import Kind

CONTROL_MAX = 1 << 20
"""Bytes that the map of a control packet may have."""

NESTING_MAX = 32
"""Levels of lists and maps that the map of a control packet may have within it: deeper ones cannot be packed again."""

TOKEN_SIZE = 32
"""Bytes of a session's secret token."""

CONTROL: dict[Kind, dict[str, type]] = {
    Kind.HELLO: {"protocol": list, "token": bytes, "client": dict, "job": dict},
    Kind.ATTACH: {"token": bytes},
    Kind.BYE: {"token": bytes},
    Kind.WELCOME: {
        "protocol": int, "heartbeat": float, "lease": float, "grace": float, "object_max": int, "cluster": dict,
    },
    Kind.REFUSED: {"code": str, "message": str, "retry": bool},
    Kind.ATTACHED: {},
    Kind.UNBOUND: {},
    Kind.ENDED: {"code": str, "message": str},
    Kind.PING: {},
    Kind.REGISTER: {"protocol": list, "pid": int, "sessions": list, "cluster": dict},
    Kind.REGISTERED: {"heartbeat": float, "lease": float, "grace": float, "object_max": int},
    Kind.OPEN: {"client": dict, "job": dict, "digest": bytes, "protocol": int},
    Kind.OPENED: {"cluster": dict},
    Kind.OPEN_FAILED: {"code": str, "message": str},
    Kind.CLOSE: {"code": str, "message": str},
    Kind.CLOSED: {"code": str, "message": str},
    Kind.STATUS: {},
    Kind.STATUS_REPLY: {"broker": dict, "bridges": list, "sessions": list, "counters": dict},
    Kind.KILL: {"which": str},
    Kind.KILLED: {"sessions": list},
}  # fmt: skip
"""For each control kind the keys that must be there."""

OPTIONAL: dict[Kind, dict[str, type]] = {
    Kind.HELLO: {"name": str, "takeover": bool, "ttl": float},
    Kind.WELCOME: {"resumed": bool},
    Kind.PING: {"objects": int, "memory": int, "left": bool, "ttl": float, "mark": int},
    Kind.OPEN: {"name": str, "ttl": float, "replaces": bytes},
}
"""For some control kinds keys that may be there."""

_PASSED_ON = {Kind.REGISTER: 2, Kind.STATUS_REPLY: 2}
"""Kinds whose lists hold what came in another kind's map, and so many levels deeper."""


def encode_control(kind: Kind, **fields: Any) -> bytes:
    """Pack the map of a control kind; a required key that is missing is a bug here and shows as KeyError."""
    for key in CONTROL[kind]:
        fields[key]
    return pack(fields)


def decode_control(kind: Kind, frame: Buffer) -> dict[str, Any]:
    """Unpack and check the map of a control kind.

    Raises:
        RemoteProtocolError: it is too large or too deep, or no map, or lacks a key, or a value has another type.
    """
    if len(frame) > CONTROL_MAX:
        raise RemoteProtocolError(f"{kind.name} of {len(frame):,} bytes; at most {CONTROL_MAX:,} are accepted")
    fields = unpack(frame)
    if type(fields) is not dict:
        raise RemoteProtocolError(f"{kind.name} carries a map, not {brief(fields)}")
    there = {key: expected for key, expected in OPTIONAL.get(kind, {}).items() if key in fields}
    for key, expected in (CONTROL[kind] | there).items():
        if expected is float and type(fields.get(key)) is int:
            fields[key] = float(fields[key])  # msgpack has both, and some languages write 1.0 as 1
        if type(fields.get(key)) is not expected:
            raise RemoteProtocolError(f"{kind.name} needs {key!r} of type {expected.__name__}")
    if _nests_beyond(NESTING_MAX + _PASSED_ON.get(kind, 0), fields):
        raise RemoteProtocolError(f"{kind.name} nests lists and maps beyond {NESTING_MAX} levels")
    return fields


def _nests_beyond(levels: int, value: Any) -> bool:
    inner = value.values() if type(value) is dict else value
    return any(levels == 0 or _nests_beyond(levels - 1, each) for each in inner if type(each) in (dict, list))


def decode_timing(fields: dict[str, Any]) -> Timing:
    """The intervals in a checked WELCOME or REGISTERED.

    Raises:
        RemoteProtocolError: they make no sense.
    """
    try:
        return Timing(fields["heartbeat"], fields["lease"], fields["grace"])
    except ValueError as error:
        raise RemoteProtocolError(str(error)) from None
