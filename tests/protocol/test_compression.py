"""Which chunks are compressed, and what a peer may not send as one that was."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from raymq.errors import RemoteProtocolError
from raymq.protocol.channel import Arrived, Channel, Received
from raymq.protocol.codec import Encoded, data_header, encode, encode_chunk, join
from raymq.protocol.compression import CODECS, SAMPLE_AGAIN, Compressor, agreed, available, decompress, wish
from raymq.protocol.limits import ACK_DELAY, CHUNK
from raymq.protocol.messages import Begin, Compressed, Pickled, Put
from raymq.protocol.route import Kind, Lane, decode_route
from raymq.protocol.stream import Frames

pytest.importorskip("zstandard")
pytest.importorskip("lz4")

TEXT = b"all work and no play makes a dull text. " * 26_000
NOISE = os.urandom(CHUNK)
SLOW, FAST = 1e6, 1e9


def test_what_is_told_in_the_handshake() -> None:
    assert available() == ("zstd", "lz4")
    assert wish(None) == ""
    assert wish("auto") == "auto zstd lz4"
    assert wish("lz4") == "lz4 zstd lz4"
    with pytest.raises(ValueError, match="compression is \"auto\", 'zstd', 'lz4' or None, not 'gzip'"):
        wish("gzip")


@pytest.fixture
def no_libraries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in ("zstandard", "lz4"):
        monkeypatch.setitem(sys.modules, module, None)  # what stands for "is not there"
    available.cache_clear()
    yield
    available.cache_clear()


@pytest.mark.usefixtures("no_libraries")
def test_without_the_libraries() -> None:
    assert wish("auto") == ""
    with pytest.raises(ModuleNotFoundError, match=r'pip install "raymq\[compression\]"'):
        wish("zstd")
    assert agreed("auto zstd lz4", "auto zstd lz4") is None
    with pytest.raises(RemoteProtocolError, match="by codec 1"):
        decompress(1, b"", 10)


@pytest.mark.parametrize(
    ("wished", "theirs", "slow", "fast"),
    [
        ("auto zstd lz4", "auto zstd lz4", "zstd", ""),
        ("auto lz4", "auto zstd lz4", "lz4", ""),
        ("zstd zstd lz4", "auto zstd lz4", "zstd", "zstd"),
        ("lz4 zstd lz4", "auto zstd lz4", "lz4", "lz4"),
    ],
)
def test_what_two_ends_agree_on(wished: str, theirs: str, slow: str, fast: str) -> None:
    compressor = agreed(wished, theirs)
    assert compressor is not None
    assert (compressor.codec(SLOW), compressor.codec(FAST)) == (slow, fast)


@pytest.mark.parametrize(
    ("wished", "theirs"),
    [("", "auto zstd"), (None, None), ("auto zstd", ""), ("zstd zstd lz4", "auto lz4"), ("auto", "auto"), (7, 7)],
)
def test_two_ends_that_agree_on_nothing(wished: object, theirs: object) -> None:
    assert agreed(wished, theirs) is None


def test_a_way_that_is_not_known_is_no_thin_one() -> None:
    compressor = Compressor(("zstd", "lz4"), always=False)
    assert [compressor.codec(speed) for speed in (None, CODECS["zstd"].thin, CODECS["zstd"].thin + 1, CODECS["lz4"].thin + 1)] == [
        "", "zstd", "lz4", "",
    ]  # fmt: skip
    assert compressor.compress(1, memoryview(TEXT), None) is None
    assert not compressor.busy


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_there_and_back(codec: str) -> None:
    packed = Compressor((codec,), always=True).compress(1, memoryview(TEXT)[:CHUNK], None)
    assert packed is not None
    number, data = packed
    assert number == CODECS[codec].number
    assert len(data) < len(TEXT) / 10
    assert decompress(number, data, len(TEXT)) == TEXT


def test_what_does_not_become_smaller_speaks_for_what_follows_in_its_transfer() -> None:
    compressor = Compressor(("zstd",), always=True)
    assert compressor.compress(1, memoryview(NOISE), None) is None
    assert compressor.busy, "that was the sample"
    for _ in range(SAMPLE_AGAIN - 1):
        assert compressor.compress(1, memoryview(TEXT), None) is None
        assert not compressor.busy
    assert compressor.compress(1, memoryview(TEXT), None) is not None
    assert compressor.compress(1, memoryview(NOISE), None) is None
    assert compressor.compress(2, memoryview(TEXT), None) is not None, "another transfer"
    compressor.forget(1)
    assert compressor.compress(1, memoryview(TEXT), None) is not None


def test_a_small_piece_goes_as_it_is() -> None:
    assert Compressor(("zstd",), always=True).compress(1, memoryview(b"a" * 1000), None) is None


def _packed(codec: str, data: bytes) -> bytes:
    packed = Compressor((codec,), always=True).compress(1, memoryview(data), None)
    assert packed is not None
    return packed[1]


BOMB = _packed("zstd", b"\0" * (64 * CHUNK))


@pytest.mark.parametrize(
    ("number", "data", "size"),
    [
        (0, b"x", 1), (3, b"x", 1), (1, b"", 1), (1, b"no zstd", 7), (2, b"\xff" * 9, 7), (2, b"", 7),
        (1, _packed("zstd", TEXT), 0), (1, _packed("zstd", TEXT), CHUNK + 1), (1, _packed("zstd", TEXT)[:-9], len(TEXT)),
        (2, _packed("lz4", TEXT), len(TEXT) - 1), (2, _packed("lz4", TEXT), CHUNK + 1), (1, BOMB, 64 * CHUNK),
    ],
)  # fmt: skip
def test_what_is_malformed(number: int, data: bytes, size: int) -> None:
    with pytest.raises(RemoteProtocolError, match="chunk"):
        decompress(number, data, size)


@pytest.mark.parametrize(
    ("number", "data", "size"),
    [(1, _packed("zstd", TEXT), len(TEXT) - 1), (1, BOMB, CHUNK), (2, _packed("lz4", TEXT), len(TEXT) + 1)],
)
def test_what_has_another_size_than_it_says(number: int, data: bytes, size: int) -> None:
    with pytest.raises(RemoteProtocolError, match="a compressed chunk that"):
        decompress(number, data, size)


# --- two channels


def _joined(compressor: Compressor | None) -> tuple[Channel, Channel]:
    sender, receiver = Channel(bytes(16)), Channel(bytes(16))
    sender.compressor = compressor
    return sender, receiver


def _carry(sender: Channel, receiver: Channel, data: bytes, speed: float) -> tuple[int, int]:
    """Send a value over a way of so many bytes per second: the bytes that it took, and the most packets at a time."""
    sender.send(Put(1, sender.announce(Pickled(data))))
    now, nbytes, most, arrived = 0.0, 0, 0, b""
    while packets := sender.poll(now):
        most = max(most, len(packets))
        for lane, frames in packets:
            size = sum(map(len, frames))
            nbytes += size
            now += size / speed
            for event in receiver.receive(decode_route(frames[0]).kind, lane, frames[1:], now):
                if isinstance(event, Received):
                    receiver.consumed(1, now)
                elif isinstance(event, Arrived):
                    arrived = bytes(event.payload.inband)
        for lane, frames in receiver.poll(now + ACK_DELAY):
            sender.receive(decode_route(frames[0]).kind, lane, frames[1:], now)
    assert arrived == data
    return nbytes, most


def test_a_value_that_is_compressed_is_the_same_there_and_calls_get_their_turn() -> None:
    data = TEXT * 8 + NOISE + TEXT
    nbytes, most = _carry(*_joined(Compressor(("zstd",), always=True)), data, SLOW)
    assert nbytes < len(data) / 2
    assert most <= 2, "a codec runs once for each look at what else is to be done"


def test_a_way_that_proves_thin_is_spared() -> None:
    data = TEXT * 40
    thin, _ = _carry(*_joined(Compressor(("zstd", "lz4"), always=False)), data, SLOW)
    fast, _ = _carry(*_joined(Compressor(("zstd", "lz4"), always=False)), data, FAST)
    plain, _ = _carry(*_joined(None), data, SLOW)
    assert fast == plain
    assert thin < plain * 0.7


def test_a_compressed_chunk_is_held_to_the_rules_of_others() -> None:
    _, receiver = _joined(None)
    head = [encode(Begin(1, [len(TEXT) + 1]))]
    good = [*head, encode_chunk(Compressed(1, 2, len(TEXT)), _packed("lz4", TEXT))]
    again = [encode_chunk(Compressed(1, 2, len(TEXT)), _packed("lz4", TEXT))]
    assert receiver.receive(Kind.DATA, Lane.BULK, _packet(1, good), 0.0) == []
    with pytest.raises(RemoteProtocolError, match="does not fit"):
        receiver.receive(Kind.DATA, Lane.BULK, _packet(2, again), 0.0)


def _packet(seq: int, parts: list[Encoded]) -> Frames:
    return [data_header(seq, 0, 16, join(parts)), *(buffer for part in parts for buffer in part.buffers)]
