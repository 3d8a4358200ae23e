"""Who is there: sessions, bridges, and the connections that speak for them. Pure; decides nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple

from raymq.errors import RemoteProtocolError
from raymq.protocol.route import Lane
from raymq_broker.actions import Pool, Side
from raymq_broker.entities import Bridge, BridgeState, Session, SessionState

REMEMBERED = 1000
"""Ended sessions whose reason is kept, to tell it to a client that comes back late."""


class Ending(NamedTuple):
    """Why a session ended."""

    code: str
    message: str


class Registry:
    """Sessions and bridges by their ids, and for each bound connection what it speaks for: an id and a lane."""

    def __init__(self, expected: Iterable[int] | None = None) -> None:
        self.sessions: dict[bytes, Session] = {}
        self.bridges: dict[bytes, Bridge] = {}
        self.client_peers: dict[bytes, tuple[bytes, int]] = {}
        self.bridge_peers: dict[bytes, tuple[bytes, int]] = {}
        self.ended: OrderedDict[bytes, Ending] = OrderedDict()
        self.expected = None if expected is None else set(expected)
        """The process ids of bridges of an earlier broker that have not come yet; None if nobody knows them."""
        self.cluster: dict[str, Any] | None = None
        """What the bridge that registered last told of the cluster: the versions that clients are held against."""

    # --- connections

    def bind_client(self, session: Session, lane: int, peer: bytes) -> None:
        """A connection speaks for a lane of a session from now on, in the place of an earlier one.

        Raises:
            RemoteProtocolError: it speaks for another lane, or another session, already.
        """
        _bind(self.client_peers, session, lane, peer)

    def bind_bridge(self, bridge: Bridge, lane: int, peer: bytes) -> None:
        """A connection speaks for a lane of a bridge from now on, in the place of an earlier one.

        Raises:
            RemoteProtocolError: it speaks for another lane, or another bridge, already.
        """
        _bind(self.bridge_peers, bridge, lane, peer)

    def unbind_client(self, peer: bytes) -> tuple[Session, int] | None:
        """A connection is gone; returns what it spoke for."""
        bound = self.client_peers.pop(peer, None)
        if bound is None:
            return None
        session = self.sessions[bound[0]]
        del session.lanes[bound[1]]
        return session, bound[1]

    def unbind_bridge(self, peer: bytes) -> Bridge | None:
        """A connection is gone; returns the bridge that it spoke for."""
        bound = self.bridge_peers.pop(peer, None)
        if bound is None:
            return None
        bridge = self.bridges[bound[0]]
        del bridge.lanes[bound[1]]
        return bridge

    def unbind_session(self, session: Session) -> None:
        """No connection speaks for this session any longer."""
        for peer in session.lanes.values():
            del self.client_peers[peer]
        session.lanes.clear()

    def connections(self) -> set[tuple[Side, bytes]]:
        """All that are bound."""
        clients = {(Side.CLIENTS, peer) for peer in self.client_peers}
        return clients | {(Side.BRIDGES, peer) for peer in self.bridge_peers}

    def came(self, pid: int) -> None:
        """A bridge is not waited for any longer: it has registered, or ended."""
        if self.expected is not None:
            self.expected.discard(pid)

    # --- who belongs to whom

    def named(self, name: str) -> Session | None:
        """The session of this name."""
        return next((session for session in self.sessions.values() if name and session.name == name), None)

    def found(self, text: str) -> list[Session]:
        """The session of this name, or those whose id, in hexadecimal, begins so."""
        named = self.named(text)
        if named is not None:
            return [named]
        return [session for session in self.sessions.values() if text and session.id.hex().startswith(text.lower())]

    def bridge_of(self, session: Session) -> Bridge | None:
        """The bridge that serves a session."""
        return self.bridges.get(session.bridge or b"")

    def served_by(self, bridge: Bridge) -> Session | None:
        """The session that a bridge serves, unless it has ended or another bridge has it."""
        session = self.sessions.get(bridge.session or b"")
        return session if session is not None and session.bridge == bridge.id else None

    def session_told_by(self, peer: bytes, session_id: bytes) -> Session | None:
        """The session that a bridge's packet speaks of, if it is its own; it may just have ended."""
        session = self.sessions.get(session_id)
        bound = self.bridge_peers.get(peer)
        return session if session is not None and bound is not None and session.bridge == bound[0] else None

    def waiting(self) -> list[Session]:
        """The sessions that have no bridge yet, the one that has waited longest first."""
        return [session for session in self.sessions.values() if session.state is SessionState.WAITING]

    def idle(self) -> list[Bridge]:
        """The bridges that can take a session: both of their lanes are there."""
        return [b for b in self._in_state(BridgeState.IDLE) if len(b.lanes) == len(Lane)]

    def missing(self) -> list[Bridge]:
        """The busy bridges that have lost a connection, or whose process has ended."""
        return [*self._in_state(BridgeState.GONE), *self._in_state(BridgeState.DEAD)]

    def with_pid(self, pid: int) -> Bridge | None:
        """The bridge of that process; None if several say so, as bridges in other containers may."""
        found = [bridge for bridge in self.bridges.values() if bridge.pid == pid]
        return found[0] if len(found) == 1 else None

    def pool(self) -> Pool:
        """What a supervisor needs to know."""
        return Pool(
            tuple(bridge.pid for bridge in self._in_state(BridgeState.IDLE)),
            tuple(bridge.pid for bridge in self._in_state(BridgeState.BUSY)),
            len(self.waiting()),
        )

    def _in_state(self, state: BridgeState) -> Iterable[Bridge]:
        return (bridge for bridge in self.bridges.values() if bridge.state is state)

    # --- the end

    def forget_session(self, session: Session) -> None:
        """Drop a session and its connections."""
        self.unbind_session(session)
        del self.sessions[session.id]

    def rename(self, session: Session, new_id: bytes, ending: Ending) -> None:
        """A named session goes on under another id, for another client; ``ending`` is what the earlier client gets."""
        bridge = self.bridge_of(session)
        if bridge is not None:
            bridge.session = new_id
        self.forget_session(session)
        self.remember(session.id, ending)
        session.replaces, session.id = session.id, new_id
        self.sessions[new_id] = session

    def forget_bridge(self, bridge: Bridge) -> None:
        """Drop a bridge and its connections."""
        del self.bridges[bridge.id]
        for peer in bridge.lanes.values():
            del self.bridge_peers[peer]

    def remember(self, session_id: bytes, ending: Ending) -> None:
        """Keep the reason of an end for those who ask late."""
        self.ended[session_id] = ending
        if len(self.ended) > REMEMBERED:
            self.ended.popitem(last=False)


def _bind(peers: dict[bytes, tuple[bytes, int]], owner: Session | Bridge, lane: int, peer: bytes) -> None:
    if peers.get(peer, (owner.id, lane)) != (owner.id, lane):
        raise RemoteProtocolError("a connection carries one lane, of one session or of one bridge")
    peers.pop(owner.lanes.get(lane, b""), None)
    owner.lanes[lane] = peer
    peers[peer] = owner.id, lane
