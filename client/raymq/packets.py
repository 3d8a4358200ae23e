"""Packets in and out of ZeroMQ sockets, without waiting, and without a copy of what is large.

pyzmq's own ``send_multipart`` and ``recv_multipart`` look at each part, compute with enumerations, and tell that
nothing is there by an exception: for packets as small as most are, that takes as long as to send them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import zmq

_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)
_LAST = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)


def send(socket: zmq.Socket[bytes], frames: Sequence[Any]) -> None:
    """Send a packet.

    Raises:
        zmq.Again: the queue of the connection is full.
        zmq.ZMQError: there is no such connection.
    """
    last = len(frames) - 1
    for position, frame in enumerate(frames):
        socket.send(frame, _MORE if position < last else _LAST, copy=False)


def received(socket: zmq.Socket[bytes], limit: int) -> Iterator[list[zmq.Frame]]:
    """The packets that have come, at most ``limit`` of them."""
    while limit and has_more(socket):
        limit -= 1
        frame = socket.recv(_LAST, copy=False)
        frames = [frame]
        while frame.more:
            frame = socket.recv(_LAST, copy=False)
            frames.append(frame)
        yield frames


def has_more(socket: zmq.Socket[bytes]) -> bool:
    """Whether a packet has come."""
    return bool(int(socket.getsockopt(_EVENTS)) & _POLLIN)
