"""Writes vectors.json, the protocol byte by byte: ``python -m tests.protocol.make_vectors``.

The vectors are checked in and the tests only read them: a change of the wire shows as a failing test, and then as a
difference in vectors.json that somebody has to want.

In the JSON ``{"hex": "..."}`` stands for bytes. A payload is ``{"inband", "buffers", "refs"}`` or
``{"transfer", "refs"}``. ``packet`` is a packet's meaning, ``frames`` are its bytes, the route first.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from raymq.protocol.codec import (
    data_header,
    decode_batch,
    decode_data,
    decode_position,
    encode,
    encode_chunk,
    join,
    pack,
)
from raymq.protocol.control import CONTROL, decode_control, encode_control
from raymq.protocol.messages import (
    MESSAGES,
    Ahead,
    Begin,
    Buffer,
    Call,
    Chunk,
    Coming,
    Compressed,
    Create,
    Define,
    Detach,
    Failure,
    Fetch,
    Goodbye,
    Log,
    Message,
    Next,
    Pickled,
    Put,
    Ready,
    Refusal,
    Release,
    Reply,
    Request,
    Task,
    Unfetch,
    Value,
    Watch,
    Yielded,
)
from raymq.protocol.route import NO_SESSION, Kind, Lane, decode_route, encode_route

FILE = Path(__file__).with_name("vectors.json")
SESSION = bytes(range(16))
TOKEN = bytes(range(32))
PICKLE = b"\x80\x05N."  # None
FUNCTION = 5

# --- meaning to JSON and back


def to_json(value: Any) -> Any:
    """Plain data with its bytes as ``{"hex": ...}``, payloads as maps."""
    if isinstance(value, bytes | memoryview):
        return {"hex": value.hex()}
    if isinstance(value, Pickled | Coming):
        return {name: to_json(part) for name, part in value._asdict().items()}
    if isinstance(value, dict):
        return {key: to_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(part) for part in value]
    return value


def from_json(value: Any) -> Any:
    """The other way."""
    if isinstance(value, list):
        return [from_json(part) for part in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"hex"}:
        return bytes.fromhex(value["hex"])
    fields = {key: from_json(part) for key, part in value.items()}
    for kind in (Pickled, Coming):
        if set(fields) == set(kind._fields):
            return kind(**fields)
    return fields


def message_from_json(described: dict[str, Any]) -> tuple[Message, bytes | None]:
    """A message, and for a piece of a transfer its bytes."""
    fields = from_json(described["fields"])
    [kind] = [kind for kind in MESSAGES.values() if kind.__name__ == described["message"]]
    return kind(**fields), from_json(described.get("bytes"))


# --- meaning to bytes and back


def to_frames(packet: dict[str, Any]) -> list[Buffer]:
    """The bytes of a packet of this meaning."""
    kind, lane = Kind[packet["kind"]], Lane[packet["lane"]]
    route = encode_route(kind, from_json(packet["session"]), lane)
    if kind in CONTROL:
        return [route, encode_control(kind, **from_json(packet["fields"]))]
    if kind != Kind.DATA:
        return [route, pack((packet["ack"], packet["grant"], packet["reply"]))]
    batch = [message_from_json(described) for described in packet["messages"]]
    parts = [encode(message) if chunk is None else encode_chunk(message, chunk) for message, chunk in batch]
    header = data_header(packet["seq"], packet["ack"], packet["grant"], join(parts))
    return [route, header, *(buffer for part in parts for buffer in part.buffers)]


def to_packet(frames: list[bytes]) -> dict[str, Any]:
    """The meaning of a packet of these bytes."""
    route = decode_route(frames[0])
    kind = Kind(route.kind)
    packet = {"kind": kind.name, "lane": Lane(route.lane).name, "session": to_json(route.session)}
    if kind in CONTROL:
        return packet | {"fields": to_json(decode_control(kind, frames[1]))}
    if kind != Kind.DATA:
        return packet | dict(zip(("ack", "grant", "reply"), decode_position(frames[1]), strict=True))
    seq, ack, grant, batch = decode_data(frames[1])
    messages = []
    for message, chunk in decode_batch(batch, frames[2:]):
        described = {"message": type(message).__name__, "fields": to_json(message._asdict())}
        messages.append(described if chunk is None else described | {"bytes": to_json(chunk)})
    return packet | {"seq": seq, "ack": ack, "grant": grant, "messages": messages}


# --- the examples

SIDE = {"python": "3.11.9", "raymq": "0.1.0", "ray": "2.60.0", "packages": {"numpy": "2.3.1"}}
CLIENT = {"user": "ada", "host": "laptop", "program": "train.py", "pid": 4242, **SIDE}
JOB = {"namespace": "", "runtime_env": {}}
DIGEST = sha256(TOKEN).digest()
SERVED = {
    "session": SESSION, "digest": DIGEST, "protocol": 1, "client": CLIENT, "job": JOB, "cluster": SIDE,
    "name": "night-run", "ttl": 86400.0, "left": False,
}  # fmt: skip

CONTROLS: dict[Kind, tuple[str, dict[str, Any]]] = {
    Kind.HELLO: (
        "a client opens a session",
        {
            "protocol": [1, 1],
            "token": TOKEN,
            "client": CLIENT,
            "job": JOB,
            "name": "night-run",
            "takeover": False,
            "ttl": 86400.0,
        },  # fmt: skip
    ),
    Kind.ATTACH: ("a client is back on a new connection", {"token": TOKEN}),
    Kind.BYE: ("a client leaves for good", {"token": TOKEN}),
    Kind.WELCOME: (
        "the session is open",
        {
            "protocol": 1,
            "heartbeat": 1.0,
            "lease": 10.0,
            "grace": 86400.0,
            "object_max": 1 << 36,
            "cluster": SIDE,
            "resumed": True,
        },  # fmt: skip
    ),
    Kind.REFUSED: (
        "the session is not opened",
        {"code": "python-mismatch", "message": "this client runs Python 3.9", "retry": False},
    ),
    Kind.ATTACHED: ("the session goes on", {}),
    Kind.UNBOUND: ("the broker does not know this connection; the client is to attach", {}),
    Kind.ENDED: ("the session has ended", {"code": "bridge-lost", "message": "the bridge of this session died"}),
    Kind.PING: (
        "a heartbeat of a bridge, and what it tells of its session",
        {"objects": 3, "memory": 120_000_000, "left": False, "ttl": 86400.0},
    ),
    Kind.REGISTER: (
        "a bridge offers itself",
        {"protocol": [1, 1], "pid": 4711, "sessions": [SERVED], "cluster": SIDE},
    ),
    Kind.REGISTERED: (
        "the bridge is taken",
        {"heartbeat": 1.0, "lease": 10.0, "grace": 30.0, "object_max": 1 << 36},
    ),
    Kind.OPEN: (
        "a bridge is to hand a session over to its next client",
        {
            "client": CLIENT,
            "job": JOB,
            "digest": DIGEST,
            "protocol": 1,
            "name": "night-run",
            "ttl": 86400.0,
            "replaces": bytes(range(1, 17)),
        },  # fmt: skip
    ),
    Kind.OPENED: ("it has", {"cluster": SIDE}),
    Kind.OPEN_FAILED: ("it could not", {"code": "no-cluster", "message": "no Ray cluster at 10.0.0.1:6379"}),
    Kind.CLOSE: ("a bridge is to end a session", {"code": "expired", "message": "the client was silent for 40 s"}),
    Kind.CLOSED: ("the session is gone from the bridge", {"code": "goodbye", "message": "the client said goodbye"}),
    Kind.STATUS: ("an administrator asks", {}),
    Kind.STATUS_REPLY: ("the broker answers", {"broker": {"pid": 1}, "bridges": [], "sessions": [], "counters": {}}),
    Kind.KILL: ("an administrator ends a session", {"which": "night-run"}),
    Kind.KILLED: ("it has ended", {"sessions": [{"name": "night-run"}]}),
}

SESSIONLESS = (Kind.REGISTER, Kind.REGISTERED, Kind.STATUS, Kind.STATUS_REPLY, Kind.KILL, Kind.KILLED)

WHY = {"type": "ValueError", "mro": ["Exception", "BaseException"], "message": "no", "traceback": "ValueError: no\n"}
MESSAGE_EXAMPLES: list[tuple[str, list[Message]]] = [
    ("Define: a remote function", [Define(FUNCTION, "function", "f", Pickled(PICKLE))]),
    ("Put: a value without buffers that mentions two references", [Put(1, Pickled(PICKLE, [], [3, 5]))]),
    ("Put: a value with two buffers, one of them empty", [Put(3, Pickled(PICKLE, [b"buffer", b""]))]),
    ("Put: a value whose bytes come on the bulk lane, as transfer 1", [Put(5, Coming(1, [3]))]),
    ("Task: two return values", [Task([7, 9], FUNCTION, b"", Pickled(PICKLE, [], [1]))]),
    ("Create: an actor", [Create(11, FUNCTION, PICKLE, Pickled(PICKLE))]),
    ("Call: a method of an actor", [Call([13], 11, "method", b"", Pickled(PICKLE))]),
    ("Fetch: two values", [Fetch([1, 200])]),
    ("Unfetch: nobody waits any longer", [Unfetch([200])]),
    ("Watch: tell when they are ready", [Watch(1, [1, 3], True)]),
    ("Release: references dropped, one of them twice", [Release([1, 3, 3])]),
    ("Request: an operation", [Request(2, "cluster_resources", Pickled(PICKLE))]),
    ("Goodbye", [Goodbye()]),
    ("Next: a generator may bring 16 more items", [Next(15, 16)]),
    ("Ahead: two values may be wanted soon", [Ahead([7, 9])]),
    ("Detach: the session waits a day for its next client", [Detach(86_400)]),
    ("Value: a reference's value", [Value(1, Pickled(PICKLE, [b"buffer"], [2]))]),
    ("Failure: a reference's error", [Failure(3, WHY, Pickled(PICKLE))]),
    ("Ready: the answer to a Watch", [Ready(1, [3], True)]),
    ("Reply: a Request was done", [Reply(2, Pickled(PICKLE))]),
    ("Refusal: a Request failed", [Refusal(2, WHY, Pickled(b""))]),
    ("Yielded: a generator's last two items", [Yielded(15, [4, 6], True)]),
    ("Log: lines of a worker", [Log({"stream": "stdout"}, ["one", "two"])]),
    ("a batch: frames follow in the order of the messages", [
        Put(1, Pickled(PICKLE, [b"first"])), Fetch([1]), Put(3, Pickled(PICKLE, [b"second", b"third"])),
    ]),
    ("an empty batch", []),
]  # fmt: skip


def describe(message: Message, chunk: bytes | None = None) -> dict[str, Any]:
    """A message as JSON."""
    described = {"message": type(message).__name__, "fields": to_json(message._asdict())}
    return described if chunk is None else described | {"bytes": to_json(chunk)}


def vectors() -> list[dict[str, Any]]:
    """All vectors, from the code as it is now."""
    session = to_json(SESSION)
    packets: list[tuple[str, dict[str, Any]]] = []
    for kind, (what, fields) in CONTROLS.items():
        whose = to_json(NO_SESSION) if kind in SESSIONLESS else session
        head = {"kind": kind.name, "lane": "CALLS", "session": whose}
        packets.append((f"{kind.name}: {what}", head | {"fields": to_json(fields)}))
    for what, batch in MESSAGE_EXAMPLES:
        head = {"kind": "DATA", "lane": "CALLS", "session": session, "seq": 1, "ack": 0, "grant": 64}
        packets.append((what, head | {"messages": [describe(message) for message in batch]}))
    head = {"kind": "DATA", "lane": "BULK", "session": session, "seq": 300, "ack": 70_000, "grant": 70_016}
    begin = [describe(Begin(1, [4, 8])), describe(Chunk(1), PICKLE)]
    packets.append(("Begin and Chunk: a transfer begins with its pickle", head | {"messages": begin}))
    packets.append(("Chunk: bytes of its first buffer", head | {"seq": 301, "messages": [describe(Chunk(1), b"half")]}))
    squeezed = bytes.fromhex("4f68616c660400ffffffff98506668616c66")
    packets.append((
        "Compressed: 1,200 bytes by lz4",
        head | {"seq": 302, "messages": [describe(Compressed(2, 2, 1200), squeezed)]},
    ))  # fmt: skip
    for kind_name, lane, reply, what in (
        ("ACK", "CALLS", False, "where this end stands"),
        ("ACK", "BULK", True, "nothing moves: where does the other end stand?"),
        ("SYNC", "CALLS", True, "the connection is new: send again all after 2, and ask the same"),
        ("SYNC", "BULK", False, "the answer, or a packet is missing: send again all after 2"),
    ):
        position = {"ack": 2, "grant": 66, "reply": reply}
        head = {"kind": kind_name, "lane": lane, "session": session}
        packets.append((f"{kind_name}: {what}", head | position))
    return [
        {"what": what, "packet": packet, "frames": [bytes(frame).hex() for frame in to_frames(packet)]}
        for what, packet in packets
    ]


if __name__ == "__main__":
    FILE.write_text(
        json.dumps({"protocol": 1, "about": __doc__.split("\n\n")[2], "vectors": vectors()}, indent=1) + "\n"
    )
