"""A network between two ends that take packets and give packets, in virtual time.

Each lane has a connection of its own, which keeps the order. A connection can break: then what is under way is lost,
or held up somewhere and delivered later among the packets of the next connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from raymq.protocol.messages import Buffer
from raymq.protocol.route import Lane

Packet = tuple[Lane, list[Buffer]]


class End(Protocol):
    """What is joined: a stream or a channel with the little that its owner does."""

    def poll(self, now: float) -> list[Packet]: ...

    def take(self, lane: Lane, frames: list[Buffer], now: float) -> None: ...

    def resume(self, lane: Lane, now: float) -> None: ...

    def next_deadline(self) -> float | None: ...


class Network:
    """Two ends, 0 and 1, and all packets under way between them."""

    def __init__(self, ends: Sequence[End], lanes: Sequence[Lane]) -> None:
        self.ends = ends
        self.now = 100.0
        self.wires: dict[tuple[int, Lane], deque[list[Buffer]]] = {
            (side, lane): deque() for side in (0, 1) for lane in lanes
        }
        """Packets on their way to an end."""
        self.held_up: list[tuple[int, Lane, list[Buffer]]] = []
        """Packets of broken connections."""

    def poll(self, side: int) -> int:
        """Put on the wire what this end has to send; returns how many packets."""
        packets = self.ends[side].poll(self.now)
        for lane, frames in packets:
            self.wires[1 - side, lane].append(frames)
        assert self.ends[side].poll(self.now) == [], "what is due is due once"
        deadline = self.ends[side].next_deadline()
        assert deadline is None or deadline > self.now, "a deadline that is not in the future makes a loop spin"
        return len(packets)

    def deliver(self, side: int, lane: Lane, packets: int) -> int:
        """Let up to so many packets of a lane arrive; returns how many did."""
        wire = self.wires[side, lane]
        packets = min(packets, len(wire))
        for _ in range(packets):
            self.ends[side].take(lane, wire.popleft(), self.now)
        return packets

    def repeat(self, side: int, lane: Lane, index: int) -> None:
        """A packet comes twice."""
        wire = self.wires[side, lane]
        if wire:
            wire.append(wire[index % len(wire)])

    def lose(self, side: int, lane: Lane, index: int) -> None:
        """One packet is lost and nobody is told, as when a broker sheds it."""
        wire = self.wires[side, lane]
        if wire:
            del wire[index % len(wire)]

    def cut(self, lane: Lane, kept: int, resuming: Sequence[int]) -> None:
        """The connection of a lane breaks; some packets are held up, the others lost. Some ends notice."""
        for side in (0, 1):
            wire = self.wires[side, lane]
            self.held_up += [(side, lane, frames) for frames in list(wire)[:kept]]
            wire.clear()
        for side in resuming:
            self.ends[side].resume(lane, self.now)

    def release(self, index: int) -> None:
        """A packet that was held up arrives now."""
        if self.held_up:
            side, lane, frames = self.held_up.pop(index % len(self.held_up))
            self.ends[side].take(lane, frames, self.now)

    def pass_time(self, seconds: float) -> None:
        """Nothing happens for a while."""
        self.now += seconds

    def settle(self, seconds: float) -> None:
        """A network without faults for so long; ends at once when nothing more is due."""
        until = self.now + seconds
        while self.now < until:
            moved = sum(self.poll(side) for side in (0, 1))
            moved += sum(self.deliver(side, lane, 1 << 30) for side, lane in self.wires)
            if not moved:
                due = [at for at in (end.next_deadline() for end in self.ends) if at is not None]
                if not due:
                    return
                self.now = max(self.now, min(due))
