"""The reliable stream: one lane of a session, seen from one end.

Packets are numbered from 1. The receiver delivers each number once and in order, and acknowledges cumulatively;
the sender keeps what is not acknowledged and sends it again from where the peer says that it stands. Credit is
counted in packets: ``grant`` is the highest number that the peer may send, and grows as packets are consumed, so a
receiver holds at most ``window`` packets that nobody has looked at. It also tells the sender which packets these are,
so that no more are sent while they have too many bytes.

A loss can only come from a connection that broke or from a broker that died. It is noticed three ways: the next
packet's number leaves a gap; the peer resumes and says where it stands (SYNC); or nothing moves for a while, and
the sender asks (an ACK that wants a reply).

SYNC asks to send again all that its sender lacks. An ACK says where its sender stands and no more: packets that it
lacks may still be under way, so on a slow link nothing is sent twice. Only where the answer to a question shows no
progress since it was asked is the rest lost, for a connection keeps the order.

Pure: no socket, no clock. Every method that may cause packets returns them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from raymq.errors import LocalProtocolError, RemoteProtocolError
from raymq.protocol.codec import data_header, pack
from raymq.protocol.limits import ACK_DELAY, PROBE_AFTER, PROBE_MAX, WINDOW_BYTES
from raymq.protocol.messages import Buffer
from raymq.protocol.route import Kind, Lane, encode_route

Frames = list[Buffer]


HEADER_MAX = 32
"""Bytes that a header may have around its batch, whatever its numbers are: they change when a packet is sent again."""


class _Sent(NamedTuple):
    seq: int
    batch: bytes
    buffers: Sequence[Buffer]


class _Load:
    """The bytes of packets that have not been consumed, the oldest first."""

    def __init__(self) -> None:
        self.nbytes = 0
        self._packets: deque[int] = deque()

    def add(self, nbytes: int) -> None:
        self._packets.append(nbytes)
        self.nbytes += nbytes

    def keep(self, packets: int) -> None:
        """Only so many, the newest, are still not consumed."""
        while len(self._packets) > packets:
            self.nbytes -= self._packets.popleft()


class Stream:
    """Both directions of one lane."""

    def __init__(self, session: bytes, lane: Lane, window: int, window_bytes: int = WINDOW_BYTES) -> None:
        self.window = window
        self.window_bytes = window_bytes
        self._routes = {kind: encode_route(kind, session, lane) for kind in (Kind.DATA, Kind.ACK, Kind.SYNC)}
        # sending
        self.sent = 0
        self.acknowledged = 0
        self.granted = window
        self._kept: deque[_Sent] = deque()
        self._probe_at: float | None = None
        self._probe_interval = PROBE_AFTER
        self._replayed_until = -1.0
        self._replay_at: float | None = None
        self._asked = False
        self._sent_at_resume: int | None = None
        self._unconsumed_there = _Load()
        # receiving
        self.received = 0
        self.consumed = 0
        self._told_ack = 0
        self._told_grant = window
        self._ack_at: float | None = None
        self._gap_told: tuple[int, float] | None = None
        self._unconsumed_here = _Load()

    # --- sending

    @property
    def can_send(self) -> bool:
        """Whether the peer has granted one more packet, and does not hold too much."""
        return self.sent < self.granted and self._unconsumed_there.nbytes < self.window_bytes

    def send(self, batch: bytes, buffers: Sequence[Buffer], now: float) -> Frames:
        """Number a packet, keep it until it is acknowledged, and return its frames.

        Raises:
            LocalProtocolError: there is no credit for it.
        """
        if not self.can_send:
            raise LocalProtocolError("no credit for another packet")
        self.sent += 1
        packet = _Sent(self.sent, batch, buffers)
        self._kept.append(packet)
        self._unconsumed_there.add(HEADER_MAX + len(batch) + sum(map(len, buffers)))
        if self._probe_at is None:
            self._probe_at = now + self._probe_interval
        return self._frames(packet)

    def _frames(self, packet: _Sent) -> Frames:
        header = data_header(packet.seq, *self._position(), packet.batch)
        return [self._routes[Kind.DATA], header, *packet.buffers]

    def _position(self) -> tuple[int, int]:
        """Where this end stands as a receiver; whoever puts it on the wire has told the peer."""
        self._told_ack, self._told_grant = self.received, self.consumed + self.window
        self._ack_at = None
        return self._told_ack, self._told_grant

    # --- receiving

    def receive(self, seq: int, ack: int, grant: int, nbytes: int, now: float) -> tuple[bool, list[Frames]]:
        """Take in a DATA packet's numbers, and the bytes of its frames behind the route.

        Returns:
            Whether its messages are to be delivered (it is the next one), and packets to send.

        Raises:
            RemoteProtocolError: the peer overdraws its credit or acknowledges what was never sent.
        """
        self._heard(ack, grant, now)
        if seq > self.consumed + self.window:
            raise RemoteProtocolError(f"packet {seq} exceeds the credit of {self.consumed + self.window}")
        if seq == self.received + 1:
            if self._unconsumed_here.nbytes >= self.window_bytes:
                raise RemoteProtocolError(f"packet {seq} exceeds the credit of {self.window_bytes:,} bytes")
            self._unconsumed_here.add(nbytes)
            self.received = seq
            self._gap_told = None
            self._schedule_ack(now)
            return True, []
        if seq <= self.received:
            self._ack_at = now  # a repetition: the peer has not heard our acknowledgement
            return False, []
        if self._gap_told is None or self._gap_told[0] != self.received or now >= self._gap_told[1]:
            self._gap_told = (self.received, now + PROBE_AFTER)
            return False, [self._sync(reply=False)]
        return False, []

    def consume(self, packets: int, now: float) -> None:
        """The owner is done with so many delivered packets: the peer may send as many more.

        Raises:
            LocalProtocolError: so many have not been delivered.
        """
        if self.consumed + packets > self.received:
            raise LocalProtocolError("more packets consumed than were delivered")
        self.consumed += packets
        self._unconsumed_here.keep(self.received - self.consumed)
        self._schedule_ack(now)

    def hurry(self, now: float) -> None:
        """The peer waits to hear that what came last is here: it is acknowledged at once."""
        self._ack_at = now

    def _schedule_ack(self, now: float) -> None:
        quarter = max(1, self.window // 4)
        urgent = self.received - self._told_ack >= quarter or self.consumed + self.window - self._told_grant >= quarter
        due = now if urgent else now + ACK_DELAY
        self._ack_at = due if self._ack_at is None else min(due, self._ack_at)

    # --- positions

    def position(self, ack: int, grant: int, reply: bool, now: float) -> list[Frames]:
        """Take in an ACK: the peer stands at ``ack``; answer if it asks, replay if it proves a loss.

        Raises:
            RemoteProtocolError: it acknowledges what was never sent, or grants more than a window.
        """
        progress = self._heard(ack, grant, now)
        if reply:
            return [self._ack(reply=False)]
        if progress or not self._asked:
            return []
        self._asked = False
        return self._replay(now)

    def synchronize(self, ack: int, grant: int, reply: bool, now: float) -> list[Frames]:
        """Take in a SYNC: the peer stands at ``ack``; send again all that it lacks, and answer if it asks.

        Raises:
            RemoteProtocolError: it acknowledges what was never sent, or grants more than a window.
        """
        self._heard(ack, grant, now)
        if not reply:
            before, self._sent_at_resume = self._sent_at_resume, None
            if before is not None and ack >= before:
                return []  # the answer to ``resume``: what was sent since is on its way over the new connection
            return self._replay(now)
        # The peer's connection is new: what was sent again a moment ago may have been lost with the one before.
        self._probe_interval = PROBE_AFTER
        if self._probe_at is not None:
            self._probe_at = min(self._probe_at, now + PROBE_AFTER)
        if now < self._replayed_until:
            self._replay_at = self._replayed_until
        return [self._sync(reply=False), *self._replay(now)]

    def _replay(self, now: float) -> list[Frames]:
        if now < self._replayed_until or not self._kept:
            return []  # a peer that was stuck may ask several times at once; a whole window each would flood it
        self._replayed_until = now + PROBE_AFTER / 2
        self._replay_at = None
        return [self._frames(packet) for packet in self._kept]

    def resume(self, now: float) -> Frames:
        """The connection is new: say where this end stands, and ask the same of the peer."""
        self._probe_interval = PROBE_AFTER
        self._probe_at = now + self._probe_interval
        self._replayed_until = -1.0
        self._sent_at_resume = self.sent
        return self._sync(reply=True)

    def _ack(self, *, reply: bool) -> Frames:
        return [self._routes[Kind.ACK], pack((*self._position(), reply))]

    def _sync(self, *, reply: bool) -> Frames:
        return [self._routes[Kind.SYNC], pack((*self._position(), reply))]

    def _heard(self, ack: int, grant: int, now: float) -> bool:
        """Take in where the peer stands; returns whether that is further than before."""
        if ack > self.sent:
            raise RemoteProtocolError(f"the peer acknowledges packet {ack}, the last one sent is {self.sent}")
        if grant > ack + self.window:
            raise RemoteProtocolError(f"the peer grants packet {grant}, more than {self.window} after {ack}")
        progress = ack > self.acknowledged or grant > self.granted
        if grant > self.granted:
            self.granted = grant
            self._unconsumed_there.keep(self.sent - (grant - self.window))
        while self._kept and self._kept[0].seq <= ack:
            self._kept.popleft()
        self.acknowledged = max(self.acknowledged, ack)
        if progress:
            self._probe_interval = PROBE_AFTER
            self._replayed_until = -1.0
            self._asked = False
            self._probe_at = now + PROBE_AFTER if self._kept else None
        return progress

    # --- time

    def poll(self, now: float, *, waiting: bool) -> list[Frames]:
        """What is due: an acknowledgement, a probe. ``waiting``: the owner has more to send."""
        packets: list[Frames] = []
        if self._replay_at is not None and now >= self._replay_at:
            self._replay_at = None
            packets += self._replay(now)
        stalled = bool(self._kept) or (waiting and not self.can_send)
        if not stalled:
            self._probe_at = None
        elif self._probe_at is None:
            self._probe_at = now + self._probe_interval
        elif now >= self._probe_at:
            self._probe_interval = min(2 * self._probe_interval, PROBE_MAX)
            self._probe_at = now + self._probe_interval
            self._asked = True
            packets.append(self._ack(reply=True))
        if self._ack_at is not None and now >= self._ack_at:
            packets.append(self._ack(reply=False))
        return packets

    def next_deadline(self) -> float | None:
        """When ``poll`` has something to do, in the owner's clock; None if nothing is due."""
        due = [at for at in (self._ack_at, self._probe_at, self._replay_at) if at is not None]
        return min(due) if due else None
