"""The client's side of its connection: the handshake, the session's two lanes, and coming back after a cut. Pure.

The states and what moves between them::

    GREETING --WELCOME--> OPEN --close--> CLOSING --ENDED--> ENDED
       |                   |                 |
       +-- REFUSED --------+---- ENDED, or silence beyond lease and grace ---> ENDED

Within OPEN and CLOSING each lane is attached or not: a broker that does not know the connection (ours is new, or it
is) says UNBOUND, and the lane attaches again with the session's token and replays what was lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple, Union

from raymq.errors import RemoteProtocolError
from raymq.protocol.channel import Channel
from raymq.protocol.channel import Event as ChannelEvent
from raymq.protocol.compression import agreed
from raymq.protocol.control import decode_control, decode_timing, encode_control
from raymq.protocol.limits import Timing
from raymq.protocol.messages import Buffer, Detach, Goodbye
from raymq.protocol.route import SWITCHED, Kind, Lane, decode_route, encode_route
from raymq.protocol.stream import Frames

HELLO_INTERVAL = 0.5
"""Seconds between two HELLOs while there is no answer: it may have been lost, or the broker may not be up yet."""

LATE = 2.0
"""Seconds beyond lease and grace that a silent broker is still hoped for."""


class State(Enum):
    """Where the connection stands."""

    GREETING = "greeting"
    OPEN = "open"
    CLOSING = "closing"
    ENDED = "ended"


class Welcomed(NamedTuple):
    """The session is open."""

    object_max: int
    protocol: int
    cluster: dict[str, Any]
    resumed: bool


class RefusedHello(NamedTuple):
    """The broker does not open the session; ``retry``: waiting can heal it."""

    code: str
    message: str
    retry: bool


class Silence(NamedTuple):
    """Nothing was heard of the broker for the lease; or it is heard again."""

    seconds: float


class Ended(NamedTuple):
    """The session is over."""

    code: str
    message: str


Event = Union[Welcomed, RefusedHello, Silence, Ended, ChannelEvent]


class Connection:
    """All that the client knows about broker and session.

    Args:
        session: 16 random bytes that name the session.
        token: 32 random bytes that prove it is ours.
        hello: the fields of HELLO beside the token.
        now: the time, in seconds of any monotonic clock, as everywhere here.
    """

    def __init__(self, session: bytes, token: bytes, hello: dict[str, Any], now: float) -> None:
        self.state = State.GREETING
        self.timing = Timing()
        self.channel = Channel(session)
        self._session = session
        self._token = token
        self._hello = hello
        self._next_hello = now
        self._heard = now
        self._polled = now
        self._silent = False
        self._next_beat = now
        self._attached = self.channel.attached
        self._attached.clear()
        self._attach_at: dict[Lane, float] = {}
        self._packets: list[tuple[Lane, Frames]] = []

    # --- what comes

    def receive(self, frames: Sequence[Buffer], now: float) -> list[Event]:
        """Take in a packet from the broker.

        Raises:
            RemoteProtocolError: it is malformed. (Session traffic that is ends the session instead.)
        """
        if not frames:
            raise RemoteProtocolError("an empty message")
        route = decode_route(frames[0])
        if route.session != self._session:
            raise RemoteProtocolError("a packet for another session")
        self._heard = now
        events: list[Event] = []
        if self._silent:
            self._silent = False
            events.append(Silence(0.0))
        if route.kind in SWITCHED:
            return events + self._switched(route.kind, route.lane, frames[1:], now)
        if len(frames) != 2:
            raise RemoteProtocolError(f"a control packet has 2 frames, not {len(frames)}")
        return events + self._control(route.kind, Lane(route.lane), frames[1], now)

    def _switched(self, kind: int, lane: int, frames: Sequence[Buffer], now: float) -> list[Event]:
        try:
            return list(self.channel.receive(kind, lane, frames, now))
        except RemoteProtocolError as error:
            # The stream counts the packet as received, so what was in it would be lost without a word.
            if self.state is State.ENDED:
                return []
            self.abandon()
            return [Ended("protocol-error", f"the bridge broke the protocol: {error}")]

    def _control(self, kind: int, lane: Lane, frame: Buffer, now: float) -> list[Event]:
        if kind == Kind.PING:
            self._on_ping(lane, decode_control(Kind.PING, frame))
            return []
        if kind == Kind.WELCOME:
            return self._on_welcome(decode_control(Kind.WELCOME, frame), now)
        if kind == Kind.REFUSED:
            return self._on_refused(decode_control(Kind.REFUSED, frame))
        if kind == Kind.UNBOUND:
            self._on_unbound(lane, now)
            return []
        if kind == Kind.ATTACHED:
            self._on_attached(lane, now)
            return []
        if kind == Kind.ENDED:
            fields = decode_control(Kind.ENDED, frame)
            return self._end(fields["code"], fields["message"])
        raise RemoteProtocolError(f"kind {kind} has no place here")

    def _on_ping(self, lane: Lane, fields: dict[str, Any]) -> None:
        if "mark" in fields:  # the broker wants to know that all it sent before has been read
            self._tell(Kind.PING, lane, mark=fields["mark"])

    def _on_welcome(self, fields: dict[str, Any], now: float) -> list[Event]:
        if self.state is not State.GREETING:
            return []  # the answer to a HELLO that crossed an earlier answer
        self.timing = decode_timing(fields)
        self.state = State.OPEN
        self.channel.object_max = fields["object_max"]
        self.channel.compressor = agreed(self._hello["client"].get("compression"), fields["cluster"].get("compression"))
        self._attached.add(Lane.CALLS)
        self._attach(Lane.BULK, now)
        resumed = fields.get("resumed", False)
        return [Welcomed(fields["object_max"], fields["protocol"], fields["cluster"], resumed)]

    def _on_refused(self, fields: dict[str, Any]) -> list[Event]:
        if self.state is not State.GREETING:
            return []
        if not fields["retry"]:
            self.state = State.ENDED
        return [RefusedHello(fields["code"], fields["message"], fields["retry"])]

    def _on_unbound(self, lane: Lane, now: float) -> None:
        if self.state in (State.OPEN, State.CLOSING):
            self._attached.discard(lane)
            self._attach(lane, now)

    def _attach(self, lane: Lane, now: float) -> None:
        # Every packet on a lane that is not bound is answered by UNBOUND: one ATTACH answers them all.
        if now >= self._attach_at.get(lane, now):
            self._attach_at[lane] = now + self.timing.heartbeat / 2
            self._tell(Kind.ATTACH, lane, token=self._token)

    def _on_attached(self, lane: Lane, now: float) -> None:
        self._attach_at.pop(lane, None)
        if self.state in (State.OPEN, State.CLOSING):
            self._attached.add(lane)
            self.channel.resume(lane, now)

    def _end(self, code: str, message: str) -> list[Event]:
        if self.state is State.ENDED:
            return []
        self.state = State.ENDED
        return [Ended(code, message)]

    # --- what is told

    def close(self, farewell: Goodbye | Detach) -> None:
        """End the session in good order, or leave it: after all that was sent before. ENDED answers."""
        if self.state is State.OPEN:
            self.state = State.CLOSING
            self.channel.send(farewell)

    def abandon(self, *, tell: bool = True) -> None:
        """Give up at once, whatever is still on its way; ``tell``: the session is to end, too."""
        if self.state is not State.ENDED:
            self.state = State.ENDED
            if tell:
                self._tell(Kind.BYE, Lane.CALLS, token=self._token)

    def _tell(self, kind: Kind, lane: Lane, **fields: Any) -> None:
        self._packets.append((lane, [encode_route(kind, self._session, lane), encode_control(kind, **fields)]))

    # --- time

    def poll(self, now: float) -> tuple[list[tuple[Lane, Frames]], list[Event]]:
        """Packets that can go now, and what the time has brought about."""
        # Time in which this process did not run (a laptop that slept, a SIGSTOP) says nothing about the broker.
        self._heard = min(now, self._heard + max(0.0, now - self._polled - self.timing.lease / 2))
        self._polled = now
        events: list[Event] = []
        if self.state is State.GREETING and now >= self._next_hello:
            self._next_hello = now + HELLO_INTERVAL
            self._tell(Kind.HELLO, Lane.CALLS, token=self._token, **self._hello)
        if self.state in (State.OPEN, State.CLOSING):
            if now >= self._next_beat:
                self._next_beat = now + self.timing.heartbeat
                self._beat(now)
            events = self._watch(now)
        packets, self._packets = self._packets, []
        if self.state in (State.OPEN, State.CLOSING):
            # What a lane tells while it is not attached would be dropped by the broker.
            packets += [(lane, frames) for lane, frames in self.channel.poll(now) if lane in self._attached]
        return packets, events

    def _beat(self, now: float) -> None:
        for lane in Lane:
            if lane in self._attached:
                self._tell(Kind.PING, lane)
            else:
                self._attach(lane, now)  # ATTACHED may have been lost: the broker would not say UNBOUND again

    def _watch(self, now: float) -> list[Event]:
        silent = now - self._heard
        if silent > self.timing.lease + self.timing.grace + LATE:
            return self._end("unreachable", f"nothing was heard of the broker for {silent:.0f} s")
        if silent > self.timing.lease and not self._silent:
            self._silent = True
            return [Silence(silent)]
        return []

    def next_deadline(self) -> float:
        """When ``poll`` has something to do."""
        if self._packets:
            return 0.0
        if self.state is State.GREETING:
            return self._next_hello
        if self.state is State.ENDED:
            return float("inf")
        channel = self.channel.next_deadline()
        return self._next_beat if channel is None else min(self._next_beat, channel)
