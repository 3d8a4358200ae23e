"""What the kernel knows of a socket's TCP connections: how many bytes each has brought. Also closes them.

libzmq tells which connections it accepts, by their file descriptors. They stay its own: here they are only looked at. A
descriptor that was closed meanwhile is found out by the kernel's answer, and one that is used again by its inode.
"""

from __future__ import annotations

import fcntl
import os
import socket as sockets
import struct
import termios
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import zmq
from zmq.utils.monitor import parse_monitor_message

SUPPORTED = hasattr(sockets, "TCP_INFO")
"""Whether there is such a kernel: Linux 4.1 or later. Elsewhere nothing is told, and nothing is bounded."""

_INT = struct.Struct("@i")
_BYTES_RECEIVED = struct.Struct("@Q")
_OFFSET = 128
"""Where ``tcpi_bytes_received`` stands in ``struct tcp_info`` (linux/tcp.h)."""


class Arrived(NamedTuple):
    """A connection: its descriptor, its inode, and the bytes of it that libzmq has read so far."""

    number: int
    inode: int
    total: int


class Arrivals:
    """Watches the connections that a bound TCP socket accepts.

    Args:
        context: the socket's.
        router: the socket, before it is bound.
        gone: called with the number of a connection that is gone.
    """

    def __init__(self, context: zmq.Context[Any], router: zmq.Socket[bytes], gone: Callable[[int], None]) -> None:
        self._events: zmq.Socket[bytes] = context.socket(zmq.PAIR)
        self._gone = gone
        self._numbers: set[int] = set()
        endpoint = f"inproc://raymq-arrivals-{id(router)}"
        router.monitor(endpoint, zmq.EVENT_ACCEPTED)
        self._events.linger = 0
        self._events.rcvhwm = 0  # unlimited: who comes and goes quickly must not come unseen
        self._events.connect(endpoint)

    def look(self) -> Iterator[Arrived]:
        """All connections that there are."""
        while self._events.poll(0):
            self._numbers.add(int(parse_monitor_message(self._events.recv_multipart())["value"]))
        for number in list(self._numbers):
            try:
                yield Arrived(number, os.fstat(number).st_ino, _bytes_read(number))
            except OSError:
                self._numbers.discard(number)
                self._gone(number)

    def cut(self, number: int) -> None:
        """End a connection; libzmq notices, and drops what it holds of an unfinished packet."""
        try:
            _at(number, _reset)
        except OSError:
            pass  # it has just gone by itself

    def close(self) -> None:
        """Stop watching; before the socket is closed."""
        self._events.close()


def number_of(frame: zmq.Frame) -> int | None:
    """The connection that a frame came over; None if libzmq does not know, as of peers that speak ZMTP 1 or 2."""
    try:
        return int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:
        return None


def _bytes_read(number: int) -> int:
    # In this order, what comes between the two questions counts as read: the count may be too high, never too low.
    (unread,) = _INT.unpack(fcntl.ioctl(number, termios.FIONREAD, bytes(_INT.size)))
    info = _at(number, lambda connection: connection.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_INFO, 256))
    if len(info) < _OFFSET + _BYTES_RECEIVED.size:
        raise OSError("this kernel does not count")
    (received,) = _BYTES_RECEIVED.unpack_from(info, _OFFSET)
    return int(received - unread)


def _reset(connection: sockets.socket) -> None:
    """Without the reset, a sender whose window is closed would wait for the end of FIN-WAIT-2: a minute."""
    connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(sockets.SHUT_RDWR)


def _at(number: int, ask: Callable[[sockets.socket], Any]) -> Any:
    """Ask a descriptor that belongs to somebody else."""
    connection = sockets.socket(sockets.AF_INET, sockets.SOCK_STREAM, 0, fileno=number)
    try:
        return ask(connection)
    finally:
        connection.detach()
