"""The broker's core: which session belongs to whom, who is alive, and where each packet goes.

Pure: ``handle(event, now)`` returns actions, ``next_deadline()`` says when ``tick(now)`` has something to do. It reads
frame 0 of session traffic and the maps of control traffic; it never looks into what clients and bridges exchange.

Life is judged by the connection: ZMTP heartbeats, which libzmq's own thread answers, close a connection that has
been silent for the lease, and a send to a closed one fails (``Unreachable``). So a client whose interpreter is busy
is alive, and one that was killed is noticed at the next heartbeat.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from reprlib import repr as brief
from typing import Any

from raymq.errors import RemoteProtocolError
from raymq.protocol import versions
from raymq.protocol.control import TOKEN_SIZE, decode_control, encode_control
from raymq.protocol.limits import CLIENT_TEXT_MAX, HELLO_MAX, OBJECT_MAX, SESSIONS_MAX, Timing
from raymq.protocol.route import SWITCHED, Kind, Lane, Route, decode_route, encode_route
from raymq.protocol.version import PROTOCOL_NEWEST, PROTOCOL_OLDEST, __version__
from raymq_broker.actions import Action, Came, Event, Log, Pool, Send, Side, Unreachable
from raymq_broker.entities import Bridge, BridgeState, Session, SessionState

REMEMBERED = 1000
"""Ended sessions whose reason is kept, to tell it to a client that comes back late."""

COMPLAINT_INTERVAL = 1.0
"""Seconds between two log lines about the same kind of bad input; the ones between are counted."""


@dataclass(frozen=True)
class Settings:
    """What the broker is told at its start."""

    timing: Timing = Timing()  # noqa: RUF009 - it is frozen
    sessions_max: int = SESSIONS_MAX
    object_max: int = OBJECT_MAX
    pid: int = 0


class Broker:
    """All that the broker knows and decides."""

    def __init__(self, settings: Settings, now: float) -> None:
        self.settings = settings
        self.sessions: dict[bytes, Session] = {}
        self.bridges: dict[bytes, Bridge] = {}
        self.counters: Counter[str] = Counter()
        self._started = now
        self._clients: dict[bytes, tuple[bytes, int]] = {}
        self._bridge_peers: dict[bytes, tuple[bytes, int]] = {}
        self._ended: OrderedDict[bytes, tuple[str, str]] = OrderedDict()
        self._cluster: dict[str, Any] | None = None
        self._next_heartbeat = now
        self._complaints: dict[str, tuple[float, int]] = {}
        self._pool: Pool | None = None
        self._actions: list[Action] = []

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
            self._beat()
        for bridge in [bridge for bridge in self.bridges.values() if bridge.state is BridgeState.GONE]:
            if now >= bridge.since + self._bridge_grace:
                self._bridge_lost(bridge, now)
        for session in list(self.sessions.values()):
            if now >= self._session_deadline(session):
                self._expire(session, now)
        return self._take_actions()

    def next_deadline(self) -> float:
        """When ``tick`` is due next."""
        deadlines = [self._next_heartbeat]
        deadlines += [self._session_deadline(session) for session in self.sessions.values()]
        deadlines += [b.since + self._bridge_grace for b in self.bridges.values() if b.state is BridgeState.GONE]
        return min(deadlines)

    def _take_actions(self) -> list[Action]:
        pool = Pool(
            tuple(bridge.pid for bridge in self.bridges.values() if bridge.state is BridgeState.IDLE),
            tuple(bridge.pid for bridge in self.bridges.values() if bridge.state is BridgeState.BUSY),
            sum(session.state is SessionState.WAITING for session in self.sessions.values()),
        )
        actions, self._actions = self._actions, []
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
            if event.side is Side.CLIENTS and route.kind in SWITCHED:
                self._switch_to_bridge(event, route, now)
            elif route.kind in SWITCHED:
                self._switch_to_client(event, route)
            else:
                self._control(event, route, now)
        except RemoteProtocolError as error:
            self._complain("malformed", now, side=event.side.value, error=str(error))

    def _switch_to_bridge(self, event: Came, route: Route, now: float) -> None:
        if self._clients.get(event.peer) != (route.session, route.lane):
            self._unbound(event, route, now)
            return
        session = self.sessions[route.session]
        session.last_seen = now
        bridge = self.bridges.get(session.bridge or b"")
        peer = bridge.lanes.get(route.lane) if bridge else None
        if peer is None:
            self.counters["undeliverable"] += 1
            return
        self.counters["to_bridges"] += 1
        self._actions.append(Send(Side.BRIDGES, peer, event.frames))

    def _switch_to_client(self, event: Came, route: Route) -> None:
        session = self._session_of(event, route)
        if session is None:
            return
        peer = session.lanes.get(route.lane)
        if peer is None:
            self.counters["undeliverable"] += 1
            return
        self.counters["to_clients"] += 1
        self._actions.append(Send(Side.CLIENTS, peer, event.frames))

    def _unbound(self, event: Came, route: Route, now: float) -> None:
        """A connection speaks for a session that it has not shown the token of."""
        if event.peer in self._clients:
            self._complain("foreign", now, side=event.side.value)
        elif route.session in self._ended:
            code, message = self._ended[route.session]
            self._reply(event, route, Kind.ENDED, code=code, message=message)
        else:
            self.counters["unbound"] += 1
            self._reply(event, route, Kind.UNBOUND)

    def _control(self, event: Came, route: Route, now: float) -> None:
        handler = _HANDLERS.get((event.side, route.kind))
        if handler is None:
            raise RemoteProtocolError(f"kind {route.kind} has no place here")
        try:
            if len(event.frames) != 2:
                raise RemoteProtocolError(f"a control packet has 2 frames, not {len(event.frames)}")
            fields = decode_control(Kind(route.kind), event.frames[1])
        except RemoteProtocolError as error:
            if route.kind == Kind.HELLO:
                self._refuse(event, route, "malformed", str(error))
            raise
        handler(self, event, route, fields, now)

    # --- clients

    def _hello(self, event: Came, route: Route, fields: dict[str, Any], now: float) -> None:
        if len(event.frames[1]) > HELLO_MAX:
            self._refuse(event, route, "malformed", f"a HELLO has at most {HELLO_MAX:,} bytes")
            return
        protocol = versions.common_protocol(fields["protocol"])
        if protocol is None:
            ours = f"{PROTOCOL_OLDEST} to {PROTOCOL_NEWEST}"
            theirs = f"{brief(fields['protocol'])} (oldest, newest)"
            side = "client" if _newest(fields["protocol"]) < PROTOCOL_OLDEST else "broker"
            text = f"the broker (raymq {__version__}) speaks protocol versions {ours}, the client {theirs}"
            self._refuse(event, route, "protocol-mismatch", f"{text}: upgrade raymq on the {side}'s side.")
            return
        if len(fields["token"]) != TOKEN_SIZE or not any(route.session) or route.lane != Lane.CALLS:
            text = f"a session needs an id, a token of {TOKEN_SIZE} bytes, and begins on the calls lane"
            self._refuse(event, route, "malformed", text)
            return
        session = self.sessions.get(route.session)
        if session is not None:
            self._hello_again(event, route, session, fields["token"], now)
        elif route.session in self._ended:
            code, message = self._ended[route.session]
            self._reply(event, route, Kind.ENDED, code=code, message=message)
        else:
            self._hello_new(event, route, fields, protocol, now)

    def _hello_new(self, event: Came, route: Route, fields: dict[str, Any], protocol: int, now: float) -> None:
        mismatch = self._mismatch(fields["client"])
        if mismatch is not None:
            self._refuse(event, route, mismatch.code, mismatch.message)
            return
        if len(self.sessions) >= self.settings.sessions_max:
            text = f"the broker serves {len(self.sessions)} sessions, as many as it may (raymq start --max-sessions)"
            self._refuse(event, route, "limit-reached", text, retry=True)
            return
        digest = hashlib.sha256(fields["token"]).digest()
        session = Session(
            route.session, digest, protocol, _describe(fields["client"]), fields["job"], now, now, changed=now
        )
        self._bind(session, route.lane, event.peer)
        self.sessions[session.id] = session
        self._log("info", "session_waiting", session)
        self._place(now)
        if session.state is SessionState.WAITING and session.id in self.sessions:
            self._refuse_for_now(event, route)

    def _hello_again(self, event: Came, route: Route, session: Session, token: bytes, now: float) -> None:
        if not _token_fits(session, token):
            self._refuse(event, route, "session-taken", "another client has a session of this id")
            return
        session.last_seen = now
        self._bind(session, route.lane, event.peer)
        if session.state is SessionState.WAITING:
            self._refuse_for_now(event, route)
        elif session.state is SessionState.OPENING:
            text = "the bridge of this session is still connecting to the Ray cluster"
            self._refuse(event, route, "no-cluster", text, retry=True)
        else:
            self._attached(session, now)
            self._welcome(session)

    def _refuse_for_now(self, event: Came, route: Route) -> None:
        text = "the broker has no idle bridge into the cluster yet; `raymq start` starts one for each session"
        self._refuse(event, route, "no-bridge", text, retry=True)

    def _mismatch(self, client: dict[str, Any]) -> versions.Mismatch | None:
        """Hold the client's versions against the cluster's, as far as a bridge has told of them."""
        if self._cluster is None:
            return None
        python = versions.python_mismatch(str(client.get("python", "")), str(self._cluster.get("python", "")))
        return python or versions.ray_mismatch(str(client.get("ray", "")), str(self._cluster.get("ray", "")))

    def _attach(self, event: Came, route: Route, fields: dict[str, Any], now: float) -> None:
        session = self.sessions.get(route.session)
        if session is None:
            self._attach_unknown(event, route, now)
        elif not _token_fits(session, fields["token"]):
            self._complain("wrong_token", now, session=route.session.hex())
            self._reply(event, route, Kind.ENDED, code="wrong-token", message="the session's token is another")
        else:
            session.last_seen = now
            self._bind(session, route.lane, event.peer)
            if route.lane == Lane.CALLS and session.state is SessionState.DETACHED:
                self._attached(session, now)
            self._reply(event, route, Kind.ATTACHED)

    def _attach_unknown(self, event: Came, route: Route, now: float) -> None:
        if route.session in self._ended:
            code, message = self._ended[route.session]
        elif now < self._started + self.settings.timing.lease:
            self._reply(event, route, Kind.UNBOUND)  # a new broker: the session's bridge may be on its way
            return
        else:
            code, message = "unknown-session", "the broker knows no such session: it ended, or its bridge is gone"
        self._reply(event, route, Kind.ENDED, code=code, message=message)

    def _bye(self, event: Came, route: Route, fields: dict[str, Any], now: float) -> None:
        session = self.sessions.get(route.session)
        if session is not None and _token_fits(session, fields["token"]):
            self._end(session, "goodbye", "the client said goodbye", now)

    def _client_ping(self, event: Came, route: Route, fields: dict[str, Any], now: float) -> None:
        if self._clients.get(event.peer) == (route.session, route.lane):
            self.sessions[route.session].last_seen = now
        else:
            self._unbound(event, route, now)

    def _bind(self, session: Session, lane: int, peer: bytes) -> None:
        if self._clients.get(peer, (session.id, lane)) != (session.id, lane):
            raise RemoteProtocolError("a connection carries one lane of one session")
        earlier = session.lanes.get(lane)
        if earlier is not None:
            self._clients.pop(earlier, None)
        session.lanes[lane] = peer
        self._clients[peer] = (session.id, lane)

    def _attached(self, session: Session, now: float) -> None:
        if session.state is SessionState.DETACHED:
            self._log("info", "session_resumed", session, after=round(now - session.changed, 3))
            self.counters["resumed"] += 1
        session.state, session.changed = SessionState.ATTACHED, now

    def _welcome(self, session: Session) -> None:
        timing = self.settings.timing
        self._to_client(
            session,
            Kind.WELCOME,
            protocol=session.protocol,
            heartbeat=timing.heartbeat,
            lease=timing.lease,
            grace=timing.grace,
            object_max=self.settings.object_max,
            cluster=session.cluster,
        )

    # --- bridges

    def _register(self, event: Came, route: Route, fields: dict[str, Any], now: float) -> None:
        protocol = versions.common_protocol(fields["protocol"])
        if protocol is None or not any(route.session):
            raise RemoteProtocolError("a bridge of another protocol version, or without an id")
        if len(fields["sessions"]) > 1 or not all(map(_is_session_entry, fields["sessions"])):
            raise RemoteProtocolError("a bridge lists the session that it serves, or none")
        if self._bridge_peers.get(event.peer, (route.session, route.lane)) != (route.session, route.lane):
            raise RemoteProtocolError("a connection carries one lane of one bridge")
        bridge = self.bridges.get(route.session)
        if bridge is None:
            bridge = Bridge(route.session, fields["pid"], fields["cluster"], protocol, now)
            self.bridges[bridge.id] = bridge
            self._actions.append(Log("info", "bridge_registered", {"bridge": bridge.id.hex(), "pid": bridge.pid}))
        self._cluster = bridge.cluster
        self._bridge_peers.pop(bridge.lanes.get(route.lane, b""), None)
        bridge.lanes[route.lane] = event.peer
        self._bridge_peers[event.peer] = bridge.id, route.lane
        timing = self.settings.timing
        self._reply(
            event,
            route,
            Kind.REGISTERED,
            heartbeat=timing.heartbeat,
            lease=timing.lease,
            grace=timing.grace,
            object_max=self.settings.object_max,
        )
        if bridge.state is BridgeState.GONE and len(bridge.lanes) == len(Lane):
            bridge.state = BridgeState.BUSY
        for entry in fields["sessions"]:
            self._adopt(bridge, entry, now)
        self._place(now)

    def _adopt(self, bridge: Bridge, entry: dict[str, Any], now: float) -> None:
        """A bridge tells which session it has: that of an earlier broker is taken on; one that ended is closed.

        A client that is still at its handshake may be here before its bridge.
        """
        if bridge.session not in (None, entry["session"]):
            raise RemoteProtocolError("a bridge serves one session in its life")
        bridge.session = entry["session"]
        if bridge.state is BridgeState.IDLE:
            bridge.state = BridgeState.BUSY
        session = self.sessions.get(entry["session"])
        if session is None and entry["session"] not in self._ended:
            session = Session(
                entry["session"], entry["digest"], entry["protocol"], entry["client"], entry["job"], now, now
            )
            self.sessions[session.id] = session
        if session is None or session.digest != entry["digest"] or session.bridge not in (None, bridge.id):
            self._close(bridge)
        elif session.bridge is None:
            session.state, session.changed, session.bridge = SessionState.OPENING, now, bridge.id
            self._log("info", "session_adopted", session)
            if entry["cluster"]:
                self._open(session, entry["cluster"], now)

    def _place(self, now: float) -> None:
        """Give idle bridges, both of whose lanes are there, to the sessions that have waited longest."""
        waiting = [session for session in self.sessions.values() if session.state is SessionState.WAITING]
        idle = [b for b in self.bridges.values() if b.state is BridgeState.IDLE and len(b.lanes) == len(Lane)]
        for session in waiting:
            mismatch = self._mismatch(session.client)
            if mismatch is not None:
                self._drop_unopened(session, mismatch.code, mismatch.message, retry=False)
            elif idle:
                bridge = idle.pop(0)
                bridge.state, bridge.session = BridgeState.BUSY, session.id
                session.state, session.changed, session.bridge = SessionState.OPENING, now, bridge.id
                self._ask_to_open(bridge, session)

    def _ask_to_open(self, bridge: Bridge, session: Session) -> None:
        self._to_bridge(
            bridge, session.id, Kind.OPEN, client=session.client, job=session.job,
            digest=session.digest, protocol=session.protocol,
        )  # fmt: skip

    def _opened(self, event: Came, route: Route, fields: dict[str, Any], now: float) -> None:
        session = self._session_of(event, route)
        if session is not None and session.state is SessionState.OPENING:
            self._open(session, fields["cluster"], now)

    def _open(self, session: Session, cluster: dict[str, Any], now: float) -> None:
        here = Lane.CALLS in session.lanes  # or the client has gone while its bridge was being opened
        session.state = SessionState.ATTACHED if here else SessionState.DETACHED
        session.changed, session.cluster = now, cluster
        self._log("info", "session_opened", session, waited=round(now - session.since, 3))
        self.counters["opened"] += 1
        self._welcome(session)

    def _open_failed(self, event: Came, route: Route, fields: dict[str, Any], now: float) -> None:
        session = self._session_of(event, route)
        if session is not None and session.state is SessionState.OPENING:
            self._log("warning", "open_failed", session, code=fields["code"], message=fields["message"])
            self._drop_unopened(session, fields["code"], fields["message"], retry=fields["code"] == "no-cluster")

    def _drop_unopened(self, session: Session, code: str, message: str, *, retry: bool) -> None:
        self._to_client(session, Kind.REFUSED, code=code, message=message, retry=retry)
        self._forget(session)

    def _closed(self, event: Came, route: Route, fields: dict[str, Any], now: float) -> None:
        session = self._session_of(event, route)
        if session is not None:
            self._end(session, fields["code"], fields["message"], now, tell_bridge=False)

    def _bridge_ping(self, event: Came, route: Route, fields: dict[str, Any], now: float) -> None:
        if event.peer not in self._bridge_peers:
            self._reply(event, route, Kind.UNBOUND)

    def _session_of(self, event: Came, route: Route) -> Session | None:
        """The session that a bridge speaks of, if it is its own; it may just have ended."""
        session = self.sessions.get(route.session)
        bound = self._bridge_peers.get(event.peer)
        if session is not None and bound is not None and session.bridge == bound[0]:
            return session
        self.counters["foreign"] += 1
        return None

    # --- ends

    @property
    def _bridge_grace(self) -> float:
        """A bridge sits on the same machine: one that does not register again within two heartbeats is dead."""
        return 2 * self.settings.timing.heartbeat

    def _session_deadline(self, session: Session) -> float:
        timing = self.settings.timing
        if session.state is SessionState.DETACHED:
            return session.changed + timing.grace
        if session.state is SessionState.WAITING:
            return session.last_seen + timing.lease
        if session.state is SessionState.OPENING:
            return session.changed + timing.lease + timing.grace
        return float("inf")

    def _expire(self, session: Session, now: float) -> None:
        if session.state is SessionState.WAITING:
            self._log("info", "session_gave_up", session)
            self._forget(session)
            return
        if session.state is SessionState.OPENING:
            text = f"the bridge of this session did not open it in {now - session.changed:.0f} s"
            self._drop_unopened(session, "no-bridge", text, retry=True)
            return
        self.counters["expired"] += 1
        silent = now - session.last_seen
        text = f"nothing was heard of the client for {silent:.1f} s: lease and grace are over"
        self._end(session, "expired", text, now)

    def _unreachable(self, event: Unreachable, now: float) -> None:
        if event.side is Side.BRIDGES:
            self._bridge_unreachable(event.peer, now)
            return
        bound = self._clients.pop(event.peer, None)
        if bound is None:
            return
        session = self.sessions[bound[0]]
        session.lanes.pop(bound[1], None)
        if bound[1] == Lane.CALLS and session.state is SessionState.ATTACHED:
            session.state, session.changed = SessionState.DETACHED, now
            self._log("info", "session_detached", session)
        elif bound[1] == Lane.CALLS and session.state is SessionState.WAITING:
            self._forget(session)

    def _bridge_unreachable(self, peer: bytes, now: float) -> None:
        bound = self._bridge_peers.pop(peer, None)
        if bound is None:
            return
        bridge = self.bridges[bound[0]]
        del bridge.lanes[bound[1]]
        if bridge.state is BridgeState.IDLE:
            self._forget_bridge(bridge)
        elif bridge.state is BridgeState.BUSY:
            bridge.state, bridge.since = BridgeState.GONE, now

    def _bridge_lost(self, bridge: Bridge, now: float) -> None:
        session = self.sessions.get(bridge.session or b"")
        self._forget_bridge(bridge)
        if session is None or session.bridge != bridge.id:
            return
        text = f"the bridge of this session (pid {bridge.pid}) died; what the session held is gone with it"
        if session.state is SessionState.OPENING:
            self._drop_unopened(session, "no-bridge", text, retry=True)
        else:
            self._end(session, "bridge-lost", text, now, tell_bridge=False)

    def _forget_bridge(self, bridge: Bridge) -> None:
        del self.bridges[bridge.id]
        for peer in bridge.lanes.values():
            self._bridge_peers.pop(peer, None)
        self._actions.append(Log("info", "bridge_gone", {"bridge": bridge.id.hex(), "pid": bridge.pid}))

    def _end(self, session: Session, code: str, message: str, now: float, *, tell_bridge: bool = True) -> None:
        self._log("info", "session_ended", session, code=code, lived=round(now - session.since, 3))
        self._to_client(session, Kind.ENDED, code=code, message=message)
        self._forget(session)
        self._ended[session.id] = (code, message)
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
        bridge = self.bridges.get(session.bridge or b"")
        if tell_bridge and bridge is not None:
            self._close(bridge)

    def _close(self, bridge: Bridge) -> None:
        session = bridge.session or b""
        code, message = self._ended.get(session, ("unknown-session", "the broker gave this session up"))
        self._to_bridge(bridge, session, Kind.CLOSE, code=code, message=message)

    def _forget(self, session: Session) -> None:
        del self.sessions[session.id]
        for peer in session.lanes.values():
            del self._clients[peer]

    # --- heartbeats and status

    def _beat(self) -> None:
        for session in self.sessions.values():
            for lane, peer in session.lanes.items():
                self._send(Side.CLIENTS, peer, session.id, Lane(lane), Kind.PING)
        for bridge in self.bridges.values():
            for lane, peer in bridge.lanes.items():
                self._send(Side.BRIDGES, peer, bridge.id, Lane(lane), Kind.PING)
            if bridge.session is not None:
                self._repeat(bridge, self.sessions.get(bridge.session))

    def _repeat(self, bridge: Bridge, session: Session | None) -> None:
        """Say again what the bridge has not answered yet: a connection that broke may have lost it, or the answer."""
        if session is None or session.bridge != bridge.id:
            self._close(bridge)
        elif session.state is SessionState.OPENING:
            self._ask_to_open(bridge, session)

    def _status(self, event: Came, route: Route, fields: dict[str, Any], now: float) -> None:
        bridges = [
            {
                "id": bridge.id.hex(),
                "pid": bridge.pid,
                "state": bridge.state.value,
                "session": bridge.session.hex() if bridge.session else None,
                "cluster": bridge.cluster,
            }
            for bridge in self.bridges.values()
        ]
        sessions = [
            {
                "id": session.id.hex(),
                "client": session.client,
                "state": session.state.value,
                "age": now - session.since,
                "last_seen": now - session.last_seen,
                "bridge": session.bridge.hex() if session.bridge else None,
                "cluster": session.cluster,
            }
            for session in self.sessions.values()
        ]
        broker = {"version": __version__, "pid": self.settings.pid, "uptime": now - self._started}
        self._reply(
            event, route, Kind.STATUS_REPLY,
            broker=broker, bridges=bridges, sessions=sessions, counters=dict(self.counters),
        )  # fmt: skip

    # --- small helpers

    def _send(self, side: Side, peer: bytes, session: bytes, lane: Lane, kind: Kind, **fields: Any) -> None:
        frames = [encode_route(kind, session, lane), encode_control(kind, **fields)]
        self._actions.append(Send(side, peer, frames))

    def _reply(self, event: Came, route: Route, kind: Kind, **fields: Any) -> None:
        self._send(event.side, event.peer, route.session, Lane(route.lane), kind, **fields)

    def _refuse(self, event: Came, route: Route, code: str, message: str, *, retry: bool = False) -> None:
        self.counters["refused"] += 1
        self._reply(event, route, Kind.REFUSED, code=code, message=message, retry=retry)

    def _to_client(self, session: Session, kind: Kind, **fields: Any) -> None:
        peer = session.lanes.get(Lane.CALLS)
        if peer is not None:
            self._send(Side.CLIENTS, peer, session.id, Lane.CALLS, kind, **fields)

    def _to_bridge(self, bridge: Bridge, session: bytes, kind: Kind, **fields: Any) -> None:
        peer = bridge.lanes.get(Lane.CALLS)
        if peer is not None:
            self._send(Side.BRIDGES, peer, session, Lane.CALLS, kind, **fields)

    def _log(self, level: str, event: str, session: Session, **fields: Any) -> None:
        who = {key: _loggable(session.client.get(key)) for key in ("user", "host", "pid")}
        self._actions.append(Log(level, event, {"session": session.id.hex(), **who, **fields}))

    def _complain(self, what: str, now: float, **fields: Any) -> None:
        """Count bad input; log it, but not so often that the log itself becomes the attack."""
        self.counters[what] += 1
        allowed, suppressed = self._complaints.get(what, (now, 0))
        if now < allowed:
            self._complaints[what] = (allowed, suppressed + 1)
            return
        self._complaints[what] = (now + COMPLAINT_INTERVAL, 0)
        self._actions.append(Log("warning", what, {**fields, "suppressed": suppressed}))


def _describe(client: dict[str, Any]) -> dict[str, Any]:
    """What the broker keeps of a client's description: what it is judged by, and what people want to see of it."""
    texts = ("user", "host", "program", "python", "raymq", "ray")
    kept = {key: str(client[key])[:CLIENT_TEXT_MAX] for key in texts if key in client}
    pid = client.get("pid")
    return {**kept, "pid": pid if type(pid) is int and 0 <= pid < 1 << 63 else 0}


def _token_fits(session: Session, token: bytes) -> bool:
    return hmac.compare_digest(hashlib.sha256(token).digest(), session.digest)


def _loggable(value: Any) -> Any:
    """What a client says of itself may be anything, of any size."""
    return value if type(value) is int else str(value)[:100]


def _newest(protocol: Any) -> int:
    return protocol[-1] if type(protocol) is list and protocol and type(protocol[-1]) is int else 0


def _is_session_entry(entry: Any) -> bool:
    expected = {"session": bytes, "digest": bytes, "protocol": int, "client": dict, "job": dict, "cluster": dict}
    return type(entry) is dict and all(type(entry.get(key)) is kind for key, kind in expected.items())


_HANDLERS: dict[tuple[Side, int], Callable[[Broker, Came, Route, dict[str, Any], float], None]] = {
    (Side.CLIENTS, Kind.HELLO): Broker._hello,
    (Side.CLIENTS, Kind.ATTACH): Broker._attach,
    (Side.CLIENTS, Kind.BYE): Broker._bye,
    (Side.CLIENTS, Kind.PING): Broker._client_ping,
    (Side.BRIDGES, Kind.REGISTER): Broker._register,
    (Side.BRIDGES, Kind.OPENED): Broker._opened,
    (Side.BRIDGES, Kind.OPEN_FAILED): Broker._open_failed,
    (Side.BRIDGES, Kind.CLOSED): Broker._closed,
    (Side.BRIDGES, Kind.PING): Broker._bridge_ping,
    (Side.BRIDGES, Kind.STATUS): Broker._status,
}
"""Which control packets are understood, by the socket on which they come."""
