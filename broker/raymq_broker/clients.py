"""What clients say to the broker: HELLO, ATTACH, BYE, PING. Pure."""

from __future__ import annotations

import hashlib
import hmac
from reprlib import repr as brief
from typing import Any

from raymq.protocol import versions
from raymq.protocol.control import TOKEN_SIZE
from raymq.protocol.limits import CLIENT_TEXT_MAX, HELLO_MAX, NAME_MAX, TTL_MAX
from raymq.protocol.route import Kind, Lane
from raymq.protocol.version import PROTOCOL_NEWEST, PROTOCOL_OLDEST, __version__
from raymq_broker.actions import Handler, Packet, Side
from raymq_broker.entities import Session, SessionState
from raymq_broker.lifecycle import LEFT, Lifecycle
from raymq_broker.outbox import Outbox
from raymq_broker.registry import Ending, Registry


class Clients:
    """Handles their control packets.

    Args:
        lifecycle: of the sessions.
        registry: who is there.
        outbox: for answers.
        started: when this broker began; bridges of an earlier one may still be on their way.
    """

    def __init__(self, lifecycle: Lifecycle, registry: Registry, outbox: Outbox, started: float) -> None:
        self._lifecycle = lifecycle
        self._registry = registry
        self._outbox = outbox
        self._started = started
        self._timing = lifecycle.settings.timing
        self.handlers: dict[int, Handler] = {
            Kind.HELLO: self.hello,
            Kind.ATTACH: self.attach,
            Kind.BYE: self.bye,
            Kind.PING: self.ping,
        }

    # --- HELLO

    def hello(self, packet: Packet, fields: dict[str, Any], now: float) -> None:
        """A client wants a session, or has not heard the answer yet."""
        fault = _fault(packet, fields)
        protocol = versions.common_protocol(fields["protocol"])
        session = self._registry.sessions.get(packet.route.session)
        if fault is None and protocol is None:
            self._outbox.refuse(packet, "protocol-mismatch", _protocols_differ(fields["protocol"]))
        elif fault is not None or protocol is None:
            self._outbox.refuse(packet, "malformed", str(fault))
        elif session is not None:
            self._hello_again(packet, session, fields["token"], now)
        elif packet.route.session in self._registry.ended:
            self._ended(packet, self._registry.ended[packet.route.session])
        else:
            self._hello_first(packet, fields, protocol, now)

    def _hello_first(self, packet: Packet, fields: dict[str, Any], protocol: int, now: float) -> None:
        mismatch = self._lifecycle.mismatch(fields["client"])
        named = self._registry.named(fields.get("name", ""))
        if mismatch is not None:
            self._outbox.refuse(packet, mismatch.code, mismatch.message)
        elif named is None and fields.get("name") and self._awaits_bridges(now, 2 * self._timing.heartbeat):
            text = f"the broker has just started; the session {fields['name']!r} may be on its way, with its bridge"
            self._outbox.refuse(packet, "session-busy", text, retry=True)
        elif named is None:
            self._hello_new(packet, fields, protocol, now)
        else:
            self._hello_named(packet, fields, protocol, named, now)

    def _hello_new(self, packet: Packet, fields: dict[str, Any], protocol: int, now: float) -> None:
        if len(self._registry.sessions) >= self._lifecycle.settings.sessions_max:
            count = len(self._registry.sessions)
            text = f"the broker serves {count} sessions, as many as it may (raymq start --max-sessions)"
            self._outbox.refuse(packet, "limit-reached", text, retry=True)
            return
        if text := self._lifecycle.no_cluster(now):
            self._outbox.refuse(packet, "no-cluster", text, retry=True)
            return
        digest, client = _digest(fields["token"]), _describe(fields["client"])
        session = Session(
            packet.route.session, digest, protocol, client, fields["job"], now, now, changed=now,
            name=fields.get("name", ""), ttl=fields.get("ttl", 0.0),
        )  # fmt: skip
        self._registry.bind_client(session, packet.route.lane, packet.peer)
        self._registry.sessions[session.id] = session
        self._outbox.log("info", "session_waiting", session)
        self._lifecycle.place(now)
        if session.state is SessionState.WAITING and session.id in self._registry.sessions:
            self._refuse_for_now(packet)

    def _hello_named(self, packet: Packet, fields: dict[str, Any], protocol: int, session: Session, now: float) -> None:
        """A client wants a session that is there: left by its client, or given up, or in use."""
        bridge = self._registry.bridge_of(session)
        if bridge is None or session.state is SessionState.OPENING:
            text = f"the session {session.name!r} is just being opened for {_who(session)}"
            self._outbox.refuse(packet, "session-busy", text, retry=True)
        elif fields["job"] and fields["job"] != session.job:
            text = f"the session {session.name!r} is there, with another namespace or runtime_env: leave both out"
            self._outbox.refuse(packet, "session-differs", text)
        elif session.state is SessionState.ATTACHED and not fields.get("takeover", False):
            self._refuse_attached(packet, session, now)
        else:
            self._lifecycle.hand_over(session, packet.route.session, now)
            session.digest, session.protocol = _digest(fields["token"]), protocol
            session.client, session.ttl = _describe(fields["client"]), fields.get("ttl", session.ttl)
            session.last_seen = now
            self._registry.bind_client(session, packet.route.lane, packet.peer)
            self._outbox.log("info", "session_handed_over", session, name=session.name)
            self._lifecycle.ask_to_open(session, bridge)

    def _refuse_attached(self, packet: Packet, session: Session, now: float) -> None:
        """Whoever asks twice gets the last word: in between a heartbeat has shown whether the client is still there."""
        text = (
            f"the session {session.name!r} is attached to {_who(session)}, last seen {now - session.last_seen:.0f} s "
            "ago: detach it there, or take it over (takeover=True)"
        )
        if session.contender == packet.route.session:
            self._outbox.refuse(packet, "session-attached", text)
            return
        session.contender = packet.route.session
        self._outbox.ping(Side.CLIENTS, session)
        self._outbox.refuse(packet, "session-busy", text, retry=True)

    def _hello_again(self, packet: Packet, session: Session, token: bytes, now: float) -> None:
        if not _token_fits(session, token):
            self._outbox.refuse(packet, "session-taken", "another client has a session of this id")
            return
        if session.left:
            self._ended(packet, LEFT)
            return
        session.last_seen = now
        self._registry.bind_client(session, packet.route.lane, packet.peer)
        if session.state is SessionState.WAITING:
            self._refuse_for_now(packet)
        elif session.state is SessionState.OPENING:
            text = "the bridge of this session is still connecting to the Ray cluster"
            self._outbox.refuse(packet, "no-cluster", text, retry=True)
        else:
            self._lifecycle.attached(session, now)
            self._lifecycle.welcome(session)

    def _refuse_for_now(self, packet: Packet) -> None:
        text = "the broker has no idle bridge into the cluster yet; `raymq start` starts one for each session"
        self._outbox.refuse(packet, "no-bridge", text, retry=True)

    # --- ATTACH, BYE, PING

    def attach(self, packet: Packet, fields: dict[str, Any], now: float) -> None:
        """A client comes back to one lane of its session."""
        session = self._registry.sessions.get(packet.route.session)
        if session is None:
            self._attach_unknown(packet, now)
        elif not _token_fits(session, fields["token"]):
            self._outbox.complain("wrong_token", now, session=packet.route.session.hex())
            self._ended(packet, Ending("wrong-token", "the session's token is another"))
        elif session.left:
            self._ended(packet, LEFT)
        else:
            session.last_seen = now
            self._registry.bind_client(session, packet.route.lane, packet.peer)
            if packet.route.lane == Lane.CALLS and session.state is SessionState.DETACHED:
                self._lifecycle.attached(session, now)
            self._outbox.reply(packet, Kind.ATTACHED)

    def _attach_unknown(self, packet: Packet, now: float) -> None:
        ending = self._registry.ended.get(packet.route.session)
        if ending is not None:
            self._ended(packet, ending)
        elif self._awaits_bridges(now, self._timing.lease + self._timing.grace):
            self._outbox.reply(packet, Kind.UNBOUND)
        else:
            text = "the broker knows no such session: it ended, or its bridge is gone"
            self._ended(packet, Ending("unknown-session", text))

    def _awaits_bridges(self, now: float, otherwise: float) -> bool:
        """Whether this broker is new, and bridges of the one before it may be on their way, with their sessions.

        Args:
            now: the time.
            otherwise: seconds for which that is assumed where nobody has told which bridges there were.
        """
        expected = self._registry.expected
        if expected is None:
            return now < self._started + otherwise
        return bool(expected) and now < self._started + self._timing.lease + self._timing.grace

    def bye(self, packet: Packet, fields: dict[str, Any], now: float) -> None:
        """A client gives its session up at once."""
        session = self._registry.sessions.get(packet.route.session)
        if session is not None and _token_fits(session, fields["token"]):
            self._lifecycle.end_and_close(session, "goodbye", "the client said goodbye", now)

    def ping(self, packet: Packet, fields: dict[str, Any], now: float) -> None:
        """A heartbeat."""
        self._outbox.read(packet, fields)
        if self._registry.client_peers.get(packet.peer) == (packet.route.session, packet.route.lane):
            self._registry.sessions[packet.route.session].last_seen = now
        else:
            self.unbound(packet, now)

    # --- connections that speak for nobody

    def unbound(self, packet: Packet, now: float) -> None:
        """A connection speaks for a session that it has not shown the token of."""
        if packet.peer in self._registry.client_peers:
            self._outbox.complain("foreign", now, side=packet.side.value)
        elif packet.route.session in self._registry.ended:
            self._ended(packet, self._registry.ended[packet.route.session])
        else:
            self._outbox.counters["unbound"] += 1
            self._outbox.reply(packet, Kind.UNBOUND)

    def _ended(self, packet: Packet, ending: Ending) -> None:
        self._outbox.reply(packet, Kind.ENDED, code=ending.code, message=ending.message)


def _fault(packet: Packet, fields: dict[str, Any]) -> str | None:
    """What is wrong with a HELLO."""
    if len(packet.frames[1]) > HELLO_MAX:
        return f"a HELLO has at most {HELLO_MAX:,} bytes"
    if not any(packet.route.session) or packet.route.lane != Lane.CALLS:
        return "a session needs an id, and begins on the calls lane"
    if len(fields["token"]) != TOKEN_SIZE:
        return f"a session needs a token of {TOKEN_SIZE} bytes"
    if len(fields.get("name", "")) > NAME_MAX:
        return f"a session's name has at most {NAME_MAX} characters"
    if not 0 <= fields.get("ttl", 0.0) <= TTL_MAX:
        return f"a session waits between 0 and {TTL_MAX:.0f} s for its next client"
    return None


def _protocols_differ(protocol: Any) -> str:
    newest = protocol[-1] if type(protocol) is list and protocol and type(protocol[-1]) is int else 0
    side = "client" if newest < PROTOCOL_OLDEST else "broker"
    return (
        f"the broker (raymq {__version__}) speaks protocol versions {PROTOCOL_OLDEST} to {PROTOCOL_NEWEST}, the client "
        f"{brief(protocol)} (oldest, newest): upgrade raymq on the {side}'s side."
    )


def _describe(client: dict[str, Any]) -> dict[str, Any]:
    """What the broker keeps of a client's description: what it is judged by, and what people want to see of it."""
    texts = ("user", "host", "program", "python", "raymq", "ray", "compression")
    kept: dict[str, Any] = {key: str(client[key])[:CLIENT_TEXT_MAX] for key in texts if key in client}
    pid = client.get("pid")
    kept["pid"] = pid if type(pid) is int and 0 <= pid < 1 << 63 else 0
    return {**kept, "any_version": True} if client.get("any_version") is True else kept


def _who(session: Session) -> str:
    """Whose session it is, for people."""
    client = session.client
    who = "@".join(str(client[key]) for key in ("user", "host") if client.get(key))
    return f"{who or 'a client'} (pid {client.get('pid', 0)})"


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _token_fits(session: Session, token: bytes) -> bool:
    return hmac.compare_digest(_digest(token), session.digest)
