"""Large payloads in pieces."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymq.errors import RemoteProtocolError
from raymq.protocol.memory import Memory
from raymq.protocol.messages import Pickled
from raymq.protocol.transfer import Incoming, Outgoing

parts = st.lists(st.binary(max_size=30), min_size=1, max_size=6).filter(any)


@given(parts, st.integers(1, 12))
def test_cut_up_and_put_together(parts: list[bytes], limit: int) -> None:
    outgoing = Outgoing(Pickled(parts[0], parts[1:]))
    incoming = Incoming(outgoing.sizes, sum(map(len, parts)), Memory())
    while not outgoing.finished:
        assert not incoming.finished
        chunk = outgoing.take(limit)
        assert 0 < len(chunk) <= limit
        incoming.write(chunk)
    assert incoming.finished
    inband, buffers, refs = incoming.payload()
    assert [inband, *buffers] == parts
    assert refs == ()
    with pytest.raises(RemoteProtocolError, match="does not fit"):
        incoming.write(b"x")


def test_chunks_are_views_and_values_are_read_only() -> None:
    memory = bytearray(b"0123456789")
    outgoing = Outgoing(Pickled(memoryview(memory)))
    assert outgoing.take(4).obj is memory
    incoming = Incoming([2, 1], 3, Memory())
    incoming.write(b"ab")
    incoming.write(b"c")
    payload = incoming.payload()
    assert all(memoryview(part).readonly for part in (payload.inband, *payload.buffers))


def test_buffers_of_any_shape_travel_as_bytes() -> None:
    numbers = array("d", [1.0, 2.0, 3.0])
    square = memoryview(bytes(range(6))).cast("B", (2, 3))
    outgoing = Outgoing(Pickled(b"p", [memoryview(numbers), square]))
    assert outgoing.sizes == [1, 24, 6]
    taken = [bytes(outgoing.take(100)) for _ in range(3)]
    assert taken == [b"p", numbers.tobytes(), bytes(range(6))]
    assert outgoing.finished


@pytest.mark.parametrize("sizes", [[], [0], [0, 0], [11], [5, 6], [1 << 62, 1 << 62]])
def test_a_transfer_has_at_least_one_byte_and_at_most_the_limit(sizes: list[int]) -> None:
    with pytest.raises(RemoteProtocolError, match="1 to 10 are accepted"):
        Incoming(sizes, 10, Memory())


def test_a_transfer_that_does_not_fit_into_memory_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="no memory"):
        Incoming([1 << 62], 1 << 63, Memory())


@pytest.mark.parametrize("chunk", [b"", b"1234"])
def test_a_chunk_that_does_not_fit(chunk: bytes) -> None:
    incoming = Incoming([0, 3, 0, 5], 100, Memory())
    with pytest.raises(RemoteProtocolError, match="does not fit"):
        incoming.write(chunk)
