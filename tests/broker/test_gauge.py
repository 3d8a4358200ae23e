"""What waits for a connection: never counted too low, never above the limit, and never stuck."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymq.pickling import OUT_OF_BAND_MIN
from raymq.protocol.control import encode_control
from raymq.protocol.limits import (
    BATCH_BYTES,
    BUFFERS_MAX,
    MESSAGE_MAX,
    PACKET_MAX,
    QUEUE_MAX,
    WINDOW_BYTES,
    WINDOW_CALLS,
)
from raymq.protocol.route import Kind, Lane, encode_route
from raymq_broker.actions import Side
from raymq_broker.gauge import FRAME_COST, STEPS, Gauges
from raymq_broker.lifecycle import Settings
from tests.broker.desk import BRIDGE, SESSION, TIMING, Desk, Said, kinds

LIMIT = 800
LARGEST = 500
PEER = (Side.CLIENTS, b"peer")


class Reader:
    """A connection that keeps the order, and a peer that reads when it likes and sends back the marks that it finds."""

    def __init__(self) -> None:
        self.gauges = Gauges(LIMIT, b"secret")
        self.queue: deque[tuple[str, int]] = deque()
        self.echoes: list[int] = []

    @property
    def waiting(self) -> int:
        gauge = self.gauges._gauges.get(PEER)
        return gauge.waiting if gauge is not None else 0

    def send(self, nbytes: int, *, lost: bool = False) -> bool:
        """The packet, and the mark that may be due behind it; which may be lost, as when the queue is full."""
        if not self.gauges.admit(PEER, nbytes):
            return False
        self.queue.append(("packet", nbytes))
        mark = self.gauges.next_mark(PEER)
        if mark is not None and not lost:
            self.queue.append(("mark", mark))
        return True

    def heartbeat(self) -> None:
        mark = self.gauges.outstanding(PEER)
        if mark is not None:
            self.queue.append(("mark", mark))

    def read(self, count: int) -> None:
        for _ in range(min(count, len(self.queue))):
            what, number = self.queue.popleft()
            if what == "mark":
                self.echoes.append(number)

    def answer(self) -> None:
        echoes, self.echoes = self.echoes, []
        for mark in echoes:
            self.gauges.confirm(PEER, mark)

    def check(self) -> None:
        unread = sum(number for what, number in self.queue if what == "packet")
        assert unread <= self.waiting <= max(LIMIT, LIMIT // STEPS + LARGEST)
        if self.waiting:
            assert len(self.gauges._gauges[PEER]._marks) <= STEPS


steps = st.one_of(
    st.tuples(st.just("send"), st.integers(1, LARGEST)),
    st.tuples(st.just("send"), st.integers(1, 20)),
    st.tuples(st.just("lose"), st.integers(1, LARGEST)),
    st.tuples(st.just("heartbeat"), st.just(0)),
    st.tuples(st.just("read"), st.integers(1, 10)),
    st.tuples(st.just("answer"), st.just(0)),
    st.tuples(st.just("guess"), st.integers(0, (1 << 63) - 1)),
)


@given(st.lists(steps, max_size=60))
def test_the_gauge_is_sound_and_never_stuck(events: list[tuple[str, int]]) -> None:
    reader = Reader()
    for what, number in events:
        if what == "send":
            reader.send(number)
        elif what == "lose":
            reader.send(number, lost=True)
        elif what == "heartbeat":
            reader.heartbeat()
        elif what == "read":
            reader.read(number)
        elif what == "answer":
            reader.answer()
        else:
            reader.gauges.confirm(PEER, number)
        reader.check()
    reader.heartbeat()
    reader.read(len(reader.queue))
    reader.answer()
    assert reader.waiting <= LIMIT // STEPS, "what is not marked is next to nothing"
    assert reader.send(LARGEST), "a peer that reads gets the next packet, however large"


def test_a_peer_that_reads_at_once_is_never_refused() -> None:
    reader = Reader()
    for number in range(1000):
        assert reader.send(1 + number % LARGEST)
        reader.read(10)
        reader.answer()


def test_a_lone_packet_may_be_larger_than_the_limit() -> None:
    gauges = Gauges(LIMIT, b"")
    assert gauges.admit(PEER, LIMIT // STEPS)
    assert gauges.admit(PEER, 10 * LIMIT)
    assert not gauges.admit(PEER, 1)


def test_marks_come_back_in_any_number_and_at_any_time() -> None:
    gauges = Gauges(LIMIT, b"")
    marks = []
    for _ in range(3):
        gauges.admit(PEER, 150)
        marks.append(gauges.next_mark(PEER))
    gauges.confirm(PEER, marks[1])  # type: ignore[arg-type]
    assert gauges._gauges[PEER].waiting == 150
    gauges.confirm(PEER, marks[0])  # type: ignore[arg-type]
    assert gauges.outstanding(PEER) == marks[2]
    gauges.confirm((Side.BRIDGES, b"peer"), marks[2])  # type: ignore[arg-type]
    assert gauges.outstanding(PEER) == marks[2], "it has to come back on its own connection"
    gauges.confirm(PEER, marks[2])  # type: ignore[arg-type]
    assert gauges._gauges[PEER].waiting == 0
    assert gauges.outstanding(PEER) is None


def test_marks_are_different_everywhere() -> None:
    marks = set()
    for secret in (b"one", b"two"):
        gauges = Gauges(LIMIT, secret)
        for peer in (b"a", b"b"):
            for _ in range(3):
                gauges.admit((Side.CLIENTS, peer), 150)
                marks.add(gauges.next_mark((Side.CLIENTS, peer)))
    assert len(marks) == 12
    assert all(mark is not None and 0 <= mark < 1 << 63 for mark in marks)


# --- in the broker

QUEUE = 80_000
PACKET = 9_000


@pytest.fixture
def desk() -> Desk:
    desk = Desk(Settings(TIMING, queue_max=QUEUE))
    desk.attached()
    desk.wait(0.0)
    return desk


def data(desk: Desk, side: Side, nbytes: int = PACKET, lane: Lane = Lane.CALLS) -> list[Said]:
    peer = (b"c%d" if side is Side.CLIENTS else b"b%d") % lane
    return desk.raw(side, peer, encode_route(Kind.DATA, SESSION, lane), bytes(nbytes))


def fill(desk: Desk, side: Side) -> list[Said]:
    """Send until something is dropped; what was sent."""
    said: list[Said] = []
    while not desk.broker.counters["overflowed"]:
        said += data(desk, side)
    return said


def marks(said: list[Said]) -> list[Any]:
    return [packet.fields["mark"] for packet in said if packet.kind == Kind.PING and "mark" in packet.fields]


@pytest.mark.parametrize(
    ("sender", "receiver", "peer", "owner"),
    [(Side.CLIENTS, Side.BRIDGES, b"b0", BRIDGE), (Side.BRIDGES, Side.CLIENTS, b"c0", SESSION)],
)
def test_a_peer_that_does_not_read(desk: Desk, sender: Side, receiver: Side, peer: bytes, owner: bytes) -> None:
    said = fill(desk, sender)
    passed = [packet for packet in said if packet.kind == Kind.DATA]
    assert sum(FRAME_COST * 2 + 24 + len(packet.fields[1]) for packet in passed) <= QUEUE
    assert len(passed) == QUEUE // (PACKET + 2 * FRAME_COST + 24)
    pings = [packet for packet in said if packet.kind == Kind.PING]
    assert {packet[:5] for packet in pings} == {(receiver, peer, Kind.PING, Lane.CALLS, owner)}
    assert data(desk, sender) == [], "still full"
    assert kinds(data(desk, sender, lane=Lane.BULK))[0][1] == Kind.DATA, "the other lane is another connection"
    assert [log.fields["session"] for log in desk.logged("overflowed")] == [SESSION.hex()]

    desk.put(receiver, peer, Kind.PING, owner, mark=marks(pings)[0])
    assert kinds(data(desk, sender))[0] == (peer, Kind.DATA), "it has read something"


def test_a_mark_that_was_lost_comes_again_with_each_heartbeat(desk: Desk) -> None:
    last = marks(fill(desk, Side.CLIENTS))[-1]
    for _ in range(3):
        desk.now += TIMING.heartbeat
        said = desk._did(desk.broker.tick(desk.now))
        assert marks(said) == [last]
        assert [packet.peer for packet in said if "mark" in packet.fields] == [b"b0"]
    desk.put(Side.BRIDGES, b"b0", Kind.PING, BRIDGE, mark=last)
    desk.now += TIMING.heartbeat
    assert marks(desk._did(desk.broker.tick(desk.now))) == []
    assert kinds(data(desk, Side.CLIENTS, QUEUE))[0] == (b"b0", Kind.DATA)


def test_a_mark_of_another_connection_counts_for_nothing(desk: Desk) -> None:
    for mark in marks(fill(desk, Side.CLIENTS)):
        desk.put(Side.CLIENTS, b"c0", Kind.PING, mark=mark)
        desk.put(Side.BRIDGES, b"b1", Kind.PING, BRIDGE, Lane.BULK, mark=mark)
    assert data(desk, Side.CLIENTS) == []


def test_a_new_connection_begins_at_nothing(desk: Desk) -> None:
    fill(desk, Side.BRIDGES)
    desk.lost(Side.CLIENTS, b"c0")
    desk.attach(b"c7")
    assert [packet.peer for packet in data(desk, Side.BRIDGES)] == [b"c7"]


def test_connections_that_are_gone_are_forgotten(desk: Desk) -> None:
    data(desk, Side.BRIDGES)
    assert len(desk.broker.outbox._gauges) == 1
    data(desk, Side.CLIENTS)
    assert len(desk.broker.outbox._gauges) == 2
    desk.lost(Side.CLIENTS, b"c0")
    desk.wait(TIMING.heartbeat)
    assert len(desk.broker.outbox._gauges) == 1
    desk.wait(TIMING.grace)
    for peer in (b"b0", b"b1"):
        desk.lost(Side.BRIDGES, peer)
    desk.wait(3.0)
    assert len(desk.broker.outbox._gauges) == 0


@pytest.mark.parametrize("mark", [None, "1", -1, 1.5, [], 1 << 63])
def test_a_mark_that_is_none(desk: Desk, mark: Any) -> None:
    before = desk.broker.counters["malformed"]
    said = desk.raw(Side.CLIENTS, b"c0", encode_route(Kind.PING, SESSION), encode_control(Kind.PING, mark=mark))
    assert said == []
    assert desk.broker.counters["malformed"] == before + (type(mark) is not int)


# --- packets that nobody sends who keeps to the rules

HUGE = [
    [bytes(MESSAGE_MAX), bytes(PACKET_MAX - MESSAGE_MAX)],
    [b""] * (2 + BUFFERS_MAX),
]


@pytest.mark.parametrize("frames", HUGE, ids=["bytes", "frames"])
@pytest.mark.parametrize("kind", [Kind.DATA, Kind.PING, Kind.HELLO])
def test_a_client_whose_packet_is_too_large_loses_its_session(desk: Desk, kind: Kind, frames: list[bytes]) -> None:
    said = desk.raw(Side.CLIENTS, b"c1", encode_route(kind, SESSION, Lane.BULK), *frames)
    assert kinds(said) == [(b"c0", Kind.ENDED), (b"b0", Kind.CLOSE)]
    assert {packet.fields["code"] for packet in said} == {"protocol-error"}
    assert f"{1 + len(frames):,} frames" in said[0].fields["message"]
    assert desk.broker.counters["malformed"] == 1


@pytest.mark.parametrize("frames", HUGE, ids=["bytes", "frames"])
def test_a_packet_that_is_too_large_from_others_is_dropped(desk: Desk, frames: list[bytes]) -> None:
    route = encode_route(Kind.DATA, SESSION)
    assert desk.raw(Side.CLIENTS, b"stranger", route, *frames) == []
    assert desk.raw(Side.BRIDGES, b"b0", route, *frames) == []
    assert desk.broker.counters["malformed"] == 2
    assert SESSION in desk.broker.sessions


def test_ends_that_keep_to_their_credit_stay_below_the_limit() -> None:
    """A full window in bytes, or in packets of usual size, each packet with its frames."""
    frames = 2 + BATCH_BYTES // OUT_OF_BAND_MIN
    assert WINDOW_BYTES + PACKET_MAX + WINDOW_CALLS * frames * FRAME_COST < QUEUE_MAX


def test_the_largest_packet_passes() -> None:
    desk = Desk()
    desk.attached()
    route = encode_route(Kind.DATA, SESSION)
    frames = [bytes(MESSAGE_MAX), bytes(PACKET_MAX - MESSAGE_MAX - len(route))]
    assert kinds(desk.raw(Side.CLIENTS, b"c0", route, *frames))[0] == (b"b0", Kind.DATA)
