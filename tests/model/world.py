"""The whole system in virtual time, without a socket: client, broker, bridges, and a network with faults.

The network does what libzmq does, message by message. Each lane of an end is a DEALER with a connection to the broker's
ROUTER. A connection keeps the order; when it breaks, what is under way is lost, what was not sent yet goes out over
the next one, which has a new routing id, and the ROUTER refuses the old id once it has noticed. A connection on which
nothing passes for the lease is closed by both ends, as ZMTP heartbeats do.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from raymq import connection
from raymq.connection import Connection, RefusedHello, State
from raymq.protocol.channel import Arrived, Channel, Delivered, Received
from raymq.protocol.limits import QUEUE_MAX, Timing
from raymq.protocol.messages import Buffer, Coming, Goodbye, Pickled, Put, Value
from raymq.protocol.route import Kind, Lane, decode_route
from raymq_bridge import link
from raymq_bridge.link import Link, LinkState, Opened
from raymq_broker.actions import Action, Came, Event, Send, Side, Unreachable
from raymq_broker.core import Broker
from raymq_broker.lifecycle import Settings
from tests.broker.desk import HELLO, SESSION, TOKEN, VERSIONS, check_invariants

TIMING = Timing(heartbeat=1.0, lease=5.0, grace=12.0)
CLUSTER = {**VERSIONS, "job_id": "01000000"}
LATENCY = 0.01
OPENING = 1.5
"""Seconds that a bridge takes to open a session."""

RESPAWN = 1.0
"""Seconds after which a bridge that ended is replaced."""

LINGER = 0.5
"""Seconds that a process which ends gives to what it has just sent."""

RETRY = 0.2
"""Seconds between two attempts to connect."""

Frames = Sequence[Buffer]


class Cable:
    """One DEALER of an end, and its connection to the broker."""

    def __init__(self, world: World, side: Side, lane: Lane, end: End) -> None:
        self.world = world
        self.side = side
        self.lane = lane
        self.end = end
        self.peer: bytes | None = None
        self.closed = False
        self.latency = LATENCY
        self.blocked_until = 0.0
        self.stalled_until = 0.0
        self.queue: deque[Frames] = deque()
        self.to_lose = [0, 0]
        self.passed = [0, 0]
        self.planned: dict[tuple[int, int], Callable[[], None]] = {}
        """Faults that hit when the packet of this number is sent to (0) or from (1) the broker."""
        self._generation = 0
        self._last = [0.0, 0.0]

    # --- what an end and the broker do

    def send(self, frames: Frames) -> None:
        """From the end; waits here while there is no connection."""
        if self.peer is None:
            self.queue.append(frames)
            return
        peer = self.peer
        self._travel(0, frames, lambda: self.world.to_broker(Came(self.side, peer, frames)))

    def send_back(self, frames: Frames) -> None:
        """From the broker."""
        self._travel(1, frames, lambda: self.end.deliver(frames))

    def _travel(self, direction: int, frames: Frames, arrive: Callable[[], None]) -> None:
        world = self.world
        world.count(frames)
        self.passed[direction] += 1
        planned = self.planned.pop((direction, self.passed[direction]), None)
        if planned is not None:
            planned()
        if self.to_lose[direction]:
            self.to_lose[direction] -= 1
            return
        if world.now < self.blocked_until:
            return
        self._last[direction] = max(self._last[direction], world.now + self.latency, self.stalled_until)
        generation = self._generation

        def check_and_arrive() -> None:
            if generation == self._generation:
                arrive()

        world.at(self._last[direction], check_and_arrive)

    # --- connecting

    def connect(self) -> None:
        if self.closed or self.peer is not None:
            return
        world = self.world
        if world.broker is None or world.now < max(self.blocked_until, self.stalled_until, self.end.suspended_until):
            world.at(world.now + RETRY, self.connect)
            return
        self.peer = b"peer-%d" % next(world.numbers)
        world.routers[self.side][self.peer] = self
        queued, self.queue = self.queue, deque()
        for frames in queued:
            self.send(frames)

    def break_(self, noticed: float = 0.0, again: float = 0.0) -> None:
        """The connection ends. The broker's socket notices after a while; the end connects again after another."""
        world, peer = self.world, self.peer
        if peer is None:
            return
        self.peer = None
        self._generation += 1
        self._last = [0.0, 0.0]
        router = world.routers[self.side]
        router[peer] = None
        world.at(world.now + noticed, lambda: router.pop(peer, None))
        world.at(world.now + again, self.connect)

    def close(self) -> None:
        """The process has ended."""
        self.closed = True
        self.break_()

    # --- faults

    def lose(self, direction: int, packets: int) -> None:
        """The next packets to (0) or from (1) the broker are lost, and nobody is told, as when a queue is full."""
        self.to_lose[direction] += packets

    def block(self, seconds: float) -> None:
        """Everything is swallowed in silence."""
        self.blocked_until = max(self.blocked_until, self.world.now + seconds)
        self._heartbeats(seconds)

    def stall(self, seconds: float) -> None:
        """Nothing passes, but nothing is lost either: it comes later."""
        self.stalled_until = max(self.stalled_until, self.world.now + seconds)
        self._heartbeats(seconds)

    def slow(self, seconds: float, latency: float) -> None:
        """Everything takes longer."""
        self.latency = latency

        def heal() -> None:
            self.latency = LATENCY

        self.world.at(self.world.now + seconds, heal)

    def _heartbeats(self, seconds: float) -> None:
        if seconds > TIMING.lease:
            generation = self._generation

            def expire() -> None:
                if generation == self._generation:
                    self.break_()

            self.world.at(self.world.now + TIMING.lease, expire)


class End:
    """A process with two cables: what client and bridge have in common. Checks what it receives as it comes."""

    side: Side

    def __init__(self, world: World) -> None:
        self.world = world
        self.alive = True
        self.suspended_until = 0.0
        self.cables = {lane: Cable(world, self.side, lane, self) for lane in Lane}
        self.unread: list[Frames] = []
        self.sent: list[Pickled] = []
        self.received: list[int] = []
        self.values: dict[int, Pickled] = {}
        self.pending: dict[int, int] = {}
        self.delivered = 0
        self.over: list[Any] = []
        for cable in self.cables.values():
            cable.connect()

    @property
    def channel(self) -> Channel:
        raise NotImplementedError

    def send_value(self, size: int, make: Callable[[int, Any], Any]) -> None:
        number = len(self.sent)
        data = bytes((number + at) % 251 for at in range(size))
        payload = Pickled(data[: size // 3], [data[size // 3 :]], [number])
        self.sent.append(payload)
        self.channel.send(make(number, self.channel.announce(payload)))

    def deliver(self, frames: Frames) -> None:
        if not self.alive:
            return
        self.unread.append(frames)
        self.run()

    def run(self) -> None:
        """One turn of the loop in the shell."""
        if not self.alive or self.world.now < self.suspended_until:
            return
        unread, self.unread = self.unread, []
        for frames in unread:
            self.act(self.core.receive(frames, self.world.now))
        packets, events = self.core.poll(self.world.now)
        self.act(events)
        for lane, frames in packets:
            self.cables[lane].send(frames)
        self.after_turn()

    @property
    def core(self) -> Any:
        raise NotImplementedError

    def after_turn(self) -> None:
        raise NotImplementedError

    def act(self, events: Sequence[Any]) -> None:
        for event in events:
            if isinstance(event, Received):
                for message in event.messages:
                    self.take(message)
                self.channel.consumed(1, self.world.now)
            elif isinstance(event, Arrived):
                number = self.pending.pop(event.transfer)
                self.values[number] = event.payload
            elif isinstance(event, Delivered):
                self.delivered += 1
            else:
                self.happened(event)

    def happened(self, event: Any) -> None:
        raise NotImplementedError

    def take(self, message: Any) -> None:
        assert message.ref == len(self.received), "once, and in the order in which they were sent"
        self.received.append(message.ref)
        if isinstance(message.payload, Coming):
            self.pending[message.payload.transfer] = message.ref
        else:
            self.values[message.ref] = message.payload

    def exit(self) -> None:
        """The process ends by itself: what it said last still goes out."""
        self.alive = False
        self.world.at(self.world.now + LINGER, self._close)

    def kill(self) -> None:
        self.alive = False
        self._close()

    def _close(self) -> None:
        for cable in self.cables.values():
            cable.close()

    def suspend(self, seconds: float) -> None:
        """SIGSTOP: not even libzmq's own thread answers."""
        self.suspended_until = max(self.suspended_until, self.world.now + seconds)
        for cable in self.cables.values():
            cable._heartbeats(seconds)
        self.world.at(self.suspended_until, self.run)

    def next_deadline(self) -> float:
        if not self.alive:
            return float("inf")
        return max(float(self.core.next_deadline()), self.suspended_until)


class ClientEnd(End):
    """The client's process."""

    side = Side.CLIENTS

    def __init__(self, world: World) -> None:
        hello = {key: value for key, value in HELLO.items() if key != "token"}
        self.connection = Connection(SESSION, TOKEN, hello, world.now)
        self.outbox: deque[int] = deque()
        super().__init__(world)

    @property
    def core(self) -> Any:
        return self.connection

    @property
    def channel(self) -> Channel:
        return self.connection.channel

    def put(self, size: int) -> None:
        self.outbox.append(size)
        self.run()

    def run(self) -> None:
        while self.outbox and self.connection.state is State.OPEN:
            self.send_value(self.outbox.popleft(), Put)
        super().run()

    def happened(self, event: Any) -> None:
        if isinstance(event, connection.Ended) or (isinstance(event, RefusedHello) and not event.retry):
            self.over.append(event)
        if isinstance(event, connection.Welcomed):
            assert event.cluster == CLUSTER
            self.world.at(self.world.now, self.run)

    def after_turn(self) -> None:
        if self.connection.state is State.ENDED:
            self.exit()

    def close(self) -> None:
        self.connection.close(Goodbye())
        self.run()


class BridgeEnd(End):
    """A bridge's process."""

    side = Side.BRIDGES

    def __init__(self, world: World) -> None:
        number = next(world.numbers)
        self.link = Link(number.to_bytes(16, "big"), number, VERSIONS, world.now)
        self.opened = False
        self.outbox: deque[int] = deque()
        super().__init__(world)

    @property
    def core(self) -> Any:
        return self.link

    @property
    def channel(self) -> Channel:
        assert self.link.channel is not None
        return self.link.channel

    def put(self, size: int) -> None:
        self.outbox.append(size)
        self.run()

    def run(self) -> None:
        while self.outbox and self.opened and self.link.state is LinkState.SERVING:
            self.send_value(self.outbox.popleft(), Value)
        super().run()

    def take(self, message: Any) -> None:
        if isinstance(message, Goodbye):
            self.link.ended("goodbye", "the client said goodbye")
        else:
            super().take(message)

    def happened(self, event: Any) -> None:
        if isinstance(event, Opened):
            self.world.at(self.world.now + OPENING, self._open)
        elif isinstance(event, link.Ended):
            self.over.append(event)

    def _open(self) -> None:
        if self.alive and self.link.state is LinkState.SERVING:
            self.opened = True
            self.link.opened(CLUSTER)
            self.run()

    def after_turn(self) -> None:
        if self.link.state is LinkState.ENDED:
            packets, _ = self.link.poll(self.world.now)
            for lane, frames in packets:
                self.cables[lane].send(frames)
            self.exit()

    def _close(self) -> None:
        super()._close()
        self.world.at(self.world.now + RESPAWN, self.world.spawn_bridge)


class World:
    """Everything, and the clock."""

    def __init__(self, queue_max: int = QUEUE_MAX) -> None:
        self.now = 100.0
        self._settings = Settings(TIMING, queue_max=queue_max)
        self.numbers = itertools.count(1)
        self.packets: Counter[Kind] = Counter()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self.routers: dict[Side, dict[bytes, Cable | None]] = {side: {} for side in Side}
        self.broker: Broker | None = Broker(self._settings, self.now)
        self.bridges: list[BridgeEnd] = []
        self.supervised = True
        self.spawn_bridge()
        self.client = ClientEnd(self)

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (when, next(self.numbers), what))

    def count(self, frames: Frames) -> None:
        self.packets[Kind(decode_route(frames[0]).kind)] += 1

    # --- the broker's process

    def to_broker(self, event: Event) -> None:
        if self.broker is not None:
            self._carry_out(self.broker.handle(event, self.now))
            check_invariants(self.broker)

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                router = self.routers[action.side]
                if action.peer not in router:
                    self.to_broker(Unreachable(action.side, action.peer))
                    continue
                cable = router[action.peer]
                if cable is not None:
                    cable.send_back(action.frames)

    def kill_broker(self, down: float) -> None:
        """kill -9, and a new one after a while."""
        self.broker = None
        for cable in self.cables():
            cable.break_()
        for router in self.routers.values():
            router.clear()
        self.at(self.now + down, self._start_broker)

    def _start_broker(self) -> None:
        if self.broker is None:
            self.broker = Broker(self._settings, self.now)

    def cables(self) -> list[Cable]:
        return [cable for end in (self.client, *self.bridges) for cable in end.cables.values()]

    def spawn_bridge(self) -> None:
        if self.supervised:
            self.bridges.append(BridgeEnd(self))

    # --- time

    def _ends(self) -> list[End]:
        return [end for end in (self.client, *self.bridges) if end.alive]

    def _due(self) -> float:
        due = [end.next_deadline() for end in self._ends()]
        if self._agenda:
            due.append(self._agenda[0][0])
        if self.broker is not None:
            due.append(self.broker.next_deadline())
        return min(due)

    def run(self, seconds: float) -> None:
        """Let time pass. Fails if the system spins or floods."""
        until = self.now + seconds
        turns, moment = 0, self.now
        while (due := self._due()) <= until:
            self.now = max(self.now, due)
            turns = turns + 1 if self.now == moment else 0
            moment = self.now
            assert turns < 2000, "so much at one moment is a storm, or a loop that spins"
            while self._agenda and self._agenda[0][0] <= self.now:
                heapq.heappop(self._agenda)[2]()
            for end in self._ends():
                if end.next_deadline() <= self.now:
                    end.run()
                    assert end.next_deadline() > self.now, "what is due is due once"
            if self.broker is not None and self.broker.next_deadline() <= self.now:
                self._carry_out(self.broker.tick(self.now))
                check_invariants(self.broker)
                assert self.broker.next_deadline() > self.now
        self.now = until

    # --- what is to hold

    @property
    def serving(self) -> list[BridgeEnd]:
        """The bridges that are alive and have the session."""
        return [bridge for bridge in self.bridges if bridge.alive and bridge.link.channel is not None]

    def check_whole(self) -> None:
        """The session lives, and everything has arrived on both sides, once, in order and intact."""
        assert self.client.connection.state is State.OPEN, self.client.over
        [bridge] = self.serving
        assert self.broker is not None
        assert list(self.broker.sessions) == [SESSION]
        for sender, receiver in ((self.client, bridge), (bridge, self.client)):
            assert not sender.outbox
            assert len(receiver.received) == len(sender.sent)
            assert not receiver.pending
            for number, payload in enumerate(sender.sent):
                value = receiver.values[number]
                assert (bytes(value.inband), [bytes(b) for b in value.buffers], list(value.refs)) == payload
            channel = sender.channel
            assert (channel.backlog, channel.bulk_backlog, channel.calls._kept, channel.bulk._kept) == (
                0, 0, deque(), deque(),
            )  # fmt: skip
            assert sender.delivered == channel._transfers

    def check_over(self) -> None:
        """The session is over, and everybody knows."""
        assert not self.client.alive
        assert self.serving == []
        assert self.broker is not None
        assert self.broker.sessions == {}
