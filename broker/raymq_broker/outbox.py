"""What the broker's core has decided to send and to log, until the shell fetches it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from raymq.protocol.control import encode_control
from raymq.protocol.route import Kind, Lane, encode_route
from raymq_broker.actions import Action, Log, Packet, Send, Side
from raymq_broker.entities import Bridge, Session
from raymq_broker.gauge import Connection, Gauges

COMPLAINT_INTERVAL = 1.0
"""Seconds between two log lines about the same kind of bad input; the ones between are counted."""


class Outbox:
    """Gathers actions, and counts.

    Args:
        gauges: of what waits for each connection.
    """

    def __init__(self, gauges: Gauges) -> None:
        self.counters: Counter[str] = Counter()
        self._gauges = gauges
        self._actions: list[Action] = []
        self._complaints: dict[str, tuple[float, int]] = {}

    def take(self) -> list[Action]:
        """All actions since the last time."""
        actions, self._actions = self._actions, []
        return actions

    # --- packets

    def switch(self, packet: Packet, side: Side, peer: bytes, owner: bytes, now: float) -> None:
        """Pass a packet on as it is, unless too much waits for the connection.

        Args:
            packet: what came.
            side: where it goes.
            peer: the connection there.
            owner: the id of the session or bridge that the connection speaks for.
            now: the time.
        """
        connection = side, peer
        if not self._gauges.admit(connection, packet.weight):
            self.complain("overflowed", now, side=side.value, session=packet.route.session.hex())
            return
        self.counters[f"to_{side.value}"] += 1
        self._actions.append(Send(side, peer, packet.frames))
        mark = self._gauges.next_mark(connection)
        if mark is not None:
            self.send(side, peer, owner, Lane(packet.route.lane), Kind.PING, mark=mark)

    def read(self, packet: Packet, fields: dict[str, Any]) -> None:
        """A PING came: if it brings a mark back, everything before the mark has been read."""
        if "mark" in fields:
            self._gauges.confirm((packet.side, packet.peer), fields["mark"])

    def forget_all_but(self, connections: Collection[Connection]) -> None:
        """The other connections are gone."""
        self._gauges.keep_only(connections)

    def send(self, side: Side, peer: bytes, session: bytes, lane: Lane, kind: Kind, **fields: Any) -> None:
        """Send a control packet to a connection."""
        self._actions.append(Send(side, peer, [encode_route(kind, session, lane), encode_control(kind, **fields)]))

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
            mark = self._gauges.outstanding((side, peer))
            fields = {} if mark is None else {"mark": mark}
            self.send(side, peer, of.id, Lane(lane), Kind.PING, **fields)

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
