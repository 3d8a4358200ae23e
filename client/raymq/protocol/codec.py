"""Between messages and bytes. The only module that imports msgpack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from reprlib import repr as brief
from typing import Any, NamedTuple

import msgpack

from raymq.errors import LocalProtocolError, RemoteProtocolError
from raymq.protocol.messages import (
    CODES,
    WITH_BYTES,
    Buffer,
    Chunk,
    Coming,
    Compressed,
    Message,
    Pickled,
    check_message,
)

pack: Callable[[Any], bytes] = msgpack.Packer(use_bin_type=True, autoreset=True).pack
"""Encode plain data. One packer for the process: it holds the GIL for the whole of a call, and keeps its buffer."""


def unpack(frame: Buffer) -> Any:
    """Decode a frame of msgpack.

    Raises:
        RemoteProtocolError: it is no msgpack, is truncated, or has bytes left over.
    """
    try:
        return msgpack.unpackb(frame, raw=False, strict_map_key=True)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError, MemoryError) as error:
        raise RemoteProtocolError(f"not msgpack: {error or type(error).__name__}") from None


def unpack_foreign(data: Buffer, ext_hook: Callable[[int, bytes], Any] = msgpack.ExtType) -> Any:
    """Read MessagePack data that others have written, for which the limits of the protocol do not hold.

    Args:
        data: with keys of any type.
        ext_hook: called with the type and the bytes of each extension; returns what stands for it.

    Raises:
        ValueError: it is no msgpack, is truncated, or has bytes left over.
    """
    return msgpack.unpackb(data, ext_hook=ext_hook, raw=False, strict_map_key=False)


class Encoded(NamedTuple):
    """A message as bytes, with the buffers that follow as frames of their own."""

    body: bytes
    buffers: Sequence[Buffer]
    nbytes: int
    transfer: int = 0
    """The transfer that it announces, if its payload travels as one."""


def encode(message: Message) -> Encoded:
    """Encode one message; its payload's buffers are passed on, not copied."""
    fields: list[Any] = [CODES[type(message)], *message]
    buffers: Sequence[Buffer] = ()
    transfer = 0
    last = fields[-1]
    if type(last) is Pickled:
        buffers = last.buffers
        fields[-1] = (last.inband, [len(buffer) for buffer in buffers], last.refs, 0)
    elif type(last) is Coming:
        transfer = last.transfer
        fields[-1] = (b"", (), last.refs, transfer)
    try:
        body = pack(fields)
    except (TypeError, ValueError, OverflowError) as error:
        raise LocalProtocolError(f"{type(message).__name__} cannot be encoded: {error}") from error
    return Encoded(body, buffers, len(body) + sum(map(len, buffers)), transfer)


def encode_chunk(message: Chunk | Compressed, data: Buffer) -> Encoded:
    """Encode the next bytes of a transfer."""
    body = pack((CODES[type(message)], *message))
    return Encoded(body, (data,), len(body) + len(data))


def _array_header(length: int) -> bytes:
    return bytes((0x90 | length,)) if length < 16 else b"\xdc" + length.to_bytes(2, "big")


def join(messages: Sequence[Encoded]) -> bytes:
    """The msgpack array of messages that are each encoded already."""
    return _array_header(len(messages)) + b"".join([message.body for message in messages])


def data_header(seq: int, ack: int, grant: int, batch: bytes) -> bytes:
    """Frame 1 of DATA, ``[seq, ack, grant, [message, ...]]``, around a batch that is encoded already."""
    return b"\x94" + pack(seq) + pack(ack) + pack(grant) + batch


class Data(NamedTuple):
    """Frame 1 of DATA, checked; the messages are still raw."""

    seq: int
    ack: int
    grant: int
    batch: list[Any]


def _counters(raw: Any, length: int, kind: str) -> None:
    counts = type(raw) is list and len(raw) == length
    if not counts or not all(type(field) is int and 0 <= field < 1 << 63 for field in raw[:3]):
        raise RemoteProtocolError(f"{kind} is an array of {length} that begins with counters, not {brief(raw)}")


def decode_data(frame: Buffer) -> Data:
    """Decode frame 1 of DATA.

    Raises:
        RemoteProtocolError: it is anything else.
    """
    raw = unpack(frame)
    _counters(raw, 4, "DATA")
    if type(raw[3]) is not list:
        raise RemoteProtocolError("DATA carries a list of messages")
    return Data(*raw)


def decode_position(frame: Buffer) -> tuple[int, int, bool]:
    """Decode frame 1 of ACK and of SYNC, ``[ack, grant, reply]``.

    Raises:
        RemoteProtocolError: it is anything else.
    """
    raw = unpack(frame)
    if type(raw) is not list or len(raw) != 3 or type(raw[2]) is not bool:
        raise RemoteProtocolError(f"a position is [ack, grant, reply], not {brief(raw)}")
    _counters(raw[:2], 2, "a position")
    return raw[0], raw[1], raw[2]


def decode_batch(batch: list[Any], buffers: Sequence[Buffer]) -> list[tuple[Message, Buffer | None]]:
    """Build the messages of a packet, handing each the frames that are its own.

    Returns:
        Pairs of a message and, for a piece of a transfer, its bytes.

    Raises:
        RemoteProtocolError: a message is malformed, or the frames are not those that the messages announce.
    """
    messages: list[tuple[Message, Buffer | None]] = []
    position = 0
    for raw in batch:
        kind = check_message(raw)
        data = None
        if kind in WITH_BYTES:
            if position == len(buffers):
                raise RemoteProtocolError(f"a {kind.__name__} without its frame")
            data = buffers[position]
            position += 1
        elif type(raw[-1]) is list and len(raw[-1]) == 4 and "payload" in kind._fields:
            raw[-1], position = _decode_payload(raw[-1], buffers, position)
        messages.append((kind(*raw[1:]), data))
    if position != len(buffers):
        raise RemoteProtocolError(f"{len(buffers)} frames follow, the messages announce {position}")
    return messages


def _decode_payload(raw: list[Any], buffers: Sequence[Buffer], position: int) -> tuple[Pickled | Coming, int]:
    inband, sizes, refs, transfer = raw
    if transfer:
        return Coming(transfer, refs), position
    own = buffers[position : position + len(sizes)]
    if [len(buffer) for buffer in own] != sizes:
        raise RemoteProtocolError("the frames of a payload differ in number or size from what it announces")
    return Pickled(inband, own, refs), position + len(sizes)
