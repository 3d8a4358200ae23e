"""The client's connection: the rows of its table of states, what time brings about, and what a broker may send."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymq.connection import HELLO_INTERVAL, LATE, Connection, Ended, RefusedHello, Silence, State, Welcomed
from raymq.errors import RemoteProtocolError
from raymq.protocol.channel import Received
from raymq.protocol.codec import data_header, encode, join, pack
from raymq.protocol.control import decode_control, encode_control
from raymq.protocol.messages import Buffer, Fetch, Goodbye, Put, Ready
from raymq.protocol.route import SWITCHED, Kind, Lane, decode_route, encode_route
from tests.protocol.strategies import plain

SESSION = b"s" * 16
TOKEN = b"t" * 32
HELLO = {"protocol": [1, 1], "python": "3.11.9", "raymq": "0.1.0", "client": {"pid": 7}, "job": {}}
WELCOME = {
    "protocol": 1, "heartbeat": 1.0, "lease": 4.0, "grace": 6.0, "object_max": 1000, "cluster": {"job_id": "01"},
}  # fmt: skip
ENDED = {"code": "expired", "message": "too late"}


class Line:
    """A connection, its clock, and what it says."""

    def __init__(self) -> None:
        self.now = 100.0
        self.connection = Connection(SESSION, TOKEN, HELLO, self.now)

    def take(self, kind: Kind, lane: Lane = Lane.CALLS, session: bytes = SESSION, **fields: Any) -> list[Any]:
        return self.connection.receive([encode_route(kind, session, lane), encode_control(kind, **fields)], self.now)

    def data(self, seq: int) -> list[Any]:
        batch = join([encode(Ready(0, [seq], False))])
        return self.connection.receive([encode_route(Kind.DATA, SESSION), data_header(seq, 0, 64, batch)], self.now)

    def say(self) -> list[tuple[Kind, Lane]]:
        """What it says now, and that it has nothing more to say before its deadline."""
        packets, events = self.connection.poll(self.now)
        assert events == []
        assert self.connection.poll(self.now) == ([], [])
        assert self.connection.next_deadline() > self.now
        return [(Kind(decode_route(frames[0]).kind), lane) for lane, frames in packets]

    def wait(self, seconds: float) -> tuple[list[tuple[Kind, Lane]], list[Any]]:
        """Poll whenever it is due; packets and events, without heartbeats."""
        said, events = [], []
        until = self.now + seconds
        while (due := self.connection.next_deadline()) <= until:
            self.now = max(self.now, due)
            packets, happened = self.connection.poll(self.now)
            said += [(Kind(decode_route(frames[0]).kind), lane) for lane, frames in packets]
            events += happened
            assert self.connection.next_deadline() > self.now
        self.now = until
        return [packet for packet in said if packet[0] != Kind.PING], events

    def open(self) -> Line:
        self.say()
        self.take(Kind.WELCOME, **WELCOME)
        self.say()
        self.take(Kind.ATTACHED, Lane.BULK)
        self.say()
        return self


@pytest.fixture
def line() -> Line:
    return Line()


# --- greeting


def test_hello_is_repeated_until_it_is_answered(line: Line) -> None:
    [(lane, [route, fields])], _ = line.connection.poll(line.now)
    assert (lane, decode_route(route)[1:]) == (Lane.CALLS, (Kind.HELLO, Lane.CALLS, SESSION))
    assert decode_control(Kind.HELLO, fields) == {**HELLO, "token": TOKEN}
    assert line.connection.next_deadline() == line.now + HELLO_INTERVAL
    assert line.wait(2.0) == ([(Kind.HELLO, Lane.CALLS)] * 4, [])


def test_nobody_who_greets_is_ended_by_silence(line: Line) -> None:
    _, events = line.wait(3600.0)
    assert (line.connection.state, events) == (State.GREETING, [])


def test_welcome(line: Line) -> None:
    line.say()
    assert line.take(Kind.WELCOME, **WELCOME) == [Welcomed(1000, 1, {"job_id": "01"}, resumed=False)]
    assert line.connection.state is State.OPEN
    assert line.connection.timing.lease == 4.0
    assert line.connection.channel.object_max == 1000
    assert line.say() == [(Kind.ATTACH, Lane.BULK), (Kind.PING, Lane.CALLS)]
    assert line.take(Kind.WELCOME, **WELCOME) == [], "the answer to another HELLO of ours"


@pytest.mark.parametrize("bad", [{"heartbeat": 0.0}, {"lease": 0.5}, {"grace": -1.0}])
def test_intervals_that_make_no_sense_are_no_welcome(line: Line, bad: dict[str, float]) -> None:
    with pytest.raises(RemoteProtocolError):
        line.take(Kind.WELCOME, **WELCOME | bad)
    assert line.connection.state is State.GREETING


def test_refused_for_now_and_for_good(line: Line) -> None:
    line.say()
    assert line.take(Kind.REFUSED, code="no-bridge", message="wait", retry=True) == [
        RefusedHello("no-bridge", "wait", True)
    ]
    assert line.wait(1.0)[0] == [(Kind.HELLO, Lane.CALLS)] * 2
    assert line.take(Kind.REFUSED, code="python-mismatch", message="no", retry=False) == [
        RefusedHello("python-mismatch", "no", False)
    ]
    assert line.connection.state is State.ENDED
    assert line.connection.next_deadline() == float("inf")
    assert line.take(Kind.REFUSED, code="x", message="", retry=True) == []


def test_what_has_no_meaning_while_greeting(line: Line) -> None:
    line.say()
    for kind in (Kind.UNBOUND, Kind.ATTACHED):
        assert line.take(kind) == []
    assert line.take(Kind.PING) == []
    line.connection.close(Goodbye())
    assert line.connection.state is State.GREETING
    assert line.say() == []


def test_a_session_that_ended_before_it_was_open(line: Line) -> None:
    assert line.take(Kind.ENDED, **ENDED) == [Ended("expired", "too late")]
    assert line.connection.state is State.ENDED


# --- lanes


def test_a_mark_is_sent_back_on_its_lane(line: Line) -> None:
    """Once all that came before it has been read."""
    line.open()
    for lane in Lane:
        assert line.take(Kind.PING, lane, mark=1 << 62) == []
        [(back, [route, fields])], _ = line.connection.poll(line.now)
        assert (back, decode_route(route)[1:]) == (lane, (Kind.PING, lane, SESSION))
        assert decode_control(Kind.PING, fields) == {"mark": 1 << 62}


def test_heartbeats_on_both_lanes(line: Line) -> None:
    line.open()
    for _ in range(3):
        line.now += 1.0
        assert line.say() == [(Kind.PING, Lane.CALLS), (Kind.PING, Lane.BULK)]
        line.take(Kind.PING)


@pytest.mark.parametrize("lane", Lane)
def test_unbound_is_answered_once(line: Line, lane: Lane) -> None:
    """Each packet on a lane that is not bound brings an UNBOUND back; that is one loss, not many."""
    line.open()
    for _ in range(100):
        line.take(Kind.UNBOUND, lane)
    assert line.say() == [(Kind.ATTACH, lane)]
    line.now += 0.4
    line.take(Kind.UNBOUND, lane)
    assert line.say() == []
    line.now += 0.1
    line.take(Kind.UNBOUND, lane)
    assert line.say() == [(Kind.ATTACH, lane)]


@pytest.mark.parametrize("lane", Lane)
def test_attached_asks_where_the_peer_stands(line: Line, lane: Lane) -> None:
    line.open()
    line.take(Kind.UNBOUND, lane)
    line.say()
    line.take(Kind.ATTACHED, lane)
    assert line.say() == [(Kind.SYNC, lane)]


def test_what_a_lane_sends_while_it_is_not_attached_goes_later(line: Line) -> None:
    line.open()
    line.take(Kind.UNBOUND, Lane.CALLS)
    line.connection.channel.send(Fetch([1]))
    assert line.say() == [(Kind.ATTACH, Lane.CALLS)], "the broker would drop it"
    line.take(Kind.ATTACHED, Lane.CALLS)
    assert line.say() == [(Kind.SYNC, Lane.CALLS), (Kind.DATA, Lane.CALLS)]
    line.connection.receive([encode_route(Kind.SYNC, SESSION), pack((0, 64, False))], line.now)
    assert line.say() == [], "it is on its way"


def test_an_attach_that_was_lost_is_repeated(line: Line) -> None:
    """Or its answer was: then the broker holds the lane for bound, and says UNBOUND no more."""
    line.open()
    line.take(Kind.UNBOUND, Lane.BULK)
    line.say()
    line.now += 1.0
    assert line.say() == [(Kind.PING, Lane.CALLS), (Kind.ATTACH, Lane.BULK)]
    line.take(Kind.ATTACHED, Lane.BULK)
    line.say()
    line.now += 1.0
    assert line.say() == [(Kind.PING, Lane.CALLS), (Kind.PING, Lane.BULK)]


def test_messages_pass(line: Line) -> None:
    line.open()
    assert line.data(1) == [Received([Ready(0, [1], False)])]
    assert line.data(1) == []
    line.connection.channel.send(Put(1, line.connection.channel.announce(_payload())))
    assert (Kind.DATA, Lane.CALLS) in line.say()


def _payload() -> Any:
    from raymq.protocol.messages import Pickled

    return Pickled(b"x")


# --- time


def test_silence_is_told_once_and_so_is_its_end(line: Line) -> None:
    line.open()
    _, events = line.wait(9.9)
    [silence] = events
    assert isinstance(silence, Silence)
    assert 4.0 < silence.seconds < 6.0
    assert line.take(Kind.PING) == [Silence(0.0)]
    assert line.take(Kind.PING) == []
    assert line.connection.state is State.OPEN


def test_a_silence_beyond_lease_and_grace_ends_the_session(line: Line) -> None:
    line.open()
    line.wait(4.0 + 6.0 + LATE)
    assert line.connection.state is State.OPEN
    _, [ended] = line.wait(1.1)
    assert (ended.code, line.connection.state) == ("unreachable", State.ENDED)
    assert "13 s" in ended.message
    assert line.wait(100.0) == ([], [])


def test_time_in_which_the_process_did_not_run_ends_nothing(line: Line) -> None:
    """A laptop that slept for an hour has not heard of the broker for an hour; that is not the broker's silence."""
    line.open()
    line.now += 3600.0
    packets, events = line.connection.poll(line.now)
    assert events == []
    assert packets != []
    _, events = line.wait(14.0)
    assert [type(event) for event in events] == [Silence, Ended], "but if the silence goes on, it is"


def test_a_sleep_is_no_credit_for_later(line: Line) -> None:
    """A packet that was waiting when the process woke up is read first; the silence after it counts in full."""
    line.open()
    line.now += 3600.0
    line.take(Kind.PING)
    line.say()
    _, events = line.wait(14.0)
    assert [type(event) for event in events] == [Silence, Ended]


# --- the end


def test_close_says_goodbye_after_all_that_was_sent(line: Line) -> None:
    line.open()
    line.connection.channel.send(Fetch([1]))
    line.connection.close(Goodbye())
    line.connection.close(Goodbye())
    assert line.connection.state is State.CLOSING
    assert len(line.connection.channel._queue) == 2
    assert line.say() == [(Kind.DATA, Lane.CALLS)]
    [kept] = line.connection.channel.calls._kept
    assert kept.batch == join([encode(Fetch([1])), encode(Goodbye())])
    assert line.take(Kind.ENDED, code="goodbye", message="") == [Ended("goodbye", "")]
    assert line.take(Kind.ENDED, **ENDED) == []
    assert line.say() == []


def test_a_goodbye_survives_a_cut(line: Line) -> None:
    line.open()
    line.connection.close(Goodbye())
    line.say()
    line.take(Kind.UNBOUND, Lane.CALLS)
    assert line.say() == [(Kind.ATTACH, Lane.CALLS)]
    line.take(Kind.ATTACHED, Lane.CALLS)
    line.say()
    line.connection.receive([encode_route(Kind.SYNC, SESSION), pack((0, 64, False))], line.now)
    assert line.say() == [(Kind.DATA, Lane.CALLS)]


@pytest.mark.parametrize("state", ["greeting", "open", "closing"])
def test_abandon_says_bye_and_is_over(state: str) -> None:
    line = Line()
    if state != "greeting":
        line.open()
    if state == "closing":
        line.connection.close(Goodbye())
    line.connection.abandon()
    line.connection.abandon()
    assert line.connection.state is State.ENDED
    assert line.connection.next_deadline() == 0.0
    [(lane, frames)], _ = line.connection.poll(line.now)
    assert (lane, decode_route(frames[0]).kind) == (Lane.CALLS, Kind.BYE)
    assert decode_control(Kind.BYE, frames[1]) == {"token": TOKEN}
    assert line.wait(10.0) == ([], [])


# --- whatever comes

HOSTILE: dict[str, list[Buffer]] = {
    "nothing": [],
    "no route": [b"x"],
    "another session": [encode_route(Kind.PING, b"o" * 16), b"\x80"],
    "a route alone": [encode_route(Kind.PING, SESSION)],
    "too many frames": [encode_route(Kind.ENDED, SESSION), encode_control(Kind.ENDED, **ENDED), b""],
    "a client's packet": [encode_route(Kind.HELLO, SESSION), b"\x80"],
    "a kind of the future": [b"RYMQ\x01\x6f\x00\x00" + SESSION, b"\x80"],
    "no map": [encode_route(Kind.WELCOME, SESSION), b"\xc1"],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_breaks_the_protocol_is_refused(line: Line, name: str) -> None:
    line.open()
    with pytest.raises(RemoteProtocolError):
        line.connection.receive(HOSTILE[name], line.now)
    assert line.connection.state is State.OPEN


def test_session_traffic_that_breaks_the_protocol_ends_the_session(line: Line) -> None:
    """The stream has counted the packet: what was in it would be lost without a word."""
    line.open()
    (event,) = line.connection.receive([encode_route(Kind.DATA, SESSION), b"\xc1"], line.now)
    assert isinstance(event, Ended)
    assert event.code == "protocol-error"
    assert line.connection.state is State.ENDED


def greeting(line: Line) -> None:
    line.say()


def opened(line: Line) -> None:
    line.open()


def cut(line: Line) -> None:
    line.open()
    for lane in Lane:
        line.take(Kind.UNBOUND, lane)


def silent(line: Line) -> None:
    line.open()
    line.wait(6.0)


def closing(line: Line) -> None:
    line.open()
    line.connection.close(Goodbye())


def ended(line: Line) -> None:
    line.open()
    line.take(Kind.ENDED, **ENDED)


STATES: list[Callable[[Line], None]] = [greeting, opened, cut, silent, closing, ended]
FIELDS: dict[Kind, dict[str, Any]] = {
    Kind.WELCOME: WELCOME, Kind.REFUSED: {"code": "x", "message": "", "retry": True}, Kind.ENDED: ENDED,
}  # fmt: skip

packets = st.one_of(
    st.builds(
        lambda kind, lane: [encode_route(kind, SESSION, lane), encode_control(kind, **FIELDS.get(kind, {}))],
        st.sampled_from([Kind.WELCOME, Kind.REFUSED, Kind.ENDED, Kind.UNBOUND, Kind.ATTACHED, Kind.PING]),
        st.sampled_from(Lane),
    ),
    st.builds(
        lambda kind, lane, fields: [encode_route(kind, SESSION, lane), pack(fields)],
        st.sampled_from(Kind),
        st.sampled_from(Lane),
        plain,
    ),
    st.builds(
        lambda kind, lane, ack: [encode_route(kind, SESSION, lane), pack((0, ack, True))],
        st.sampled_from(sorted(SWITCHED)),
        st.sampled_from(Lane),
        st.integers(0, 20),
    ),
    st.lists(st.binary(max_size=30), max_size=3),
)


@given(st.sampled_from(STATES), st.lists(st.tuples(packets, st.sampled_from([0.0, 0.1, 1.0, 7.0])), max_size=12))
def test_any_packets_in_any_state(state: Callable[[Line], None], steps: list[tuple[list[bytes], float]]) -> None:
    """Nothing but RemoteProtocolError is raised, nothing spins, and what has ended says so once."""
    line = Line()
    state(line)
    over = line.connection.state is State.ENDED
    for frames, seconds in steps:
        events = []
        with suppress(RemoteProtocolError):
            events = line.connection.receive(frames, line.now)
        events += line.wait(seconds)[1]
        assert sum(isinstance(event, Ended) for event in events) <= (not over)
        over = over or line.connection.state is State.ENDED
    assert over is (line.connection.state is State.ENDED)
