"""The life of a session in the broker, from waiting for a bridge to its end; ``entities`` draws it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raymq.protocol import versions
from raymq.protocol.limits import OBJECT_MAX, QUEUE_MAX, SESSIONS_MAX, TTL_MAX, Timing
from raymq.protocol.route import Kind, Lane
from raymq_broker.entities import Bridge, BridgeState, Session, SessionState
from raymq_broker.outbox import Outbox
from raymq_broker.registry import Ending, Registry

LEFT = Ending("detached", "the client detached from its session, which goes on without it")
"""What a client gets that comes back to a session which it has left."""


@dataclass(frozen=True)
class Settings:
    """What the broker is told at its start.

    Attributes:
        expected: the process ids of the bridges that the broker before it had, of which it knows nothing yet; None if
            nobody can tell.
    """

    timing: Timing = Timing()  # noqa: RUF009 - it is frozen
    sessions_max: int = SESSIONS_MAX
    object_max: int = OBJECT_MAX
    pid: int = 0
    queue_max: int = QUEUE_MAX
    expected: frozenset[int] | None = None


NO_CLUSTER_PAUSE = 2.0
"""Seconds after a bridge found no Ray cluster in which no other one is sent to look for it.

Each look takes a bridge, whose start keeps a core busy for a second: for one client that waited for its cluster, 34 of
them were started in 20 s.
"""


class Lifecycle:
    """Moves sessions from state to state, and tells client and bridge."""

    def __init__(self, settings: Settings, registry: Registry, outbox: Outbox) -> None:
        self.settings = settings
        self._registry = registry
        self._outbox = outbox
        self._no_cluster = ("", 0.0)

    # --- from waiting to attached

    def place(self, now: float) -> None:
        """Give idle bridges to the sessions that have waited longest."""
        idle = self._registry.idle()
        for session in self._registry.waiting():
            mismatch = self.mismatch(session.client)
            if mismatch is not None:
                self._drop_unopened(session, mismatch.code, mismatch.message, retry=False)
            elif idle:
                bridge = idle.pop(0)
                bridge.state, bridge.session = BridgeState.BUSY, session.id
                self.opening(session, bridge, now)
                self.ask_to_open(session, bridge)

    def mismatch(self, client: dict[str, Any]) -> versions.Mismatch | None:
        """Hold a client's versions against the cluster's, as far as a bridge has told of them."""
        cluster = self._registry.cluster
        if cluster is None or client.get("any_version") is True:
            return None
        python = versions.python_mismatch(str(client.get("python", "")), str(cluster.get("python", "")))
        return python or versions.ray_mismatch(str(client.get("ray", "")), str(cluster.get("ray", "")))

    def opening(self, session: Session, bridge: Bridge, now: float) -> None:
        """A bridge has the session, and is about to open it."""
        session.state, session.changed, session.bridge = SessionState.OPENING, now, bridge.id

    def ask_to_open(self, session: Session, bridge: Bridge) -> None:
        """Tell the bridge whose session it is."""
        self._outbox.to_bridge(
            bridge, session.id, Kind.OPEN, client=session.client, job=session.job, digest=session.digest,
            protocol=session.protocol, name=session.name, ttl=session.ttl, replaces=session.replaces,
        )  # fmt: skip

    def opened(self, session: Session, cluster: dict[str, Any], now: float) -> None:
        """The bridge has opened the session."""
        here = Lane.CALLS in session.lanes  # or the client has gone while its bridge was being opened
        session.state = SessionState.ATTACHED if here else SessionState.DETACHED
        waited = now - (session.changed if session.replaces else session.since)
        session.changed, session.cluster = now, cluster
        self._outbox.log("info", "session_opened", session, waited=round(waited, 3))
        self._outbox.counters["opened"] += 1
        self.welcome(session)

    def no_cluster(self, now: float) -> str:
        """Why there is no use in opening a session just now; empty if there may be."""
        text, until = self._no_cluster
        return text if now < until else ""

    def open_failed(self, session: Session, code: str, message: str, now: float) -> None:
        """The bridge could not open it."""
        self._outbox.log("warning", "open_failed", session, code=code, message=message)
        self._drop_unopened(session, code, message, retry=code == "no-cluster")
        if code == "no-cluster":
            self._no_cluster = (message, now + NO_CLUSTER_PAUSE)
            for other in self._registry.waiting():
                self._drop_unopened(other, "no-cluster", message, retry=True)

    def attached(self, session: Session, now: float) -> None:
        """The client is there, for the first time or again."""
        if session.state is SessionState.DETACHED:
            self._outbox.log("info", "session_resumed", session, after=round(now - session.changed, 3))
            self._outbox.counters["resumed"] += 1
        session.state, session.changed = SessionState.ATTACHED, now

    def welcome(self, session: Session) -> None:
        """Tell the client that the session is open."""
        timing = self.settings.timing
        self._outbox.to_client(
            session, Kind.WELCOME, protocol=session.protocol, heartbeat=timing.heartbeat, lease=timing.lease,
            grace=self._grace(session), object_max=self.settings.object_max, cluster=session.cluster,
            resumed=bool(session.replaces),
        )  # fmt: skip

    # --- from one client to the next

    def left(self, session: Session, ttl: float, now: float) -> None:
        """The client has left its named session, and all that it sent has been carried out."""
        if session.left or session.state not in (SessionState.ATTACHED, SessionState.DETACHED):
            return
        session.left, session.ttl = True, min(ttl, TTL_MAX)
        session.state, session.changed = SessionState.DETACHED, now
        self._outbox.log("info", "session_left", session, name=session.name, ttl=ttl)
        self._outbox.to_client(session, Kind.ENDED, code=LEFT.code, message=LEFT.message)
        self._registry.unbind_session(session)

    def hand_over(self, session: Session, new_id: bytes, now: float) -> None:
        """Another client gets a named session; its bridge is told."""
        if session.left:
            ending = LEFT
        else:
            ending = Ending("taken-over", f"another client has taken over the session {session.name!r}")
            self._outbox.to_client(session, Kind.ENDED, code=ending.code, message=ending.message)
        self._registry.rename(session, new_id, ending)
        session.left, session.contender = False, b""
        session.state, session.changed = SessionState.OPENING, now

    def _grace(self, session: Session) -> float:
        """For how long the session is kept when its client is gone."""
        if session.left:
            return session.ttl
        return max(self.settings.timing.grace, session.ttl)

    # --- somebody is gone

    def client_gone(self, session: Session, lane: int, now: float) -> None:
        """A connection of the client is gone."""
        if lane == Lane.CALLS and session.state is SessionState.ATTACHED:
            session.state, session.changed = SessionState.DETACHED, now
            self._outbox.log("info", "session_detached", session)
        elif lane == Lane.CALLS and session.state is SessionState.WAITING:
            self._registry.forget_session(session)

    def closed(self, session: Session, code: str, message: str, now: float) -> None:
        """Its bridge has ended it; before it was open, that is the bridge's own end, and another one may open it."""
        if session.state is SessionState.OPENING:
            self._drop_unopened(session, "no-bridge", message, retry=True)
        else:
            self.end(session, code, message, now)

    def bridge_lost(self, session: Session, text: str, now: float) -> None:
        """Its bridge is dead."""
        self.closed(session, "bridge-lost", text, now)

    def cluster_lost(self, session: Session, text: str, now: float) -> None:
        """The Ray cluster that it lives in is gone."""
        if session.state is SessionState.OPENING:
            self._drop_unopened(session, "no-cluster", text, retry=True)
        else:
            self.end_and_close(session, "cluster-lost", text, now)

    def deadline(self, session: Session) -> float:
        """When the patience with a session in its state is over."""
        timing = self.settings.timing
        if session.state is SessionState.DETACHED:
            return session.changed + self._grace(session)
        if session.state is SessionState.WAITING:
            return session.last_seen + timing.lease
        if session.state is SessionState.OPENING and not session.replaces:
            return session.changed + timing.lease + timing.grace
        return float("inf")

    def expire(self, session: Session, now: float) -> None:
        """The patience is over."""
        if session.state is SessionState.WAITING:
            self._outbox.log("info", "session_gave_up", session)
            self._registry.forget_session(session)
            return
        if session.state is SessionState.OPENING:
            text = f"the bridge of this session did not open it in {now - session.changed:.0f} s"
            self._drop_unopened(session, "no-bridge", text, retry=True)
            return
        self._outbox.counters["expired"] += 1
        text = f"nothing was heard of the client for {now - session.last_seen:.1f} s: lease and grace are over"
        if session.name:
            text = f"no client attached to the session {session.name!r} within {self._grace(session):.0f} s"
        self.end_and_close(session, "expired", text, now)

    # --- the end

    def end(self, session: Session, code: str, message: str, now: float) -> None:
        """The session is over, and its bridge knows."""
        self._outbox.log("info", "session_ended", session, code=code, lived=round(now - session.since, 3))
        self._outbox.to_client(session, Kind.ENDED, code=code, message=message)
        self._registry.forget_session(session)
        self._registry.remember(session.id, Ending(code, message))

    def end_and_close(self, session: Session, code: str, message: str, now: float) -> None:
        """The session is over, and its bridge has to be told."""
        self.end(session, code, message, now)
        bridge = self._registry.bridge_of(session)
        if bridge is not None:
            self.close(bridge)

    def close(self, bridge: Bridge) -> None:
        """Tell a bridge that its session has ended."""
        session = bridge.session or b""
        unknown = Ending("unknown-session", "the broker gave this session up")
        code, message = self._registry.ended.get(session, unknown)
        self._outbox.to_bridge(bridge, session, Kind.CLOSE, code=code, message=message)

    def _drop_unopened(self, session: Session, code: str, message: str, *, retry: bool) -> None:
        self._outbox.to_client(session, Kind.REFUSED, code=code, message=message, retry=retry)
        self._registry.forget_session(session)
