"""The broker's core: which session belongs to whom, who is alive, and where each packet goes.

Pure: ``handle(event, now)`` returns actions, ``next_deadline()`` says when ``tick(now)`` has something to do. It reads
frame 0 of session traffic and the maps of control traffic; it never looks into what clients and bridges exchange.

Life is judged by the connection: ZMTP heartbeats, which libzmq's own thread answers, close a connection that has
been silent for the lease, and a send to a closed one fails (``Unreachable``). So a client whose interpreter is busy
is alive, and one that was killed is noticed at the next heartbeat.

What each side may say stands in ``clients``, ``bridges`` and ``admin``; what becomes of sessions in ``lifecycle``.
"""

from __future__ import annotations

from collections import Counter

from raymq.errors import RemoteProtocolError
from raymq.protocol.control import decode_control
from raymq.protocol.route import SWITCHED, Kind, decode_route
from raymq.protocol.version import PROTOCOL_NEWEST, PROTOCOL_OLDEST
from raymq_broker import admin, bridges, clients
from raymq_broker.actions import Action, Came, Event, Packet, Pool, Side, Unreachable
from raymq_broker.entities import Bridge, Session
from raymq_broker.lifecycle import Lifecycle, Settings
from raymq_broker.outbox import Outbox
from raymq_broker.registry import Registry


class Broker:
    """All that the broker knows and decides."""

    def __init__(self, settings: Settings, now: float) -> None:
        self.settings = settings
        self.registry = Registry()
        self.outbox = Outbox()
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
        if isinstance(event, Unreachable):
            self._unreachable(event, now)
        else:
            self._came(event, now)
        return self._take_actions()

    def tick(self, now: float) -> list[Action]:
        """Do what is due: heartbeats, and the end of sessions and bridges whose time is over."""
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + self.settings.timing.heartbeat
            for session in self.sessions.values():
                self.outbox.ping(Side.CLIENTS, session)
            for bridge in self.bridges.values():
                self._bridges.beat(bridge)
        for bridge in self.registry.gone():
            if now >= self._bridges.deadline(bridge):
                self._bridges.lost(bridge, now)
        for session in list(self.sessions.values()):
            if now >= self._lifecycle.deadline(session):
                self._lifecycle.expire(session, now)
        return self._take_actions()

    def next_deadline(self) -> float:
        """When ``tick`` is due next."""
        sessions = map(self._lifecycle.deadline, self.sessions.values())
        return min(self._next_heartbeat, *sessions, *map(self._bridges.deadline, self.registry.gone()), float("inf"))

    def _take_actions(self) -> list[Action]:
        actions = self.outbox.take()
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
            packet = Packet(event.side, event.peer, route, event.frames)
            if route.kind not in SWITCHED:
                self._control(packet, now)
            elif event.side is Side.CLIENTS:
                self._switch_to_bridge(packet, now)
            else:
                self._switch_to_client(packet)
        except RemoteProtocolError as error:
            self.outbox.complain("malformed", now, side=event.side.value, error=str(error))

    def _switch_to_bridge(self, packet: Packet, now: float) -> None:
        if self.registry.client_peers.get(packet.peer) != (packet.route.session, packet.route.lane):
            self._clients.unbound(packet, now)
            return
        session = self.sessions[packet.route.session]
        session.last_seen = now
        bridge = self.registry.bridge_of(session)
        self._switch(packet, Side.BRIDGES, bridge.lanes.get(packet.route.lane) if bridge else None)

    def _switch_to_client(self, packet: Packet) -> None:
        if packet.peer not in self.registry.bridge_peers:
            self._bridges.unbound(packet)
            return
        session = self._bridges.session_of(packet)
        if session is not None:
            self._switch(packet, Side.CLIENTS, session.lanes.get(packet.route.lane))

    def _switch(self, packet: Packet, side: Side, peer: bytes | None) -> None:
        if peer is None:
            self.counters["undeliverable"] += 1
            return
        self.counters[f"to_{side.value}"] += 1
        self.outbox.switch(side, peer, packet.frames)

    def _control(self, packet: Packet, now: float) -> None:
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
        if event.side is Side.BRIDGES:
            bridge = self.registry.unbind_bridge(event.peer)
            if bridge is not None:
                self._bridges.unreachable(bridge, now)
            return
        unbound = self.registry.unbind_client(event.peer)
        if unbound is not None:
            self._lifecycle.client_gone(*unbound, now)
