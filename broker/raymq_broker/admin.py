"""What administrators ask the broker, on the bridges' endpoint. Pure."""

from __future__ import annotations

from typing import Any

from raymq.protocol.route import Kind
from raymq.protocol.version import __version__
from raymq_broker.actions import Handler, Packet
from raymq_broker.entities import Bridge, Session
from raymq_broker.lifecycle import Lifecycle
from raymq_broker.outbox import Outbox
from raymq_broker.registry import Registry


class Admin:
    """Handles their control packets."""

    def __init__(self, lifecycle: Lifecycle, registry: Registry, outbox: Outbox, started: float) -> None:
        self._lifecycle = lifecycle
        self._registry = registry
        self._outbox = outbox
        self._started = started
        self.handlers: dict[int, Handler] = {
            Kind.STATUS: self.status,
        }

    def status(self, packet: Packet, fields: dict[str, Any], now: float) -> None:
        """What is there."""
        pid = self._lifecycle.settings.pid
        self._outbox.reply(
            packet, Kind.STATUS_REPLY,
            broker={"version": __version__, "pid": pid, "uptime": now - self._started},
            bridges=[_bridge(bridge) for bridge in self._registry.bridges.values()],
            sessions=[_session(session, now) for session in self._registry.sessions.values()],
            counters=dict(self._outbox.counters),
        )  # fmt: skip


def _bridge(bridge: Bridge) -> dict[str, Any]:
    return {
        "id": bridge.id.hex(),
        "pid": bridge.pid,
        "state": bridge.state.value,
        "session": bridge.session.hex() if bridge.session else None,
        "cluster": bridge.cluster,
    }


def _session(session: Session, now: float) -> dict[str, Any]:
    return {
        "id": session.id.hex(),
        "client": session.client,
        "state": session.state.value,
        "age": now - session.since,
        "last_seen": now - session.last_seen,
        "bridge": session.bridge.hex() if session.bridge else None,
        "cluster": session.cluster,
    }
