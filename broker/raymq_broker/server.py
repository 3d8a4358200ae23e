"""The broker's shell: two ROUTER sockets and a clock around the core."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
import zmq

from raymq import daemon, packets
from raymq.protocol.limits import INTAKE_MAX, INTAKE_TOTAL, MESSAGE_MAX, PACKET_MAX
from raymq.waking import Waker
from raymq_broker import arrivals, supervisor
from raymq_broker.actions import Action, Came, Flooded, Log, Pool, Send, Side, Unreachable
from raymq_broker.allowance import Allowance
from raymq_broker.arrivals import Arrivals
from raymq_broker.core import FRAMES_MAX, Broker
from raymq_broker.intake import FRAME_HEADER, REST, Intake, wire_bytes
from raymq_broker.lifecycle import Settings

DRAIN = 20
"""Packets taken from one socket before the other gets its turn: more would let a flood on one side delay the other."""

PACKET_WIRE_MAX = PACKET_MAX + FRAME_HEADER * FRAMES_MAX + REST
"""Bytes that a packet may have on the wire."""

LOOK_INTERVAL = 0.05
"""Seconds between two looks at how much came from clients: what comes between them may be above the limit."""

FAREWELL = 0.5
"""Seconds in which what a connection said before it was gone is looked for; it ends when nothing waits to be read."""

LOG_BURST = 1000
"""Lines about what clients do in good order that the log may get at once."""

LOG_RATE = 50.0
"""Lines that it may get each second after that; the others are counted (``unlogged``)."""

SEND_QUEUE = 1000
"""Packets that may wait for one peer; honest peers stay far below, since their credit is smaller."""


class Server:
    """Owns the sockets; everything runs in the thread that calls ``run``.

    Args:
        clients: endpoint to bind for clients, such as ``tcp://127.0.0.1:10001``; port 0 picks a free one.
        bridges: endpoint to bind for bridges and administrators, such as ``ipc:///run/raymq/bridges.sock``.
        settings: intervals and limits.
        log: a structlog logger.
        pool_changed: called with what the supervisor needs to know of the bridges.
        told: where the supervisor tells who has died; its end means that the supervisor is gone, and stops us.

    Raises:
        zmq.ZMQError: an endpoint cannot be bound.
    """

    def __init__(
        self,
        clients: str,
        bridges: str,
        settings: Settings,
        log: structlog.stdlib.BoundLogger,
        pool_changed: Callable[[Pool], None],
        told: daemon.Told | None = None,
    ) -> None:
        self._log = log
        self._told = told
        self._pool_changed = pool_changed
        self._context = zmq.Context()
        self._stopping = False
        self._waker = Waker()
        self._sockets: dict[Side, zmq.Socket[bytes]] = {}
        self._intake = Intake(INTAKE_MAX, PACKET_WIRE_MAX, INTAKE_TOTAL)
        self._arrivals: Arrivals | None = None
        self._next_look = time.monotonic()
        self._gone: dict[tuple[Side, bytes], float] = {}
        self._lines = Allowance(LOG_BURST, LOG_RATE, time.monotonic())
        try:
            for side, endpoint in ((Side.CLIENTS, clients), (Side.BRIDGES, bridges)):
                self._sockets[side] = self._open(side, endpoint, settings)
        except zmq.ZMQError:
            self.close()
            raise
        self.core = Broker(settings, time.monotonic(), os.urandom(32))

    def _open(self, side: Side, endpoint: str, settings: Settings) -> zmq.Socket[bytes]:
        router = self._context.socket(zmq.ROUTER)
        router.linger = 0
        router.sndhwm = router.rcvhwm = SEND_QUEUE
        router.maxmsgsize = MESSAGE_MAX
        # A send to a peer that is gone fails instead of vanishing: that is how death is noticed.
        router.router_mandatory = 1
        # A silent connection is closed by libzmq when the lease is over; both are answered by its own thread.
        router.heartbeat_ivl = int(settings.timing.heartbeat * 1000)
        router.heartbeat_timeout = int(settings.timing.lease * 1000)
        router.ipv6 = endpoint.startswith("tcp://[")
        if side is Side.CLIENTS and endpoint.startswith("tcp://") and arrivals.SUPPORTED:
            self._arrivals = Arrivals(self._context, router, self._intake.forget)
        try:
            router.bind(endpoint)
        except zmq.ZMQError:
            router.close()
            raise
        return router

    @property
    def address(self) -> str:
        """Where clients connect: ``HOST:PORT``, with the port that was really bound."""
        return _endpoint(self._sockets[Side.CLIENTS]).removeprefix("tcp://")

    def stop(self) -> None:
        """Make ``run`` return; callable from a signal handler and from any thread."""
        self._stopping = True
        self._waker.wake()

    def run(self) -> None:
        """Serve until ``stop``."""
        poller = zmq.Poller()
        for router in self._sockets.values():
            poller.register(router, zmq.POLLIN)
        poller.register(self._waker, zmq.POLLIN)
        if self._told is not None:
            poller.register(self._told, zmq.POLLIN)
        while not self._stopping:
            wait = self._next_deadline() - time.monotonic()
            ready: dict[Any, int] = dict(poller.poll(int(max(0.0, wait) * 1000) + 1))
            if self._told is not None and self._told.fileno() in ready:
                self._listen(self._told)
            for side, router in self._sockets.items():
                if router in ready or self._gone:
                    self._drain(side, router)
                if self._gone:
                    self._see_off(side, drained=not packets.has_more(router))
            now = time.monotonic()
            if now >= self.core.next_deadline():
                self._carry_out(self.core.tick(now))
            if self._arrivals is not None and now >= self._next_look:
                self._look(self._arrivals, now)

    def _next_deadline(self) -> float:
        if self._gone:
            return 0.0
        deadline = self.core.next_deadline()
        return deadline if self._arrivals is None else min(deadline, self._next_look)

    def _look(self, arrivals: Arrivals, now: float) -> None:
        """See to it that nobody sends what we cannot take in."""
        self._next_look = now + LOOK_INTERVAL
        drained = not self._sockets[Side.CLIENTS].poll(0)
        for number, inode, total in arrivals.look():
            self._intake.look(number, inode, total, drained=drained)
        for excess in list(self._intake.excess()):
            self._carry_out(self.core.handle(Flooded(excess.peer, excess.nbytes, excess.guilty), now))
            arrivals.cut(excess.number)
            self._intake.forget(excess.number)

    def _listen(self, told: daemon.Told) -> None:
        for each in told.read():
            event = supervisor.understand(each, daemon.clock())
            if event is not None:
                self._carry_out(self.core.handle(event, time.monotonic()))
        self._stopping = self._stopping or told.ended

    def _drain(self, side: Side, router: zmq.Socket[bytes]) -> None:
        for peer, *frames in packets.received(router, DRAIN):
            if side is Side.CLIENTS and self._arrivals is not None:
                number = arrivals.number_of(peer)
                if number is not None:
                    self._intake.handled(number, peer.bytes, wire_bytes(frames))
            self._carry_out(self.core.handle(Came(side, peer.bytes, frames), time.monotonic()))

    def _see_off(self, side: Side, *, drained: bool) -> None:
        """Connections that are gone: their last words come first, such as why a session ended."""
        now = time.monotonic()
        for connection, since in list(self._gone.items()):
            if connection[0] is side and (drained or now >= since + FAREWELL):
                del self._gone[connection]
                self._carry_out(self.core.handle(Unreachable(*connection), now))

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self._send(action)
            elif isinstance(action, Pool):
                self._pool_changed(action)
            else:
                self._write_log(action)

    def _send(self, action: Send) -> None:
        try:
            packets.send(self._sockets[action.side], [action.peer, *action.frames])
        except zmq.Again:
            # The peer's queue is full: it does not read. The packet is dropped; the stream's ends notice.
            self.core.counters["dropped"] += 1
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._gone.setdefault((action.side, action.peer), time.monotonic())

    def _write_log(self, action: Log) -> None:
        # Complaints have a limit of their own, and are not to drown in what one client brings about.
        if action.level == "info" and not self._lines.take(time.monotonic()):
            self.core.counters["unlogged"] += 1
            return
        getattr(self._log, action.level)(action.event, **action.fields)

    def close(self) -> None:
        """Close the sockets, and remove the files of ipc endpoints, which libzmq leaves behind."""
        if self._arrivals is not None:
            self._arrivals.close()
        for router in self._sockets.values():
            endpoint = _endpoint(router)
            router.close()
            if endpoint.startswith("ipc://") and not endpoint.startswith("ipc://@"):
                with contextlib.suppress(FileNotFoundError):
                    Path(endpoint.removeprefix("ipc://")).unlink()
        self._context.term()
        self._waker.close()


def _endpoint(router: zmq.Socket[bytes]) -> str:
    """What the socket is really bound to."""
    return bytes(router.getsockopt(zmq.LAST_ENDPOINT)).decode().rstrip("\0")
