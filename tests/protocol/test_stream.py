"""The reliable stream: once, in order, whatever the network does; and never more packets than that needs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from raymq.errors import LocalProtocolError, RemoteProtocolError
from raymq.protocol.codec import data_header, decode_batch, decode_data, decode_position, encode, join, pack
from raymq.protocol.limits import ACK_DELAY, PROBE_AFTER, PROBE_MAX, WINDOW_BULK, WINDOW_BYTES, WINDOW_CALLS
from raymq.protocol.messages import Buffer, Pickled, Put
from raymq.protocol.route import Kind, Lane, decode_route
from raymq.protocol.stream import HEADER_MAX, Frames, Stream
from tests.protocol.model import Network, Packet

SESSION = bytes(16)
FEW_BYTES = 150
"""A window in bytes that a window of packets exceeds."""

LARGEST = 150
"""Above the bytes of any packet here."""


def content(number: int) -> tuple[bytes, list[bytes]]:
    """The batch of a packet, and its buffers: of all sizes, with and without buffers."""
    buffers = [bytes(number * 17 % 60)] * (number % 3)
    return join([encode(Put(number, Pickled(b"", buffers)))]), buffers


class Owner:
    """A stream, what its owner wants sent and what it was given."""

    def __init__(self, window: int, *, consuming: bool = True, window_bytes: int = WINDOW_BYTES) -> None:
        self.stream = Stream(SESSION, Lane.CALLS, window, window_bytes)
        self.consuming = consuming
        self.waiting: deque[int] = deque()
        self.sent: list[int] = []
        self.delivered: list[int] = []
        self.answers: list[Frames] = []
        self.data_packets = 0

    def send(self, packets: int) -> None:
        for _ in range(packets):
            number = len(self.sent)
            self.sent.append(number)
            self.waiting.append(number)

    def poll(self, now: float) -> list[Packet]:
        packets, self.answers = self.answers, []
        while self.waiting and self.stream.can_send:
            packets.append(self.stream.send(*content(self.waiting.popleft()), now))
        packets += self.stream.poll(now, waiting=bool(self.waiting))
        self.data_packets += sum(decode_route(frames[0]).kind == Kind.DATA for frames in packets)
        return [(Lane.CALLS, frames) for frames in packets]

    def take(self, lane: Lane, frames: list[Buffer], now: float) -> None:
        kind = decode_route(frames[0]).kind
        if kind == Kind.DATA:
            data = decode_data(frames[1])
            nbytes = sum(map(len, frames[1:]))
            fresh, answers = self.stream.receive(data.seq, data.ack, data.grant, nbytes, now)
            self.answers += answers
            if fresh:
                self.delivered += [message.ref for message, _ in decode_batch(data.batch, frames[2:])]
                if self.consuming:
                    self.stream.consume(1, now)
        else:
            handle = self.stream.position if kind == Kind.ACK else self.stream.synchronize
            self.answers += handle(*decode_position(frames[1]), now)

    def consume_all(self, now: float) -> None:
        """Catch up, and from now on consume at once."""
        self.consuming = True
        self.stream.consume(self.stream.received - self.stream.consumed, now)

    def resume(self, lane: Lane, now: float) -> None:
        self.answers.append(self.stream.resume(now))

    def next_deadline(self) -> float | None:
        if self.answers or (self.waiting and self.stream.can_send):
            return 0.0
        return self.stream.next_deadline()

    def is_quiet(self) -> bool:
        """Whether all that was sent is acknowledged."""
        return not self.waiting and not self.stream._kept and self.stream.acknowledged == self.stream.sent


def joined(window: int = 8) -> tuple[Owner, Owner, Network]:
    left, right = Owner(window), Owner(window)
    return left, right, Network([left, right], [Lane.CALLS])


sides = st.integers(0, 1)


class FaultyNetwork(RuleBasedStateMachine):
    """Sends, losses, repetitions, delays and reconnects in any order; then the network heals."""

    def __init__(self) -> None:
        super().__init__()
        self.window = 5
        self.owners = [Owner(self.window, consuming=False, window_bytes=FEW_BYTES) for _ in range(2)]
        self.network = Network(self.owners, [Lane.CALLS])

    @rule(side=sides, packets=st.integers(1, 8))
    def send(self, side: int, packets: int) -> None:
        self.owners[side].send(packets)

    @rule(side=sides)
    def poll(self, side: int) -> None:
        self.network.poll(side)

    @rule(side=sides, packets=st.integers(1, 10))
    def deliver(self, side: int, packets: int) -> None:
        self.network.deliver(side, Lane.CALLS, packets)

    @rule(side=sides, packets=st.integers(1, 5))
    def consume(self, side: int, packets: int) -> None:
        stream = self.owners[side].stream
        stream.consume(min(packets, stream.received - stream.consumed), self.network.now)

    @rule(side=sides, index=st.integers(0, 20))
    def repeat(self, side: int, index: int) -> None:
        self.network.repeat(side, Lane.CALLS, index)

    @rule(side=sides, index=st.integers(0, 20))
    def lose(self, side: int, index: int) -> None:
        self.network.lose(side, Lane.CALLS, index)

    @rule(kept=st.integers(0, 4), resuming=st.sampled_from([(0,), (1,), (0, 1), (1, 0)]))
    def reconnect(self, kept: int, resuming: tuple[int, ...]) -> None:
        self.network.cut(Lane.CALLS, kept, resuming)

    @rule(index=st.integers(0, 20))
    def release(self, index: int) -> None:
        self.network.release(index)

    @rule(seconds=st.sampled_from([0.001, ACK_DELAY, 0.3, PROBE_AFTER, 3.0, 60.0]))
    def pass_time(self, seconds: float) -> None:
        self.network.pass_time(seconds)

    @invariant()
    def once_and_in_order(self) -> None:
        for side in (0, 1):
            assert self.owners[1 - side].delivered == self.owners[side].sent[: len(self.owners[1 - side].delivered)]

    @invariant()
    def credit_holds(self) -> None:
        for side in (0, 1):
            sender, receiver = self.owners[side].stream, self.owners[1 - side].stream
            assert sender.sent <= sender.granted <= receiver.consumed + self.window
            assert receiver.received - receiver.consumed <= self.window
            assert receiver._unconsumed_here.nbytes <= sender._unconsumed_there.nbytes < FEW_BYTES + LARGEST
            assert len(sender._kept) == sender.sent - sender.acknowledged <= self.window
            assert sender.acknowledged <= receiver.received <= sender.sent

    def teardown(self) -> None:
        for owner in self.owners:
            owner.consume_all(self.network.now)
        before = self.network.now
        self.network.settle(300.0)
        assert self.network.now - before < 60.0
        self.once_and_in_order()
        for side in (0, 1):
            assert self.owners[1 - side].delivered == self.owners[side].sent
            assert self.owners[side].is_quiet()


TestFaultyNetwork = FaultyNetwork.TestCase
TestFaultyNetwork.settings = settings(max_examples=150, stateful_step_count=40)


# --- what a quiet network sees


def test_a_packet_is_sent_once_and_acknowledged_once() -> None:
    left, right, network = joined()
    left.send(1)
    network.poll(0)
    network.deliver(1, Lane.CALLS, 1)
    assert network.poll(1) == 0
    network.pass_time(ACK_DELAY)
    assert network.poll(1) == 1
    network.deliver(0, Lane.CALLS, 1)
    assert left.is_quiet()
    network.settle(60.0)
    assert (left.data_packets, right.data_packets) == (1, 0)
    assert left.next_deadline() is right.next_deadline() is None


def test_an_acknowledgement_rides_on_data() -> None:
    left, right, network = joined()
    left.send(1)
    right.send(1)
    network.poll(0)
    network.deliver(1, Lane.CALLS, 1)
    assert network.poll(1) == 1
    network.pass_time(ACK_DELAY)
    assert network.poll(1) == 0
    network.deliver(0, Lane.CALLS, 1)
    assert left.is_quiet()


def test_a_quarter_of_the_window_is_acknowledged_at_once() -> None:
    left, _, network = joined(window=8)
    left.send(2)
    network.poll(0)
    network.deliver(1, Lane.CALLS, 2)
    assert network.poll(1) == 1


def test_credit_ends_and_is_asked_for_until_it_comes() -> None:
    left, right, network = joined(window=2)
    right.consuming = False
    left.send(3)
    network.settle(30.0)
    assert right.delivered == [0, 1]
    with pytest.raises(LocalProtocolError, match="no credit"):
        left.stream.send(b"", (), network.now)
    right.consume_all(network.now)
    network.poll(1)
    network.lose(0, Lane.CALLS, 0)
    network.settle(2 * PROBE_MAX)
    assert right.delivered == [0, 1, 2]
    assert left.data_packets == 3


def test_credit_in_bytes_ends_and_comes_back() -> None:
    sender, receiver = (Stream(SESSION, Lane.CALLS, 16, window_bytes=1000) for _ in range(2))
    for _ in range(2):
        assert sender.can_send
        frames = sender.send(bytes(500), (), 0.0)
        nbytes = sum(map(len, frames[1:]))
        assert receiver.receive(*decode_header(frames), nbytes, 0.0)[0]
    assert not sender.can_send
    with pytest.raises(LocalProtocolError, match="no credit"):
        sender.send(b"", (), 0.0)
    sender.position(2, 16, False, 0.0)
    assert not sender.can_send, "received, but not dealt with"
    receiver.consume(1, 0.0)
    sender.position(2, 17, False, 0.0)
    assert sender.can_send


def decode_header(frames: Frames) -> tuple[int, int, int]:
    """The numbers in a header whose batch is none."""
    seq, ack, grant = (frames[1][at] for at in (1, 2, 3))
    return seq, ack, grant


def test_a_peer_that_overdraws_its_credit_in_bytes() -> None:
    stream = Stream(SESSION, Lane.CALLS, 16, window_bytes=1000)
    assert stream.receive(1, 0, 16, 5000, 0.0)[0], "a lone packet may have any size"
    assert not stream.receive(1, 0, 16, 5000, 0.0)[0], "a repetition is none"
    with pytest.raises(RemoteProtocolError, match="credit of 1,000 bytes"):
        stream.receive(2, 0, 16, 1, 0.0)
    stream.consume(1, 0.0)
    assert stream.receive(2, 0, 16, 1, 0.0)[0]


def test_a_header_is_never_longer_than_it_is_counted() -> None:
    batch = b"batch"
    for number in (0, 1 << 7, 1 << 16, 1 << 32, (1 << 63) - 1):
        assert len(data_header(number, number, number, batch)) <= HEADER_MAX + len(batch)


def test_nobody_can_consume_what_was_not_delivered() -> None:
    left, _, network = joined()
    with pytest.raises(LocalProtocolError, match="consumed"):
        left.stream.consume(1, network.now)


# --- losses


def test_a_gap_is_told_once_and_mended_at_once() -> None:
    left, right, network = joined(window=16)
    left.send(6)
    network.poll(0)
    network.lose(1, Lane.CALLS, 2)
    network.deliver(1, Lane.CALLS, 10)
    assert right.delivered == [0, 1]
    before = network.now
    network.poll(1)
    network.deliver(0, Lane.CALLS, 10)
    network.poll(0)
    network.deliver(1, Lane.CALLS, 10)
    assert right.delivered == left.sent
    assert left.data_packets == 6 + 4
    assert network.now == before


def test_a_gap_that_stays_is_told_again() -> None:
    left, right, network = joined(window=16)
    left.send(3)
    network.poll(0)
    network.lose(1, Lane.CALLS, 0)
    network.deliver(1, Lane.CALLS, 1)
    assert len(right.answers) == 1
    network.deliver(1, Lane.CALLS, 1)
    assert len(right.answers) == 1
    left.send(1)
    network.pass_time(PROBE_AFTER)
    network.poll(0)
    network.deliver(1, Lane.CALLS, 1)
    assert len(right.answers) == 2


def test_the_last_packet_lost_is_noticed_by_a_question() -> None:
    left, right, network = joined()
    left.send(1)
    network.poll(0)
    network.lose(1, Lane.CALLS, 0)
    before = network.now
    network.settle(60.0)
    assert right.delivered == [0]
    assert left.data_packets == 2
    assert network.now - before < PROBE_AFTER + 1.0


def test_both_ends_resume_and_send_what_the_other_lacks() -> None:
    left, right, network = joined(window=4)
    left.send(9)
    right.send(9)
    network.poll(0)
    network.poll(1)
    network.deliver(1, Lane.CALLS, 2)
    network.cut(Lane.CALLS, 0, (0, 1))
    before = network.now
    network.settle(60.0)
    assert right.delivered == left.sent
    assert left.delivered == right.sent
    assert network.now - before < 1.0, "no question was needed"
    assert left.data_packets + right.data_packets <= 18 + 2 * 4 + 2


@pytest.mark.parametrize(("before", "repeated"), [(0, 0), (2, 5)])
def test_what_is_sent_between_resume_and_its_answer_is_sent_once_unless_there_is_a_gap(
    before: int, repeated: int
) -> None:
    """Packets of before are lost with the connection; then the peer drops those that come behind the gap, too."""
    stream = Stream(SESSION, Lane.CALLS, 16)
    for number in range(before):
        stream.send(*content(number), 0.0)
    stream.resume(1.0)
    for number in range(3):
        stream.send(*content(number), 1.0)
    assert len(stream.synchronize(0, 16, reply=False, now=1.1)) == repeated
    again = stream.synchronize(0, 16, reply=False, now=2.0)
    assert len(again) == before + 3, "that one is about a gap"


def test_one_end_that_resumes_is_enough() -> None:
    left, right, network = joined(window=4)
    left.send(3)
    right.send(3)
    network.poll(0)
    network.poll(1)
    network.cut(Lane.CALLS, 0, (0,))
    before = network.now
    network.settle(60.0)
    assert right.delivered == left.sent
    assert left.delivered == right.sent
    assert network.now - before < 1.0


def test_after_a_long_outage_a_lost_question_is_soon_asked_again() -> None:
    """The intervals between questions grow while nobody answers; a new connection starts afresh."""
    left, right, network = joined()
    left.send(1)
    for _ in range(100):
        network.poll(0)
        network.cut(Lane.CALLS, 0, ())
        network.pass_time(1.0)
    network.cut(Lane.CALLS, 0, (0,))
    network.poll(0)
    network.cut(Lane.CALLS, 0, ())
    before = network.now
    network.settle(60.0)
    assert right.delivered == [0]
    assert network.now - before < PROBE_AFTER + 1.0


def test_a_repetition_is_acknowledged_at_once() -> None:
    """Its sender has not heard the acknowledgement, or it would not repeat."""
    left, _, network = joined()
    left.send(1)
    network.poll(0)
    network.repeat(1, Lane.CALLS, 0)
    network.deliver(1, Lane.CALLS, 2)
    assert network.poll(1) == 1


def test_packets_that_trickle_in_do_not_put_off_the_acknowledgement() -> None:
    stream = Stream(SESSION, Lane.CALLS, 100)
    for number in range(1, 5):
        stream.receive(number, 0, 100, 10, number * 0.001)
    assert stream.next_deadline() == pytest.approx(0.001 + ACK_DELAY)


def test_a_gap_elsewhere_is_told_at_once() -> None:
    stream = Stream(SESSION, Lane.CALLS, 100)
    assert len(stream.receive(2, 0, 100, 10, 0.0)[1]) == 1
    assert len(stream.receive(3, 0, 100, 10, 0.1)[1]) == 0
    assert stream.receive(1, 0, 100, 10, 0.2) == (True, [])
    assert len(stream.receive(3, 0, 100, 10, 0.3)[1]) == 1


def sender_of(packets: int) -> Stream:
    """A stream that has sent so many packets at time 0."""
    stream = Stream(SESSION, Lane.CALLS, 16)
    for _ in range(packets):
        stream.send(join([]), (), 0.0)
    return stream


def test_a_loss_after_progress_is_mended_at_once() -> None:
    stream = sender_of(4)
    assert len(stream.synchronize(1, 16, False, 0.0)) == 3
    assert len(stream.synchronize(1, 16, False, 0.1)) == 0
    assert len(stream.synchronize(2, 16, False, 0.1)) == 2


def test_a_loss_after_a_reconnect_is_mended_at_once() -> None:
    stream = sender_of(4)
    assert len(stream.synchronize(1, 16, False, 0.0)) == 3
    stream.resume(0.1)
    assert len(stream.synchronize(1, 16, False, 0.1)) == 3


def test_a_peer_that_reconnects_twice_in_a_moment_waits_no_longer_than_that() -> None:
    """What was sent again to its first new connection was lost with it; and it has been cut off for long."""
    stream = sender_of(4)
    for now in range(60):
        stream.poll(float(now), waiting=False)
    assert len(stream.synchronize(1, 16, True, 60.0)) == 1 + 3
    assert len(stream.synchronize(1, 16, True, 60.1)) == 1
    assert len(stream.synchronize(1, 16, True, 60.2)) == 1
    assert stream.next_deadline() == 60.5
    assert stream.poll(60.4, waiting=False) == []
    assert len(stream.poll(60.5, waiting=False)) == 3
    assert stream.next_deadline() is not None
    assert stream.next_deadline() > 60.5


def test_nothing_is_sent_again_that_was_acknowledged_meanwhile() -> None:
    stream = sender_of(4)
    stream.synchronize(1, 16, True, 0.0)
    stream.synchronize(1, 16, True, 0.1)
    stream.position(4, 16, False, 0.2)
    assert stream.poll(0.5, waiting=False) == []
    assert stream.next_deadline() is None


def test_a_peer_that_lacked_nothing_does_not_delay_the_next_replay() -> None:
    stream = sender_of(0)
    assert stream.synchronize(0, 16, False, 0.0) == []
    stream.send(join([]), (), 0.1)
    assert len(stream.synchronize(0, 16, False, 0.1)) == 1


def test_progress_makes_the_sender_ask_sooner_again() -> None:
    stream = sender_of(4)
    for now in range(60):
        stream.poll(float(now), waiting=False)
    stream.position(1, 16, False, 60.0)
    assert stream.next_deadline() == 60.0 + PROBE_AFTER


# --- no storms


@pytest.mark.parametrize("window", [WINDOW_CALLS, WINDOW_BULK])
def test_questions_to_a_dead_peer_become_rare(window: int) -> None:
    left, _, network = joined(window)
    left.send(3 * window)
    for _ in range(600):
        network.poll(0)
        network.pass_time(0.1)
    assert left.data_packets == window
    assert 5 < len(network.wires[1, Lane.CALLS]) - window < 12


@pytest.mark.parametrize("window", [WINDOW_CALLS, WINDOW_BULK])
@pytest.mark.parametrize("lost", [False, True])
def test_a_peer_that_was_stuck_is_not_flooded(window: int, lost: bool) -> None:
    """It finds a window of packets and a minute's questions at once, or the questions alone."""
    left, right, network = joined(window)
    left.send(window + window // 2)
    network.poll(0)
    if lost:
        network.cut(Lane.CALLS, 0, ())
    for _ in range(600):
        network.poll(0)
        network.pass_time(0.1)
    for _ in range(1000):  # now it works packet by packet, and answers each
        network.deliver(1, Lane.CALLS, 1)
        network.poll(1)
        network.deliver(0, Lane.CALLS, 1)
        network.poll(0)
    network.settle(60.0)
    assert right.delivered == left.sent
    assert left.data_packets <= len(left.sent) + (2 * window if lost else 0)


@pytest.mark.parametrize("reply", [False, True])
def test_a_flood_of_syncs_is_answered_with_one_window(reply: bool) -> None:
    left, _, network = joined(window=16)
    left.send(16)
    network.poll(0)
    for _ in range(200):
        left.answers += left.stream.synchronize(3, 19, reply, network.now)
        network.pass_time(0.001)
    network.poll(0)
    assert left.data_packets <= 16 + 13 + 3


def run_over_a_slow_line(seconds_each: float, packets: int, window: int) -> tuple[Owner, Owner]:
    """One way each DATA packet takes so long and others wait behind it; nothing is lost. Until all has arrived."""
    left, right = Owner(window), Owner(window)
    left.send(packets)
    line: deque[tuple[float, Packet]] = deque()
    now = busy = 100.0
    while not left.is_quiet() and now < 100.0 + 5 * packets * seconds_each:
        while line and line[0][0] <= now:
            right.take(*line.popleft()[1], now)
        for lane, frames in right.poll(now):
            left.take(lane, frames, now)
        for packet in left.poll(now):
            size = seconds_each if decode_route(packet[1][0]).kind == Kind.DATA else 0.001
            busy = max(now, busy) + size
            line.append((busy, packet))
        due = [end.next_deadline() for end in (left, right)] + [line[0][0] if line else None]
        now = max(now, min((at for at in due if at is not None), default=now))
    return left, right


@pytest.mark.parametrize("seconds_each", [0.5, 1.5, 4.0, 20.0])
def test_a_slow_line_carries_everything_once(seconds_each: float) -> None:
    """A window takes longer than the patience of the sender, whose questions wait behind it."""
    left, right = run_over_a_slow_line(seconds_each, packets=100, window=WINDOW_BULK)
    assert right.delivered == left.sent
    assert left.is_quiet()
    assert left.data_packets <= 105


# --- what a peer may not do


@pytest.mark.parametrize(
    "handle",
    [
        lambda stream, ack, grant: stream.receive(1, ack, grant, 10, 0.0),
        lambda stream, ack, grant: stream.position(ack, grant, False, 0.0),
        lambda stream, ack, grant: stream.synchronize(ack, grant, True, 0.0),
    ],
)
def test_positions_that_cannot_be(handle: Callable[[Stream, int, int], object]) -> None:
    stream = Stream(SESSION, Lane.CALLS, 4)
    stream.send(join([]), (), 0.0)
    with pytest.raises(RemoteProtocolError, match="acknowledges packet 2"):
        handle(stream, 2, 4)
    with pytest.raises(RemoteProtocolError, match="grants packet 6"):
        handle(stream, 1, 6)
    handle(stream, 1, 5)
    handle(stream, 0, 4)
    assert (stream.acknowledged, stream.granted) == (1, 5)


def test_credit_cannot_be_overdrawn() -> None:
    stream = Stream(SESSION, Lane.CALLS, 4)
    with pytest.raises(RemoteProtocolError, match="exceeds the credit"):
        stream.receive(5, 0, 4, 10, 0.0)
    assert stream.receive(4, 0, 4, 10, 0.0)[0] is False


def test_the_frames_of_a_position() -> None:
    stream = Stream(SESSION, Lane.BULK, 4)
    route, position = stream.resume(0.0)
    assert decode_route(route)[1:] == (Kind.SYNC, Lane.BULK, SESSION)
    assert position == pack((0, 4, True))
