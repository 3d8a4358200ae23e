"""The channel: both lanes of a session and the large payloads that cross them, seen from one end.

Client and bridge run the same channel. It takes messages to send and packets that came, and gives packets to send
(``poll``) and events to act on (``receive``). Pure: no socket, no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Union

from raymq.errors import PayloadTooLarge, RemoteProtocolError
from raymq.protocol import limits
from raymq.protocol.bandwidth import Bandwidth
from raymq.protocol.codec import (
    Encoded,
    decode_batch,
    decode_data,
    decode_position,
    encode,
    encode_chunk,
    join,
)
from raymq.protocol.compression import Compressor, decompress
from raymq.protocol.memory import Memory
from raymq.protocol.messages import (
    AWAITED,
    ON_BULK,
    WITH_BYTES,
    Begin,
    Buffer,
    Chunk,
    Coming,
    Compressed,
    Message,
    Pickled,
)
from raymq.protocol.pacing import Pacing
from raymq.protocol.route import Kind, Lane
from raymq.protocol.stream import Frames, Stream
from raymq.protocol.transfer import Incoming, Outgoing

MESSAGE_COST = 200
"""Bytes that a message takes beside its own while it waits to be sent: rather more than the 130 that are measured."""


class Received(NamedTuple):
    """A packet's messages, in order. The owner calls ``consumed`` once for it when it is done with them."""

    messages: list[Message]


class Arrived(NamedTuple):
    """A large payload is complete; always after the message that announced it. The owner calls ``taken`` for it."""

    transfer: int
    payload: Pickled


class Delivered(NamedTuple):
    """The peer holds all of a large payload that was sent from here."""

    transfer: int


Event = Union[Received, Arrived, Delivered]

_LANES = tuple(Lane)
"""By number: to look one up here is cheaper than to ask the enumeration."""


class Channel:
    """One end of a session's two lanes."""

    def __init__(self, session: bytes, object_max: int = limits.OBJECT_MAX) -> None:
        self.session = session
        self.object_max = object_max
        self.calls = Stream(session, Lane.CALLS, limits.WINDOW_CALLS)
        self.bulk = Stream(session, Lane.BULK, limits.WINDOW_BULK)
        self.backlog = 0
        """Bytes that wait to be sent on the calls lane, and take up, about as many."""
        self.attached = set(Lane)
        """The lanes that have a connection. Nothing new is sent on the others: it would be lost, and sent again."""
        self.compressor: Compressor | None = None
        """What large payloads are compressed with, once both ends have told what they can read."""
        self._bandwidth = Bandwidth()
        self._pacing = Pacing()
        self._awaited = False
        self._streams = {Lane.CALLS: self.calls, Lane.BULK: self.bulk}
        self._queue: deque[Encoded] = deque()
        self._urgent: list[tuple[Lane, Frames]] = []
        self._transfers = 0
        self._prepared: dict[int, Outgoing] = {}
        self._waiting: deque[tuple[int, int]] = deque()
        self._early: deque[int] = deque()
        self._active: deque[tuple[int, Outgoing]] = deque()
        self._begun: set[int] = set()
        self._unacknowledged: deque[tuple[int, int]] = deque()
        self._memory = Memory()
        self._incoming: dict[int, Incoming] = {}
        self._announced: dict[int, Sequence[int]] = {}
        self._unclaimed: dict[int, Pickled] = {}
        self._held = 0
        self._bulk_owed = 0

    # --- sending

    def announce(self, payload: Pickled) -> Pickled | Coming:
        """What a message is to carry for this payload: itself if it is small, else a transfer that follows it.

        Raises:
            PayloadTooLarge: it is above the limit for one object.
        """
        nbytes, parts = payload.nbytes, 1 + len(payload.buffers)
        if nbytes <= limits.INLINE_MAX and parts <= limits.BUFFERS_MAX:
            return payload
        if nbytes > self.object_max:
            raise PayloadTooLarge(f"a value of {nbytes:,} bytes; this broker takes objects up to {self.object_max:,}")
        if parts > limits.TRANSFER_PARTS_MAX:
            raise PayloadTooLarge(
                f"a value with {parts - 1:,} buffers; at most {limits.TRANSFER_PARTS_MAX:,} can travel"
            )
        self._transfers += 1
        self._prepared[self._transfers] = Outgoing(payload)
        return Coming(self._transfers, payload.refs)

    def send(self, message: Message) -> None:
        """Queue a message for the calls lane.

        Raises:
            PayloadTooLarge: what it carries beside its payload does not fit into a frame.
        """
        encoded = encode(message)
        if len(encoded.body) > limits.BODY_MAX:
            self._prepared.pop(encoded.transfer, None)
            raise PayloadTooLarge(
                f"a {type(message).__name__} of {len(encoded.body):,} bytes beside its values; "
                f"at most {limits.BODY_MAX:,} can travel"
            )
        self._queue.append(encoded)
        self._awaited |= type(message) in AWAITED and not encoded.transfer
        self.backlog += encoded.nbytes + MESSAGE_COST

    @property
    def bulk_backlog(self) -> int:
        """Transfers that are not wholly sent yet."""
        return len(self._prepared) + len(self._active)

    def poll(self, now: float) -> list[tuple[Lane, Frames]]:
        """All packets that can go now: answers first, then calls as far as credit goes, then chunks."""
        self._memory.tidy(now)
        packets, self._urgent = self._urgent, []
        while self._can_send_calls():
            packets.append((Lane.CALLS, self._send_batch(now)))
        while self._can_send_chunks() and self._pacing.next_chunk <= now:
            packets.append((Lane.BULK, self._send_chunk(now)))
            if self.compressor is not None and self.compressor.busy:
                break  # it takes its time, and calls are not to wait for sixteen of them
        packets += [(Lane.CALLS, frames) for frames in self.calls.poll(now, waiting=bool(self._queue))]
        packets += [(Lane.BULK, frames) for frames in self.bulk.poll(now, waiting=self._more_chunks())]
        return packets

    def _can_send_calls(self) -> bool:
        return bool(self._queue) and self.calls.can_send and Lane.CALLS in self.attached

    def _can_send_chunks(self) -> bool:
        return self._more_chunks() and self.bulk.can_send and Lane.BULK in self.attached

    def _send_batch(self, now: float) -> Frames:
        if self._awaited:
            self._awaited = False
            self._pacing.call_sent(now)
        batch: list[Encoded] = []
        nbytes = frames = 0
        while self._queue and len(batch) < limits.BATCH_MESSAGES:
            message = self._queue[0]
            full = nbytes + message.nbytes > limits.BATCH_BYTES or frames + len(message.buffers) > limits.BUFFERS_MAX
            if batch and full:
                break
            batch.append(self._queue.popleft())
            nbytes += message.nbytes
            frames += len(message.buffers)
        self.backlog -= nbytes + MESSAGE_COST * len(batch)
        packet = self.calls.send(join(batch), [buffer for message in batch for buffer in message.buffers], now)
        self._waiting.extend((self.calls.sent, message.transfer) for message in batch if message.transfer)
        return packet

    def _more_chunks(self) -> bool:
        """Begin the transfers whose turn it is; a transfer begins once the message that announces it is sent."""
        while self._early and self._early[0] <= self.calls.acknowledged:
            self._early.popleft()
        while (
            self._waiting and len(self._active) < limits.TRANSFERS_ACTIVE and len(self._early) < limits.TRANSFERS_EARLY
        ):
            announced_in, number = self._waiting.popleft()
            self._early.append(announced_in)
            self._active.append((number, self._prepared.pop(number)))
        return bool(self._active)

    def _send_chunk(self, now: float) -> Frames:
        number, transfer = self._active.popleft()
        chunk = self._encode_chunk(number, transfer.take(limits.CHUNK), now)
        batch = [chunk]
        if number not in self._begun:
            self._begun.add(number)
            batch.insert(0, encode(Begin(number, transfer.sizes)))
        frames = self.bulk.send(join(batch), chunk.buffers, now)
        self._bandwidth.sent(self.bulk.sent, chunk.nbytes, now)
        self._pacing.chunk_sent(now)
        if transfer.finished:
            self._begun.discard(number)
            if self.compressor is not None:
                self.compressor.forget(number)
            self._unacknowledged.append((self.bulk.sent, number))
        else:
            self._active.append((number, transfer))  # the transfers that are active take turns
        return frames

    def _encode_chunk(self, number: int, data: memoryview, now: float) -> Encoded:
        packed = None
        if self.compressor is not None:
            packed = self.compressor.compress(number, data, self._bandwidth.figure(now))
        if packed is None:
            return encode_chunk(Chunk(number), data)
        return encode_chunk(Compressed(number, packed[0], len(data)), packed[1])

    # --- receiving

    def receive(self, kind: int, lane: int, frames: Sequence[Buffer], now: float) -> list[Event]:
        """Take in a switched packet: its kind and lane from the route, its frames behind the route.

        Raises:
            RemoteProtocolError: the packet is malformed or breaks a rule of the stream.
        """
        if not 0 < len(frames) <= 1 + limits.BUFFERS_MAX:
            raise RemoteProtocolError(f"{len(frames)} frames behind the route; 1 to {1 + limits.BUFFERS_MAX} may be")
        road = _LANES[lane]
        stream = self._streams[road]
        if kind == Kind.DATA:
            events = self._receive_data(stream, road, frames, now)
        elif kind == Kind.ACK:
            ack, grant, reply = decode_position(frames[0])
            self._urge(road, stream.position(ack, grant, reply, now))
            events = []
        elif kind == Kind.SYNC:
            ack, grant, reply = decode_position(frames[0])
            self._urge(road, stream.synchronize(ack, grant, reply, now))
            events = []
        else:
            raise RemoteProtocolError(f"kind {kind} is none that crosses a session")
        self._bandwidth.acknowledged(self.bulk.acknowledged, now)
        while self._unacknowledged and self._unacknowledged[0][0] <= self.bulk.acknowledged:
            events.append(Delivered(self._unacknowledged.popleft()[1]))
        return events

    def _receive_data(self, stream: Stream, lane: Lane, frames: Sequence[Buffer], now: float) -> list[Event]:
        data = decode_data(frames[0])
        fresh, answers = stream.receive(data.seq, data.ack, data.grant, sum(map(len, frames)), now)
        self._urge(lane, answers)
        if not fresh:
            return []
        batch = decode_batch(data.batch, frames[1:])
        for message, _ in batch:
            if isinstance(message, ON_BULK) is not (lane is Lane.BULK):
                raise RemoteProtocolError(f"{type(message).__name__} on the {lane.name.lower()} lane")
        if lane is Lane.CALLS:
            messages = [message for message, _ in batch]
            return [Received(messages), *self._claim(messages)]
        self._bulk_owed += 1
        events: list[Event] = []
        for message, chunk in batch:
            if isinstance(message, Begin):
                events += self._begin(message)
            elif isinstance(message, WITH_BYTES):
                events += self._chunk(message, chunk)
        self._grant_bulk(now)
        if any(message.transfer not in self._incoming for message, _ in batch if isinstance(message, WITH_BYTES)):
            self.bulk.hurry(now)  # a transfer is complete, and who sent it may wait for that
        return events

    def _urge(self, lane: Lane, packets: list[Frames]) -> None:
        self._urgent += [(lane, frames) for frames in packets]

    def _claim(self, messages: list[Message]) -> list[Event]:
        """Note which transfers the messages announce; those that are complete already arrive now."""
        events: list[Event] = []
        for message in messages:
            payload = getattr(message, "payload", None)
            if isinstance(payload, Coming):
                if payload.transfer in self._announced:
                    raise RemoteProtocolError(f"transfer {payload.transfer} is announced twice")
                self._announced[payload.transfer] = payload.refs
                if payload.transfer in self._unclaimed:
                    events.append(self._arrive(payload.transfer, self._unclaimed.pop(payload.transfer)))
        return events

    def _arrive(self, transfer: int, payload: Pickled) -> Arrived:
        self._held += payload.nbytes
        return Arrived(transfer, payload._replace(refs=self._announced.pop(transfer)))

    def _begin(self, message: Begin) -> list[Event]:
        twice = message.transfer in self._incoming or message.transfer in self._unclaimed
        held = len(self._incoming) + len(self._unclaimed)
        if twice or held >= limits.TRANSFERS_ACTIVE + limits.TRANSFERS_EARLY:
            raise RemoteProtocolError(f"transfer {message.transfer} begins out of turn")
        if len(message.sizes) > limits.TRANSFER_PARTS_MAX:
            raise RemoteProtocolError(f"a transfer of {len(message.sizes)} parts")
        self._incoming[message.transfer] = Incoming(message.sizes, self.object_max, self._memory)
        return []

    def _chunk(self, message: Chunk | Compressed, data: Buffer | None) -> list[Event]:
        transfer = message.transfer
        incoming = self._incoming.get(transfer)
        if incoming is None or data is None:
            raise RemoteProtocolError(f"a chunk of transfer {transfer}, which has not begun")
        incoming.write(decompress(message.codec, data, message.size) if isinstance(message, Compressed) else data)
        if not incoming.finished:
            return []
        payload = self._incoming.pop(transfer).payload()
        if transfer in self._announced:
            return [self._arrive(transfer, payload)]
        self._unclaimed[transfer] = payload
        return []

    def consumed(self, packets: int, now: float) -> None:
        """The owner is done with so many packets of the calls lane."""
        self.calls.consume(packets, now)

    def taken(self, nbytes: int, now: float) -> None:
        """The owner has dealt with a large payload that arrived, of so many bytes."""
        self._held -= nbytes
        self._grant_bulk(now)

    def _grant_bulk(self, now: float) -> None:
        if self._held <= limits.HELD_MAX:
            self.bulk.consume(self._bulk_owed, now)
            self._bulk_owed = 0

    # --- reconnecting and time

    def resume(self, lane: Lane, now: float) -> None:
        """The connection under this lane is new: tell the peer where this end stands, and ask it."""
        self._urge(lane, [self._streams[lane].resume(now)])

    def next_deadline(self) -> float | None:
        """When ``poll`` has something to do, in the owner's clock."""
        if self._urgent or self._can_send_calls():
            return 0.0
        due = [at for at in (self.calls.next_deadline(), self.bulk.next_deadline()) if at is not None]
        if self._can_send_chunks():
            due.append(self._pacing.next_chunk)
        return min(due) if due else None
