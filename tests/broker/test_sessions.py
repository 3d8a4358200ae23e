"""Sessions in the broker: from HELLO to their end, each row of their table of states."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from raymq.protocol.control import NESTING_MAX, encode_control
from raymq.protocol.limits import Timing
from raymq.protocol.route import Kind, Lane, encode_route
from raymq_broker import registry
from raymq_broker.actions import Pool, Side
from raymq_broker.entities import SessionState
from raymq_broker.lifecycle import NO_CLUSTER_PAUSE, Settings
from tests.broker.desk import (
    BRIDGE,
    CLIENT,
    HELLO,
    OPENED,
    SESSION,
    TIMING,
    TOKEN,
    VERSIONS,
    Desk,
    Said,
    check_empty,
    kinds,
)

OTHER = b"o" * 16
PING = encode_control(Kind.PING)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def only(said: list[Said]) -> Said:
    assert len(said) == 1, kinds(said)
    return said[0]


# --- HELLO


def test_a_session_opens(desk: Desk) -> None:
    """HELLO, OPEN to an idle bridge, OPENED, WELCOME."""
    desk.register()
    opened = only(desk.hello())
    assert opened[:5] == (Side.BRIDGES, b"b0", Kind.OPEN, Lane.CALLS, SESSION)
    known = {key: value for key, value in CLIENT.items() if key != "packages"}
    assert (opened.fields["client"], opened.fields["job"], opened.fields["protocol"]) == (known, {"namespace": "n"}, 1)
    assert TOKEN not in opened.fields.values(), "the token itself stays here"
    assert (desk.state, desk.pool) == (SessionState.OPENING, Pool((), (42,), 0))
    welcome = only(desk.put(Side.BRIDGES, b"b0", Kind.OPENED, **OPENED))
    assert welcome[:5] == (Side.CLIENTS, b"c0", Kind.WELCOME, Lane.CALLS, SESSION)
    assert welcome.fields == {
        "protocol": 1, "heartbeat": 1.0, "lease": 10.0, "grace": 30.0, "object_max": 64 << 30, "resumed": False, **OPENED,
    }  # fmt: skip
    assert desk.state is SessionState.ATTACHED


def test_a_hello_that_is_repeated(desk: Desk) -> None:
    """While the bridge opens it is told to wait; afterwards it is WELCOME again, for the first may have been lost."""
    desk.opening()
    refused = only(desk.hello())
    assert (refused.fields["code"], refused.fields["retry"]) == ("no-cluster", True)
    desk.put(Side.BRIDGES, b"b0", Kind.OPENED, **OPENED)
    assert kinds(desk.hello(b"c9")) == [(b"c9", Kind.WELCOME)]
    assert desk.broker.sessions[SESSION].lanes == {Lane.CALLS: b"c9"}


def test_a_client_waits_for_a_bridge(desk: Desk) -> None:
    for _ in range(2):
        refused = only(desk.hello())
        assert (refused.kind, refused.fields["code"], refused.fields["retry"]) == (Kind.REFUSED, "no-bridge", True)
    assert (desk.state, desk.pool.waiting) == (SessionState.WAITING, 1)
    assert kinds(desk.register()) == [(b"b0", Kind.REGISTERED), (b"b1", Kind.REGISTERED), (b"b0", Kind.OPEN)]
    assert desk.state is SessionState.OPENING


def test_a_bridge_is_placed_when_both_its_lanes_are_there(desk: Desk) -> None:
    desk.register()
    desk.lost(Side.BRIDGES, b"b1")
    assert kinds(desk.hello()) == [(b"c0", Kind.REFUSED)]


def test_who_waits_longest_is_served_first(desk: Desk) -> None:
    desk.hello(b"c0", SESSION)
    desk.wait(1.0)
    desk.hello(b"c1", OTHER)
    assert desk.register()[-1].session == SESSION
    assert desk.register(b"2" * 16, b"d")[-1].session == OTHER


def test_a_client_that_waits_and_falls_silent_is_forgotten(desk: Desk) -> None:
    desk.hello()
    desk.wait(9.0)
    desk.hello()
    assert desk.wait(9.9) == []
    assert desk.state is SessionState.WAITING
    desk.wait(0.1)
    check_empty(desk.broker)
    assert len(desk.logged("session_gave_up")) == 1


def test_a_client_that_waits_and_is_killed_is_forgotten(desk: Desk) -> None:
    desk.hello()
    desk.lost(Side.CLIENTS, b"c0")
    check_empty(desk.broker)
    assert desk.pool.waiting == 0


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "an older protocol": ({"protocol": [0, 0]}, "protocol-mismatch", "upgrade raymq on the client's side"),
    "a newer protocol": ({"protocol": [7, 9]}, "protocol-mismatch", "upgrade raymq on the broker's side"),
    "a protocol that is none": ({"protocol": ["x"]}, "protocol-mismatch", "upgrade raymq on the client's side"),
    "a list of protocols": ({"protocol": [1] * 9999}, "protocol-mismatch", "1, ...]"),
    "another python": ({"client": {**CLIENT, "python": "3.12.1"}}, "python-mismatch", "Python 3.11"),
    "no python": ({"client": {}}, "python-mismatch", "Python 3.11"),
    "any_version that is not true": ({"client": {**CLIENT, "ray": "2.9.0", "any_version": 1}}, "ray-mismatch", "ray=="),
    "another ray": ({"client": {**CLIENT, "ray": "2.9.0"}}, "ray-mismatch", "ray==2.60.0"),
    "a short token": ({"token": b"t"}, "malformed", "a token of 32 bytes"),
    "a missing token": ({"token": None}, "malformed", "'token' of type bytes"),
}


def test_a_client_that_compares_versions_itself(desk: Desk) -> None:
    desk.register()
    opened = only(desk.hello(client={**CLIENT, "ray": "2.9.0", "python": "3.12.1", "any_version": True}))
    assert opened.kind is Kind.OPEN
    assert opened.fields["client"]["any_version"] is True


@pytest.mark.parametrize("name", REFUSED)
def test_refused_for_good(desk: Desk, name: str) -> None:
    changes, code, teaches = REFUSED[name]
    desk.register()
    refused = only(desk.hello(**changes))
    assert (refused.kind, refused.fields["code"], refused.fields["retry"]) == (Kind.REFUSED, code, False)
    assert teaches in refused.fields["message"]
    assert len(refused.fields["message"]) < 500
    assert desk.broker.sessions == {}


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize("key", ["protocol", "client", "job"])
def test_a_map_too_deep_to_be_passed_on_is_refused(desk: Desk, key: str) -> None:
    """msgpack unpacks 1,024 levels, but packs 511, and repr() stops even earlier: each would end the broker."""
    for levels in (NESTING_MAX, 600, 1000):
        value = b"\x91" * levels + b"\xc0"
        if key != "protocol":
            value = b"\x81\xa1x" + value
        fields = [msgpack.packb(name) + (value if name == key else msgpack.packb(HELLO[name])) for name in HELLO]
        refused = only(desk.raw(Side.CLIENTS, b"c0", encode_route(Kind.HELLO, SESSION), b"\x86" + b"".join(fields)))
        assert (refused.kind, refused.fields["retry"]) == (Kind.REFUSED, False)
        assert len(refused.fields["message"]) < 500
    assert desk.broker.sessions == {}
    desk.register()
    desk.hello(client={**CLIENT, "x": nested(NESTING_MAX - 1)})
    desk.put(Side.BRIDGES, b"b0", Kind.OPENED, **OPENED)
    assert only(desk.put(Side.BRIDGES, b"a", Kind.STATUS)).kind == Kind.STATUS_REPLY


def test_what_a_client_says_of_itself_can_be_logged(desk: Desk) -> None:
    """A JSON renderer dies of keys that are bytes."""
    desk.hello(client={**CLIENT, "user": {b"key": [b"x" * 1000]}, "host": msgpack.Timestamp(1, 2), "pid": "x" * 9999})
    fields = desk.logs[-1].fields
    assert all(type(value) in (str, int) for value in fields.values())
    assert sum(len(str(value)) for value in fields.values()) < 400


def test_no_session_id_or_another_lane_is_malformed(desk: Desk) -> None:
    assert only(desk.hello(session=bytes(16))).fields["code"] == "malformed"
    assert only(desk.put(Side.CLIENTS, b"c", Kind.HELLO, lane=Lane.BULK, **HELLO)).fields["code"] == "malformed"


def test_a_hello_that_is_no_map_is_answered(desk: Desk) -> None:
    route = encode_route(Kind.HELLO, SESSION)
    for frames in ([route], [route, b"\xc1"], [route, b"\x80", b""], [route, bytes(2 << 20)]):
        assert only(desk.raw(Side.CLIENTS, b"c", *frames)).fields["code"] == "malformed"
    assert desk.broker.counters["malformed"] == 4


def test_a_hello_of_another_version_is_understood(desk: Desk) -> None:
    """HELLO keeps its form in all versions, so that each client learns why it is refused; other kinds may not."""
    route = bytearray(encode_route(Kind.HELLO, SESSION))
    route[4] = 9
    refused = only(
        desk.raw(Side.CLIENTS, b"c", bytes(route), encode_control(Kind.HELLO, **HELLO | {"protocol": [9, 9]}))
    )
    assert refused.fields["code"] == "protocol-mismatch"
    route[5] = Kind.PING
    assert desk.raw(Side.CLIENTS, b"c", bytes(route), PING) == []
    assert desk.broker.counters["malformed"] == 1


def test_versions_are_checked_when_a_bridge_tells_of_them(desk: Desk) -> None:
    """Nobody knew the cluster's Python when this client came."""
    desk.hello(client={**CLIENT, "python": "3.12.1"})
    refused = only([packet for packet in desk.register() if packet.side is Side.CLIENTS])
    assert (refused.fields["code"], refused.fields["retry"]) == ("python-mismatch", False)
    assert desk.pool == Pool((42,), (), 0)


def test_a_limit_of_sessions() -> None:
    desk = Desk(Settings(TIMING, sessions_max=1))
    desk.hello()
    refused = only(desk.hello(b"c9", OTHER))
    assert (refused.fields["code"], refused.fields["retry"]) == ("limit-reached", True)
    desk.lost(Side.CLIENTS, b"c0")
    assert only(desk.hello(b"c9", OTHER)).fields["code"] == "no-bridge"


def test_a_session_id_cannot_be_taken(desk: Desk) -> None:
    desk.attached()
    refused = only(desk.hello(b"thief", token=b"x" * 32))
    assert (refused.peer, refused.fields["code"]) == (b"thief", "session-taken")
    assert desk.broker.sessions[SESSION].lanes[Lane.CALLS] == b"c0"


def test_a_connection_is_for_one_session(desk: Desk) -> None:
    desk.hello()
    assert desk.hello(b"c0", OTHER) == []
    assert desk.attach(b"c0", Lane.BULK) == []
    assert desk.broker.counters["malformed"] == 2
    assert OTHER not in desk.broker.sessions


# --- the bridge fails to open


def test_no_cluster_is_worth_another_try_and_another_failure_is_not(desk: Desk) -> None:
    for code, retry in (("no-cluster", True), ("runtime-env", False)):
        desk.opening()
        refused = only(desk.put(Side.BRIDGES, b"b0", Kind.OPEN_FAILED, code=code, message="why"))
        assert refused[:3] == (Side.CLIENTS, b"c0", Kind.REFUSED)
        assert refused.fields == {"code": code, "message": "why", "retry": retry}
        assert desk.broker.sessions == {}
        for peer in (b"b0", b"b1"):
            desk.lost(Side.BRIDGES, peer)
        desk.wait(2.0)
        check_empty(desk.broker)


def test_a_bridge_that_ends_meanwhile_is_replaced(desk: Desk) -> None:
    """It was stopped, for one, since its cluster died before the session was opened."""
    desk.opening()
    refused = only(desk.put(Side.BRIDGES, b"b0", Kind.CLOSED, code="bridge-stopped", message="why"))
    assert refused[:3] == (Side.CLIENTS, b"c0", Kind.REFUSED)
    assert refused.fields == {"code": "no-bridge", "message": "why", "retry": True}
    assert desk.broker.sessions == {}


def test_after_no_cluster_nobody_is_sent_to_look_for_it_for_a_while(desk: Desk) -> None:
    """Whoever waits already is told, and who comes is; the bridges that are there stay."""
    desk.opening()
    desk.hello(b"w0", OTHER)
    assert desk.pool == Pool((), (42,), 1)
    said = desk.put(Side.BRIDGES, b"b0", Kind.OPEN_FAILED, code="no-cluster", message="why")
    assert [(packet.peer, packet.kind) for packet in said] == [(b"c0", Kind.REFUSED), (b"w0", Kind.REFUSED)]
    assert said[0].fields == said[1].fields == {"code": "no-cluster", "message": "why", "retry": True}
    assert desk.pool == Pool((), (42,), 0)
    desk.register(b"2" * 16, b"x", pid=43)
    desk.wait(NO_CLUSTER_PAUSE - 0.1)
    assert only(desk.hello()).fields == said[0].fields
    desk.wait(0.1)
    assert (b"x0", Kind.OPEN) in kinds(desk.hello())


def test_a_session_that_is_open_cannot_fail_to_open(desk: Desk) -> None:
    desk.attached()
    assert desk.put(Side.BRIDGES, b"b0", Kind.OPEN_FAILED, code="x", message="") == []
    assert desk.put(Side.BRIDGES, b"b0", Kind.OPENED, **OPENED) == []
    assert desk.state is SessionState.ATTACHED


def test_open_is_repeated_until_it_is_answered(desk: Desk) -> None:
    """A connection that broke may have lost it."""
    desk.opening()
    desk.wait(0.0)
    assert kinds(desk.wait(2.0)) == [(b"b0", Kind.OPEN)] * 2
    desk.put(Side.BRIDGES, b"b0", Kind.OPENED, **OPENED)
    assert desk.wait(5.0) == []


def test_a_bridge_that_never_answers(desk: Desk) -> None:
    desk.opening()
    desk.wait(39.9)
    assert desk.state is SessionState.OPENING
    refused = only([packet for packet in desk.wait(0.1) if packet.side is Side.CLIENTS])
    assert (refused.kind, refused.fields["code"], refused.fields["retry"]) == (Kind.REFUSED, "no-bridge", True)
    assert "40 s" in refused.fields["message"]
    assert desk.state is None
    assert kinds(desk.wait(1.0)) == [(b"b0", Kind.CLOSE)]


def test_a_client_that_goes_while_its_bridge_opens(desk: Desk) -> None:
    desk.opening()
    desk.lost(Side.CLIENTS, b"c0")
    assert desk.state is SessionState.OPENING
    assert desk.put(Side.BRIDGES, b"b0", Kind.OPENED, **OPENED) == []
    assert desk.state is SessionState.DETACHED
    assert kinds(desk.hello(b"c5")) == [(b"c5", Kind.WELCOME)]
    assert desk.state is SessionState.ATTACHED


# --- lanes, and what crosses them


def test_the_bulk_lane_attaches(desk: Desk) -> None:
    desk.opening()
    desk.put(Side.BRIDGES, b"b0", Kind.OPENED, **OPENED)
    assert kinds(desk.attach(b"c1", Lane.BULK)) == [(b"c1", Kind.ATTACHED)]
    assert desk.broker.sessions[SESSION].lanes == {Lane.CALLS: b"c0", Lane.BULK: b"c1"}


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize("kind", [Kind.DATA, Kind.ACK, Kind.SYNC])
def test_packets_are_switched_with_their_frames_untouched(desk: Desk, kind: Kind, lane: Lane) -> None:
    desk.attached()
    frames = [encode_route(kind, SESSION, lane), b"\xc1 no msgpack", memoryview(b"buffer"), b""]
    number = str(int(lane)).encode()
    for side, peer, across in (
        (Side.CLIENTS, b"c" + number, (Side.BRIDGES, b"b" + number)),
        (Side.BRIDGES, b"b" + number, (Side.CLIENTS, b"c" + number)),
    ):
        said = only(desk.raw(side, peer, *frames))
        assert said[:2] == across
        assert all(passed is given for passed, given in zip(said.fields, frames, strict=True)), "not even copied"
    assert (desk.broker.counters["to_bridges"], desk.broker.counters["to_clients"]) == (1, 1)


def test_packets_for_nobody_are_counted(desk: Desk) -> None:
    data = encode_route(Kind.DATA, SESSION), b""
    bulk = encode_route(Kind.DATA, SESSION, Lane.BULK), b""
    desk.hello()
    assert desk.raw(Side.CLIENTS, b"c0", *data) == [], "there is no bridge yet"
    desk.register()
    assert desk.raw(Side.BRIDGES, b"b1", *bulk) == [], "the client's bulk lane is not there yet"
    desk.lost(Side.BRIDGES, b"b0")
    assert desk.raw(Side.CLIENTS, b"c0", *data) == [], "the bridge's lane has gone"
    assert desk.broker.counters["undeliverable"] == 3


@pytest.mark.parametrize("kind", [Kind.PING, Kind.DATA])
def test_a_stranger_is_told_that_it_is_unbound(desk: Desk, kind: Kind) -> None:
    desk.attached()
    for session in (SESSION, OTHER):
        said = only(desk.raw(Side.CLIENTS, b"stranger", encode_route(kind, session, Lane.BULK), PING))
        assert said[:5] == (Side.CLIENTS, b"stranger", Kind.UNBOUND, Lane.BULK, session)
    assert desk.broker.counters["unbound"] == 2


@pytest.mark.parametrize("kind", [Kind.PING, Kind.DATA, Kind.SYNC])
def test_who_speaks_for_anothers_session_is_dropped_and_counted(desk: Desk, kind: Kind) -> None:
    desk.attached()
    desk.hello(b"o0", OTHER)
    for session, lane in ((SESSION, Lane.CALLS), (OTHER, Lane.BULK)):
        assert desk.raw(Side.CLIENTS, b"o0", encode_route(kind, session, lane), PING) == []
    assert desk.broker.counters["foreign"] == 2
    assert desk.attach(b"o0") == [], "not even with the right token: a connection has one session"


def test_a_bridge_speaks_for_its_own_session_only(desk: Desk) -> None:
    desk.attached()
    desk.register(b"2" * 16, b"d")
    assert desk.raw(Side.BRIDGES, b"d0", encode_route(Kind.DATA, SESSION), b"") == []
    for peer in (b"d0", b"unknown"):
        assert desk.put(Side.BRIDGES, peer, Kind.OPENED, **OPENED) == []
        assert desk.put(Side.BRIDGES, peer, Kind.OPEN_FAILED, code="x", message="") == []
        assert desk.put(Side.BRIDGES, peer, Kind.CLOSED, code="x", message="") == []
    assert desk.raw(Side.BRIDGES, b"b0", encode_route(Kind.DATA, OTHER), b"") == []
    assert desk.broker.counters["foreign"] == 8
    assert desk.state is SessionState.ATTACHED


def test_a_ping_keeps_a_waiting_client(desk: Desk) -> None:
    desk.hello()
    desk.wait(8.0)
    assert desk.put(Side.CLIENTS, b"c0", Kind.PING) == []
    desk.wait(8.0)
    assert desk.state is SessionState.WAITING


def test_heartbeats_go_to_every_lane(desk: Desk) -> None:
    desk.attached()
    desk.wait(0.0)
    desk.now += 1.0
    said = desk._did(desk.broker.tick(desk.now))
    assert kinds(said) == [(peer, Kind.PING) for peer in (b"c0", b"c1", b"b0", b"b1")]


# --- detached, resumed, ended


def test_detached_and_resumed(desk: Desk) -> None:
    desk.attached()
    desk.lost(Side.CLIENTS, b"c1")
    assert desk.state is SessionState.ATTACHED, "the bulk lane alone is not the client"
    desk.lost(Side.CLIENTS, b"c0")
    assert desk.state is SessionState.DETACHED
    assert desk.wait(29.9) == []
    assert kinds(desk.attach(b"c7", Lane.BULK)) == [(b"c7", Kind.ATTACHED)]
    assert desk.state is SessionState.DETACHED
    assert kinds(desk.attach(b"c6")) == [(b"c6", Kind.ATTACHED)]
    assert desk.state is SessionState.ATTACHED
    assert desk.broker.counters["resumed"] == 1
    assert desk.wait(1000.0) == []


def test_a_new_connection_takes_over_from_one_that_is_not_known_to_be_gone(desk: Desk) -> None:
    desk.attached()
    desk.attach(b"c9")
    desk.lost(Side.CLIENTS, b"c0")
    assert desk.state is SessionState.ATTACHED
    assert kinds(desk.put(Side.CLIENTS, b"c0", Kind.PING)) == [(b"c0", Kind.UNBOUND)]


def test_a_wrong_token_does_not_attach(desk: Desk) -> None:
    desk.attached()
    ended = only(desk.attach(b"thief", token=b"x" * 32))
    assert (ended.peer, ended.fields["code"]) == (b"thief", "wrong-token")
    assert desk.state is SessionState.ATTACHED
    assert desk.broker.counters["wrong_token"] == 1


def test_expired(desk: Desk) -> None:
    """A killed client is detached at once; its bridge is told to close when the grace is over."""
    desk.detached()
    assert desk.wait(29.9) == []
    closed = only(desk.wait(0.1))
    assert closed[:5] == (Side.BRIDGES, b"b0", Kind.CLOSE, Lane.CALLS, SESSION)
    assert closed.fields["code"] == "expired"
    assert "30.0 s" in closed.fields["message"]
    assert only(desk.attach(b"c8")).fields["code"] == "expired"
    assert only(desk.hello(b"c8")).fields["code"] == "expired"
    assert only(desk.put(Side.CLIENTS, b"c8", Kind.PING)).fields["code"] == "expired"


def test_close_is_repeated_until_the_bridge_is_gone(desk: Desk) -> None:
    desk.attached()
    desk.put(Side.CLIENTS, b"c0", Kind.BYE, token=TOKEN)
    desk.wait(0.0)
    assert set(kinds(desk.wait(3.0))) == {(b"b0", Kind.CLOSE)}
    for peer in (b"b0", b"b1"):
        desk.lost(Side.BRIDGES, peer)
    assert desk.wait(3.0) == []
    check_empty(desk.broker)


@pytest.mark.parametrize("lost", [(), (b"c0", b"c1")])
def test_bye(desk: Desk, lost: tuple[bytes, ...]) -> None:
    desk.attached()
    for peer in lost:
        desk.lost(Side.CLIENTS, peer)
    assert desk.put(Side.CLIENTS, b"c5", Kind.BYE, token=b"x" * 32) == []
    assert desk.put(Side.CLIENTS, b"c5", Kind.BYE, OTHER, token=TOKEN) == []
    said = desk.put(Side.CLIENTS, b"c5", Kind.BYE, token=TOKEN)
    assert kinds(said) == ([] if lost else [(b"c0", Kind.ENDED)]) + [(b"b0", Kind.CLOSE)]
    assert {packet.fields["code"] for packet in said} == {"goodbye"}


def test_bye_of_a_client_that_waits(desk: Desk) -> None:
    desk.hello()
    assert kinds(desk.put(Side.CLIENTS, b"c0", Kind.BYE, token=TOKEN)) == [(b"c0", Kind.ENDED)]
    check_empty(desk.broker)


def test_closed_by_the_bridge(desk: Desk) -> None:
    desk.attached()
    ended = only(desk.put(Side.BRIDGES, b"b0", Kind.CLOSED, code="goodbye", message="bye"))
    assert ended[:3] == (Side.CLIENTS, b"c0", Kind.ENDED)
    assert ended.fields == {"code": "goodbye", "message": "bye"}
    assert only(desk.put(Side.CLIENTS, b"c1", Kind.PING, lane=Lane.BULK)).kind == Kind.ENDED


def test_ended_sessions_are_remembered_up_to_a_limit(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "REMEMBERED", 3)
    ids = [bytes([number]) * 16 for number in range(1, 6)]
    for session in ids:
        desk.hello(session, session)
        desk.put(Side.CLIENTS, session, Kind.BYE, session, token=TOKEN)
    desk.wait(40.0)
    codes = [only(desk.attach(b"x", session=session)).fields["code"] for session in ids]
    assert codes == ["unknown-session"] * 2 + ["goodbye"] * 3


def test_an_unknown_session_may_belong_to_a_bridge_on_its_way(desk: Desk) -> None:
    """The broker is new: it says so for lease and grace, and only then that the session is over."""
    desk.wait(39.9)
    assert kinds(desk.attach(b"c0")) == [(b"c0", Kind.UNBOUND)]
    desk.wait(0.1)
    ended = only(desk.attach(b"c0"))
    assert (ended.kind, ended.fields["code"]) == (Kind.ENDED, "unknown-session")


# --- bad input


def test_complaints_are_counted_but_not_all_logged(desk: Desk) -> None:
    for _ in range(500):
        desk.raw(Side.CLIENTS, b"x", b"garbage")
    desk.wait(1.0)
    desk.raw(Side.BRIDGES, b"x", b"garbage")
    assert desk.broker.counters["malformed"] == 501
    assert [(log.fields["side"], log.fields["suppressed"]) for log in desk.logged("malformed")] == [
        ("clients", 0), ("bridges", 499),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "frames",
    [
        (),
        (b"",),
        (b"x" * 24, b""),
        (encode_route(Kind.DATA)[:-1], b""),
        (encode_route(Kind.PING, SESSION), b"", b""),
        (encode_route(Kind.PING, SESSION), b"\x90"),
        (encode_route(Kind.WELCOME, SESSION), PING),
        (b"RYMQ\x01\xff\x00\x00" + SESSION, PING),
        (b"RYMQ\x01\x01\x02\x00" + SESSION, PING),
        (b"RYMQ\x02\x10\x00\x00" + SESSION, PING),
    ],
)
@pytest.mark.parametrize("side", Side)
def test_garbage_is_dropped_and_counted(desk: Desk, side: Side, frames: tuple[bytes, ...]) -> None:
    desk.attached()
    for peer in (b"c0", b"b0", b"stranger"):
        assert desk.raw(side, peer, *frames) == []
    assert desk.broker.counters["malformed"] == 3
    assert desk.state is SessionState.ATTACHED


def test_the_far_side_of_a_handler_is_no_place(desk: Desk) -> None:
    desk.attached()
    for kind, fields in ((Kind.STATUS, {}), (Kind.OPENED, OPENED)):
        assert desk.put(Side.CLIENTS, b"c0", kind, **fields) == []
    for kind, fields in ((Kind.HELLO, HELLO), (Kind.BYE, {"token": TOKEN})):
        assert desk.put(Side.BRIDGES, b"b0", kind, **fields) == []
    assert desk.broker.counters["malformed"] == 4


# --- status


def test_status(desk: Desk) -> None:
    desk.attached()
    desk.register(b"2" * 16, b"d", pid=43)
    desk.wait(5.0)
    reply = only(desk.put(Side.BRIDGES, b"admin", Kind.STATUS, bytes(16)))
    assert reply[:3] == (Side.BRIDGES, b"admin", Kind.STATUS_REPLY)
    assert reply.fields["broker"] == {"version": "0.1.0", "pid": 0, "uptime": 5.0}
    assert [(b["pid"], b["state"], b["session"]) for b in reply.fields["bridges"]] == [
        (42, "busy", SESSION.hex()), (43, "idle", None),
    ]  # fmt: skip
    (session,) = reply.fields["sessions"]
    assert session == {
        "id": SESSION.hex(), "client": {key: value for key, value in CLIENT.items() if key != "packages"}, "state": "attached", "age": 5.0, "last_seen": 5.0,
        "bridge": BRIDGE.hex(), "job_id": "01000000", "name": "", "expires_in": None, "objects": 0, "memory": 0,
    }  # fmt: skip
    assert reply.fields["counters"] == {"opened": 1}


def test_status_of_one_who_waits(desk: Desk) -> None:
    desk.hello()
    reply = only(desk.put(Side.BRIDGES, b"admin", Kind.STATUS))
    (session,) = reply.fields["sessions"]
    assert (session["state"], session["bridge"], session["job_id"]) == ("waiting", None, "")


def test_intervals_come_from_the_settings() -> None:
    desk = Desk(Settings(Timing(0.5, 2.0, 3.0)))
    registered = desk.register()[0].fields
    assert (registered["heartbeat"], registered["lease"], registered["grace"]) == (0.5, 2.0, 3.0)
    assert VERSIONS["ray"] == "2.60.0"
