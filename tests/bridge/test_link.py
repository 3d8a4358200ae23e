"""The bridge's link: the rows of its table of states, what time brings about, and what a broker may send."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymq.errors import RemoteProtocolError
from raymq.protocol.channel import Received
from raymq.protocol.codec import data_header, encode, join, pack
from raymq.protocol.control import decode_control, encode_control
from raymq.protocol.messages import Buffer, Fetch, Ready
from raymq.protocol.route import SWITCHED, Kind, Lane, decode_route, encode_route
from raymq_bridge.link import Ended, Link, LinkState, Opened, Reopened
from tests.protocol.strategies import plain

BRIDGE = b"b" * 16
SESSION = b"s" * 16
VERSIONS = {"python": "3.11.9"}
REGISTERED = {"heartbeat": 1.0, "lease": 4.0, "grace": 6.0, "object_max": 1000}
OPEN = {"client": {"pid": 7}, "job": {"namespace": "n"}, "digest": b"d" * 32, "protocol": 1}
CLUSTER = {"job_id": "01"}
CLOSE = {"code": "expired", "message": "too late"}
BOTH = list(Lane)


class Line:
    """A link, its clock, and what it says."""

    def __init__(self) -> None:
        self.now = 100.0
        self.link = Link(BRIDGE, 42, VERSIONS, self.now)

    def take(self, kind: Kind, lane: Lane = Lane.CALLS, session: bytes = SESSION, **fields: Any) -> list[Any]:
        return self.link.receive([encode_route(kind, session, lane), encode_control(kind, **fields)], self.now)

    def poll(self) -> list[tuple[Kind, Lane, Any]]:
        packets, events = self.link.poll(self.now)
        assert events == []
        assert self.link.poll(self.now) == ([], [])
        assert self.link.next_deadline() > self.now
        said = []
        for lane, frames in packets:
            kind = Kind(decode_route(frames[0]).kind)
            said.append((kind, lane, frames[1:] if kind in SWITCHED else decode_control(kind, frames[1])))
        return said

    def say(self) -> list[tuple[Kind, Lane]]:
        return [(kind, lane) for kind, lane, _ in self.poll()]

    def wait(self, seconds: float) -> list[Any]:
        """Poll whenever it is due; the events."""
        events = []
        until = self.now + seconds
        while (due := self.link.next_deadline()) <= until:
            self.now = max(self.now, due)
            events += self.link.poll(self.now)[1]
            assert self.link.next_deadline() > self.now
        self.now = until
        return events

    def register(self) -> None:
        for lane in Lane:
            self.take(Kind.REGISTERED, lane, BRIDGE, **REGISTERED)

    def serve(self) -> Line:
        self.poll()
        self.register()
        self.take(Kind.OPEN, **OPEN)
        self.link.opened(CLUSTER)
        self.poll()
        return self


@pytest.fixture
def line() -> Line:
    return Line()


def test_a_mark_is_sent_back_on_its_lane(line: Line) -> None:
    """Once all that came before it has been read."""
    line.serve()
    for lane in Lane:
        assert line.take(Kind.PING, lane, BRIDGE, mark=1 << 62) == []
        assert line.poll() == [(Kind.PING, lane, {"mark": 1 << 62})]


# --- registering


def test_both_lanes_register_until_they_are_answered(line: Line) -> None:
    said = line.poll()
    assert [(kind, lane) for kind, lane, _ in said] == [(Kind.REGISTER, lane) for lane in Lane]
    assert said[0][2] == {"protocol": [1, 1], "pid": 42, "cluster": VERSIONS, "sessions": []}
    line.take(Kind.REGISTERED, Lane.BULK, BRIDGE, **REGISTERED)
    assert line.link.state is LinkState.UNREGISTERED
    line.now += 1.0
    assert line.say() == [(Kind.REGISTER, Lane.CALLS), (Kind.PING, Lane.BULK)]
    line.take(Kind.REGISTERED, Lane.CALLS, BRIDGE, **REGISTERED)
    assert line.link.state is LinkState.IDLE
    assert (line.link.timing.lease, line.link.timing.grace) == (4.0, 6.0)


def test_intervals_that_make_no_sense_are_refused(line: Line) -> None:
    with pytest.raises(RemoteProtocolError):
        line.take(Kind.REGISTERED, Lane.CALLS, BRIDGE, **REGISTERED | {"heartbeat": -1.0})


def test_heartbeats_on_both_lanes(line: Line) -> None:
    line.serve()
    for _ in range(3):
        line.now += 1.0
        assert line.say() == [(Kind.PING, lane) for lane in Lane]


# --- serving


def test_a_session_is_opened(line: Line) -> None:
    line.poll()
    line.register()
    assert line.take(Kind.OPEN, **OPEN) == [Opened({"pid": 7}, {"namespace": "n"})]
    assert line.link.state is LinkState.SERVING
    assert line.link.channel is not None
    assert (line.link.channel.session, line.link.channel.object_max) == (SESSION, 1000)
    line.link.opened(CLUSTER)
    assert line.poll() == [(Kind.OPENED, Lane.CALLS, {"cluster": CLUSTER})]


@pytest.mark.parametrize("missing", ["digest", "protocol"])
def test_an_open_that_lacks_what_a_new_broker_would_need(line: Line, missing: str) -> None:
    line.poll()
    line.register()
    fields = {key: value for key, value in OPEN.items() if key != missing}
    with pytest.raises(RemoteProtocolError, match=missing):
        line.link.receive([encode_route(Kind.OPEN, SESSION), pack(fields)], line.now)
    assert line.link.channel is None


def test_an_open_that_is_repeated_is_answered_again(line: Line) -> None:
    line.poll()
    line.register()
    line.take(Kind.OPEN, **OPEN)
    assert line.take(Kind.OPEN, **OPEN) == []
    assert line.say() == [], "it is just being opened"
    line.link.opened(CLUSTER)
    line.poll()
    assert line.take(Kind.OPEN, **OPEN) == []
    assert line.poll() == [(Kind.OPENED, Lane.CALLS, {"cluster": CLUSTER})]
    with pytest.raises(RemoteProtocolError, match="already"):
        line.take(Kind.OPEN, session=b"o" * 16, **OPEN)


def test_an_open_before_registered_waits_for_its_repetition(line: Line) -> None:
    """REGISTERED tells the limits; it may have been lost on one lane."""
    line.poll()
    line.take(Kind.REGISTERED, Lane.CALLS, BRIDGE, **REGISTERED)
    assert line.take(Kind.OPEN, **OPEN) == []
    assert line.link.channel is None
    line.register()
    assert line.take(Kind.OPEN, **OPEN) != []


def test_open_failed(line: Line) -> None:
    line.poll()
    line.register()
    line.take(Kind.OPEN, **OPEN)
    line.link.failed("no-cluster", "why")
    assert line.link.state is LinkState.ENDED
    assert line.poll() == [(Kind.OPEN_FAILED, Lane.CALLS, {"code": "no-cluster", "message": "why"})]
    assert line.take(Kind.OPEN, **OPEN) == []
    assert line.say() == []


def test_messages_pass(line: Line) -> None:
    line.serve()
    batch = join([encode(Fetch([1]))])
    frames = [encode_route(Kind.DATA, SESSION), data_header(1, 0, 64, batch)]
    assert line.link.receive(frames, line.now) == [Received([Fetch([1])])]
    assert line.link.channel is not None
    line.link.channel.send(Ready(0, [1], False))
    assert line.say() == [(Kind.DATA, Lane.CALLS)]


@pytest.mark.parametrize("kind", sorted(SWITCHED))
def test_packets_of_other_sessions_are_refused(line: Line, kind: Kind) -> None:
    position = pack((0, 64, False))
    with pytest.raises(RemoteProtocolError, match="not served"):
        line.link.receive([encode_route(kind, SESSION), position], line.now)
    line.serve()
    with pytest.raises(RemoteProtocolError, match="not served"):
        line.link.receive([encode_route(kind, b"o" * 16), position], line.now)


# --- a new connection, a new broker


def test_a_lane_that_is_unbound_registers_again_with_the_session(line: Line) -> None:
    line.serve()
    line.take(Kind.UNBOUND, Lane.BULK, BRIDGE)
    [(kind, lane, fields)] = line.poll()
    assert (kind, lane) == (Kind.REGISTER, Lane.BULK)
    nameless = {"name": "", "ttl": 0.0, "left": False}
    assert fields["sessions"] == [{"session": SESSION, **OPEN, "cluster": CLUSTER, **nameless}]
    for _ in range(3):
        line.take(Kind.UNBOUND, Lane.BULK, SESSION)
    assert line.say() == [], "one answer to many"
    line.take(Kind.REGISTERED, Lane.BULK, BRIDGE, **REGISTERED)
    assert line.say() == [(Kind.SYNC, Lane.BULK)]
    line.take(Kind.REGISTERED, Lane.BULK, BRIDGE, **REGISTERED)
    assert line.say() == [], "a repetition: the connection is the same"
    assert line.link.state is LinkState.SERVING


def test_a_session_that_is_just_being_opened_is_told_as_such(line: Line) -> None:
    line.poll()
    line.register()
    line.take(Kind.OPEN, **OPEN)
    line.take(Kind.UNBOUND, Lane.CALLS, BRIDGE)
    assert line.poll()[0][2]["sessions"][0]["cluster"] == {}


def test_an_idle_bridge_registers_again(line: Line) -> None:
    line.poll()
    line.register()
    for lane in Lane:
        line.take(Kind.UNBOUND, lane, BRIDGE)
    assert [fields["sessions"] for _, _, fields in line.poll()] == [[], []]
    line.register()
    assert line.say() == []
    assert line.link.state is LinkState.IDLE


# --- the end


def test_close_by_the_broker(line: Line) -> None:
    line.serve()
    assert line.take(Kind.CLOSE, **CLOSE) == [Ended("expired", "too late")]
    assert line.link.state is LinkState.ENDED
    assert line.say() == []


def test_a_bridge_whose_open_was_lost_can_be_closed(line: Line) -> None:
    line.poll()
    line.register()
    assert line.take(Kind.CLOSE, **CLOSE) == [Ended("expired", "too late")]


def test_a_close_of_another_session_is_refused(line: Line) -> None:
    line.serve()
    with pytest.raises(RemoteProtocolError, match="no place"):
        line.take(Kind.CLOSE, session=b"o" * 16, **CLOSE)
    assert line.link.state is LinkState.SERVING


def test_ended_here(line: Line) -> None:
    line.serve()
    line.link.ended("goodbye", "bye")
    assert line.poll() == [(Kind.CLOSED, Lane.CALLS, {"code": "goodbye", "message": "bye"})]
    assert line.link.state is LinkState.ENDED


def test_a_bridge_without_a_session_has_nothing_to_tell(line: Line) -> None:
    line.poll()
    line.link.opened(CLUSTER)
    line.link.ended("bridge-stopped", "")
    assert line.say() == []


@pytest.mark.parametrize("serving", [True, False])
def test_orphaned(line: Line, serving: bool) -> None:
    if serving:
        line.serve()
    else:
        line.poll()
        line.register()
    assert line.wait(10.0) == []
    [ended] = line.wait(1.0)
    assert (ended.code, line.link.state) == ("orphaned", LinkState.ENDED)
    assert line.wait(60.0) == []


def test_a_broker_that_is_heard_orphans_nobody(line: Line) -> None:
    line.serve()
    for _ in range(20):
        line.take(Kind.PING, session=BRIDGE)
        assert line.wait(9.0) == []


def test_time_in_which_the_thread_did_not_run_orphans_nobody(line: Line) -> None:
    """Starting a Ray job, with its runtime environment, can block it for minutes."""
    line.serve()
    line.now += 600.0
    line.poll()
    assert [event.code for event in line.wait(12.0)] == ["orphaned"]


# --- whatever comes

HOSTILE: dict[str, list[Buffer]] = {
    "nothing": [],
    "no route": [b"x"],
    "a route alone": [encode_route(Kind.PING, BRIDGE)],
    "too many frames": [encode_route(Kind.CLOSE, SESSION), encode_control(Kind.CLOSE, **CLOSE), b""],
    "a client's packet": [encode_route(Kind.HELLO, SESSION), b"\x80"],
    "no map": [encode_route(Kind.REGISTERED, BRIDGE), b"\xc1"],
    "no stream": [encode_route(Kind.DATA, SESSION), b"\xc1"],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_breaks_the_protocol_is_refused(line: Line, name: str) -> None:
    line.serve()
    with pytest.raises(RemoteProtocolError):
        line.link.receive(HOSTILE[name], line.now)
    assert line.link.state is LinkState.SERVING


def unregistered(line: Line) -> None:
    line.poll()


def idle(line: Line) -> None:
    line.poll()
    line.register()


def opening(line: Line) -> None:
    idle(line)
    line.take(Kind.OPEN, **OPEN)


def serving(line: Line) -> None:
    line.serve()


def cut(line: Line) -> None:
    line.serve()
    for lane in Lane:
        line.take(Kind.UNBOUND, lane, BRIDGE)


def ended(line: Line) -> None:
    line.serve()
    line.take(Kind.CLOSE, **CLOSE)


STATES: list[Callable[[Line], None]] = [unregistered, idle, opening, serving, cut, ended]
FIELDS: dict[Kind, dict[str, Any]] = {Kind.REGISTERED: REGISTERED, Kind.OPEN: OPEN, Kind.CLOSE: CLOSE}
ids = st.sampled_from([SESSION, BRIDGE])
lanes = st.sampled_from(Lane)
packets = st.one_of(
    st.builds(
        lambda kind, session, lane: [
            encode_route(kind, session, lane), encode_control(kind, **FIELDS.get(kind, {})),
        ],
        st.sampled_from([*FIELDS, Kind.UNBOUND, Kind.PING]),
        ids,
        lanes,
    ),
    st.builds(
        lambda kind, session, lane, fields: [encode_route(kind, session, lane), pack(fields)],
        st.sampled_from(Kind),
        ids,
        lanes,
        plain,
    ),
    st.builds(
        lambda kind, lane, grant: [encode_route(kind, SESSION, lane), pack((0, grant, True))],
        st.sampled_from(sorted(SWITCHED)),
        lanes,
        st.integers(0, 20),
    ),
    st.lists(st.binary(max_size=30), max_size=3),
)  # fmt: skip


@given(st.sampled_from(STATES), st.lists(st.tuples(packets, st.sampled_from([0.0, 0.1, 1.0, 7.0])), max_size=12))
def test_any_packets_in_any_state(state: Callable[[Line], None], steps: list[tuple[list[bytes], float]]) -> None:
    """Nothing but RemoteProtocolError is raised, nothing spins, and what has ended stays so."""
    line = Line()
    state(line)
    for frames, seconds in steps:
        over = line.link.state is LinkState.ENDED
        with suppress(RemoteProtocolError):
            line.link.receive(frames, line.now)
        line.wait(seconds)
        assert not over or line.link.state is LinkState.ENDED


# --- named sessions

NEXT = b"n" * 16
NAMED = OPEN | {"name": "night", "ttl": 60.0}
HAND_OVER = NAMED | {"client": {"pid": 8}, "digest": b"e" * 32, "replaces": SESSION}


def serve_named(line: Line) -> None:
    line.poll()
    line.register()
    line.take(Kind.OPEN, **NAMED)
    line.link.opened(CLUSTER)
    line.poll()


def test_a_session_is_handed_over(line: Line) -> None:
    serve_named(line)
    first = line.link.channel
    assert line.take(Kind.OPEN, session=NEXT, **HAND_OVER) == [Reopened({"pid": 8})]
    assert line.link.channel is not first
    assert line.link.channel is not None
    assert line.link.channel.session == NEXT
    assert line.poll() == [], "nothing is said before the next client is served"
    line.link.opened(CLUSTER)
    assert [(kind, fields) for kind, _, fields in line.poll()] == [(Kind.OPENED, {"cluster": CLUSTER})]
    assert line.take(Kind.OPEN, session=NEXT, **HAND_OVER) == [], "a repetition"
    assert line.say() == [(Kind.OPENED, Lane.CALLS)]


def test_late_packets_of_the_client_before_are_dropped(line: Line) -> None:
    serve_named(line)
    line.take(Kind.OPEN, session=NEXT, **HAND_OVER)
    line.link.opened(CLUSTER)
    late = [encode_route(Kind.DATA, SESSION, Lane.BULK), b"whatever it says"]
    assert line.link.receive(late, line.now) == []
    with pytest.raises(RemoteProtocolError, match="not served here"):
        line.link.receive([encode_route(Kind.DATA, b"x" * 16), b""], line.now)
    assert line.link.state is LinkState.SERVING


@pytest.mark.parametrize("replaces", [b"", b"x" * 16])
def test_only_its_own_session_is_handed_over(line: Line, replaces: bytes) -> None:
    serve_named(line)
    with pytest.raises(RemoteProtocolError, match="serves a session already"):
        line.take(Kind.OPEN, session=NEXT, **HAND_OVER | {"replaces": replaces})


def test_a_session_that_is_not_open_yet_is_not_handed_over(line: Line) -> None:
    line.poll()
    line.register()
    line.take(Kind.OPEN, **NAMED)
    with pytest.raises(RemoteProtocolError, match="serves a session already"):
        line.take(Kind.OPEN, session=NEXT, **HAND_OVER)


def test_nothing_is_handed_over_after_the_end(line: Line) -> None:
    serve_named(line)
    line.take(Kind.CLOSE, **CLOSE)
    assert line.take(Kind.OPEN, session=NEXT, **HAND_OVER) == []
    assert line.link.state is LinkState.ENDED


def test_heartbeats_tell_of_the_session(line: Line) -> None:
    serve_named(line)
    line.link.reports(objects=3, memory=1000)
    line.now += 1.0
    report = {"objects": 3, "memory": 1000, "left": False, "ttl": 60.0}
    assert line.poll() == [(Kind.PING, Lane.CALLS, report), (Kind.PING, Lane.BULK, {})]
    line.link.left(5)
    gone = report | {"left": True, "ttl": 5.0}
    assert line.poll() == [(Kind.PING, Lane.CALLS, gone)], "told at once"
    line.now += 1.0
    assert line.poll()[0] == (Kind.PING, Lane.CALLS, gone), "and again, since it may have been lost"
    line.take(Kind.UNBOUND, Lane.CALLS, BRIDGE)
    entry = line.poll()[0][2]["sessions"][0]
    assert (entry["name"], entry["ttl"], entry["left"]) == ("night", 5.0, True)
    line.take(Kind.REGISTERED, Lane.CALLS, BRIDGE, **REGISTERED)
    line.take(Kind.OPEN, session=NEXT, **HAND_OVER)
    line.link.opened(CLUSTER)
    line.poll()
    line.now += 1.0
    assert line.poll()[0][2]["left"] is False


def test_nobody_leaves_who_is_not_there(line: Line) -> None:
    line.poll()
    line.link.left(5)
    assert line.poll() == []
