"""The channel: messages and large payloads on both lanes, through faults and against a peer that breaks the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from raymq.errors import PayloadTooLarge, RemoteProtocolError
from raymq.protocol import limits
from raymq.protocol.channel import MESSAGE_COST, Arrived, Channel, Delivered, Event, Received
from raymq.protocol.codec import data_header, encode, encode_chunk, join, pack
from raymq.protocol.messages import (
    NOTHING,
    WITH_BYTES,
    Begin,
    Buffer,
    Chunk,
    Coming,
    Fetch,
    Goodbye,
    Log,
    Message,
    Pickled,
    Put,
    Release,
    Task,
)
from raymq.protocol.route import ROUTE_SIZE, Kind, Lane, decode_route
from tests.protocol.model import Network, Packet
from tests.protocol.strategies import messages, strange

SESSION = bytes(16)
SMALL = {
    "INLINE_MAX": 16, "CHUNK": 8, "BATCH_BYTES": 64, "BATCH_MESSAGES": 4, "WINDOW_CALLS": 4, "WINDOW_BULK": 4,
    "TRANSFERS_ACTIVE": 2, "TRANSFERS_EARLY": 2, "BUFFERS_MAX": 8, "TRANSFER_PARTS_MAX": 16, "BODY_MAX": 256,
}  # fmt: skip
REAL = {name: getattr(limits, name) for name in SMALL}
BOTH = (Lane.CALLS, Lane.BULK)


def shrink_limits(patch: pytest.MonkeyPatch) -> None:
    """Limits that a short test reaches."""
    for name, value in SMALL.items():
        patch.setattr(limits, name, value)


@pytest.fixture(autouse=True)
def small_limits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        shrink_limits(patch)
        yield


class Owner:
    """A channel, what its owner sent and the events it got. Checks the order of events as they come."""

    def __init__(self, *, consuming: bool = True, object_max: int = 1000) -> None:
        self.channel = Channel(SESSION, object_max)
        self.consuming = consuming
        self.sent: list[int] = []
        self.payloads: dict[int, Pickled] = {}
        self.received: list[int] = []
        self.log: list[tuple[str, int]] = []
        self.pending: dict[int, int] = {}
        self.values: dict[int, Pickled] = {}
        self.delivered: list[int] = []
        self.unconsumed = 0
        self.packets: list[tuple[Kind, Lane]] = []

    def put(self, *parts: bytes) -> Coming | Pickled:
        """Send a value; its number is its place among all values."""
        number = len(self.sent)
        payload = Pickled(parts[0], parts[1:], [number])
        carried = self.channel.announce(payload)
        self.sent.append(number)
        self.payloads[number] = payload
        self.channel.send(Put(number, carried))
        return carried

    def poll(self, now: float) -> list[Packet]:
        packets = self.channel.poll(now)
        self.packets += [(Kind(decode_route(frames[0]).kind), lane) for lane, frames in packets]
        return packets

    def take(self, lane: Lane, frames: list[Buffer], now: float) -> None:
        route = decode_route(frames[0])
        assert route.lane == lane
        for event in self.channel.receive(route.kind, route.lane, frames[1:], now):
            self.act(event, now)

    def act(self, event: Event, now: float) -> None:
        if isinstance(event, Received):
            for message in event.messages:
                assert isinstance(message, Put)
                self.received.append(message.ref)
                self.log.append(("message", message.ref))
                if isinstance(message.payload, Coming):
                    self.pending[message.payload.transfer] = message.ref
                else:
                    self.values[message.ref] = message.payload
            self.unconsumed += 1
            if self.consuming:
                self.consume_all(now)
        elif isinstance(event, Arrived):
            number = self.pending.pop(event.transfer)  # KeyError: it came before it was announced, or came twice
            self.log.append(("value", number))
            self.values[number] = event.payload
        else:
            assert isinstance(event, Delivered)
            assert event.transfer not in self.delivered
            self.delivered.append(event.transfer)

    def consume_all(self, now: float) -> None:
        packets, self.unconsumed = self.unconsumed, 0
        self.channel.consumed(packets, now)

    def resume(self, lane: Lane, now: float) -> None:
        self.channel.resume(lane, now)

    def next_deadline(self) -> float | None:
        return self.channel.next_deadline()


def joined(*, consuming: bool = True) -> tuple[Owner, Owner, Network]:
    left, right = Owner(consuming=consuming), Owner(consuming=consuming)
    return left, right, Network([left, right], BOTH)


def check_all_arrived(sender: Owner, receiver: Owner) -> None:
    """Every value came, once, as it was sent; nothing is kept for it any more."""
    assert receiver.received == sender.sent
    assert receiver.pending == {}
    assert {n: (bytes(p.inband), [bytes(b) for b in p.buffers], list(p.refs)) for n, p in receiver.values.items()} == {
        n: (p.inband, list(p.buffers), p.refs) for n, p in sender.payloads.items()
    }
    channel = sender.channel
    assert (channel.backlog, channel.bulk_backlog) == (0, 0)
    assert sorted(sender.delivered) == list(range(1, channel._transfers + 1))
    assert not channel.calls._kept
    assert not channel.bulk._kept
    assert not channel._begun
    assert not channel._waiting
    assert not receiver.channel._incoming
    assert not receiver.channel._unclaimed
    assert not receiver.channel._announced


sides = st.integers(0, 1)
lanes = st.sampled_from(BOTH)
parts = st.lists(st.binary(max_size=40), min_size=1, max_size=4)


class FaultyNetwork(RuleBasedStateMachine):
    """Values of all sizes both ways over two lanes that break on their own; then the network heals."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        shrink_limits(self.patch)
        self.owners = [Owner(consuming=False), Owner(consuming=False)]
        self.network = Network(self.owners, BOTH)

    @rule(side=sides, values=st.lists(parts, min_size=1, max_size=5))
    def put(self, side: int, values: list[list[bytes]]) -> None:
        for value in values:
            self.owners[side].put(*value)

    @rule(side=sides, values=st.integers(1, 8))
    def put_large(self, side: int, values: int) -> None:
        for value in range(values):
            self.owners[side].put(b"pickle", bytes([value]) * 30)

    @rule(side=sides)
    def poll(self, side: int) -> None:
        self.network.poll(side)

    @rule(side=sides, lane=lanes, packets=st.integers(1, 10))
    def deliver(self, side: int, lane: Lane, packets: int) -> None:
        self.network.deliver(side, lane, packets)

    @rule(lane=lanes)
    def exchange(self, lane: Lane) -> None:
        """One lane works for a while."""
        for side in (0, 1, 0, 1):
            self.network.poll(side)
            self.network.deliver(1 - side, lane, 100)

    @rule(side=sides)
    def consume(self, side: int) -> None:
        self.owners[side].consume_all(self.network.now)

    @rule(side=sides, lane=lanes, index=st.integers(0, 20))
    def repeat(self, side: int, lane: Lane, index: int) -> None:
        self.network.repeat(side, lane, index)

    @rule(side=sides, lane=lanes, index=st.integers(0, 20))
    def lose(self, side: int, lane: Lane, index: int) -> None:
        self.network.lose(side, lane, index)

    @rule(lane=lanes, kept=st.integers(0, 4), resuming=st.sampled_from([(0,), (1,), (0, 1)]))
    def reconnect(self, lane: Lane, kept: int, resuming: tuple[int, ...]) -> None:
        self.network.cut(lane, kept, resuming)

    @rule(index=st.integers(0, 20))
    def release(self, index: int) -> None:
        self.network.release(index)

    @rule(seconds=st.sampled_from([0.02, 0.6, 3.0, 60.0]))
    def pass_time(self, seconds: float) -> None:
        self.network.pass_time(seconds)

    @invariant()
    def once_and_in_order(self) -> None:
        for side in (0, 1):
            received = self.owners[1 - side].received
            assert received == self.owners[side].sent[: len(received)]

    @invariant()
    def all_is_bounded(self) -> None:
        for owner in self.owners:
            assert len(owner.channel._active) <= limits.TRANSFERS_ACTIVE
            assert len(owner.channel._unclaimed) <= limits.TRANSFERS_EARLY
            assert owner.channel.calls.received - owner.channel.calls.consumed <= limits.WINDOW_CALLS

    def teardown(self) -> None:
        for owner in self.owners:
            owner.consuming = True
            owner.consume_all(self.network.now)
        self.network.settle(300.0)
        check_all_arrived(*self.owners)
        check_all_arrived(*reversed(self.owners))
        self.patch.undo()


TestFaultyNetwork = FaultyNetwork.TestCase
TestFaultyNetwork.settings = settings(max_examples=150, stateful_step_count=40)


# --- lanes and turns


def test_small_and_large_values_arrive_whole() -> None:
    left, right, network = joined()
    for size in (0, 1, 16, 17, 30, 100, 3):
        left.put(b"p" * size)
        right.put(b"p", b"b" * size, b"", b"c" * size)
    network.settle(1.0)
    check_all_arrived(left, right)
    check_all_arrived(right, left)


def test_a_small_message_overtakes_a_large_value() -> None:
    left, right, network = joined()
    left.put(b"x" * 900)
    network.poll(0)
    left.put(b"small")
    network.poll(0)
    network.deliver(1, Lane.CALLS, 10)
    network.settle(5.0)
    assert right.log == [("message", 0), ("message", 1), ("value", 0)]


def test_large_values_take_turns() -> None:
    """A shorter one is not held up by a longer one before it."""
    left, right, network = joined()
    left.put(b"x" * 900)
    left.put(b"x" * 100)
    network.settle(5.0)
    assert right.log[2:] == [("value", 1), ("value", 0)]


def test_a_value_that_is_here_before_its_message_waits_for_it() -> None:
    left, right, network = joined()
    left.put(b"x" * 20)
    network.poll(0)
    network.deliver(1, Lane.BULK, 10)
    assert right.log == []
    network.deliver(1, Lane.CALLS, 10)
    assert right.log == [("message", 0), ("value", 0)]
    network.settle(5.0)
    check_all_arrived(left, right)


@pytest.mark.parametrize("large", [1, 5, 50])
def test_values_behind_a_lane_that_hangs_are_no_fault_of_the_peer(large: int) -> None:
    """The calls lane is cut while the bulk lane works: only a few values can be there early, the others wait."""
    left, right, network = joined()
    for _ in range(large):
        left.put(b"x" * 20)
    for _ in range(100):
        network.poll(0)
        network.wires[1, Lane.CALLS].clear()
        network.deliver(1, Lane.BULK, 100)
        network.poll(1)
        network.deliver(0, Lane.BULK, 100)
        network.pass_time(0.1)
    assert len(right.channel._unclaimed) == min(large, limits.TRANSFERS_EARLY)
    network.settle(60.0)
    check_all_arrived(left, right)


def test_a_receiver_that_looks_at_nothing_is_not_overrun() -> None:
    left, right, network = joined(consuming=False)
    for _ in range(100):
        left.put(b"x" * 20)
        network.poll(0)
        network.deliver(1, Lane.CALLS, 100)
        network.deliver(1, Lane.BULK, 100)
    network.settle(30.0)
    assert right.unconsumed == limits.WINDOW_CALLS
    right.consuming = True
    right.consume_all(network.now)
    network.settle(30.0)
    check_all_arrived(left, right)


def test_messages_travel_in_batches() -> None:
    left, right, network = joined()
    for _ in range(10):
        left.channel.send(Fetch([1]))
    assert left.channel.backlog == 10 * (encode(Fetch([1])).nbytes + MESSAGE_COST)
    assert len(left.poll(network.now)) == 3
    assert left.channel.backlog == 0
    left.put(b"x" * 16)
    left.put(b"", b"x" * 15)
    left.put(b"", b"x" * 15)
    left.put(b"", b"x" * 15)
    assert len(left.poll(network.now)) == 1, "the window is full"
    assert left.channel.backlog > 0
    assert right.channel.next_deadline() is None


def test_a_batch_ends_where_its_frames_would_be_too_many() -> None:
    left, right, network = joined()
    for _ in range(5):
        left.put(b"", *[b""] * 3)
    packets = left.poll(network.now)
    assert [len(frames) - 2 for _, frames in packets] == [6, 6, 3]
    for lane, frames in packets:
        right.take(lane, frames, network.now)
    assert right.received == left.sent


def test_the_largest_packet() -> None:
    """The largest message, with the most that may go inline: the broker refuses what is above ``PACKET_MAX``."""
    left, _, _ = joined()
    left.channel.send(Fetch([]))
    left.put(b"", *[b"1234"] * 4)
    left.channel.send(Put(1, Pickled(b"", [b"12345678"] * 2, [1 << 40] * 26)))
    left.channel.send(Log({}, ["x" * 250]))
    sizes = [sum(map(len, frames)) for _, frames in left.poll(0.0)]
    assert len(sizes) == 3
    header = ROUTE_SIZE + len(data_header(*[1 << 62] * 3, b"123"))
    assert limits.BODY_MAX < max(sizes) < limits.BODY_MAX + limits.INLINE_MAX + header
    assert limits.MESSAGE_MAX + REAL["INLINE_MAX"] + ROUTE_SIZE <= limits.PACKET_MAX
    assert REAL["CHUNK"] + 9 * REAL["TRANSFER_PARTS_MAX"] + header <= limits.PACKET_MAX


def test_many_tiny_buffers_go_over_the_bulk_lane() -> None:
    """They would not fit behind a message, however few bytes they have."""
    left, right, network = joined()
    assert isinstance(left.put(b"p", *[b"x"] * 7), Pickled)
    assert isinstance(left.put(b"p", *[b"x"] * 8), Coming)
    network.settle(5.0)
    check_all_arrived(left, right)


def test_values_that_are_too_large() -> None:
    left, _, _ = joined()
    with pytest.raises(PayloadTooLarge, match="1,001 bytes"):
        left.put(b"x" * 1001)
    with pytest.raises(PayloadTooLarge, match="16 buffers"):
        left.put(b"p", *[b"x" * 2] * 16)
    assert left.channel.bulk_backlog == 0


def test_a_message_that_no_frame_can_hold_is_refused_here() -> None:
    """Sent, it would break the connection again and again."""
    left, right, network = joined()
    with pytest.raises(PayloadTooLarge, match="a Log of"):
        left.channel.send(Log({}, ["x" * 256]))
    coming = left.channel.announce(Pickled(b"x" * 100))
    with pytest.raises(PayloadTooLarge, match="a Task of"):
        left.channel.send(Task([1], 5, b"x" * 256, coming))
    assert (left.channel.backlog, left.channel.bulk_backlog) == (0, 0)
    left.put(b"x" * 100)
    network.settle(5.0)
    assert right.received == left.sent
    assert right.values[0].nbytes == 100


def chunks(packets: list[tuple[Lane, list[Buffer]]]) -> int:
    return sum(lane is Lane.BULK for lane, _ in packets)


def transferring() -> Channel:
    """A channel that has chunks to send, and credit for more than it may send at a time."""
    channel = Channel(SESSION)
    channel.send(Put(1, channel.announce(Pickled(b"x" * 80))))
    return channel


def test_chunks_go_as_fast_as_they_can() -> None:
    assert chunks(transferring().poll(5.0)) == SMALL["WINDOW_BULK"]


@pytest.mark.parametrize("call", [Fetch([3]), Task([3], 1, b"", Pickled(b"()"))], ids=["Fetch", "Task"])
def test_chunks_step_back_while_small_calls_are_made(call: Message) -> None:
    channel = transferring()
    channel.send(call)
    assert chunks(channel.poll(5.0)) == 1
    assert channel.next_deadline() == pytest.approx(5.0 + limits.CHUNK_PAUSE)
    assert chunks(channel.poll(5.0 + limits.CHUNK_PAUSE / 2)) == 0
    assert chunks(channel.poll(5.0 + limits.CHUNK_PAUSE)) == 1
    assert chunks(channel.poll(5.0 + limits.LIVELY)) == SMALL["WINDOW_BULK"] - 2


@pytest.mark.parametrize("large", [True, False])
def test_chunks_do_not_step_back_for_what_nobody_waits_for(large: bool) -> None:
    channel = transferring()
    channel.send(Task([3], 1, b"", channel.announce(Pickled(b"x" * 80))) if large else Release([5]))
    assert chunks(channel.poll(5.0)) == SMALL["WINDOW_BULK"]


def test_deadlines() -> None:
    channel = Channel(SESSION)
    assert channel.next_deadline() is None
    channel.resume(Lane.BULK, 5.0)
    assert channel.next_deadline() == 0.0
    assert len(channel.poll(5.0)) == 1
    channel.send(Goodbye())
    assert channel.next_deadline() == 0.0
    channel.poll(5.0)
    assert channel.next_deadline() == 5.0 + limits.PROBE_AFTER
    channel.send(Put(1, channel.announce(Pickled(b"x" * 100))))
    assert (channel.next_deadline(), channel.bulk_backlog) == (0.0, 1)


# --- a peer that breaks the rules


def data(*batch: Message, seq: int = 1, ack: int = 0, grant: int = 4, chunk: bytes = b"8 bytes.") -> list[Buffer]:
    """The frames of DATA behind its route."""
    parts = [encode_chunk(part, chunk) if isinstance(part, WITH_BYTES) else encode(part) for part in batch]
    return [data_header(seq, ack, grant, join(parts)), *(buffer for part in parts for buffer in part.buffers)]


def announce(transfer: int) -> Message:
    return Put(1, Coming(transfer))


Hostile = tuple[int, Lane, list[Buffer], str]
HOSTILE: dict[str, Hostile] = {
    "no frame": (Kind.DATA, Lane.CALLS, [], "0 frames"),
    "too many frames": (Kind.DATA, Lane.CALLS, [*data(), *[b""] * 9], "10 frames"),
    "another kind": (Kind.HELLO, Lane.CALLS, data(), "kind 1 "),
    "a kind of the future": (40, Lane.BULK, data(), "kind 40 "),
    "no msgpack": (Kind.DATA, Lane.CALLS, [b"\xc1"], "not msgpack"),
    "an unknown message": (Kind.DATA, Lane.CALLS, [data_header(1, 0, 4, pack([[99]]))], "not a message"),
    "a chunk among calls": (Kind.DATA, Lane.CALLS, data(Chunk(1)), "Chunk on the calls lane"),
    "a begin among calls": (Kind.DATA, Lane.CALLS, data(Begin(1, [20])), "Begin on the calls lane"),
    "a call among chunks": (Kind.DATA, Lane.BULK, data(Goodbye()), "Goodbye on the bulk lane"),
    "a chunk before its begin": (Kind.DATA, Lane.BULK, data(Chunk(1)), "has not begun"),
    "a begin twice": (Kind.DATA, Lane.BULK, data(Begin(1, [20]), Begin(1, [20])), "out of turn"),
    "a begin after its end": (
        Kind.DATA, Lane.BULK, data(Begin(1, [8]), Chunk(1), Begin(1, [8])), "out of turn",
    ),
    "a chunk after the end": (Kind.DATA, Lane.BULK, data(Begin(1, [8]), Chunk(1), Chunk(1)), "has not begun"),
    "a chunk too long": (Kind.DATA, Lane.BULK, data(Begin(1, [7, 8]), Chunk(1)), "does not fit"),
    "an empty chunk": (Kind.DATA, Lane.BULK, data(Begin(1, [8]), Chunk(1), chunk=b""), "does not fit"),
    "a transfer of nothing": (Kind.DATA, Lane.BULK, data(Begin(1, [])), "a transfer of 0 bytes"),
    "a transfer above the limit": (Kind.DATA, Lane.BULK, data(Begin(1, [1000, 1])), "a transfer of 1001 bytes"),
    "a transfer of many parts": (Kind.DATA, Lane.BULK, data(Begin(1, [1] * 17)), "17 parts"),
    "many transfers": (Kind.DATA, Lane.BULK, data(*(Begin(n, [9]) for n in range(5))), "transfer 4 begins out of turn"),
    "many values that nothing announces": (
        Kind.DATA, Lane.BULK, data(*(m for n in range(5) for m in (Begin(n, [8]), Chunk(n)))), "4 begins out of turn",
    ),
    "announced twice": (Kind.DATA, Lane.CALLS, data(announce(7), announce(7)), "announced twice"),
    "credit overdrawn": (Kind.DATA, Lane.CALLS, data(seq=9), "exceeds the credit"),
    "data that acknowledges the future": (Kind.DATA, Lane.BULK, data(ack=9, grant=9), "acknowledges packet 9"),
    "an ack of the future": (Kind.ACK, Lane.CALLS, [pack((9, 9, False))], "acknowledges packet 9"),
    "a sync of the future": (Kind.SYNC, Lane.BULK, [pack((9, 9, False))], "acknowledges packet 9"),
    "boundless credit": (Kind.ACK, Lane.BULK, [pack((0, 1 << 62, False))], "grants packet"),
    "no position": (Kind.SYNC, Lane.CALLS, [pack((0, 4))], "a position is"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_rule_broken_is_a_remote_protocol_error(name: str) -> None:
    kind, lane, frames, complaint = HOSTILE[name]
    with pytest.raises(RemoteProtocolError, match=complaint):
        Owner().channel.receive(kind, lane, frames, 0.0)


def fresh(owner: Owner) -> None:
    pass


def sending(owner: Owner) -> None:
    owner.put(b"x" * 100)
    owner.put(b"small")
    owner.channel.poll(0.0)


def stuck(owner: Owner) -> None:
    for _ in range(20):
        owner.put(b"x" * 100)
    for now in range(60):
        owner.channel.poll(float(now))


def receiving(owner: Owner) -> None:
    owner.channel.receive(Kind.DATA, Lane.BULK, data(Begin(3, [8, 8]), Chunk(3)), 0.0)
    owner.channel.receive(Kind.DATA, Lane.CALLS, data(announce(3)), 0.0)


def holding(owner: Owner) -> None:
    owner.channel.receive(Kind.DATA, Lane.BULK, data(Begin(1, [8]), Chunk(1)), 0.0)


def resumed(owner: Owner) -> None:
    stuck(owner)
    for lane in BOTH:
        owner.channel.resume(lane, 60.0)


STATES = (fresh, sending, stuck, receiving, holding, resumed)
PROPER: dict[str, Hostile] = {
    "goodbye": (Kind.DATA, Lane.CALLS, data(Goodbye()), ""),
    "an empty batch": (Kind.DATA, Lane.CALLS, data(), ""),
    "an empty batch of chunks": (Kind.DATA, Lane.BULK, data(), ""),
    "a value": (Kind.DATA, Lane.BULK, data(Begin(1, [8]), Chunk(1)), ""),
    "an announcement": (Kind.DATA, Lane.CALLS, data(announce(1)), ""),
    "a second packet": (Kind.DATA, Lane.CALLS, data(Goodbye(), seq=2), ""),
    "a second chunk": (Kind.DATA, Lane.BULK, data(Chunk(3), seq=2), ""),
    "a gap": (Kind.DATA, Lane.BULK, data(seq=3), ""),
    "an acknowledgement": (Kind.ACK, Lane.CALLS, [pack((1, 5, False))], ""),
    "a question": (Kind.ACK, Lane.BULK, [pack((0, 4, True))], ""),
    "a resumption": (Kind.SYNC, Lane.CALLS, [pack((0, 4, True))], ""),
    "a call for help": (Kind.SYNC, Lane.BULK, [pack((0, 4, False))], ""),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", [*HOSTILE, *PROPER])
def test_every_state_against_every_packet(state: Callable[[Owner], None], name: str) -> None:
    """Twice, for a repetition is a packet of its own kind; then the channel still polls."""
    owner = Owner()
    state(owner)
    kind, lane, frames, _ = (HOSTILE | PROPER)[name]
    for now in (100.0, 101.0):
        with suppress(RemoteProtocolError):
            owner.channel.receive(kind, lane, frames, now)
        owner.channel.poll(now)
        deadline = owner.channel.next_deadline()
        assert deadline is None or deadline > now


@given(st.data())
def test_any_packets_are_taken_or_refused(draw: st.DataObject) -> None:
    """Numbers, messages and frames at random, on lanes at random."""
    owner = Owner()
    draw.draw(st.sampled_from(STATES))(owner)
    small = st.integers(0, 6)
    for _ in range(draw.draw(st.integers(1, 6))):
        kind = draw.draw(st.sampled_from([Kind.DATA, Kind.DATA, Kind.ACK, Kind.SYNC]))
        if kind == Kind.DATA:
            begins = st.builds(Begin, small, st.lists(st.integers(0, 20), max_size=4))
            batch = draw.draw(st.lists(messages | begins | st.builds(Chunk, small) | small.map(announce), max_size=4))
            frames = data(*batch, seq=draw.draw(small), ack=draw.draw(small), grant=draw.draw(small))
        else:
            frames = [pack(draw.draw(st.tuples(small, small, st.booleans()) | strange))]
        try:
            owner.channel.receive(kind, draw.draw(lanes), frames, 100.0)
        except RemoteProtocolError:
            return
        owner.channel.poll(100.0)


def test_a_refusal_still_tells_what_was_wrong_deep_inside() -> None:
    nested: list[object] = []
    for _ in range(500):
        nested = [nested]
    with pytest.raises(RemoteProtocolError, match=r"not a message: \[\[\["):
        Owner().channel.receive(Kind.DATA, Lane.CALLS, [data_header(1, 0, 4, pack([nested]))], 0.0)


def test_messages_without_a_value_pass_through() -> None:
    left, right, network = joined()
    left.channel.send(Put(3, NOTHING))
    [(lane, frames)] = left.poll(network.now)
    [event] = right.channel.receive(Kind.DATA, lane, frames[1:], network.now)
    assert event == Received([Put(3, Pickled(b"", [], []))])
