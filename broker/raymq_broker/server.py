"""The broker's shell: two ROUTER sockets and a clock around the core."""

from __future__ import annotations

import contextlib
import os
import socket as sockets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
import zmq

from raymq import daemon
from raymq.protocol.limits import MESSAGE_MAX
from raymq_broker import supervisor
from raymq_broker.actions import Action, Came, Log, Pool, Send, Side, Unreachable
from raymq_broker.core import Broker
from raymq_broker.lifecycle import Settings

DRAIN = 20
"""Packets taken from one socket before the other gets its turn: more would let a flood on one side delay the other."""

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
        self._wake_reader, self._wake_writer = sockets.socketpair()
        self._wake_writer.setblocking(False)
        self._sockets: dict[Side, zmq.Socket[bytes]] = {}
        try:
            for side, endpoint in ((Side.CLIENTS, clients), (Side.BRIDGES, bridges)):
                self._sockets[side] = self._open(endpoint, settings)
        except zmq.ZMQError:
            self.close()
            raise
        self.core = Broker(settings, time.monotonic(), os.urandom(32))

    def _open(self, endpoint: str, settings: Settings) -> zmq.Socket[bytes]:
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
        try:
            self._wake_writer.send(b"\0")
        except OSError:
            pass  # the pipe is full, so the loop is awake, or closed, so there is no loop

    def run(self) -> None:
        """Serve until ``stop``."""
        poller = zmq.Poller()
        for router in self._sockets.values():
            poller.register(router, zmq.POLLIN)
        poller.register(self._wake_reader, zmq.POLLIN)
        if self._told is not None:
            poller.register(self._told, zmq.POLLIN)
        while not self._stopping:
            wait = self.core.next_deadline() - time.monotonic()
            ready: dict[Any, int] = dict(poller.poll(int(max(0.0, wait) * 1000) + 1))
            if self._told is not None and self._told.fileno() in ready:
                self._listen(self._told)
            for side, router in self._sockets.items():
                if router in ready:
                    self._drain(side, router)
            now = time.monotonic()
            if now >= self.core.next_deadline():
                self._carry_out(self.core.tick(now))

    def _listen(self, told: daemon.Told) -> None:
        for each in told.read():
            event = supervisor.understand(each, daemon.clock())
            if event is not None:
                self._carry_out(self.core.handle(event, time.monotonic()))
        self._stopping = self._stopping or told.ended

    def _drain(self, side: Side, router: zmq.Socket[bytes]) -> None:
        for _ in range(DRAIN):
            try:
                peer, *frames = router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._carry_out(self.core.handle(Came(side, peer.bytes, frames), time.monotonic()))

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
            self._sockets[action.side].send_multipart([action.peer, *action.frames], zmq.NOBLOCK, copy=False)
        except zmq.Again:
            # The peer's queue is full: it does not read. The packet is dropped; the stream's ends notice.
            self.core.counters["dropped"] += 1
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._carry_out(self.core.handle(Unreachable(action.side, action.peer), time.monotonic()))

    def _write_log(self, action: Log) -> None:
        getattr(self._log, action.level)(action.event, **action.fields)

    def close(self) -> None:
        """Close the sockets, and remove the files of ipc endpoints, which libzmq leaves behind."""
        for router in self._sockets.values():
            endpoint = _endpoint(router)
            router.close()
            if endpoint.startswith("ipc://") and not endpoint.startswith("ipc://@"):
                with contextlib.suppress(FileNotFoundError):
                    Path(endpoint.removeprefix("ipc://")).unlink()
        self._context.term()
        self._wake_reader.close()
        self._wake_writer.close()


def _endpoint(router: zmq.Socket[bytes]) -> str:
    """What the socket is really bound to."""
    return bytes(router.getsockopt(zmq.LAST_ENDPOINT)).decode().rstrip("\0")
