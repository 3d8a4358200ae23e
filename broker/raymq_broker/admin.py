"""What administrators ask the broker, on the bridges' endpoint. Pure."""

from __future__ import annotations

from typing import Any

from raymq.protocol.route import Kind
from raymq.protocol.version import __version__
from raymq_broker.actions import Handler, Packet
from raymq_broker.entities import Bridge, Session, SessionState
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
            Kind.KILL: self.kill,
        }

    def status(self, packet: Packet, fields: dict[str, Any], now: float) -> None:
        """What is there."""
        pid = self._lifecycle.settings.pid
        self._outbox.reply(
            packet, Kind.STATUS_REPLY,
            broker={"version": __version__, "pid": pid, "uptime": now - self._started},
            bridges=[_bridge(bridge) for bridge in self._registry.bridges.values()],
            sessions=[self._session(session, now) for session in self._registry.sessions.values()],
            counters=dict(self._outbox.counters),
        )  # fmt: skip

    def kill(self, packet: Packet, fields: dict[str, Any], now: float) -> None:
        """End a session, by its name or the beginning of its id; none if several fit."""
        found = self._registry.found(fields["which"])
        if len(found) == 1:
            self._lifecycle.end_and_close(found[0], "killed", "an administrator ended the session", now)
        self._outbox.reply(packet, Kind.KILLED, sessions=[self._session(session, now) for session in found])

    def _session(self, session: Session, now: float) -> dict[str, Any]:
        left = self._lifecycle.deadline(session) - now if session.state is SessionState.DETACHED else None
        return {
            "id": session.id.hex(),
            "name": session.name,
            "client": session.client,
            "state": session.state.value,
            "age": now - session.since,
            "last_seen": now - session.last_seen,
            "expires_in": left,
            "bridge": session.bridge.hex() if session.bridge else None,
            "job_id": str(session.cluster.get("job_id", "")),
            "objects": session.objects,
            "memory": session.memory,
        }


def _bridge(bridge: Bridge) -> dict[str, Any]:
    return {
        "id": bridge.id.hex(),
        "pid": bridge.pid,
        "state": bridge.state.value,
        "session": bridge.session.hex() if bridge.session else None,
        "cluster": bridge.cluster,
    }
