"""The bridge's side of its connection: registered with the broker, serving a session, or at its end. Pure.

The states and what moves between them::

    UNREGISTERED --REGISTERED--> IDLE --OPEN--> SERVING --CLOSE, Goodbye, orphaned--> ENDED
         ^                        |                |
         +------- UNBOUND --------+----------------+   (a new broker: register again, with the session)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Union

from raymq.errors import RemoteProtocolError
from raymq.protocol.channel import Channel
from raymq.protocol.channel import Event as ChannelEvent
from raymq.protocol.compression import agreed
from raymq.protocol.control import decode_control, decode_timing, encode_control
from raymq.protocol.limits import Timing
from raymq.protocol.messages import Buffer
from raymq.protocol.route import SWITCHED, Kind, Lane, decode_route, encode_route
from raymq.protocol.stream import Frames
from raymq.protocol.version import PROTOCOL_NEWEST, PROTOCOL_OLDEST

HANDED_OVER = 16
"""Ids that the session had before, whose late packets are dropped."""


class LinkState(Enum):
    """Where the bridge stands."""

    UNREGISTERED = "unregistered"
    IDLE = "idle"
    SERVING = "serving"
    ENDED = "ended"


@dataclass(frozen=True)
class Opened:
    """A session was given to this bridge: who the client is, and what its job is to be like."""

    client: dict[str, Any]
    job: dict[str, Any]


@dataclass(frozen=True)
class Reopened:
    """Another client has the session now: the channel is a new one, and knows nothing of what went over the old."""

    client: dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """The session, or the bridge without one, is over."""

    code: str
    message: str


Event = Union[Opened, Reopened, Ended, ChannelEvent]


class Link:
    """All that the bridge knows about broker and session.

    Args:
        bridge: 16 bytes that name this bridge.
        pid: its process id.
        cluster: what it tells of the cluster: versions.
        now: the time, in seconds of any monotonic clock, as everywhere here.
    """

    def __init__(self, bridge: bytes, pid: int, cluster: dict[str, Any], now: float) -> None:
        self.state = LinkState.UNREGISTERED
        self.timing = Timing()
        self.channel: Channel | None = None
        self._bridge = bridge
        self._pid = pid
        self._cluster = cluster
        self._session: dict[str, Any] | None = None
        self._handed_over: deque[bytes] = deque(maxlen=HANDED_OVER)
        self._object_max = 0
        self._report: dict[str, Any] = {"objects": 0, "memory": 0}
        self._registered: set[Lane] = set()
        self._heard = now
        self._polled = now
        self._next_beat = now
        self._packets: list[tuple[Lane, Frames]] = []

    # --- what comes

    def receive(self, frames: Sequence[Buffer], now: float) -> list[Event]:
        """Take in a packet from the broker.

        Raises:
            RemoteProtocolError: it is malformed, or breaks the rules of the session's stream.
        """
        if not frames:
            raise RemoteProtocolError("an empty message")
        self._heard = now
        route = decode_route(frames[0])
        if route.kind in SWITCHED:
            if route.session in self._handed_over:
                return []  # of the client before, on the other lane than the OPEN that came for this one
            if self.channel is None or route.session != self.channel.session:
                raise RemoteProtocolError("a packet for a session that is not served here")
            return list(self.channel.receive(route.kind, route.lane, frames[1:], now))
        if len(frames) != 2:
            raise RemoteProtocolError(f"a control packet has 2 frames, not {len(frames)}")
        return self._control(route.kind, Lane(route.lane), route.session, frames[1], now)

    def _control(self, kind: int, lane: Lane, session: bytes, frame: Buffer, now: float) -> list[Event]:
        if kind == Kind.PING:
            fields = decode_control(Kind.PING, frame)
            if "mark" in fields:  # the broker wants to know that all it sent before has been read
                self._tell(Kind.PING, lane, self._bridge, mark=fields["mark"])
            return []
        if kind == Kind.UNBOUND:
            # Every packet on such a connection is answered like this; one REGISTER answers them all, and is repeated
            # with the heartbeat.
            if lane in self._registered:
                self._registered.discard(lane)
                self._register(lane)
            return []
        if kind == Kind.REGISTERED:
            self._on_registered(lane, decode_control(Kind.REGISTERED, frame), now)
            return []
        if kind == Kind.OPEN:
            return self._on_open(session, decode_control(Kind.OPEN, frame))
        if kind == Kind.CLOSE and (self.channel is None or session == self.channel.session):
            fields = decode_control(Kind.CLOSE, frame)
            self.state = LinkState.ENDED
            return [Ended(fields["code"], fields["message"])]
        raise RemoteProtocolError(f"kind {kind} has no place here")

    def _on_registered(self, lane: Lane, fields: dict[str, Any], now: float) -> None:
        self.timing = decode_timing(fields)
        self._object_max = fields["object_max"]
        again = lane in self._registered
        self._registered.add(lane)
        if self.state is LinkState.UNREGISTERED and len(self._registered) == len(Lane):
            self.state = LinkState.IDLE
        if self.channel is not None and not again:
            self.channel.resume(lane, now)

    def _on_open(self, session: bytes, fields: dict[str, Any]) -> list[Event]:
        if self._session is not None:
            if fields.get("replaces") == self._session["session"] and self._session["cluster"]:
                return self._on_hand_over(session, fields)
            return self._on_open_again(session)
        if self.state is not LinkState.IDLE:
            return []  # REGISTERED was lost, and with it the limits; both are repeated
        self._serve(session, fields, {})
        self.state = LinkState.SERVING
        return [Opened(fields["client"], fields["job"])]

    def _serve(self, session: bytes, fields: dict[str, Any], cluster: dict[str, Any]) -> None:
        self.channel = Channel(session, self._object_max)
        self.channel.compressor = agreed(fields["client"].get("compression"), self._cluster.get("compression"))
        self._session = {
            "session": session, "digest": fields["digest"], "protocol": fields["protocol"],
            "client": fields["client"], "job": fields["job"], "cluster": cluster,
            "name": fields.get("name", ""), "ttl": fields.get("ttl", 0.0), "left": False,
        }  # fmt: skip

    def _on_open_again(self, session: bytes) -> list[Event]:
        """The broker repeats OPEN until it is answered; the answer may have been lost."""
        if self._session is None or session != self._session["session"]:
            raise RemoteProtocolError("this bridge serves a session already")
        if self._session["cluster"] and self.state is LinkState.SERVING:
            self._tell(Kind.OPENED, Lane.CALLS, session, cluster=self._session["cluster"])
        return []

    def _on_hand_over(self, session: bytes, fields: dict[str, Any]) -> list[Event]:
        """The named session that is served here goes on with another client, under another id."""
        if self._session is None or self.state is not LinkState.SERVING:
            return []
        self._handed_over.append(self._session["session"])
        self._serve(session, fields, self._session["cluster"])
        return [Reopened(fields["client"])]

    # --- what is told

    def opened(self, cluster: dict[str, Any]) -> None:
        """The session's Ray job runs."""
        if self._session is not None and self.channel is not None:
            self._session["cluster"] = cluster
            self._tell(Kind.OPENED, Lane.CALLS, self.channel.session, cluster=cluster)

    def left(self, ttl: int) -> None:
        """The client has left its named session; the broker is told with each heartbeat, until it has another."""
        if self._session is not None:
            self._session["left"], self._session["ttl"] = True, float(ttl)
            self._ping(Lane.CALLS)

    def reports(self, objects: int, memory: int) -> None:
        """What heartbeats tell of the session: references that it holds, and bytes of memory that this process has."""
        self._report = {"objects": objects, "memory": memory}

    def failed(self, code: str, message: str) -> None:
        """The session's Ray job could not be started."""
        self._end(Kind.OPEN_FAILED, code, message)

    def ended(self, code: str, message: str) -> None:
        """The session ended on this side."""
        self._end(Kind.CLOSED, code, message)

    def _end(self, kind: Kind, code: str, message: str) -> None:
        self.state = LinkState.ENDED
        if self.channel is not None:
            self._tell(kind, Lane.CALLS, self.channel.session, code=code, message=message)

    def _tell(self, kind: Kind, lane: Lane, session: bytes, **fields: Any) -> None:
        self._packets.append((lane, [encode_route(kind, session, lane), encode_control(kind, **fields)]))

    def _ping(self, lane: Lane) -> None:
        report = {}
        if lane == Lane.CALLS and self._session is not None:
            report = {**self._report, "left": self._session["left"], "ttl": self._session["ttl"]}
        self._tell(Kind.PING, lane, self._bridge, **report)

    def _register(self, lane: Lane) -> None:
        self._tell(
            Kind.REGISTER, lane, self._bridge,
            protocol=[PROTOCOL_OLDEST, PROTOCOL_NEWEST], pid=self._pid, cluster=self._cluster,
            sessions=[self._session] if self._session is not None else [],
        )  # fmt: skip

    # --- time

    def poll(self, now: float) -> tuple[list[tuple[Lane, Frames]], list[Event]]:
        """Packets that can go now, and what the time has brought about."""
        # Time in which this thread did not run (starting a Ray job may block it) says nothing about the broker.
        self._heard = min(now, self._heard + max(0.0, now - self._polled - self.timing.lease / 2))
        self._polled = now
        events: list[Event] = []
        if now >= self._next_beat:
            self._next_beat = now + self.timing.heartbeat
            for lane in Lane:
                if lane in self._registered:
                    self._ping(lane)
                else:
                    self._register(lane)
            silent = now - self._heard
            if silent > self.timing.lease + self.timing.grace and self.state is not LinkState.ENDED:
                self.state = LinkState.ENDED
                events.append(Ended("orphaned", f"nothing was heard of the broker for {silent:.0f} s"))
        packets, self._packets = self._packets, []
        if self.channel is not None and self.state is LinkState.SERVING:
            packets += self.channel.poll(now)
        return packets, events

    def next_deadline(self) -> float:
        """When ``poll`` has something to do."""
        if self._packets:
            return 0.0
        if self.channel is None or self.state is not LinkState.SERVING:
            return self._next_beat
        channel = self.channel.next_deadline()
        return self._next_beat if channel is None else min(self._next_beat, channel)
