"""Between messages and bytes: round trips, and every way in which bytes can be wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raymq.errors import LocalProtocolError, RemoteProtocolError
from raymq.protocol.codec import (
    Encoded,
    data_header,
    decode_batch,
    decode_data,
    decode_position,
    encode,
    encode_chunk,
    join,
    pack,
    unpack,
)
from raymq.protocol.messages import (
    CODES,
    WITH_BYTES,
    Begin,
    Buffer,
    Chunk,
    Coming,
    Failure,
    Fetch,
    Goodbye,
    Message,
    Pickled,
    Put,
    Value,
)
from tests.protocol.strategies import counts, messages, some_bytes, strange

SEQ, ACK, GRANT = 3, 2, 66


def encoded(message: Message) -> Encoded:
    """The message as bytes; a Chunk gets some."""
    return encode_chunk(message, b"chunk") if isinstance(message, WITH_BYTES) else encode(message)


def packet(batch: Sequence[Message]) -> list[Buffer]:
    """Frame 1 and those behind it."""
    parts = [encoded(message) for message in batch]
    return [data_header(SEQ, ACK, GRANT, join(parts)), *(buffer for part in parts for buffer in part.buffers)]


def decoded(frames: Sequence[Buffer]) -> list[tuple[Message, Buffer | None]]:
    """The messages of a packet."""
    return decode_batch(decode_data(frames[0]).batch, frames[1:])


def decode_or_refuse(decode: Callable[[], Any]) -> None:
    """Nothing but RemoteProtocolError may come out of a decoder."""
    try:
        decode()
    except RemoteProtocolError as error:
        assert len(str(error)) < 1000


@given(st.lists(messages, max_size=20))
def test_every_message_comes_back_as_it_went(batch: list[Message]) -> None:
    back = decoded(packet(batch))
    assert [message for message, _ in back] == batch
    assert [type(message) for message, _ in back] == [type(message) for message in batch]
    assert all(data == (b"chunk" if isinstance(message, WITH_BYTES) else None) for message, data in back)


@given(messages)
def test_the_size_of_an_encoded_message_is_that_of_its_bytes(message: Message) -> None:
    part = encoded(message)
    assert part.nbytes == len(part.body) + sum(map(len, part.buffers))
    payload = getattr(message, "payload", None)
    assert part.transfer == (payload.transfer if isinstance(payload, Coming) else 0)


@given(counts, counts, counts)
def test_the_numbers_of_a_packet_come_back(seq: int, ack: int, grant: int) -> None:
    assert decode_data(data_header(seq, ack, grant, join([]))) == (seq, ack, grant, [])


@given(counts, counts, st.booleans())
def test_a_position_comes_back(ack: int, grant: int, reply: bool) -> None:
    assert decode_position(pack((ack, grant, reply))) == (ack, grant, reply)


def test_buffers_are_passed_on_without_a_copy() -> None:
    buffer = memoryview(b"x" * 100)
    part = encode(Put(1, Pickled(b"pickle", [buffer])))
    assert part.buffers[0] is buffer
    [(message, _)] = decode_batch(unpack(join([part])), [buffer])
    assert isinstance(message, Put)
    assert isinstance(message.payload, Pickled)
    assert message.payload.buffers[0] is buffer


@pytest.mark.parametrize("length", [0, 1, 15, 16, 512, 65535])
def test_a_batch_of_any_length(length: int) -> None:
    assert unpack(join([encode(Goodbye())] * length)) == [[CODES[Goodbye]]] * length


@pytest.mark.parametrize(
    "message",
    [
        Fetch([1 << 64]),
        Fetch([-(1 << 63) - 1]),
        Failure(1, {"why": object()}, Pickled(b"")),
        Failure(1, {"why": "\ud800"}, Pickled(b"")),
    ],
)
def test_what_cannot_be_encoded_is_our_fault_and_does_not_spoil_the_next(message: Message) -> None:
    with pytest.raises(LocalProtocolError, match=type(message).__name__):
        encode(message)
    assert encode(Goodbye()).body == b"\x91\x0b"


# --- what a peer may send


@given(messages, st.data())
def test_a_truncated_packet_is_refused(message: Message, data: st.DataObject) -> None:
    header = bytes(packet([message])[0])
    cut = data.draw(st.integers(0, len(header) - 1))
    with pytest.raises(RemoteProtocolError):
        decode_data(header[:cut])
    with pytest.raises(RemoteProtocolError):
        decode_data(header + b"\0")


@given(st.lists(messages, max_size=4), some_bytes)
def test_one_frame_too_many_is_refused(batch: list[Message], frame: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="frames"):
        decoded([*packet(batch), frame])


@given(st.lists(messages, min_size=1, max_size=4))
def test_one_frame_too_few_is_refused(batch: list[Message]) -> None:
    frames = packet(batch)
    if len(frames) > 1:
        with pytest.raises(RemoteProtocolError, match="frame"):
            decoded(frames[:-1])


def test_a_frame_of_another_size_than_announced_is_refused() -> None:
    frames = packet([Value(1, Pickled(b"", [b"four"]))])
    with pytest.raises(RemoteProtocolError, match="differ in number or size"):
        decoded([frames[0], b"five!"])


DECODERS: list[Callable[[bytes], Any]] = [
    unpack,
    decode_position,
    lambda frame: decoded([frame]),
    lambda frame: decoded([frame, b"frame"]),
]


@pytest.mark.parametrize("decode", DECODERS)
@given(frame=st.binary(max_size=60) | strange.map(msgpack.packb))
@example(frame=b"")
@example(frame=b"\xc1")  # never used by msgpack
@example(frame=b"\xa1\xff")  # text that is no UTF-8
@example(frame=b"\x81\x01\x01")  # a map whose key is no text
@example(frame=b"\x81\x90\x01")  # a map whose key is a list
@example(frame=b"\xdd\xff\xff\xff\xff")  # an array of four thousand million elements
@example(frame=b"\xdf\xff\xff\xff\xff")
@example(frame=b"\xdb\xff\xff\xff\xff")
@example(frame=b"\xd6\xff\x00\x00\x00\x00")  # a timestamp
@example(frame=b"\xc7\x03\xff\x00\x00\x00")  # a timestamp of a size that none has
@example(frame=b"\xc7\x0c\xff\xff\xff\xff\xff" + b"\xff" * 8)  # one of more nanoseconds than a second has
def test_any_bytes_decode_or_are_refused(decode: Callable[[bytes], Any], frame: bytes) -> None:
    decode_or_refuse(lambda: decode(frame))


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("depth", [10, 500, 990, 1010, 1024, 5000, 500_000])
@pytest.mark.parametrize("before", [b"", b"\x94\x01\x00\x01\x91", b"\x93\x01\x01", b"\x94\x01\x00\x01\x91\x92\x06"])
def test_deep_nesting_is_refused(decode: Callable[[bytes], Any], depth: int, before: bytes) -> None:
    """Neither the decoder nor the words of its refusal may run out of stack."""
    decode_or_refuse(lambda: decode(before + b"\x91" * depth + b"\xc0"))


@given(strange, strange, strange, strange)
def test_counters_are_counters(seq: Any, ack: Any, grant: Any, batch: Any) -> None:
    good = all(type(count) is int and 0 <= count < 1 << 63 for count in (seq, ack, grant)) and type(batch) is list
    try:
        back = decode_data(msgpack.packb([seq, ack, grant, batch]))
    except RemoteProtocolError:
        assert not good
    else:
        assert good
        assert back[:3] == (seq, ack, grant)


@pytest.mark.parametrize(
    "raw",
    [None, 1, [], [1, 2], [1, 2, True, 4], [1, 2, 1], [1, 2, None], [-1, 2, True], [1, 1 << 63, True], [True, 2, True]],
)
def test_what_is_no_position(raw: Any) -> None:
    with pytest.raises(RemoteProtocolError, match="a position is"):
        decode_position(msgpack.packb(raw))


@pytest.mark.parametrize(
    "raw", [None, {}, [], [1, 0, 1], [1, 0, 1, [], 0], [1, 0, 1, {}], [1, 0, 1, None], [1.0, 0, 1, []], [1, -1, 1, []]]
)
def test_what_is_no_data(raw: Any) -> None:
    with pytest.raises(RemoteProtocolError, match="DATA"):
        decode_data(msgpack.packb(raw))


@given(st.lists(strange, max_size=3), st.lists(some_bytes, max_size=2))
def test_any_batch_decodes_or_is_refused(batch: list[Any], buffers: list[bytes]) -> None:
    decode_or_refuse(lambda: decode_batch(batch, buffers))


def test_a_chunk_needs_its_frame() -> None:
    with pytest.raises(RemoteProtocolError, match="without its frame"):
        decode_batch([[CODES[Chunk], 1]], [])


def test_each_message_gets_the_frames_that_are_its_own() -> None:
    batch = [
        Put(1, Pickled(b"a", [b"1", b"22"], [])),
        Begin(5, [4]),
        Put(3, Coming(5, [9])),
        Put(7, Pickled(b"b", [b""], [1])),
    ]
    assert [message for message, _ in decoded(packet(batch))] == batch


def test_a_payload_that_comes_later_has_no_bytes_of_its_own() -> None:
    with pytest.raises(RemoteProtocolError, match="frames follow"):
        decode_batch([[CODES[Put], 1, [b"", [1], [], 7]]], [b"x"])
