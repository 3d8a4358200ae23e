"""What bridges say to the broker, and what it means when one is gone. Pure."""

from __future__ import annotations

from typing import Any

from raymq.errors import RemoteProtocolError
from raymq.protocol import versions
from raymq.protocol.route import Kind, Lane
from raymq_broker.actions import BridgeEnded, Handler, Packet, Side
from raymq_broker.entities import Bridge, BridgeState, Session, SessionState
from raymq_broker.lifecycle import Lifecycle
from raymq_broker.outbox import Outbox
from raymq_broker.registry import Registry

ENTRY = {
    "session": bytes, "digest": bytes, "protocol": int, "client": dict, "job": dict, "cluster": dict, "name": str,
    "ttl": float, "left": bool,
}  # fmt: skip
"""What a bridge tells of the session that it serves."""

LAST_WORDS = 0.1
"""Seconds in which what a bridge said before its process ended may still come: why its session ended, for one."""


class Bridges:
    """Handles their control packets, and their ends."""

    def __init__(self, lifecycle: Lifecycle, registry: Registry, outbox: Outbox) -> None:
        self._lifecycle = lifecycle
        self._registry = registry
        self._outbox = outbox
        self.handlers: dict[int, Handler] = {
            Kind.REGISTER: self.register,
            Kind.OPENED: self.opened,
            Kind.OPEN_FAILED: self.open_failed,
            Kind.CLOSED: self.closed,
            Kind.PING: self.ping,
        }

    # --- REGISTER

    def register(self, packet: Packet, fields: dict[str, Any], now: float) -> None:
        """One lane of a bridge is there, for the first time or again."""
        protocol = versions.common_protocol(fields["protocol"])
        if protocol is None or not any(packet.route.session):
            raise RemoteProtocolError("a bridge of another protocol version, or without an id")
        if len(fields["sessions"]) > 1 or not all(map(_is_entry, fields["sessions"])):
            raise RemoteProtocolError("a bridge lists the session that it serves, or none")
        known = self._registry.bridges.get(packet.route.session)
        bridge = known or Bridge(packet.route.session, fields["pid"], fields["cluster"], protocol, now)
        self._registry.bind_bridge(bridge, packet.route.lane, packet.peer)
        if known is None:
            self._registry.bridges[bridge.id] = bridge
            self._registry.came(bridge.pid)
            self._outbox.log_bridge("bridge_registered", bridge)
        self._registry.cluster = bridge.cluster
        settings = self._lifecycle.settings
        self._outbox.reply(
            packet, Kind.REGISTERED, heartbeat=settings.timing.heartbeat, lease=settings.timing.lease,
            grace=settings.timing.grace, object_max=settings.object_max,
        )  # fmt: skip
        if bridge.state is BridgeState.GONE and len(bridge.lanes) == len(Lane):
            bridge.state = BridgeState.BUSY
        for entry in fields["sessions"]:
            self._adopt(bridge, entry, now)
        self._lifecycle.place(now)

    def _adopt(self, bridge: Bridge, entry: dict[str, Any], now: float) -> None:
        """A bridge tells which session it has: that of an earlier broker is taken on; one that ended is closed.

        A client that is still at its handshake may be here before its bridge.
        """
        served = self._registry.served_by(bridge)
        if served is not None and served.replaces == entry["session"]:
            return  # it has not heard yet that its session was handed over
        if bridge.session not in (None, entry["session"]):
            raise RemoteProtocolError("a bridge serves one session in its life")
        bridge.session = entry["session"]
        if bridge.state is BridgeState.IDLE:
            bridge.state = BridgeState.BUSY
        session = self._registry.sessions.get(entry["session"])
        if session is None and entry["session"] not in self._registry.ended:
            session = Session(
                entry["session"], entry["digest"], entry["protocol"], entry["client"], entry["job"], now, now,
                name=entry["name"], ttl=entry["ttl"], left=entry["left"],
            )  # fmt: skip
            self._registry.sessions[session.id] = session
        if session is None or session.digest != entry["digest"] or session.bridge not in (None, bridge.id):
            self._lifecycle.close(bridge)
        elif session.bridge is None:
            self._lifecycle.opening(session, bridge, now)
            self._outbox.log("info", "session_adopted", session)
            if entry["cluster"]:
                self._lifecycle.opened(session, entry["cluster"], now)

    # --- OPENED, OPEN_FAILED, CLOSED, PING

    def opened(self, packet: Packet, fields: dict[str, Any], now: float) -> None:
        """The bridge's Ray job runs."""
        session = self._opening(packet)
        if session is not None:
            self._lifecycle.opened(session, fields["cluster"], now)

    def open_failed(self, packet: Packet, fields: dict[str, Any], now: float) -> None:
        """There is no Ray job."""
        session = self._opening(packet)
        if session is not None:
            self._lifecycle.open_failed(session, fields["code"], fields["message"], now)

    def _opening(self, packet: Packet) -> Session | None:
        session = self.session_of(packet)
        return session if session is not None and session.state is SessionState.OPENING else None

    def closed(self, packet: Packet, fields: dict[str, Any], now: float) -> None:
        """The session ended on the bridge's side."""
        session = self.session_of(packet)
        if session is not None:
            self._lifecycle.closed(session, fields["code"], fields["message"], now)

    def ping(self, packet: Packet, fields: dict[str, Any], now: float) -> None:
        """A heartbeat, and what the bridge tells of its session with it."""
        self._outbox.read(packet, fields)
        bound = self._registry.bridge_peers.get(packet.peer)
        if bound is None:
            self.unbound(packet)
            return
        session = self._registry.served_by(self._registry.bridges[bound[0]])
        if session is None or packet.route.lane != Lane.CALLS:
            return
        session.objects = fields.get("objects", session.objects)
        session.memory = fields.get("memory", session.memory)
        if fields.get("left", False) and session.name:
            self._lifecycle.left(session, fields.get("ttl", session.ttl), now)

    def unbound(self, packet: Packet) -> None:
        """A connection that is not registered: it is new, or this broker is."""
        self._outbox.counters["unbound"] += 1
        self._outbox.reply(packet, Kind.UNBOUND)

    def session_of(self, packet: Packet) -> Session | None:
        """The session that a bridge's packet speaks of, if it is its own."""
        session = self._registry.session_told_by(packet.peer, packet.route.session)
        if session is None:
            self._outbox.counters["foreign"] += 1
        return session

    # --- time, and ends

    @property
    def _grace(self) -> float:
        """A bridge sits on the same machine: one that does not register again within two heartbeats is dead."""
        return 2 * self._lifecycle.settings.timing.heartbeat

    def deadline(self, bridge: Bridge) -> float:
        """When a bridge that has lost a connection, or whose process has ended, is given up."""
        return bridge.since + (LAST_WORDS if bridge.state is BridgeState.DEAD else self._grace)

    def unreachable(self, bridge: Bridge, now: float) -> None:
        """A connection of a bridge is gone."""
        if bridge.state is BridgeState.IDLE:
            self._forget(bridge)
        elif bridge.state is BridgeState.BUSY:
            bridge.state, bridge.since = BridgeState.GONE, now

    def ended(self, bridge: Bridge, event: BridgeEnded, now: float) -> None:
        """A bridge's process has ended."""
        if self._registry.served_by(bridge) is None:
            self._forget(bridge)  # in good order, or nobody knew it
            return
        bridge.state, bridge.since = BridgeState.DEAD, now
        bridge.death = f"the bridge of this session (pid {bridge.pid}) died at {event.at}: {event.reason}"
        if event.lines:
            bridge.death += "\n".join(["\nThe last lines of its log:", *(f"    {line}" for line in event.lines)])

    def cluster_lost(self, bridge: Bridge, text: str, now: float) -> None:
        """There is no cluster any longer that a bridge could be in."""
        session = self._registry.served_by(bridge)
        if session is not None:
            self._lifecycle.cluster_lost(session, text, now)

    def lost(self, bridge: Bridge, now: float) -> None:
        """A bridge is dead, and with it what its session held."""
        session = self._registry.served_by(bridge)
        self._forget(bridge)
        if session is not None:
            text = f"the bridge of this session (pid {bridge.pid}) died; what the session held is gone with it"
            self._lifecycle.bridge_lost(session, bridge.death or text, now)

    def _forget(self, bridge: Bridge) -> None:
        self._registry.forget_bridge(bridge)
        self._outbox.log_bridge("bridge_gone", bridge)

    def beat(self, bridge: Bridge) -> None:
        """A heartbeat, and what the bridge has not answered yet: a connection that broke may have lost it."""
        if bridge.state is BridgeState.DEAD:
            return
        self._outbox.ping(Side.BRIDGES, bridge)
        session = self._registry.served_by(bridge)
        if session is not None and session.state is SessionState.OPENING:
            self._lifecycle.ask_to_open(session, bridge)
        elif session is None and bridge.session is not None:
            self._lifecycle.close(bridge)


def _is_entry(entry: Any) -> bool:
    return type(entry) is dict and all(type(entry.get(key)) is kind for key, kind in ENTRY.items())
