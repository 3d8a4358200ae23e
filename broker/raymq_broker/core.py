"""The broker's core: which session belongs to whom, who is alive, and where each packet goes.

Pure: ``handle(event, now)`` returns actions, ``next_deadline()`` says when ``tick(now)`` has something to do. It reads
frame 0 of session traffic and the maps of control traffic; it never looks into what clients and bridges exchange.

Life is judged by the connection: ZMTP heartbeats, which libzmq's own thread answers, close a connection that has
been silent for the lease, and a send to a closed one fails (``Unreachable``). So a client whose interpreter is busy
is alive, and one that was killed is noticed at the next heartbeat. Who started the bridges may know better and sooner
(``BridgeEnded``): it sees their processes end, and how.

What each side may say stands in ``clients``, ``bridges`` and ``admin``; what becomes of sessions in ``lifecycle``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from raymq.errors import RemoteProtocolError
from raymq.protocol.control import decode_control
from raymq.protocol.limits import BUFFERS_MAX, PACKET_MAX
from raymq.protocol.route import SWITCHED, Kind, decode_route
from raymq.protocol.version import PROTOCOL_NEWEST, PROTOCOL_OLDEST
from raymq_broker import admin, bridges, clients
from raymq_broker.actions import Action, BridgeEnded, Came, ClusterLost, Event, Flooded, Packet, Pool, Side, Unreachable
from raymq_broker.entities import Bridge, Session
from raymq_broker.gauge import FRAME_COST, Gauges
from raymq_broker.lifecycle import Lifecycle, Settings
from raymq_broker.outbox import Outbox
from raymq_broker.registry import Registry

FRAMES_MAX = 2 + BUFFERS_MAX
"""Frames that a packet may have."""


class Broker:
    """All that the broker knows and decides.

    Args:
        settings: intervals and limits.
        now: the time, in seconds of any monotonic clock, as everywhere here.
        secret: random bytes, for what nobody is to guess.
    """

    def __init__(self, settings: Settings, now: float, secret: bytes = b"") -> None:
        self.settings = settings
        self.registry = Registry(settings.expected)
        self.outbox = Outbox(Gauges(settings.queue_max, secret))
        self._lifecycle = Lifecycle(settings, self.registry, self.outbox)
        self._clients = clients.Clients(self._lifecycle, self.registry, self.outbox, now)
        self._bridges = bridges.Bridges(self._lifecycle, self.registry, self.outbox)
        administrators = admin.Admin(self._lifecycle, self.registry, self.outbox, now)
        self._handlers = {
            Side.CLIENTS: self._clients.handlers,
            Side.BRIDGES: self._bridges.handlers | administrators.handlers,
        }
        self._next_heartbeat = now
        self._pool: Pool | None = None
        self._changed = True
        self._deadline = now

    @property
    def sessions(self) -> dict[bytes, Session]:
        """The sessions by their ids."""
        return self.registry.sessions

    @property
    def bridges(self) -> dict[bytes, Bridge]:
        """The bridges by their ids."""
        return self.registry.bridges

    @property
    def counters(self) -> Counter[str]:
        """What happened how often."""
        return self.outbox.counters

    # --- the two ways in

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take in one event and return what is to be done."""
        self._EVENTS[type(event)](self, event, now)
        return self._take_actions()

    def tick(self, now: float) -> list[Action]:
        """Do what is due: heartbeats, and the end of sessions and bridges whose time is over."""
        self._changed = True
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + self.settings.timing.heartbeat
            self.outbox.forget_all_but(self.registry.connections())
            for session in self.sessions.values():
                self.outbox.ping(Side.CLIENTS, session)
            for bridge in self.bridges.values():
                self._bridges.beat(bridge)
        for bridge in self.registry.missing():
            if now >= self._bridges.deadline(bridge):
                self._bridges.lost(bridge, now)
        for session in list(self.sessions.values()):
            if now >= self._lifecycle.deadline(session):
                self._lifecycle.expire(session, now)
        return self._take_actions()

    def next_deadline(self) -> float:
        """When ``tick`` is due next."""
        return self._deadline

    def _take_actions(self) -> list[Action]:
        actions = self.outbox.take()
        if self._changed:  # packets that are only switched move nobody, and need not look at all sessions
            self._changed = False
            sessions = map(self._lifecycle.deadline, self.sessions.values())
            bridges = map(self._bridges.deadline, self.registry.missing())
            self._deadline = min(self._next_heartbeat, *sessions, *bridges, float("inf"))
            pool = self.registry.pool()
            if pool != self._pool:
                self._pool = pool
                actions.append(pool)
        return actions

    # --- packets

    def _came(self, event: Came, now: float) -> None:
        try:
            if not event.frames:
                raise RemoteProtocolError("an empty message")
            route = decode_route(event.frames[0])
            if route.kind != Kind.HELLO and not PROTOCOL_OLDEST <= route.version <= PROTOCOL_NEWEST:
                raise RemoteProtocolError(f"protocol version {route.version} is not spoken here")
            nbytes = sum(map(len, event.frames))
            packet = Packet(event.side, event.peer, route, event.frames, nbytes + FRAME_COST * len(event.frames))
            if nbytes > PACKET_MAX or len(event.frames) > FRAMES_MAX:
                self._too_large(packet, nbytes, now)
            elif route.kind not in SWITCHED:
                self._control(packet, now)
            elif event.side is Side.CLIENTS:
                self._switch_to_bridge(packet, now)
            else:
                self._switch_to_client(packet, now)
        except RemoteProtocolError as error:
            self.outbox.complain("malformed", now, side=event.side.value, error=str(error))

    def _switch_to_bridge(self, packet: Packet, now: float) -> None:
        if self.registry.client_peers.get(packet.peer) != (packet.route.session, packet.route.lane):
            self._clients.unbound(packet, now)
            return
        session = self.sessions[packet.route.session]
        session.last_seen = now
        self._switch(packet, Side.BRIDGES, self.registry.bridge_of(session), now)

    def _switch_to_client(self, packet: Packet, now: float) -> None:
        if packet.peer not in self.registry.bridge_peers:
            self._bridges.unbound(packet)
            return
        session = self._bridges.session_of(packet)
        if session is not None:
            self._switch(packet, Side.CLIENTS, session, now)

    def _switch(self, packet: Packet, side: Side, to: Session | Bridge | None, now: float) -> None:
        peer = to.lanes.get(packet.route.lane) if to is not None else None
        if to is None or peer is None:
            self.counters["undeliverable"] += 1
        else:
            self.outbox.switch(packet, side, peer, to.id, now)

    def _too_large(self, packet: Packet, nbytes: int, now: float) -> None:
        """No honest peer sends such a packet, and a client's stream cannot go on without it."""
        self._changed = True
        text = f"a packet of {len(packet.frames):,} frames and {nbytes:,} bytes"
        if packet.side is Side.CLIENTS and packet.peer in self.registry.client_peers:
            session = self.sessions[self.registry.client_peers[packet.peer][0]]
            self._lifecycle.end_and_close(session, "protocol-error", f"the client sent {text}", now)
        raise RemoteProtocolError(text)

    def _control(self, packet: Packet, now: float) -> None:
        self._changed = True
        kind = packet.route.kind
        handler = self._handlers[packet.side].get(kind)
        if handler is None:
            raise RemoteProtocolError(f"kind {kind} has no place here")
        try:
            if len(packet.frames) != 2:
                raise RemoteProtocolError(f"a control packet has 2 frames, not {len(packet.frames)}")
            fields = decode_control(Kind(kind), packet.frames[1])
        except RemoteProtocolError as error:
            if kind == Kind.HELLO:
                self.outbox.refuse(packet, "malformed", str(error))
            raise
        handler(packet, fields, now)

    def _unreachable(self, event: Unreachable, now: float) -> None:
        self._changed = True
        if event.side is Side.BRIDGES:
            bridge = self.registry.unbind_bridge(event.peer)
            if bridge is not None:
                self._bridges.unreachable(bridge, now)
            return
        unbound = self.registry.unbind_client(event.peer)
        if unbound is not None:
            self._lifecycle.client_gone(*unbound, now)

    def _flooded(self, event: Flooded, now: float) -> None:
        """Credit keeps an honest client far below the limits."""
        self._changed = True
        bound = self.registry.client_peers.get(event.peer)
        session = self.sessions[bound[0]] if bound is not None else None
        who = session.id.hex() if session is not None else ""
        self.outbox.complain("flooded", now, side=Side.CLIENTS.value, session=who, nbytes=event.nbytes)
        if session is not None and event.guilty:
            text = f"the client sent {event.nbytes:,} bytes at once, more than a packet or its credit may have"
            self._lifecycle.end_and_close(session, "protocol-error", text, now)

    # --- the supervisor's word

    def _bridge_ended(self, event: BridgeEnded, now: float) -> None:
        self.registry.came(event.pid)
        self._changed = True
        bridge = self.registry.with_pid(event.pid)
        if bridge is not None:
            self._bridges.ended(bridge, event, now)

    def _cluster_lost(self, event: ClusterLost, now: float) -> None:
        self._changed = True
        for bridge in [self.registry.with_pid(pid) for pid in event.pids]:
            if bridge is not None:
                self._bridges.cluster_lost(bridge, f"{event.message} (at {event.at})", now)

    _EVENTS: ClassVar[Mapping[type[Event], Callable[[Broker, Any, float], None]]] = {
        Came: _came,
        Unreachable: _unreachable,
        Flooded: _flooded,
        BridgeEnded: _bridge_ended,
        ClusterLost: _cluster_lost,
    }
