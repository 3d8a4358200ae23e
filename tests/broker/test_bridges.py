"""Bridges in the broker: registered, lost, back again, and what they bring along to a broker that is new."""

from __future__ import annotations

from typing import Any

import pytest

from raymq.protocol.route import Kind, Lane, encode_route
from raymq_broker.actions import Pool, Side
from raymq_broker.entities import BridgeState, SessionState
from tests.broker.desk import (
    BRIDGE,
    CLIENT,
    NAMELESS,
    OPENED,
    REGISTER,
    SESSION,
    TOKEN,
    Desk,
    check_empty,
    kinds,
)

ENTRY = {"session": SESSION, "digest": b"", "protocol": 1, "client": CLIENT, "job": {}, "cluster": {}, **NAMELESS}


@pytest.fixture
def desk() -> Desk:
    return Desk()


def restarted(desk: Desk) -> tuple[Desk, dict[str, Any]]:
    """A broker that knows nothing of what this one knew, and what the bridge tells it."""
    return Desk(now=desk.now), desk.entry()


def lose_bridge(desk: Desk) -> None:
    for peer in (b"b0", b"b1"):
        desk.lost(Side.BRIDGES, peer)


# --- registering


def test_a_bridge_registers_both_lanes(desk: Desk) -> None:
    said = desk.register()
    assert [packet[:5] for packet in said] == [
        (Side.BRIDGES, b"b0", Kind.REGISTERED, Lane.CALLS, BRIDGE),
        (Side.BRIDGES, b"b1", Kind.REGISTERED, Lane.BULK, BRIDGE),
    ]
    assert said[0].fields == {"heartbeat": 1.0, "lease": 10.0, "grace": 30.0, "object_max": 64 << 30}
    assert desk.pool == Pool((42,), (), 0)
    assert len(desk.logged("bridge_registered")) == 1


def test_a_repetition_changes_nothing(desk: Desk) -> None:
    desk.attached()
    assert kinds(desk.register()) == [(b"b0", Kind.REGISTERED), (b"b1", Kind.REGISTERED)]
    assert desk.state is SessionState.ATTACHED


def test_strangers_are_told_to_register(desk: Desk) -> None:
    for lane in Lane:
        [unbound] = desk.put(Side.BRIDGES, b"b7", Kind.PING, BRIDGE, lane)
        assert unbound[:5] == (Side.BRIDGES, b"b7", Kind.UNBOUND, lane, BRIDGE)
        [unbound] = desk.raw(Side.BRIDGES, b"b7", encode_route(Kind.DATA, SESSION, lane), b"")
        assert unbound[:5] == (Side.BRIDGES, b"b7", Kind.UNBOUND, lane, SESSION)
    assert desk.broker.counters["unbound"] == 4
    desk.register()
    assert desk.put(Side.BRIDGES, b"b0", Kind.PING, BRIDGE) == []


REGISTRATIONS: dict[str, dict[str, Any]] = {
    "another protocol": {"protocol": [7, 8]},
    "an entry that is none": {"sessions": ["x"]},
    "an entry that lacks something": {"sessions": [{"session": SESSION, "digest": b"", "protocol": 1, "client": {}}]},
    "an entry of another type": {
        "sessions": [ENTRY | {"session": "x"}],
    },
    "two sessions": {
        "sessions": 2 * [ENTRY],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", REGISTRATIONS)
def test_malformed_registrations_leave_nothing(desk: Desk, name: str) -> None:
    assert desk.register(**REGISTRATIONS[name]) == []
    check_empty(desk.broker)
    assert desk.broker.counters["malformed"] == 2


def test_a_bridge_needs_an_id(desk: Desk) -> None:
    assert desk.register(bytes(16)) == []
    check_empty(desk.broker)


def test_a_connection_is_for_one_lane_of_one_bridge(desk: Desk) -> None:
    desk.register()
    assert desk.put(Side.BRIDGES, b"b0", Kind.REGISTER, b"2" * 16, **REGISTER) == []
    assert desk.put(Side.BRIDGES, b"b0", Kind.REGISTER, BRIDGE, Lane.BULK, **REGISTER) == []
    assert list(desk.broker.bridges) == [BRIDGE]


# --- gone


def test_an_idle_bridge_that_is_gone_is_forgotten(desk: Desk) -> None:
    desk.register()
    desk.lost(Side.BRIDGES, b"b1")
    check_empty(desk.broker)
    assert desk.pool == Pool((), (), 0)
    assert desk.lost(Side.BRIDGES, b"b0") == []


def test_a_busy_bridge_that_is_gone_ends_its_session_after_two_heartbeats(desk: Desk) -> None:
    desk.attached()
    lose_bridge(desk)
    assert desk.wait(1.9) == []
    [ended] = desk.wait(0.1)
    assert ended[:3] == (Side.CLIENTS, b"c0", Kind.ENDED)
    assert ended.fields["code"] == "bridge-lost"
    assert "pid 42" in ended.fields["message"]
    check_empty(desk.broker)


def test_a_bridge_that_is_gone_before_it_opened_is_worth_another_try(desk: Desk) -> None:
    desk.opening()
    lose_bridge(desk)
    [refused] = desk.wait(2.0)
    assert (refused.kind, refused.fields["code"], refused.fields["retry"]) == (Kind.REFUSED, "no-bridge", True)
    check_empty(desk.broker)


@pytest.mark.parametrize("gone", [(b"b0",), (b"b1",), (b"b0", b"b1")])
def test_a_bridge_that_comes_back_in_time(desk: Desk, gone: tuple[bytes, ...]) -> None:
    """Whichever of its connections broke."""
    desk.attached()
    entry = desk.entry()
    for peer in gone:
        desk.lost(Side.BRIDGES, peer)
    assert desk.broker.bridges[BRIDGE].state is BridgeState.GONE
    desk.wait(1.5)
    for peer in gone:
        lane = Lane(int(peer[1:]))
        desk.put(Side.BRIDGES, b"n" + peer, Kind.REGISTER, BRIDGE, lane, **REGISTER | {"sessions": [entry]})
    assert desk.broker.bridges[BRIDGE].state is BridgeState.BUSY
    assert desk.wait(1000.0) == []
    assert desk.state is SessionState.ATTACHED


def test_a_bridge_that_comes_back_with_half_its_lanes_is_not_back(desk: Desk) -> None:
    desk.attached()
    entry = desk.entry()
    lose_bridge(desk)
    desk.put(Side.BRIDGES, b"n0", Kind.REGISTER, BRIDGE, **REGISTER | {"sessions": [entry]})
    assert kinds(desk.wait(2.0)) == [(b"c0", Kind.ENDED)]


def test_a_bridge_that_comes_back_too_late_is_told_to_close(desk: Desk) -> None:
    """And is not taken for an idle one."""
    desk.attached()
    entry = desk.entry()
    lose_bridge(desk)
    desk.wait(2.0)
    desk.hello(b"w0", b"w" * 16)
    said = desk.register(sessions=[entry])
    assert (b"b0", Kind.CLOSE) in kinds(said)
    assert (b"b0", Kind.OPEN) not in kinds(said)
    assert [p.fields["code"] for p in said if p.kind == Kind.CLOSE] == ["bridge-lost"] * 2
    assert desk.pool == Pool((), (42,), 1)
    lose_bridge(desk)
    desk.wait(2.0)
    assert desk.broker.bridges == {}
    assert list(desk.broker.sessions) == [b"w" * 16]


def test_a_bridge_whose_session_ended_while_it_was_cut_off(desk: Desk) -> None:
    desk.attached()
    entry = desk.entry()
    lose_bridge(desk)
    desk.put(Side.CLIENTS, b"c0", Kind.BYE, token=TOKEN)
    said = desk.register(sessions=[entry])
    assert [p.fields["code"] for p in said if p.kind == Kind.CLOSE] == ["goodbye"] * 2
    lose_bridge(desk)
    desk.wait(2.0)
    check_empty(desk.broker)


# --- a broker that is new


def test_a_session_is_taken_on_and_resumed(desk: Desk) -> None:
    """kill -9 of the broker and a new one: the bridge brings the session, the client comes back with its token."""
    desk.attached()
    new, entry = restarted(desk)
    assert kinds(new.attach(b"c0")) == [(b"c0", Kind.UNBOUND)]
    new.register(sessions=[entry])
    assert new.state is SessionState.DETACHED
    assert new.pool == Pool((), (42,), 0)
    assert kinds(new.attach(b"c0")) == [(b"c0", Kind.ATTACHED)]
    assert kinds(new.attach(b"c1", Lane.BULK)) == [(b"c1", Kind.ATTACHED)]
    assert new.state is SessionState.ATTACHED
    assert new.broker.sessions[SESSION].cluster == OPENED["cluster"]
    assert len(new.logged("session_adopted")) == 1
    assert kinds(new.attach(b"thief", token=b"x" * 32)) == [(b"thief", Kind.ENDED)]


def test_a_session_that_is_taken_on_expires_if_its_client_does_not_come(desk: Desk) -> None:
    desk.attached()
    new, entry = restarted(desk)
    new.register(sessions=[entry])
    assert new.wait(29.9) == []
    assert kinds(new.wait(0.1)) == [(b"b0", Kind.CLOSE)]


def test_a_session_that_is_just_being_opened_is_taken_on(desk: Desk) -> None:
    """Its client has had no WELCOME, and gets none before the bridge has opened."""
    desk.opening()
    new = Desk(now=desk.now)
    new.register(sessions=[desk.entry(cluster={})])
    assert new.state is SessionState.OPENING
    assert [packet.fields["code"] for packet in new.hello()] == ["no-cluster"]
    [welcome] = new.put(Side.BRIDGES, b"b0", Kind.OPENED, **OPENED)
    assert (welcome.kind, welcome.fields["cluster"]) == (Kind.WELCOME, OPENED["cluster"])
    assert new.state is SessionState.ATTACHED


@pytest.mark.parametrize("opened", [True, False])
def test_a_client_at_its_handshake_may_be_back_before_its_bridge(desk: Desk, opened: bool) -> None:
    desk.opening()
    entry = desk.entry() if opened else desk.entry(cluster={})
    new = Desk(now=desk.now)
    new.hello()
    said = new.register(sessions=[entry])
    if not opened:
        said += new.put(Side.BRIDGES, b"b0", Kind.OPENED, **OPENED)
    assert (b"c0", Kind.WELCOME) in kinds(said)
    assert (b"b0", Kind.OPEN) not in kinds(said)
    assert new.state is SessionState.ATTACHED


def test_a_session_that_another_bridge_got_meanwhile(desk: Desk) -> None:
    """The one that comes late closes."""
    desk.opening()
    new, entry = restarted(desk)
    new.register(b"2" * 16, b"d")
    new.hello()
    said = new.register(sessions=[entry])
    assert [p.fields["code"] for p in said if p.kind == Kind.CLOSE] == ["unknown-session"] * 2
    lose_bridge(new)
    new.wait(2.0)
    assert (new.state, new.broker.sessions[SESSION].bridge) == (SessionState.OPENING, b"2" * 16)


def test_a_bridge_cannot_bring_a_session_with_another_token(desk: Desk) -> None:
    desk.hello()
    entry = ENTRY | {"digest": b"x"}
    assert (b"b0", Kind.CLOSE) in kinds(desk.register(sessions=[entry]))
    assert desk.state is SessionState.WAITING


def test_a_bridge_cannot_change_its_session(desk: Desk) -> None:
    desk.attached()
    entry = desk.entry(session=b"z" * 16)
    desk.register(sessions=[entry])
    assert list(desk.broker.sessions) == [SESSION]
    assert desk.broker.counters["malformed"] == 2


def test_a_session_that_is_not_known_to_have_ended_is_closed_after_the_grace(desk: Desk) -> None:
    """It ended at a broker that is no more, whose CLOSE was lost with it."""
    desk.attached()
    new, entry = restarted(desk)
    new.register(sessions=[entry])
    new.wait(30.0)
    lose_bridge(new)
    new.wait(2.0)
    check_empty(new.broker)
