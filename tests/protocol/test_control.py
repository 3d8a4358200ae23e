"""The maps of the control kinds."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymq.errors import RemoteProtocolError
from raymq.protocol.control import CONTROL, decode_control, encode_control
from raymq.protocol.limits import Timing
from raymq.protocol.route import SWITCHED, Kind
from tests.protocol.strategies import plain, strange

GOOD: dict[type, Any] = {list: [1, 1], bytes: b"token", str: "text", dict: {}, int: 1, float: 0.5, bool: True}
KEYS = [(kind, key) for kind, keys in CONTROL.items() for key in keys]


def right(kind: Kind) -> dict[str, Any]:
    """A map for this kind with all that it needs."""
    return {key: GOOD[expected] for key, expected in CONTROL[kind].items()}


def test_every_kind_that_is_not_switched_has_a_map() -> None:
    assert set(CONTROL) == set(Kind) - SWITCHED


@pytest.mark.parametrize("kind", CONTROL)
def test_round_trip(kind: Kind) -> None:
    assert decode_control(kind, encode_control(kind, **right(kind))) == right(kind)


@given(st.sampled_from(sorted(CONTROL)), st.dictionaries(st.text(max_size=9), plain, max_size=3))
def test_keys_of_the_future_pass(kind: Kind, others: dict[str, Any]) -> None:
    fields = others | right(kind)
    assert decode_control(kind, msgpack.packb(fields)) == fields


@pytest.mark.parametrize(("kind", "key"), KEYS)
def test_a_missing_key_is_our_bug_or_the_peers_fault(kind: Kind, key: str) -> None:
    fields = right(kind)
    del fields[key]
    with pytest.raises(KeyError, match=key):
        encode_control(kind, **fields)
    with pytest.raises(RemoteProtocolError, match=key):
        decode_control(kind, msgpack.packb(fields))


@pytest.mark.parametrize(("kind", "key"), KEYS)
def test_a_value_of_another_type_is_refused(kind: Kind, key: str) -> None:
    wrong = [None, *(value for expected, value in GOOD.items() if expected is not CONTROL[kind][key])]
    if CONTROL[kind][key] is float:
        wrong.remove(GOOD[int])
    for value in wrong:
        with pytest.raises(RemoteProtocolError, match=key):
            decode_control(kind, msgpack.packb(right(kind) | {key: value}))


def test_whole_seconds_are_seconds() -> None:
    """A broker that was told ``grace=0`` packs an integer; so does every number without a fraction from JavaScript."""
    fields = right(Kind.REGISTERED) | {"heartbeat": 1, "grace": 0}
    back = decode_control(Kind.REGISTERED, encode_control(Kind.REGISTERED, **fields))
    assert (back["heartbeat"], back["grace"]) == (1.0, 0.0)
    assert type(back["grace"]) is float


@given(st.sampled_from(sorted(CONTROL)), st.binary(max_size=60) | strange.map(msgpack.packb))
def test_any_bytes_are_a_map_or_refused(kind: Kind, frame: bytes) -> None:
    try:
        fields = decode_control(kind, frame)
    except RemoteProtocolError:
        return
    assert CONTROL[kind].keys() <= fields.keys()


@pytest.mark.parametrize("depth", [10, 1000, 1020, 10_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_control(Kind.PING, b"\x91" * depth + b"\xc0")


def test_a_map_has_a_limit() -> None:
    with pytest.raises(RemoteProtocolError, match="bytes"):
        decode_control(Kind.PING, msgpack.packb({"padding": bytes(1 << 20)}))


@pytest.mark.parametrize("intervals", [{"heartbeat": 0.0}, {"heartbeat": 10.0, "lease": 10.0}, {"grace": -1.0}])
def test_intervals_that_make_no_sense_are_refused(intervals: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"interval|grace"):
        Timing(**intervals)
    assert Timing(heartbeat=0.1, lease=1.0, grace=0.0).grace == 0.0
