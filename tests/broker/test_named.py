"""Sessions with a name: left, handed over, taken over, ended by an administrator."""

from __future__ import annotations

from typing import Any

import pytest

from raymq.protocol.limits import TTL_MAX
from raymq.protocol.route import Kind, Lane
from raymq_broker.actions import BridgeEnded, Side
from raymq_broker.entities import SessionState
from raymq_broker.lifecycle import Settings
from tests.broker.desk import CLIENT, NAMELESS, OPENED, SESSION, TIMING, TOKEN, Desk, Said, kinds

NEXT, NEXT_TOKEN = b"n" * 16, b"u" * 32
NIGHT = {"name": "night", "ttl": 100.0}


@pytest.fixture
def desk() -> Desk:
    return Desk(Settings(TIMING, expected=frozenset()))


def open_named(desk: Desk, **changes: Any) -> None:
    desk.register()
    desk.hello(**NIGHT | changes)
    desk.put(Side.BRIDGES, b"b0", Kind.OPENED, **OPENED)
    desk.attach(b"c1", Lane.BULK)


def leave(desk: Desk, ttl: float = 100.0) -> list[Said]:
    return desk.put(Side.BRIDGES, b"b0", Kind.PING, b"b" * 16, left=True, ttl=ttl, objects=2, memory=5)


def come(desk: Desk, peer: bytes = b"n0", session: bytes = NEXT, **changes: Any) -> list[Said]:
    """Another client says HELLO with the name."""
    return desk.hello(peer, session, **{"token": NEXT_TOKEN, "job": {}, **NIGHT, **changes})


def answer(desk: Desk, session: bytes = NEXT) -> list[Said]:
    return desk.put(Side.BRIDGES, b"b0", Kind.OPENED, session, **OPENED)


def test_it_waits_for_its_ttl_when_its_client_is_gone(desk: Desk) -> None:
    open_named(desk)
    desk.lost(Side.CLIENTS, b"c0")
    desk.wait(99.0)
    assert desk.state is SessionState.DETACHED
    assert kinds(desk.attach(b"c2")) == [(b"c2", Kind.ATTACHED)], "its own client comes back with the token"
    desk.lost(Side.CLIENTS, b"c2")
    said = desk.wait(100.0)
    assert (b"b0", Kind.CLOSE) in kinds(said)
    assert desk.broker.registry.ended[SESSION].code == "expired"
    assert "'night'" in desk.broker.registry.ended[SESSION].message


def test_the_grace_is_never_shorter_than_that_of_others(desk: Desk) -> None:
    open_named(desk, ttl=1.0)
    desk.lost(Side.CLIENTS, b"c0")
    desk.wait(29.0)
    assert desk.state is SessionState.DETACHED


def test_the_client_learns_how_long_it_is_waited_for(desk: Desk) -> None:
    desk.register()
    desk.hello(**NIGHT)
    [welcome] = desk.put(Side.BRIDGES, b"b0", Kind.OPENED, **OPENED)
    assert (welcome.fields["grace"], welcome.fields["resumed"]) == (100.0, False)


def test_left_and_resumed_by_another(desk: Desk) -> None:
    open_named(desk)
    [ended] = leave(desk)
    assert (ended.peer, ended.kind, ended.fields["code"]) == (b"c0", Kind.ENDED, "detached")
    assert desk.state is SessionState.DETACHED
    assert leave(desk) == [], "the bridge tells it with each heartbeat"
    said = come(desk)
    assert kinds(said) == [(b"b0", Kind.OPEN)]
    assert (said[0].session, said[0].fields["replaces"]) == (NEXT, SESSION)
    assert (said[0].fields["name"], said[0].fields["client"]["pid"]) == ("night", 7)
    [welcome] = answer(desk)
    assert (welcome.peer, welcome.session, welcome.kind) == (b"n0", NEXT, Kind.WELCOME)
    assert (welcome.fields["resumed"], welcome.fields["cluster"]) == (True, OPENED["cluster"])
    assert list(desk.broker.sessions) == [NEXT]
    assert [log.fields["session"] for log in desk.logged("session_handed_over")] == [NEXT.hex()]


def test_who_has_left_does_not_come_back_with_the_token(desk: Desk) -> None:
    open_named(desk)
    leave(desk)
    for said in (desk.attach(b"c2"), desk.hello(b"c3", **NIGHT)):
        assert [packet.fields["code"] for packet in said] == ["detached"]
    come(desk)
    assert [packet.fields["code"] for packet in desk.attach(b"c4")] == ["detached"]


@pytest.mark.parametrize("ttl", [5.0, 500.0])
def test_who_leaves_says_for_how_long_it_waits(desk: Desk, ttl: float) -> None:
    open_named(desk)
    leave(desk, ttl)
    desk.wait(ttl - 0.5)
    assert desk.state is SessionState.DETACHED
    desk.wait(0.5)
    assert desk.state is None


def test_nobody_waits_for_ever(desk: Desk) -> None:
    open_named(desk)
    leave(desk, 1e15)
    desk.wait(1.0)
    assert desk.broker.sessions[SESSION].ttl == TTL_MAX


def test_left_while_its_client_is_cut_off(desk: Desk) -> None:
    open_named(desk)
    desk.lost(Side.CLIENTS, b"c0")
    assert leave(desk) == []
    assert [packet.fields["code"] for packet in desk.attach(b"c2")] == ["detached"]


def test_a_session_without_a_name_cannot_be_left(desk: Desk) -> None:
    desk.attached()
    assert leave(desk) == []
    assert desk.state is SessionState.ATTACHED


def test_only_the_calls_lane_tells_of_the_session(desk: Desk) -> None:
    """It keeps the order with OPENED; the other one could tell of the client before."""
    open_named(desk)
    desk.put(Side.BRIDGES, b"b1", Kind.PING, b"b" * 16, Lane.BULK, left=True, ttl=1.0)
    assert desk.state is SessionState.ATTACHED


def test_an_attached_session_is_refused_after_a_look(desk: Desk) -> None:
    open_named(desk)
    said = come(desk)
    assert kinds(said) == [(b"c0", Kind.PING), (b"c1", Kind.PING), (b"n0", Kind.REFUSED)]
    assert (said[-1].fields["code"], said[-1].fields["retry"]) == ("session-busy", True)
    [refused] = come(desk)
    assert (refused.fields["code"], refused.fields["retry"]) == ("session-attached", False)
    assert "ada@laptop (pid 7)" in refused.fields["message"]
    assert "takeover=True" in refused.fields["message"]
    assert desk.state is SessionState.ATTACHED


def test_the_look_may_find_the_client_gone(desk: Desk) -> None:
    open_named(desk)
    come(desk)
    desk.lost(Side.CLIENTS, b"c0")
    desk.lost(Side.CLIENTS, b"c1")
    assert kinds(come(desk)) == [(b"b0", Kind.OPEN)]
    assert [packet.fields["code"] for packet in desk.attach(b"c2")] == ["taken-over"]


def test_taken_over(desk: Desk) -> None:
    open_named(desk)
    said = come(desk, takeover=True)
    assert kinds(said) == [(b"c0", Kind.ENDED), (b"b0", Kind.OPEN)]
    assert said[0].fields["code"] == "taken-over"
    answer(desk)
    assert desk.put(Side.CLIENTS, b"c0", Kind.PING)[0].fields["code"] == "taken-over"
    assert desk.put(Side.CLIENTS, b"n0", Kind.PING, NEXT) == []
    assert desk.put(Side.BRIDGES, b"b0", Kind.CLOSED, SESSION, code="goodbye", message="late") == []
    assert list(desk.broker.sessions) == [NEXT]


def test_packets_of_the_id_before_are_dropped(desk: Desk) -> None:
    open_named(desk)
    come(desk, takeover=True)
    answer(desk)
    before = desk.broker.counters["foreign"]
    desk.put_data(Side.BRIDGES, b"b1", SESSION, Lane.BULK)
    assert desk.broker.counters["foreign"] == before + 1


def test_while_it_is_opened_others_wait(desk: Desk) -> None:
    desk.hello(**NIGHT)
    for _ in range(2):
        assert [(p.fields["code"], p.fields["retry"]) for p in come(desk)] == [("session-busy", True)]
    desk.register()
    assert [(p.fields["code"], p.fields["retry"]) for p in come(desk)] == [("session-busy", True)]


def test_another_job_is_refused(desk: Desk) -> None:
    open_named(desk)
    [refused] = come(desk, job={"namespace": "other"}, takeover=True)
    assert (refused.fields["code"], refused.fields["retry"]) == ("session-differs", False)
    assert kinds(come(desk, job={"namespace": "n"}, takeover=True))[-1] == (b"b0", Kind.OPEN)


def test_other_versions_are_refused(desk: Desk) -> None:
    open_named(desk)
    [refused] = come(desk, client=CLIENT | {"python": "3.9.1"}, takeover=True)
    assert refused.fields["code"] == "python-mismatch"


def test_open_is_repeated_until_the_bridge_answers(desk: Desk) -> None:
    open_named(desk)
    leave(desk)
    come(desk)
    desk.wait(0.5)
    said = desk.wait(1.0)
    assert [(p.kind, p.session, p.fields["replaces"]) for p in said] == [(Kind.OPEN, NEXT, SESSION)]
    desk.register(sessions=[entry(desk)])
    assert desk.broker.sessions[NEXT].state is SessionState.OPENING, "the bridge has not heard of it yet"
    assert [p.kind for p in answer(desk)] == [Kind.WELCOME]


def entry(desk: Desk, **changes: Any) -> dict[str, Any]:
    """What the bridge still says of the session under its id before."""
    return {
        "session": SESSION, "digest": b"d" * 32, "protocol": 1, "client": CLIENT, "job": {}, **OPENED, **NAMELESS,
        **NIGHT, **changes,
    }  # fmt: skip


def test_a_bridge_that_takes_long_does_not_cost_the_session(desk: Desk) -> None:
    """It has the session's objects; if it is dead, its connection or its supervisor says so."""
    open_named(desk)
    leave(desk)
    come(desk)
    desk.wait(500.0)
    assert [p.kind for p in answer(desk)] == [Kind.WELCOME]


def test_a_client_that_is_gone_before_the_bridge_answers(desk: Desk) -> None:
    open_named(desk)
    leave(desk)
    come(desk)
    desk.lost(Side.CLIENTS, b"n0")
    answer(desk)
    assert desk.broker.sessions[NEXT].state is SessionState.DETACHED


def test_the_bridge_dies_on_the_way(desk: Desk) -> None:
    open_named(desk)
    leave(desk)
    come(desk)
    desk.lost(Side.BRIDGES, b"b0")
    desk.lost(Side.BRIDGES, b"b1")
    [refused] = desk.wait(2.0)
    assert (refused.fields["code"], refused.fields["retry"]) == ("no-bridge", True)
    assert desk.broker.sessions == {}


@pytest.mark.parametrize("left", [True, False])
def test_a_new_broker_learns_of_it_from_the_bridge(left: bool) -> None:
    desk = Desk()
    desk.register(sessions=[entry(desk, left=left, ttl=50.0)])
    session = desk.broker.sessions[SESSION]
    assert (session.name, session.ttl, session.left, session.state) == ("night", 50.0, left, SessionState.DETACHED)
    desk.wait(49.0)
    assert kinds(come(desk)) == [(b"b0", Kind.OPEN)]


@pytest.mark.parametrize("comes", [True, False])
def test_a_new_broker_opens_no_second_one_of_a_name(comes: bool) -> None:
    """As long as bridges may be on its way that its supervisor knows: one of them may have it."""
    desk = Desk(Settings(TIMING, expected=frozenset({42, 43})))
    desk.register(b"3" * 16, b"e", pid=43)
    [refused] = come(desk)
    assert (refused.fields["code"], refused.fields["retry"]) == ("session-busy", True)
    assert kinds(desk.hello(b"x", b"x" * 16)) == [(b"e0", Kind.OPEN)], "nobody else has to wait"
    if comes:
        desk.register(sessions=[entry(desk)])
        assert come(desk)[0].fields["replaces"] == SESSION
    else:
        desk.tell(BridgeEnded(42, "12:00", "SIGKILL ended it", ()))
        assert [p.fields["code"] for p in come(desk)] == ["no-bridge"]


def test_nobody_is_waited_for_for_ever() -> None:
    desk = Desk(Settings(TIMING, expected=frozenset({42})))
    desk.wait(39.9)
    assert [p.fields["code"] for p in come(desk)] == ["session-busy"]
    desk.wait(0.1)
    assert [p.fields["code"] for p in come(desk)] == ["no-bridge"]


def test_a_broker_without_a_supervisor_waits_two_heartbeats() -> None:
    desk = Desk()
    assert [p.fields["code"] for p in come(desk)] == ["session-busy"]
    desk.wait(2.0)
    assert [p.fields["code"] for p in come(desk)] == ["no-bridge"]


def test_a_broker_that_has_no_bridge_to_wait_for_says_at_once_that_a_session_is_unknown() -> None:
    desk = Desk(Settings(TIMING, expected=frozenset()))
    assert [p.fields["code"] for p in desk.attach(b"c0")] == ["unknown-session"]


def test_three_clients_in_turn(desk: Desk) -> None:
    open_named(desk)
    before = NEXT
    leave(desk)
    come(desk)
    answer(desk)
    for number in range(2):
        after = bytes([65 + number]) * 16
        said = come(desk, b"peer%d" % number, after, takeover=True)
        assert said[-1].fields["replaces"] == before
        assert [p.kind for p in answer(desk, after)] == [Kind.WELCOME]
        before = after
    assert len(desk.broker.sessions) == len(desk.broker.bridges) == 1


def test_names_are_told_apart(desk: Desk) -> None:
    open_named(desk)
    desk.register(b"2" * 16, b"d")
    said = come(desk, name="day")
    assert [(p.peer, p.fields["replaces"]) for p in said] == [(b"d0", b"")]
    assert len(desk.broker.sessions) == 2


@pytest.mark.parametrize(
    "changes", [{"name": "x" * 201}, {"ttl": -1.0}, {"ttl": float("nan")}, {"ttl": 1e9}, {"name": 7}, {"takeover": 1}]
)
def test_malformed(desk: Desk, changes: dict[str, Any]) -> None:
    [refused] = desk.hello(**NIGHT | changes)
    assert (refused.fields["code"], refused.fields["retry"]) == ("malformed", False)


# --- administrators


def kill(desk: Desk, text: str) -> list[Said]:
    return desk.put(Side.BRIDGES, b"admin", Kind.KILL, bytes(16), which=text)


@pytest.mark.parametrize("text", ["night", SESSION.hex(), SESSION.hex()[:4].upper()])
def test_killed_by_name_or_id(desk: Desk, text: str) -> None:
    open_named(desk)
    said = kill(desk, text)
    assert kinds(said) == [(b"c0", Kind.ENDED), (b"b0", Kind.CLOSE), (b"admin", Kind.KILLED)]
    assert said[0].fields["code"] == "killed"
    assert [(s["name"], s["id"]) for s in said[2].fields["sessions"]] == [("night", SESSION.hex())]
    assert desk.state is None


@pytest.mark.parametrize("text", ["", "nigh", "77"])
def test_killed_is_only_what_fits(desk: Desk, text: str) -> None:
    open_named(desk)
    assert [p.fields["sessions"] for p in kill(desk, text)] == [[]]
    assert desk.state is SessionState.ATTACHED


def test_several_that_fit_are_told_and_left(desk: Desk) -> None:
    open_named(desk)
    desk.hello(b"x", SESSION[:8] + b"y" * 8)
    [killed] = kill(desk, SESSION.hex()[:8])
    assert len(killed.fields["sessions"]) == 2
    assert len(desk.broker.sessions) == 2


def test_status_tells_of_them(desk: Desk) -> None:
    open_named(desk)
    leave(desk)
    desk.wait(10.0)
    [reply] = desk.put(Side.BRIDGES, b"admin", Kind.STATUS, bytes(16))
    (told,) = reply.fields["sessions"]
    assert (told["name"], told["state"], told["objects"], told["memory"]) == ("night", "detached", 2, 5)
    assert told["expires_in"] == 90.0
    assert TOKEN not in str(reply.fields).encode()
