"""The bridge's shell: two DEALER sockets and a clock around the link, and the session's executor beside them."""

from __future__ import annotations

import gc
import os
import platform
import threading
import time
import uuid
from collections import Counter
from typing import Any

import psutil
import structlog
import zmq

from raymq import daemon, packets
from raymq.errors import RemoteProtocolError
from raymq.protocol import compression, versions
from raymq.protocol.channel import Arrived, Delivered, Received
from raymq.protocol.limits import MESSAGE_MAX, Timing
from raymq.protocol.messages import Detach, Goodbye
from raymq.protocol.route import Lane
from raymq.waking import Waker
from raymq_bridge import cluster, services
from raymq_bridge.attachment import Attachment
from raymq_bridge.link import Ended, Event, Link, LinkState, Opened, Reopened
from raymq_bridge.membership import PLAIN, Joined, Membership
from raymq_bridge.packages import Packages
from raymq_bridge.sentry import Sentry
from raymq_bridge.sharing import Sharing
from raymq_bridge.shelf import Shelf

DRAIN = {Lane.CALLS: 100, Lane.BULK: 8}
"""Packets taken from a lane's socket before the other things get their turn; those of the bulk lane have 1 MiB."""

SHUTDOWN_TIME = 10.0
"""Seconds that Ray gets to end the job in good order; then the process just ends, which Ray notices too."""

_FROM_CHANNEL = (Received, Arrived, Delivered)

_SYMPTOMS = ("bridge-stopped", "internal-error")
"""Ends that a dead cluster brings about: the supervisor stops its bridges, and calls into Ray raise what they like."""


class Bridge:
    """Owns the sockets; everything but the executor runs in the thread that calls ``run``.

    Args:
        broker: the broker's endpoint for bridges.
        address: the Ray cluster's GCS, ``HOST:PORT``, or ``auto``.
        redis: ``username`` and ``password``, empty where there is none.
        log: a structlog logger.
    """

    def __init__(self, broker: str, address: str, redis: dict[str, str], log: structlog.stdlib.BoundLogger) -> None:
        self._broker = broker
        self._log = log
        self._description = {
            **versions.description(), "ray": cluster.VERSION, "compression": compression.wish(compression.AUTO),
        }  # fmt: skip
        self._link = Link(uuid.uuid4().bytes, os.getpid(), self._description, time.monotonic())
        self._waker = Waker()
        self._membership = Membership(
            lambda job: cluster.connect(address, job, redis), cluster.disconnect, self._waker.wake
        )
        self._joined: Joined | None = None
        self._stopping = False
        self._attachment: Attachment | None = None
        self._sentry: Sentry | None = None
        self._cluster_lost = ""
        self._job: dict[str, Any] = {}
        self._shelf = Shelf()
        self._packages = Packages()
        self._sharing = Sharing()
        self._process = psutil.Process()
        self._next_report = 0.0
        self._counters: Counter[str] = Counter()

    def stop(self) -> None:
        """Make ``run`` return; callable from a signal handler and from any thread."""
        self._stopping = True
        self._waker.wake()

    def run(self) -> None:
        """Register, serve one session, and return when it has ended."""
        self._membership.seek(PLAIN)
        with zmq.Context() as context:
            lanes = {lane: self._open(context) for lane in Lane}
            try:
                self._serve(lanes)
            finally:
                for dealer in lanes.values():
                    dealer.close(linger=500)
        self._waker.close()
        self._shut_down()

    def _open(self, context: zmq.Context[Any]) -> zmq.Socket[bytes]:
        dealer: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        dealer.maxmsgsize = MESSAGE_MAX
        dealer.sndhwm = dealer.rcvhwm = 1000
        dealer.reconnect_ivl = 50
        dealer.reconnect_ivl_max = 500
        dealer.heartbeat_ivl = int(Timing.heartbeat * 1000)
        dealer.heartbeat_timeout = int(Timing.lease * 1000)
        dealer.connect(self._broker)
        return dealer

    def _serve(self, lanes: dict[Lane, zmq.Socket[bytes]]) -> None:
        poller = zmq.Poller()
        for dealer in lanes.values():
            poller.register(dealer, zmq.POLLIN)
        woken = self._waker.fileno()
        poller.register(woken, zmq.POLLIN)
        while True:
            self._join()
            self._tend(time.monotonic())
            outgoing, events = self._link.poll(time.monotonic())
            for lane, frames in outgoing:
                self._send(lanes[lane], frames)
            if self._attachment is not None:
                self._attachment.make_room()
            self._act(events)
            if self._link.state is LinkState.ENDED or self._stopping:
                break
            now = time.monotonic()
            wait = min(self._link.next_deadline(), self._next_look(now)) - now
            ready: dict[Any, int] = dict(poller.poll(int(max(0.0, wait) * 1000) + (wait > 0)))
            if woken in ready:
                self._waker.clear()
            for lane, dealer in lanes.items():
                if dealer in ready:
                    self._drain(dealer, DRAIN[lane])
        if self._stopping:
            self._end("bridge-stopped", "the bridge of this session was stopped")
        for lane, frames in self._link.poll(time.monotonic())[0]:
            self._send(lanes[lane], frames)

    def _next_look(self, now: float) -> float:
        return self._attachment.next_look(now) if self._attachment is not None else float("inf")

    def _send(self, dealer: zmq.Socket[bytes], frames: list[Any]) -> None:
        try:
            packets.send(dealer, frames)
        except zmq.Again:
            self._counters["dropped"] += 1  # the broker does not read; the stream notices and sends again

    def _drain(self, dealer: zmq.Socket[bytes], limit: int) -> None:
        for frames in packets.received(dealer, limit):
            try:
                events = self._link.receive([frame.buffer for frame in frames], time.monotonic())
            except RemoteProtocolError as error:
                self._broken(error)
                return
            self._act(events)

    def _broken(self, error: RemoteProtocolError) -> None:
        self._counters["malformed"] += 1
        self._log.warning("malformed", error=str(error))
        self._end("protocol-error", f"the client broke the protocol: {error}")

    def _act(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, _FROM_CHANNEL):
                if self._attachment is not None:
                    self._attachment.came(event)
            elif isinstance(event, Opened):
                self._start_session(event)
            elif isinstance(event, Reopened):
                self._hand_over(event)
            elif isinstance(event, Ended):
                self._log.info("session_closed", code=event.code, message=event.message)

    def _start_session(self, opened: Opened) -> None:
        self._sharing.client = opened.client
        self._membership.seek(opened.job)
        self._join()

    def _join(self) -> None:
        """Go on with what came of joining the cluster, for the session or ahead of it."""
        outcome = self._membership.poll()
        if isinstance(outcome, Joined):
            if outcome is not self._joined:
                self._on_joined(outcome)
            # It may have been joined long ago, and have died a moment ago.
            if self._link.channel is not None and self._is_cluster_lost():
                self._link.failed("no-cluster", self._cluster_lost)
            else:
                self._attach("session_opened")
        elif outcome is not None:
            self._log.warning("no_job", error=str(outcome))
            if self._link.channel is None:
                return  # it is tried again for the session that comes
            if isinstance(outcome, cluster.NoCluster):
                self._link.failed("no-cluster", str(outcome))
            else:
                text = f"{type(outcome).__name__}: {outcome}"
                self._link.failed("bad-job", f"the Ray job could not be started: {text}")

    def _on_joined(self, joined: Joined) -> None:
        daemon.stop_on_signals(self.stop)  # Ray has put in its own, which dumps stacks and may hang in there
        daemon.tell("joined", raylet=joined.place.raylet)
        if self._sentry is not None:
            self._sentry.stop()
        self._sentry = Sentry(joined.place, self._on_cluster_lost)
        self._sentry.start()
        self._joined = joined
        gc.freeze()  # all of Ray's modules: a full collection takes 8 ms without them and 42 with (Ray 2.60)
        self._job = {**self._description, **joined.described, "pid": os.getpid(), "host": platform.node()}

    def _attach(self, event: str) -> None:
        """A client is there, for the first time or in the place of another one."""
        channel = self._link.channel
        if channel is None:
            return
        operations = cluster.OPERATIONS | services.OPERATIONS | self._packages.operations
        operations |= self._shelf.operations | self._sharing.operations
        self._attachment = Attachment(channel, operations, self._waker.wake)
        self._attachment.start()
        self._log.info(event, session=channel.session.hex(), job_id=self._job["job_id"])
        self._link.opened(self._job)

    def _hand_over(self, event: Reopened) -> None:
        self._sharing.client = event.client
        if self._attachment is not None:
            self._attachment.stop()
        self._attach("session_handed_over")

    def _tend(self, now: float) -> None:
        """Do what the executor has asked for."""
        if self._cluster_lost:
            self._end("cluster-lost", self._cluster_lost)
            self._stopping = True
        attachment = self._attachment
        if attachment is None or self._link.state is not LinkState.SERVING:
            return
        attachment.take_outbox(now)
        if now >= self._next_report:
            self._next_report = now + self._link.timing.heartbeat
            self._link.reports(attachment.objects + len(self._shelf), self._process.memory_info().rss)
        if attachment.failure is not None:
            self._log.error("executor_failed", exc_info=attachment.failure)
            self._end("internal-error", f"the bridge failed, which is a bug in raymq: {attachment.failure!r}")
        elif isinstance(attachment.farewell, Goodbye):
            self._end("goodbye", "the client said goodbye")
        elif isinstance(attachment.farewell, Detach):
            self._link.left(attachment.farewell.ttl)
            attachment.farewell = None

    # --- the end

    def _on_cluster_lost(self, news: str) -> None:
        """Called from the sentry's thread."""
        self._cluster_lost = news
        self._waker.wake()

    def _end(self, code: str, message: str) -> None:
        """End the session from this side, and say why; what a dead cluster brings about is laid on it."""
        if self._link.state is not LinkState.SERVING:
            return
        if code in _SYMPTOMS and self._is_cluster_lost():
            code, message = "cluster-lost", self._cluster_lost
        self._log.info("session_closed", code=code, message=message)
        self._link.ended(code, message)

    def _is_cluster_lost(self) -> bool:
        if not self._cluster_lost and self._sentry is not None:
            self._cluster_lost = self._sentry.glance()
        return bool(self._cluster_lost)

    def _shut_down(self) -> None:
        """End the Ray job; a call that is stuck in Ray must not keep the process, and with it the job, alive."""
        self._log.info("bridge_stops", counters=dict(self._counters))
        if self._is_cluster_lost() or self._membership.under_way:
            os._exit(0)  # no job is there to end, and Ray would take its time to find that out
        if self._sentry is not None:
            self._sentry.stop()
        watchdog = threading.Timer(SHUTDOWN_TIME, os._exit, (1,))
        watchdog.daemon = True
        watchdog.start()
        if self._attachment is not None:
            self._attachment.stop()
        cluster.disconnect()
        watchdog.cancel()
