"""Every state of the broker against every event, and against random ones: nothing raises, nothing is left behind."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymq.protocol.codec import pack
from raymq.protocol.control import CONTROL
from raymq.protocol.limits import Timing
from raymq.protocol.route import SWITCHED, Kind, Lane, encode_route
from raymq_broker.actions import BridgeEnded, ClusterLost, Side
from raymq_broker.entities import SessionState
from raymq_broker.lifecycle import Settings
from tests.broker.desk import BRIDGE, CLIENT, HELLO, NAMELESS, OPENED, REGISTER, SESSION, TOKEN, Desk, check_empty
from tests.protocol.strategies import plain

TIMING = Timing(1.0, 3.0, 5.0)
IDS = [SESSION, b"2" * 16, BRIDGE, b"d" * 16, bytes(16)]
PEERS = [b"c0", b"c1", b"b0", b"b1", b"x"]
DIGEST = hashlib.sha256(TOKEN).digest()


def entry(session: bytes = SESSION, **changes: Any) -> dict[str, Any]:
    return {
        "session": session, "digest": DIGEST, "protocol": 1, "client": CLIENT, "job": {}, **OPENED, **NAMELESS,
        **changes,
    }  # fmt: skip


ENDING = {"code": "x", "message": "y"}
FIELDS: dict[Kind, list[dict[str, Any]]] = {
    Kind.HELLO: [HELLO, HELLO | {"token": b"x" * 32}, HELLO | {"client": {}}, HELLO | {"protocol": []}],
    Kind.ATTACH: [{"token": TOKEN}, {"token": b""}],
    Kind.BYE: [{"token": TOKEN}, {"token": b""}],
    Kind.REGISTER: [
        REGISTER,
        REGISTER | {"sessions": [entry()]},
        REGISTER | {"sessions": [entry(cluster={})]},
        REGISTER | {"sessions": [entry(b"2" * 16)]},
        REGISTER | {"sessions": [entry(digest=b"")]},
        REGISTER | {"sessions": [{}], "protocol": [1, 1]},
    ],
    Kind.OPENED: [OPENED, {"cluster": {}}],
    Kind.OPEN_FAILED: [ENDING, ENDING | {"code": "no-cluster"}],
    Kind.CLOSED: [ENDING],
    Kind.PING: [{}],
    Kind.STATUS: [{}],
}
"""What comes in good order; the other kinds have no place at a broker."""


def no_sessions(desk: Desk) -> None:
    pass


def idle_bridge(desk: Desk) -> None:
    desk.register()


def half_a_bridge(desk: Desk) -> None:
    desk.put(Side.BRIDGES, b"b0", Kind.REGISTER, BRIDGE, **REGISTER)


def waiting(desk: Desk) -> None:
    desk.hello()


def opening(desk: Desk) -> None:
    desk.opening()


def attached(desk: Desk) -> None:
    desk.attached()


def detached(desk: Desk) -> None:
    desk.detached()


def bridge_gone(desk: Desk) -> None:
    desk.attached()
    desk.lost(Side.BRIDGES, b"b0")


def adopted(desk: Desk) -> None:
    desk.register(sessions=[entry(cluster={})])


def ended(desk: Desk) -> None:
    desk.attached()
    desk.put(Side.CLIENTS, b"c0", Kind.BYE, token=TOKEN)


STATES: list[Callable[[Desk], None]] = [
    no_sessions, idle_bridge, half_a_bridge, waiting, opening, attached, detached, bridge_gone, adopted, ended,
]  # fmt: skip

EVENTS = [
    (side, kind, fields)
    for side in Side
    for kind in Kind
    for fields in FIELDS.get(kind, [dict.fromkeys(CONTROL.get(kind, {}), 0)])
]


def frames_of(kind: Kind, session: bytes, lane: Lane, fields: dict[str, Any]) -> list[bytes]:
    return [encode_route(kind, session, lane), pack(fields)]


def leave(desk: Desk) -> None:
    """All connections end; then it is as if nobody had ever been here."""
    for side in Side:
        for peer in PEERS:
            desk.lost(side, peer)
    desk.wait(TIMING.lease + TIMING.grace + 1.0)
    check_empty(desk.broker)


@pytest.mark.parametrize("state", STATES)
def test_every_state_against_every_event(state: Callable[[Desk], None]) -> None:
    """From each connection, on each lane, twice: a repetition is an event of its own."""
    for side, kind, fields in EVENTS:
        for peer in PEERS[:2] if side is Side.CLIENTS else PEERS[2:4]:
            for session in (SESSION, BRIDGE):
                desk = Desk(Settings(TIMING))
                state(desk)
                for lane in (Lane.CALLS, Lane.BULK, Lane.CALLS):
                    desk.raw(side, peer, *frames_of(kind, session, lane, fields))
                desk.lost(side, peer)
                desk.wait(1.0)
                leave(desk)


# --- at random

sides = st.sampled_from(Side)
peers = st.sampled_from(PEERS)


@st.composite
def packets(draw: st.DrawFn) -> list[bytes]:
    """Mostly well-formed, sometimes with random fields, sometimes garbage."""
    kind = draw(st.sampled_from([*FIELDS, *FIELDS, *Kind]))
    route = encode_route(kind, draw(st.sampled_from(IDS)), draw(st.sampled_from(Lane)))
    if kind in SWITCHED:
        return [route, *draw(st.lists(st.binary(max_size=5), max_size=3))]
    shape = draw(st.integers(0, 9))
    if shape == 0:
        return draw(st.lists(st.binary(max_size=30), max_size=3))
    if shape == 1:
        return [route, draw(st.binary(max_size=20))]
    fields = dict(draw(st.sampled_from(FIELDS.get(kind, [{}]))))
    if shape == 2 and fields:
        fields[draw(st.sampled_from(sorted(fields)))] = draw(plain)
    return [route, pack(fields)]


pids = st.integers(41, 43)
words = st.one_of(
    st.builds(BridgeEnded, pids, st.just("now"), st.just("so it is"), st.just(("line",))),
    st.builds(ClusterLost, st.frozensets(pids), st.just("now"), st.just("so it is")),
)

steps = st.one_of(
    st.tuples(st.just("raw"), sides, peers, packets()),
    st.tuples(st.just("raw"), sides, peers, packets()),
    st.tuples(st.just("lost"), sides, peers),
    st.tuples(st.just("flooded"), peers, st.booleans()),
    st.tuples(st.just("tell"), words),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 2.5, 5.0, 20.0])),
)


@settings(max_examples=400)
@given(st.sampled_from(STATES), st.lists(steps, max_size=25), st.integers(1, 3))
def test_any_events(state: Callable[[Desk], None], events: list[tuple[Any, ...]], sessions_max: int) -> None:
    desk = Desk(Settings(TIMING, sessions_max=sessions_max))
    state(desk)
    for what, *arguments in events:
        if what == "raw":
            side, peer, frames = arguments
            desk.raw(side, peer, *frames)
        elif what == "flooded":
            desk.flooded(arguments[0], 1 << 30, guilty=arguments[1])
        else:
            getattr(desk, what)(*arguments)
    leave(desk)


@given(st.lists(st.sampled_from(["client", "bridge", "restart", "bye", "wait"]), max_size=12))
def test_a_client_and_a_bridge_that_do_as_they_should_always_meet(faults: list[str]) -> None:
    """Whatever came between: as long as the session lives, both can come back to it."""
    desk = Desk(Settings(TIMING))
    desk.attached()
    for fault in faults:
        if fault == "client":
            desk.lost(Side.CLIENTS, b"c0")
            desk.lost(Side.CLIENTS, b"c1")
        elif fault == "bridge":
            desk.lost(Side.BRIDGES, b"b0")
            desk.lost(Side.BRIDGES, b"b1")
        elif fault == "restart":
            desk = Desk(Settings(TIMING), now=desk.now)
        elif fault == "bye":
            desk.put(Side.CLIENTS, b"c0", Kind.BYE, token=TOKEN)
        else:
            desk.wait(1.5)
        if desk.state is not None or fault == "restart":
            desk.register(sessions=[entry()])
            desk.attach(b"c0")
            desk.attach(b"c1", Lane.BULK)
            assert desk.state is SessionState.ATTACHED
