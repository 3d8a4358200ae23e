"""The client's one I/O thread: two DEALER sockets and a clock around the connection."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import zmq

# At exit pyzmq stops what lets go of buffers that are sent without a copy, and sends of large values fail from then on.
# Whoever registers first is called last: this has to be there before a session registers its own goodbye.
import zmq.utils.garbage

from raymq import packets
from raymq.connection import Connection, Ended, Event, State
from raymq.errors import RemoteProtocolError
from raymq.protocol.channel import MESSAGE_COST, Arrived, Delivered, Received
from raymq.protocol.limits import INLINE_MAX, MESSAGE_MAX, REFS_PER_MESSAGE, Timing
from raymq.protocol.messages import Coming, Detach, Goodbye, Message, Pickled, Release
from raymq.protocol.route import Lane
from raymq.waking import Waker

log = logging.getLogger("raymq")

BACKLOG_MAX = 64 << 20
"""Bytes that may wait to be sent on a lane before a call that adds to them waits too."""

DRAIN = {Lane.CALLS: 100, Lane.BULK: 8}
"""Packets taken from a lane's socket before the other things get their turn; those of the bulk lane have 1 MiB."""


_NO_BYTES = dict.fromkeys(Lane, 0)
"""By lane."""


class _Posted(NamedTuple):
    message: Message
    nbytes: int
    delivered: threading.Event | None


def _lane(nbytes: int) -> Lane:
    """Where so many bytes travel."""
    return Lane.BULK if nbytes > INLINE_MAX + MESSAGE_COST else Lane.CALLS


class Wire:
    """Owns the sockets and the connection; all of it runs in the one thread that ``start`` starts.

    Args:
        endpoint: the broker's, as ``tcp://HOST:PORT``.
        ipv6: whether that is an IPv6 address.
        connection: the pure core.
        dropped: a deque of numbers to which destructors append; they are released in batches.
        handle: called, in the I/O thread, with each event; must be quick and must not raise.
        released: called, in the I/O thread, with numbers that are about to be released.
    """

    def __init__(
        self,
        endpoint: str,
        ipv6: bool,
        connection: Connection,
        dropped: Any,
        handle: Callable[[Event], None],
        released: Callable[[list[int]], None],
    ) -> None:
        self._endpoint = endpoint
        self._ipv6 = ipv6
        self._connection = connection
        self._dropped = dropped
        self._handle = handle
        self._released = released
        self._outbox: queue.SimpleQueue[_Posted] = queue.SimpleQueue()
        self._waker = Waker()
        self._room = threading.Condition()
        self._posted = _NO_BYTES.copy()
        self._queued = _NO_BYTES.copy()
        self._transfers: dict[int, tuple[int, threading.Event | None]] = {}
        self._finished = False
        self._farewell: Goodbye | Detach | None = None
        self._stopping: bool | None = None
        self._thread = threading.Thread(target=self._run, name="raymq-io", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    # --- called from any thread

    def post(self, message: Message, nbytes: int = 0, *, wait_delivered: bool = False, wait_room: bool = True) -> None:
        """Queue a message; waits only while more than BACKLOG_MAX bytes wait to be sent on the lane that it takes.

        Args:
            message: what to send.
            nbytes: its size, counted against the backlog.
            wait_delivered: wait until the bridge holds the payload, since its buffers may change after that.
            wait_room: False for what whoever posts it waits for anyway, perhaps not for ever.
        """
        delivered = threading.Event() if wait_delivered else None
        nbytes += MESSAGE_COST
        lane = _lane(nbytes)
        with self._room:
            if wait_room and not self._has_room(lane):
                self._room.wait_for(lambda: self._has_room(lane))
            # In this order, an interrupt between the two leaves more room than there is, and not less for ever.
            self._outbox.put(_Posted(message, nbytes, delivered))
            self._posted[lane] += nbytes
        self._waker.wake()
        if delivered is not None:
            while not delivered.wait(1.0) and not self._finished:
                pass

    def _has_room(self, lane: Lane) -> bool:
        return self._posted[lane] + self._queued[lane] < BACKLOG_MAX or self._finished

    def close(self, farewell: Goodbye | Detach, timeout: float) -> bool:
        """Say this after everything that was posted; False if it was not confirmed in time."""
        self._farewell = farewell
        self._waker.wake()
        self._thread.join(timeout)
        confirmed = not self._thread.is_alive()
        if not confirmed:
            self._stop(tell=isinstance(farewell, Goodbye))
        return confirmed

    def abandon(self) -> None:
        """End the session at once; tells the broker, if it can be told within half a second."""
        self._stop(tell=True)

    def _stop(self, *, tell: bool) -> None:
        self._stopping = tell
        self._waker.wake()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(2.0)

    # --- the I/O thread

    def _run(self) -> None:
        try:
            with zmq.Context() as context:
                lanes = {lane: self._open(context) for lane in Lane}
                try:
                    self._serve(lanes)
                finally:
                    for dealer in lanes.values():
                        dealer.close(linger=500)
        except Exception as error:
            log.exception("the connection's thread failed; this is a bug in raymq")
            self._handle(Ended("internal-error", f"raymq's own thread failed: {error!r}"))
        finally:
            self._waker.close()
            for _, delivered in self._transfers.values():
                if delivered is not None:
                    delivered.set()
            with self._room:
                self._finished = True
                self._room.notify_all()

    def _open(self, context: zmq.Context[Any]) -> zmq.Socket[bytes]:
        dealer: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        dealer.ipv6 = self._ipv6
        dealer.maxmsgsize = MESSAGE_MAX
        dealer.sndhwm = dealer.rcvhwm = 1000
        dealer.reconnect_ivl = 100
        dealer.reconnect_ivl_max = 2000
        dealer.heartbeat_ivl = int(Timing.heartbeat * 1000)
        dealer.heartbeat_timeout = int(Timing.lease * 1000)
        dealer.connect(self._endpoint)
        return dealer

    def _serve(self, lanes: dict[Lane, zmq.Socket[bytes]]) -> None:
        poller = zmq.Poller()
        for dealer in lanes.values():
            poller.register(dealer, zmq.POLLIN)
        woken = self._waker.fileno()
        poller.register(woken, zmq.POLLIN)
        while True:
            self._take_outbox()
            now = time.monotonic()
            outgoing, events = self._connection.poll(now)
            for lane, frames in outgoing:
                self._send(lanes[lane], frames)
            self._make_room()
            self._tell(events)
            if self._connection.state is State.ENDED:
                return
            wait = self._connection.next_deadline() - time.monotonic()
            ready: dict[Any, int] = dict(poller.poll(int(max(0.0, wait) * 1000) + (wait > 0)))
            if woken in ready:
                self._waker.clear()
            for lane, dealer in lanes.items():
                if dealer in ready:
                    self._drain(dealer, DRAIN[lane])

    def _send(self, dealer: zmq.Socket[bytes], frames: Sequence[Any]) -> None:
        try:
            packets.send(dealer, frames)
        except zmq.Again:
            log.debug("a packet was dropped: the broker does not take any; it will be sent again")

    def _drain(self, dealer: zmq.Socket[bytes], limit: int) -> None:
        for frames in packets.received(dealer, limit):
            try:
                events = self._connection.receive([frame.buffer for frame in frames], time.monotonic())
            except RemoteProtocolError as error:
                log.warning("a packet that breaks the protocol was dropped: %s", error)
                continue
            self._tell(events)

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Delivered):
                _, delivered = self._transfers.pop(event.transfer)
                if delivered is not None:
                    delivered.set()
            else:
                self._handle(event)
                if isinstance(event, Received):
                    self._connection.channel.consumed(1, time.monotonic())
                elif isinstance(event, Arrived):
                    self._connection.channel.taken(event.payload.nbytes, time.monotonic())

    def _take_outbox(self) -> None:
        # The order matters: what was dropped by now was last used in messages that are in the outbox by now, and what a
        # farewell comes after is there, too.
        stopping, farewell = self._stopping, self._farewell
        dropped = [self._dropped.popleft() for _ in range(len(self._dropped))]
        channel = self._connection.channel
        taken = _NO_BYTES.copy()
        while True:
            try:
                message, nbytes, delivered = self._outbox.get_nowait()
            except queue.Empty:
                break
            taken[_lane(nbytes)] += nbytes
            payload: Any = getattr(message, "payload", None)
            if isinstance(payload, Pickled):
                announced = channel.announce(payload)
                if isinstance(announced, Coming):
                    self._transfers[announced.transfer] = (payload.nbytes, delivered)
                    filled: Any = message
                    message = filled._replace(payload=announced)
            channel.send(message)
        if dropped:
            self._released(dropped)
        for start in range(0, len(dropped), REFS_PER_MESSAGE):
            channel.send(Release(dropped[start : start + REFS_PER_MESSAGE]))
        with self._room:
            for lane, nbytes in taken.items():
                self._posted[lane] -= nbytes
                self._queued[lane] += nbytes  # until it is looked at, after what can go has gone
        if stopping is not None:
            self._connection.abandon(tell=stopping)
        elif farewell is not None:
            self._connection.close(farewell)

    def _make_room(self) -> None:
        """Let calls go on that wait because too much waits to be sent."""
        bulk = sum(nbytes for nbytes, _ in self._transfers.values()) if self._transfers else 0
        queued = {Lane.CALLS: self._connection.channel.backlog, Lane.BULK: bulk}
        if queued != self._queued:
            with self._room:
                self._queued = queued
                self._room.notify_all()
