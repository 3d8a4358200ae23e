"""Frame 0."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymq.errors import RemoteProtocolError
from raymq.protocol.route import NO_SESSION, ROUTE_SIZE, SWITCHED, Kind, Lane, Route, decode_route, encode_route
from raymq.protocol.version import PROTOCOL_NEWEST

SESSION = bytes(range(16))


def test_a_route_byte_by_byte() -> None:
    assert encode_route(Kind.DATA, SESSION, Lane.BULK) == b"RYMQ\x01\x20\x01\x00" + SESSION
    assert encode_route(Kind.STATUS) == b"RYMQ\x01\x50\x00\x00" + NO_SESSION


@given(st.sampled_from(Kind), st.binary(min_size=16, max_size=16), st.sampled_from(Lane), st.booleans())
def test_round_trip(kind: Kind, session: bytes, lane: Lane, view: bool) -> None:
    frame = encode_route(kind, session, lane)
    assert len(frame) == ROUTE_SIZE
    assert decode_route(memoryview(frame) if view else frame) == Route(PROTOCOL_NEWEST, kind, lane, session)


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_versions_kinds_and_reserved_bytes_of_the_future_are_handed_back(
    version: int, kind: int, reserved: int
) -> None:
    route = decode_route(b"RYMQ" + bytes((version, kind, 1, reserved)) + SESSION)
    assert route == Route(version, kind, Lane.BULK, SESSION)


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        (b"", "24 bytes"),
        (encode_route(Kind.PING)[:-1], "24 bytes"),
        (encode_route(Kind.PING) + b"\0", "24 bytes"),
        (b"RYMX" + encode_route(Kind.PING)[4:], "begins with"),
        (b"RYMQ\x01\x20\x02\x00" + SESSION, "unknown lane 2"),
    ],
)
def test_what_is_no_route(frame: bytes, complaint: str) -> None:
    with pytest.raises(RemoteProtocolError, match=complaint):
        decode_route(frame)


@given(st.binary(max_size=40) | st.binary(min_size=20, max_size=20).map(lambda rest: b"RYMQ" + rest))
def test_any_bytes_are_a_route_or_a_remote_protocol_error(frame: bytes) -> None:
    try:
        route = decode_route(frame)
    except RemoteProtocolError:
        return
    assert route.lane in (Lane.CALLS, Lane.BULK)
    assert len(route.session) == 16


def test_kinds_are_where_the_protocol_puts_them() -> None:
    """1 to 31 open and keep a session, 32 to 47 are switched, 48 to 79 are bridge and broker, 80.. administrators."""
    assert {kind for kind in Kind if 32 <= kind < 48} == SWITCHED
    assert len({int(kind) for kind in Kind}) == len(Kind.__members__)
