"""How much came over a connection that has not been handled: counted in bytes, and bounded. Pure.

libzmq bounds what waits for the broker in whole packets, whatever their size, and the parts of a packet that never ends
not at all. The kernel counts the bytes that each connection has brought; the broker counts those that it has handled;
what is between the two lies in memory. Credit keeps honest ends far below the limit.

What waits may be whole packets, which credit bounds, or one that is not finished. The latter is told apart when nothing
that is whole is left: then all that was there a while ago, and still is, belongs to one packet, and may be no more than
one. (Its frames take up to 32 times their size in memory if they are empty: 64 bytes for the 2 on the wire.)

The two counts differ a little even if nothing waits: libzmq answers its own heartbeats, which the broker never sees. So
a small rest counts as handled as soon as a whole packet has come. Within one packet that happens once at most, so no
packet can hide more than one such rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from typing import NamedTuple

REST = 64 << 10
"""Bytes that may be libzmq's own."""

FRAME_HEADER = 9
"""Bytes that ZMTP puts before a frame (RFC 37, "Framing"); 2 before a short one."""

SHORT_FRAME = 255
"""Bytes of the largest frame whose size ZMTP writes in one byte (RFC 37, "Framing")."""


def wire_bytes(frames: Sequence[Sized]) -> int:
    """The bytes that a packet has on the wire: its frames, and the headers of ZMTP (mechanism NULL) before them."""
    sizes = list(map(len, frames))
    return sum(sizes) + sum(2 if size <= SHORT_FRAME else FRAME_HEADER for size in sizes)


class Excess(NamedTuple):
    """A connection that brings more than it may.

    Attributes:
        number: the connection.
        peer: its routing id; empty if no packet of it has been handled.
        nbytes: what waits of it.
        guilty: it is above its own limits; otherwise it has to go since all of them together are above theirs.
    """

    number: int
    peer: bytes
    nbytes: int
    guilty: bool = True


class _Flow:
    """What is known of one connection; ``identity`` tells it from an earlier one of the same number."""

    __slots__ = ("handled", "identity", "peer", "unfinished", "waiting", "whole")

    def __init__(self, peer: bytes) -> None:
        self.peer = peer
        self.identity: int | None = None
        self.handled = 0
        self.waiting = 0
        self.unfinished = 0
        self.whole = False

    def look(self, identity: int, total: int, *, drained: bool) -> None:
        self.identity = identity
        self.unfinished = self.waiting if drained and not self.whole else 0
        self.handled = min(self.handled, total)  # an earlier connection of this number brought the rest
        if self.whole and total - self.handled <= REST:
            self.handled = total
        self.whole = False
        self.waiting = total - self.handled


class Intake:
    """Of all connections.

    Args:
        limit: bytes that may wait of one connection.
        packet: bytes that may wait of one packet which is not finished.
        total: bytes that may wait of all connections.
    """

    def __init__(self, limit: int, packet: int, total: int) -> None:
        self._limit = limit
        self._packet = packet
        self._total = total
        self._flows: dict[int, _Flow] = {}

    def __len__(self) -> int:
        return len(self._flows)

    def handled(self, number: int, peer: bytes, nbytes: int) -> None:
        """A whole packet has been taken in.

        Args:
            number: the connection, by a number that the next one may have when this one is gone.
            peer: the connection's routing id, which no other one ever has.
            nbytes: the packet's bytes on the wire.
        """
        flow = self._flows.get(number)
        if flow is None or flow.peer != peer:
            flow = self._flows[number] = _Flow(peer)
        flow.handled += nbytes
        flow.whole = True

    def look(self, number: int, identity: int, total: int, *, drained: bool) -> None:
        """So much has a connection brought since it began.

        Args:
            number: the connection.
            identity: what no other connection of this number had or has.
            total: bytes.
            drained: every whole packet that had come by the last look has been handled.
        """
        flow = self._flows.get(number)
        if flow is None or flow.identity not in (identity, None):
            flow = self._flows[number] = _Flow(b"")
        flow.look(identity, total, drained=drained)

    def forget(self, number: int) -> None:
        """The connection is gone."""
        self._flows.pop(number, None)

    def excess(self) -> Iterator[Excess]:
        """The connections that are to be closed: those above a limit, and the largest while all are above theirs."""
        total = sum(flow.waiting for flow in self._flows.values())
        for number, flow in sorted(self._flows.items(), key=lambda item: -item[1].waiting):
            guilty = flow.waiting > self._limit or flow.unfinished > self._packet
            if guilty or total > self._total:
                total -= flow.waiting
                yield Excess(number, flow.peer, flow.waiting, guilty)
