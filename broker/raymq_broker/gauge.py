"""How much was sent to a connection that its peer has not read: counted in bytes, and bounded. Pure.

Credit bounds what honest ends have under way, but the broker does not look into what they say; libzmq bounds a queue in
packets, whatever their size. So the broker counts the bytes that it sends to each connection. After some of them it
sends a PING with a ``mark``, which the peer sends back in a PING of its own. A connection keeps the order, so all that
was sent before the mark has been read then. What would go beyond the limit is dropped; the stream sends it again.

A mark cannot be guessed, so that nobody can claim to have read what he has not. A mark that was lost (a full queue) is
sent again with the next heartbeat. A new connection has a new gauge.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Collection

from raymq_broker.actions import Side

STEPS = 8
"""Marks that are under way when a connection's limit is reached: one for each eighth of it."""

FRAME_COST = 128
"""Bytes that a frame takes in libzmq's queues beside its own."""

Connection = tuple[Side, bytes]
"""One of the broker's sockets, and a routing id there."""


class Gauge:
    """Of one connection.

    Args:
        limit: bytes that may wait. A packet that is larger than what is left may go all the same when next to nothing
            waits, so that every packet comes through in the end.
    """

    __slots__ = ("_limit", "_marks", "_step", "_unmarked", "waiting")

    def __init__(self, limit: int) -> None:
        self.waiting = 0
        """Bytes that were sent and are not known to be read."""
        self._limit = limit
        self._step = limit // STEPS
        self._unmarked = 0
        self._marks: deque[tuple[int, int]] = deque()

    def admit(self, nbytes: int) -> bool:
        """Count a packet that is to be sent; False if it is too much."""
        if self.waiting > self._step and self.waiting + nbytes > self._limit:
            return False
        self.waiting += nbytes
        self._unmarked += nbytes
        return True

    @property
    def due(self) -> bool:
        """Whether a mark should follow what was sent: what remains without one is never too much for a next packet."""
        return self._unmarked > self._step

    def mark(self, mark: int) -> None:
        """A mark follows what was sent so far."""
        self._marks.append((mark, self._unmarked))
        self._unmarked = 0

    @property
    def outstanding(self) -> int | None:
        """The last mark, if it has not come back."""
        return self._marks[-1][0] if self._marks else None

    def confirm(self, mark: int) -> None:
        """A mark came back. One that is not outstanding came twice, or was never sent."""
        if any(mark == known for known, _ in self._marks):
            found = None
            while found != mark:
                found, nbytes = self._marks.popleft()
                self.waiting -= nbytes


class Gauges:
    """Of all connections.

    Args:
        limit: bytes that may wait for one connection.
        secret: what marks are derived from.
    """

    def __init__(self, limit: int, secret: bytes) -> None:
        self._limit = limit
        self._secret = secret
        self._marks = 0
        self._gauges: dict[Connection, Gauge] = {}

    def __len__(self) -> int:
        return len(self._gauges)

    def admit(self, connection: Connection, nbytes: int) -> bool:
        """Count a packet that is to be sent; False if it is too much."""
        gauge = self._gauges.get(connection)
        if gauge is None:
            gauge = self._gauges[connection] = Gauge(self._limit)
        return gauge.admit(nbytes)

    def next_mark(self, connection: Connection) -> int | None:
        """The mark that is to be sent now, if one is due."""
        gauge = self._gauges.get(connection)
        if gauge is None or not gauge.due:
            return None
        self._marks += 1
        digest = hashlib.blake2b(self._marks.to_bytes(8, "big"), key=self._secret, digest_size=8).digest()
        mark = int.from_bytes(digest, "big") >> 1
        gauge.mark(mark)
        return mark

    def outstanding(self, connection: Connection) -> int | None:
        """The last mark that was sent and has not come back: it may have been lost."""
        gauge = self._gauges.get(connection)
        return gauge.outstanding if gauge is not None else None

    def confirm(self, connection: Connection, mark: int) -> None:
        """A mark came back on the connection that it was sent to."""
        gauge = self._gauges.get(connection)
        if gauge is not None:
            gauge.confirm(mark)

    def keep_only(self, connections: Collection[Connection]) -> None:
        """All other connections are gone."""
        for connection in self._gauges.keys() - connections:
            del self._gauges[connection]
