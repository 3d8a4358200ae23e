"""A broker's core without its sockets: what is put to it, what it says, and what must always hold of its tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from raymq.protocol.control import decode_control, encode_control
from raymq.protocol.limits import Timing
from raymq.protocol.route import SWITCHED, Kind, Lane, decode_route, encode_route
from raymq_broker.actions import Action, BridgeEnded, Came, ClusterLost, Flooded, Log, Pool, Send, Side, Unreachable
from raymq_broker.core import Broker
from raymq_broker.entities import BridgeState, SessionState
from raymq_broker.lifecycle import Settings
from raymq_broker.registry import REMEMBERED

TIMING = Timing(heartbeat=1.0, lease=10.0, grace=30.0)
TOKEN = b"t" * 32
SESSION = b"s" * 16
BRIDGE = b"b" * 16
VERSIONS = {"python": "3.11.9", "raymq": "0.1.0", "ray": "2.60.0", "packages": {}}
CLIENT = {**VERSIONS, "user": "ada", "host": "laptop", "pid": 7}
HELLO = {"protocol": [1, 1], "token": TOKEN, "client": CLIENT, "job": {"namespace": "n"}}
NAMELESS = {"name": "", "ttl": 0.0, "left": False}
REGISTER: dict[str, Any] = {"protocol": [1, 1], "pid": 42, "sessions": [], "cluster": VERSIONS}
OPENED = {"cluster": {**VERSIONS, "job_id": "01000000"}}


class Said(NamedTuple):
    """A packet that the broker sends; ``fields`` is its map, or the frames if it is switched."""

    side: Side
    peer: bytes
    kind: Kind
    lane: Lane
    session: bytes
    fields: Any


class Desk:
    """A broker and its clock. Checks the invariants after each step."""

    def __init__(self, settings: Settings = Settings(TIMING), now: float = 1000.0) -> None:  # noqa: B008
        self.now = now
        self.broker = Broker(settings, now)
        self.logs: list[Log] = []
        self.pool = Pool((), (), -1)

    # --- what is put to it

    def raw(self, side: Side, peer: bytes, *frames: Any) -> list[Said]:
        return self._did(self.broker.handle(Came(side, peer, frames), self.now))

    def put(
        self, side: Side, peer: bytes, kind: Kind, session: bytes = SESSION, lane: Lane = Lane.CALLS, **fields: Any
    ) -> list[Said]:
        return self.raw(side, peer, encode_route(kind, session, lane), encode_control(kind, **fields))

    def put_data(self, side: Side, peer: bytes, session: bytes = SESSION, lane: Lane = Lane.CALLS) -> list[Said]:
        """Session traffic, of which the broker reads frame 0."""
        return self.raw(side, peer, encode_route(Kind.DATA, session, lane), b"data")

    def lost(self, side: Side, peer: bytes) -> list[Said]:
        return self._did(self.broker.handle(Unreachable(side, peer), self.now))

    def flooded(self, peer: bytes, nbytes: int, *, guilty: bool = True) -> list[Said]:
        return self._did(self.broker.handle(Flooded(peer, nbytes, guilty), self.now))

    def tell(self, event: BridgeEnded | ClusterLost) -> list[Said]:
        """The supervisor's word."""
        return self._did(self.broker.handle(event, self.now))

    def wait(self, seconds: float) -> list[Said]:
        """Let time pass, with a tick whenever one is due; heartbeats are not told."""
        said: list[Said] = []
        until = self.now + seconds
        while (due := self.broker.next_deadline()) <= until:
            self.now = max(self.now, due)
            said += self._did(self.broker.tick(self.now))
            assert self.broker.next_deadline() > self.now, "a tick makes progress, or the loop would spin"
        self.now = until
        return [packet for packet in said if packet.kind != Kind.PING]

    # --- the usual ways to somewhere

    def hello(self, peer: bytes = b"c0", session: bytes = SESSION, **changes: Any) -> list[Said]:
        return self.put(Side.CLIENTS, peer, Kind.HELLO, session, **HELLO | changes)

    def attach(
        self, peer: bytes, lane: Lane = Lane.CALLS, session: bytes = SESSION, token: bytes = TOKEN
    ) -> list[Said]:
        return self.put(Side.CLIENTS, peer, Kind.ATTACH, session, lane, token=token)

    def register(self, bridge: bytes = BRIDGE, prefix: bytes = b"b", **changes: Any) -> list[Said]:
        """Both lanes of a bridge; the routing ids are the prefix and the lane's number."""
        said = []
        for lane in Lane:
            peer = prefix + str(int(lane)).encode()
            said += self.put(Side.BRIDGES, peer, Kind.REGISTER, bridge, lane, **REGISTER | changes)
        return said

    def entry(self, **changes: Any) -> dict[str, Any]:
        """What a bridge tells of the session that it serves."""
        digest = self.broker.sessions[SESSION].digest
        return {
            "session": SESSION, "digest": digest, "protocol": 1, "client": CLIENT, "job": {}, **OPENED, **NAMELESS,
            **changes,
        }  # fmt: skip

    def opening(self) -> list[Said]:
        return self.register() + self.hello()

    def attached(self) -> list[Said]:
        said = self.opening()
        said += self.put(Side.BRIDGES, b"b0", Kind.OPENED, **OPENED)
        return said + self.attach(b"c1", Lane.BULK)

    def detached(self) -> list[Said]:
        return self.attached() + self.lost(Side.CLIENTS, b"c0") + self.lost(Side.CLIENTS, b"c1")

    @property
    def state(self) -> SessionState | None:
        session = self.broker.sessions.get(SESSION)
        return session.state if session else None

    def logged(self, event: str) -> list[Log]:
        return [log for log in self.logs if log.event == event]

    # --- what it says

    def _did(self, actions: Sequence[Action]) -> list[Said]:
        said = []
        for action in actions:
            if isinstance(action, Send):
                said.append(understand(action))
            elif isinstance(action, Log):
                self.logs.append(action)
            else:
                assert action != self.pool, "a pool that did not change is not told"
                self.pool = action
        check_invariants(self.broker)
        assert self.pool == pool_of(self.broker)
        return said


def understand(action: Send) -> Said:
    route = decode_route(action.frames[0])
    kind = Kind(route.kind)
    if kind in SWITCHED:
        fields: Any = list(action.frames)
    else:
        fields = decode_control(kind, action.frames[1])
    return Said(action.side, action.peer, kind, Lane(route.lane), route.session, fields)


def kinds(said: Sequence[Said]) -> list[tuple[bytes, Kind]]:
    """Who was told what."""
    return [(packet.peer, packet.kind) for packet in said]


def pool_of(broker: Broker) -> Pool:
    return Pool(
        tuple(bridge.pid for bridge in broker.bridges.values() if bridge.state is BridgeState.IDLE),
        tuple(bridge.pid for bridge in broker.bridges.values() if bridge.state is BridgeState.BUSY),
        sum(session.state is SessionState.WAITING for session in broker.sessions.values()),
    )


def check_invariants(broker: Broker) -> None:
    """What holds between any two events, whatever came."""
    lanes = {peer: (s.id, lane) for s in broker.sessions.values() for lane, peer in s.lanes.items()}
    assert broker.registry.client_peers == lanes, "each bound connection is one lane of one session that exists"
    assert sum(len(session.lanes) for session in broker.sessions.values()) == len(lanes)
    lanes = {peer: (b.id, lane) for b in broker.bridges.values() for lane, peer in b.lanes.items()}
    assert broker.registry.bridge_peers == lanes
    assert sum(len(bridge.lanes) for bridge in broker.bridges.values()) == len(lanes)
    for session in broker.sessions.values():
        here = Lane.CALLS in session.lanes
        if session.state is SessionState.WAITING:
            assert session.bridge is None
            assert here
        else:
            assert session.bridge is not None
            bridge = broker.bridges[session.bridge]
            assert bridge.session == session.id
            assert session.state is SessionState.OPENING or here is (session.state is SessionState.ATTACHED)
    for bridge in broker.bridges.values():
        assert (bridge.session is None) is (bridge.state is BridgeState.IDLE)
        assert bridge.state is not BridgeState.GONE or len(bridge.lanes) < len(Lane)
        assert bool(bridge.death) is (bridge.state is BridgeState.DEAD)
    idle = [b for b in broker.bridges.values() if b.state is BridgeState.IDLE and len(b.lanes) == len(Lane)]
    assert not idle or not pool_of(broker).waiting, "nobody waits while a bridge is idle"
    assert broker.sessions.keys().isdisjoint(broker.registry.ended)
    assert len(broker.registry.ended) <= REMEMBERED
    assert len(broker.outbox._complaints) <= 4, "malformed, foreign, wrong_token, flooded"
    assert broker.outbox.take() == []


def check_empty(broker: Broker) -> None:
    """Nothing is left of anybody."""
    assert broker.sessions == {}
    assert broker.bridges == {}
    assert broker.registry.client_peers == {}
    assert broker.registry.bridge_peers == {}
