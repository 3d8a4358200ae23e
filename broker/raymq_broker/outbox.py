"""What the broker's core has decided to send and to log, until the shell fetches it. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

from raymq.protocol.control import encode_control
from raymq.protocol.route import Kind, Lane, encode_route
from raymq_broker.actions import Action, Log, Packet, Send, Side
from raymq_broker.entities import Bridge, Session

COMPLAINT_INTERVAL = 1.0
"""Seconds between two log lines about the same kind of bad input; the ones between are counted."""


class Outbox:
    """Gathers actions, and counts."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._actions: list[Action] = []
        self._complaints: dict[str, tuple[float, int]] = {}

    def take(self) -> list[Action]:
        """All actions since the last time."""
        actions, self._actions = self._actions, []
        return actions

    # --- packets

    def switch(self, side: Side, peer: bytes, frames: Any) -> None:
        """Pass a packet on as it is."""
        self._actions.append(Send(side, peer, frames))

    def send(self, side: Side, peer: bytes, session: bytes, lane: Lane, kind: Kind, **fields: Any) -> None:
        """Send a control packet to a connection."""
        self.switch(side, peer, [encode_route(kind, session, lane), encode_control(kind, **fields)])

    def reply(self, packet: Packet, kind: Kind, **fields: Any) -> None:
        """Answer a packet on the connection that it came on."""
        route = packet.route
        self.send(packet.side, packet.peer, route.session, Lane(route.lane), kind, **fields)

    def refuse(self, packet: Packet, code: str, message: str, *, retry: bool = False) -> None:
        """Answer a HELLO: no."""
        self.counters["refused"] += 1
        self.reply(packet, Kind.REFUSED, code=code, message=message, retry=retry)

    def to_client(self, session: Session, kind: Kind, **fields: Any) -> None:
        """Tell a session's client, if it is there."""
        peer = session.lanes.get(Lane.CALLS)
        if peer is not None:
            self.send(Side.CLIENTS, peer, session.id, Lane.CALLS, kind, **fields)

    def to_bridge(self, bridge: Bridge, session: bytes, kind: Kind, **fields: Any) -> None:
        """Tell a bridge something of a session, if it is there."""
        peer = bridge.lanes.get(Lane.CALLS)
        if peer is not None:
            self.send(Side.BRIDGES, peer, session, Lane.CALLS, kind, **fields)

    def ping(self, side: Side, of: Session | Bridge) -> None:
        """A heartbeat on each lane: to a connection that is gone it fails, which is how that is noticed."""
        for lane, peer in of.lanes.items():
            self.send(side, peer, of.id, Lane(lane), Kind.PING)

    # --- the log

    def log(self, level: str, event: str, session: Session, **fields: Any) -> None:
        """Log something of a session."""
        who = {key: _loggable(session.client.get(key)) for key in ("user", "host", "pid")}
        self._actions.append(Log(level, event, {"session": session.id.hex(), **who, **fields}))

    def log_bridge(self, event: str, bridge: Bridge) -> None:
        """Log something of a bridge."""
        self._actions.append(Log("info", event, {"bridge": bridge.id.hex(), "pid": bridge.pid}))

    def complain(self, what: str, now: float, **fields: Any) -> None:
        """Count bad input; log it, but not so often that the log itself becomes the attack."""
        self.counters[what] += 1
        allowed, suppressed = self._complaints.get(what, (now, 0))
        if now < allowed:
            self._complaints[what] = (allowed, suppressed + 1)
            return
        self._complaints[what] = (now + COMPLAINT_INTERVAL, 0)
        self._actions.append(Log("warning", what, {**fields, "suppressed": suppressed}))


def _loggable(value: Any) -> Any:
    """What a client says of itself may be anything, of any size."""
    return value if type(value) is int else str(value)[:100]
