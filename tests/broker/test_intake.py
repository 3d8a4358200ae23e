"""What came and was not handled: never counted too low, and honest ends are never blamed."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from raymq.protocol.limits import INTAKE_MAX, PACKET_MAX, WINDOW_BYTES
from raymq.protocol.route import Kind, Lane
from raymq_broker.actions import Side
from raymq_broker.intake import REST, Excess, Intake, wire_bytes
from tests.broker.desk import SESSION, TOKEN, Desk

LIMIT = 10 * REST
PACKET = 4 * REST
NUMBER = 7


class Connection:
    """What a kernel and a broker see of one connection."""

    def __init__(self, intake: Intake, number: int = NUMBER, identity: int = 1, peer: bytes = b"peer") -> None:
        self.intake = intake
        self.number = number
        self.identity = identity
        self.peer = peer
        self.total = self.own = 64  # the greeting
        self.packets: deque[int] = deque()
        self.unfinished = 0

    def send(self, nbytes: int) -> None:
        self.total += nbytes
        self.packets.append(self.unfinished + nbytes)
        self.unfinished = 0

    def part(self, nbytes: int) -> None:
        self.total += nbytes
        self.unfinished += nbytes

    def heartbeat(self) -> None:
        if not self.unfinished:
            self.total += 9
            self.own += 9

    def handle(self) -> None:
        if self.packets:
            self.intake.handled(self.number, self.peer, self.packets.popleft())

    def look(self) -> int:
        self.intake.look(self.number, self.identity, self.total, drained=not self.packets)
        return self.intake._flows[self.number].waiting

    @property
    def waiting(self) -> int:
        return sum(self.packets) + self.unfinished


def excess(intake: Intake) -> list[Excess]:
    return list(intake.excess())


steps = st.one_of(
    st.tuples(st.just("send"), st.integers(1, 3 * REST)),
    st.tuples(st.just("part"), st.integers(1, 3 * REST)),
    st.tuples(st.sampled_from(["heartbeat", "handle", "handle", "look"])),
)


@given(st.lists(steps, max_size=60))
def test_the_count(script: list[tuple[Any, ...]]) -> None:
    """It is exact but for libzmq's own bytes, and for one rest that may be forgiven."""
    connection = Connection(Intake(LIMIT, LIMIT, LIMIT))
    for what, *arguments in script:
        found = getattr(connection, what)(*arguments)
        if what == "look":
            assert connection.waiting - REST <= found <= connection.waiting + connection.own


def test_heartbeats_of_a_month_are_no_flood() -> None:
    """As long as packets come, too, and every one is handled."""
    connection = Connection(Intake(LIMIT, LIMIT, LIMIT))
    for _ in range(100_000):
        connection.heartbeat()
        connection.send(30)
        connection.handle()
        assert connection.look() <= 9
    assert excess(connection.intake) == []


def test_a_packet_that_never_ends() -> None:
    """The small part of it that may be forgiven is forgiven once."""
    connection = Connection(Intake(LIMIT, LIMIT, LIMIT))
    connection.send(100)
    connection.handle()
    while not excess(connection.intake):
        assert connection.unfinished <= LIMIT + 2 * REST
        connection.part(REST // 2)
        connection.look()
    assert connection.unfinished > LIMIT
    assert excess(connection.intake) == [Excess(NUMBER, b"peer", connection.unfinished - REST // 2)]


def test_a_packet_that_never_ends_from_the_beginning() -> None:
    connection = Connection(Intake(LIMIT, LIMIT, LIMIT))
    connection.part(LIMIT)
    connection.look()
    assert excess(connection.intake) == [Excess(NUMBER, b"", LIMIT + 64)]


def test_an_unfinished_packet_is_no_larger_than_a_packet_may_be() -> None:
    """Noticed far below the limit, as soon as nothing else can be what waits."""
    connection = Connection(Intake(LIMIT, PACKET, LIMIT))
    connection.part(PACKET + 1)
    connection.look()
    assert excess(connection.intake) == [], "it may be whole packets"
    connection.look()
    assert excess(connection.intake) == [Excess(NUMBER, b"", PACKET + 65)]


@given(st.lists(steps, max_size=60))
def test_whole_packets_are_not_taken_for_unfinished_ones(script: list[tuple[Any, ...]]) -> None:
    connection = Connection(Intake(1 << 40, PACKET, 1 << 40))
    largest = 0
    for what, *arguments in script:
        getattr(connection, what)(*arguments)
        largest = max(largest, connection.unfinished)
        if what == "look" and excess(connection.intake):
            assert largest + connection.own > PACKET


def test_many_packets_that_wait() -> None:
    connection = Connection(Intake(LIMIT, LIMIT, LIMIT))
    for _ in range(10):
        connection.send(REST)
    connection.look()
    assert [each.nbytes for each in excess(connection.intake)] == [LIMIT + 64]
    connection.handle()
    connection.look()
    assert excess(connection.intake) == []


def test_the_next_connection_of_a_number() -> None:
    """What the one before has sent is neither held against it nor in its favour, nor is it blamed under its name."""
    intake = Intake(LIMIT, LIMIT, LIMIT)
    first = Connection(intake, peer=b"first")
    first.send(5 * LIMIT)
    first.handle()
    first.look()
    second = Connection(intake, identity=2, peer=b"second")
    second.part(LIMIT)
    second.look()
    assert excess(intake) == [Excess(NUMBER, b"", LIMIT + 64)]
    third = Connection(intake, identity=3, peer=b"third")
    third.send(100)
    third.handle()
    third.look()
    assert excess(intake) == []
    third.part(LIMIT + 1)
    third.look()
    assert [each.peer for each in excess(intake)] == [b"third"]


def test_a_number_that_is_handled_before_it_is_looked_at() -> None:
    """The second connection's first packet may be handled before anybody has looked at it."""
    intake = Intake(LIMIT, LIMIT, LIMIT)
    first = Connection(intake, peer=b"first")
    first.part(LIMIT // 2)
    first.look()
    second = Connection(intake, identity=2, peer=b"second")
    second.send(100)
    second.handle()
    assert second.look() == 0
    intake.forget(NUMBER)
    assert len(intake) == 0
    intake.forget(NUMBER)


def test_all_of_them_together() -> None:
    """Those that have most go, as many as needed."""
    intake = Intake(LIMIT, LIMIT, 2 * LIMIT)
    connections = [Connection(intake, number, peer=bytes([number])) for number in range(5)]
    for connection, tenths in zip(connections, (2, 9, 3, 8, 1), strict=True):
        connection.part(tenths * LIMIT // 10 - 64)
        connection.look()
    assert [(each.number, each.guilty) for each in excess(intake)] == [(1, False)]


def test_honest_ends_stay_below() -> None:
    """A window, and one packet more since the window is looked at before a packet is sent, with headers; and HELLO."""
    assert WINDOW_BYTES + 1.1 * PACKET_MAX < INTAKE_MAX


def test_wire_bytes() -> None:
    """RFC 37: flags and a size of one byte, or of eight."""
    assert wire_bytes([b"", b"x" * 255, b"y" * 256]) == 2 + 257 + 265


# --- what becomes of it


def test_a_flooded_session_ends() -> None:
    desk = Desk()
    desk.attached()
    said = desk.flooded(b"c0", 67_108_865)
    assert [(packet.peer, packet.kind) for packet in said] == [(b"c0", Kind.ENDED), (b"b0", Kind.CLOSE)]
    assert said[0].fields["code"] == "protocol-error"
    assert "67,108,865 bytes at once" in said[0].fields["message"]
    assert desk.state is None
    assert [log.fields["session"] for log in desk.logged("flooded")] == [SESSION.hex()]
    desk.lost(Side.CLIENTS, b"c0")
    again = desk.attach(b"c9", Lane.CALLS, token=TOKEN)
    assert [(packet.kind, packet.fields["code"]) for packet in again] == [(Kind.ENDED, "protocol-error")]


def test_a_session_that_is_cut_for_the_sake_of_all_goes_on() -> None:
    desk = Desk()
    desk.attached()
    assert desk.flooded(b"c1", 1 << 20, guilty=False) == []
    desk.lost(Side.CLIENTS, b"c1")
    assert [packet.kind for packet in desk.attach(b"c2", Lane.BULK)] == [Kind.ATTACHED]
    assert desk.broker.counters["flooded"] == 1


def test_a_stranger_floods() -> None:
    desk = Desk()
    assert desk.flooded(b"", 1 << 27) == []
    assert desk.flooded(b"x", 1 << 27) == []
    assert desk.broker.counters["flooded"] == 2
    assert [log.fields["session"] for log in desk.logged("flooded")] == [""]
