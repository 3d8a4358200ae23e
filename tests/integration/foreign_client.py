"""A client that was written from protocol.md alone: ZeroMQ, msgpack and pickle, and nothing of raymq.

It does what the document asks of a client, as plainly as it can; where it may rest (it never probes, and loses no
packet on a loopback connection) it rests.
"""

from __future__ import annotations

import io
import os
import pickle
import platform
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import zmq

HELLO, ATTACH, WELCOME, REFUSED, ATTACHED, ENDED, PING = 1, 2, 8, 9, 10, 12, 16
DATA, ACK, SYNC = 32, 33, 34
BEGIN, CHUNK = 64, 65
CALLS, BULK = 0, 1
WINDOW = {CALLS: 64, BULK: 16}
PATIENCE = 60.0
"""Seconds for an answer; a limit for a busy machine."""


class StandIn:
    """Travels as a call of the global ``raymq.pickling.resolve`` (section 13)."""

    def __init__(self, *fields: Any) -> None:
        self.fields = fields

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StandIn) and self.fields == other.fields

    def __hash__(self) -> int:
        return hash(self.fields)


class _Pickler(pickle._Pickler):  # type: ignore[name-defined, misc]
    dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]  # noqa: RUF012  as its base has it

    def _save_stand_in(self, value: StandIn) -> None:
        self.save("raymq.pickling")
        self.save("resolve")
        self.write(pickle.STACK_GLOBAL)
        self.save(value.fields)
        self.write(pickle.REDUCE)
        self.memoize(value)

    dispatch[StandIn] = _save_stand_in


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return StandIn if (module, name) == ("raymq.pickling", "resolve") else super().find_class(module, name)


def dumps(value: Any) -> bytes:
    file = io.BytesIO()
    _Pickler(file, protocol=5).dump(value)
    return file.getvalue()


def loads(inband: bytes, buffers: Sequence[bytes] = ()) -> Any:
    value = _Unpickler(io.BytesIO(inband), buffers=buffers).load()
    kind, *fields = value.fields if isinstance(value, StandIn) else ("",)
    if kind == "bytes":
        return bytes(fields[0])
    if kind == "msgpack":
        data, pickled, buffers = fields
        objects = pickle.loads(pickled, buffers=buffers) if pickled else []

        def mentioned(code: int, place: bytes) -> Any:
            assert code == 101
            return objects[msgpack.unpackb(place)]

        return msgpack.unpackb(data, ext_hook=mentioned, strict_map_key=False)
    return value


def inline(value: Any, refs: Sequence[int] = ()) -> list[Any]:
    """A payload that travels inside of its message."""
    return [dumps(value), [], list(refs), 0]


class ForeignClient:
    """One session."""

    def __init__(self, address: str) -> None:
        self.session, self.token = os.urandom(16), os.urandom(32)
        self.ended: dict[str, Any] | None = None
        self._context = zmq.Context()
        self._lanes = [self._context.socket(zmq.DEALER) for _ in (CALLS, BULK)]
        self._poller = zmq.Poller()
        for socket in self._lanes:
            socket.linger = 0
            socket.heartbeat_ivl = 1000
            socket.connect(f"tcp://{address}")
            self._poller.register(socket, zmq.POLLIN)
        self._sent = {CALLS: 0, BULK: 0}
        self._received = {CALLS: 0, BULK: 0}
        self._inbox: list[tuple[list[Any], list[bytes]]] = []
        self._transfers: dict[int, tuple[list[int], bytearray]] = {}

    def close(self) -> None:
        for socket in self._lanes:
            socket.close()
        self._context.term()

    # --- packets

    def _send(self, kind: int, lane: int, body: Any, buffers: Sequence[bytes] = ()) -> None:
        route = struct.pack(">4sBBBB16s", b"RYMQ", 1, kind, lane, 0, self.session)
        self._lanes[lane].send_multipart([route, msgpack.packb(body), *buffers])

    def _position(self, lane: int) -> list[int]:
        return [self._received[lane], self._received[lane] + WINDOW[lane]]

    def send(self, *messages: Any, lane: int = CALLS, buffers: Sequence[bytes] = ()) -> None:
        """Send a batch of messages."""
        self._sent[lane] += 1
        self._send(DATA, lane, [self._sent[lane], *self._position(lane), list(messages)], buffers)

    def _receive(self, timeout: float) -> tuple[int, int, Any, list[bytes]] | None:
        ready = self._poller.poll(timeout * 1000)
        if not ready:
            return None
        route, body, *buffers = ready[0][0].recv_multipart()
        magic, version, kind, lane, _, session = struct.unpack(">4sBBBB16s", route)
        assert (magic, version, session) == (b"RYMQ", 1, self.session)
        return kind, lane, msgpack.unpackb(body), buffers

    # --- the session

    def open(self) -> dict[str, Any]:
        """The handshake; returns what WELCOME says."""
        python = platform.python_version()
        hello = {
            "protocol": [1, 1], "token": self.token, "job": {},
            "client": {"python": python, "ray": "", "raymq": "foreign 1", "program": "foreign"},
        }  # fmt: skip
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self._send(HELLO, CALLS, hello)
            packet = self._receive(0.5)
            if packet is None:
                continue
            kind, _, fields, _ = packet
            if kind == WELCOME:
                self._send(ATTACH, BULK, {"token": self.token})
                return dict(fields)
            assert kind == PING or (kind == REFUSED and fields["retry"]), (kind, fields)
            time.sleep(0.5)
        raise TimeoutError("no WELCOME")

    def step(self) -> None:
        """Take in one packet."""
        packet = self._receive(PATIENCE)
        if packet is None:
            raise TimeoutError("not even a PING")
        kind, lane, body, buffers = packet
        if kind == PING:
            self._send(PING, lane, {"mark": body["mark"]} if "mark" in body else {})
        elif kind == ATTACHED:
            self._send(SYNC, lane, [*self._position(lane), True])
        elif kind in (ACK, SYNC) and body[2]:
            self._send(kind, lane, [*self._position(lane), False])
        elif kind == ENDED:
            self.ended = body
        elif kind == DATA and body[0] == self._received[lane] + 1:
            self._received[lane] += 1
            for message in body[3]:
                self._take(message, buffers)
            self._send(ACK, lane, [*self._position(lane), False])

    def _take(self, message: list[Any], buffers: list[bytes]) -> None:
        if message[0] == BEGIN:
            self._transfers[message[1]] = (message[2], bytearray())
        elif message[0] == CHUNK:
            self._transfers[message[1]][1].extend(buffers.pop(0))
        else:
            payload = message[-1] if message[0] in (32, 33, 35, 36) else None
            self._inbox.append((message, [buffers.pop(0) for _ in payload[1]] if payload else []))

    def wait_for(self, wanted: Callable[[list[Any]], bool]) -> tuple[list[Any], list[bytes]]:
        """The first message that is wanted, and its buffers."""
        while True:
            for position, (message, _) in enumerate(self._inbox):
                if wanted(message):
                    return self._inbox.pop(position)
            self.step()

    def value(self, ref: int) -> Any:
        """The value of a reference that was fetched."""
        message, buffers = self.wait_for(lambda message: message[0] in (32, 33) and message[1] == ref)
        assert message[0] == 32, message
        inband, _, _, transfer = message[2]
        if not transfer:
            return loads(inband, buffers)
        while transfer not in self._transfers or len(self._transfers[transfer][1]) < sum(self._transfers[transfer][0]):
            self.step()
        sizes, data = self._transfers.pop(transfer)
        parts = []
        for size in sizes:
            parts.append(bytes(data[:size]))
            del data[:size]
        return loads(parts[0], parts[1:])
