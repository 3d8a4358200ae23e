"""What the kernel tells of real connections."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from raymq_broker.arrivals import SUPPORTED, Arrivals, Arrived, number_of
from raymq_broker.intake import wire_bytes

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="this kernel does not count")


def until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
    return found


class Port:
    def __init__(self, context: zmq.Context[Any]) -> None:
        self.context = context
        self.gone: list[int] = []
        self.router = context.socket(zmq.ROUTER)
        self.router.linger = 0
        self.arrivals = Arrivals(context, self.router, self.gone.append)
        self.number = self.router.bind_to_random_port("tcp://127.0.0.1")

    def look(self) -> list[Arrived]:
        return list(self.arrivals.look())

    def dealer(self) -> Any:
        dealer = self.context.socket(zmq.DEALER)
        dealer.linger = 0
        dealer.connect(f"tcp://127.0.0.1:{self.number}")
        return dealer


@pytest.fixture
def port() -> Iterator[Port]:
    with zmq.Context() as context:
        port = Port(context)
        yield port
        port.arrivals.close()
        port.router.close()


def test_bytes_are_counted_as_they_come(port: Port) -> None:
    """To the byte, but for the handshake."""
    with port.dealer() as dealer:
        dealer.send(b"first")
        peer, *_ = port.router.recv_multipart(copy=False)
        (before,) = port.look()
        assert number_of(peer) == before.number
        frames = [b"x" * 10, b"y" * 100_000, b""]
        dealer.send_multipart(frames)
        came = port.router.recv_multipart(copy=False)[1:]
        assert wire_bytes(came) == wire_bytes(frames)
        until(lambda: port.look()[0].total == before.total + wire_bytes(frames))
        assert port.look()[0].inode == before.inode


def test_a_connection_that_is_cut(port: Port) -> None:
    """Its peer notices at once, even while it cannot send; whoever comes next on its number is another one."""
    with socket.create_connection(("127.0.0.1", port.number)) as connection:
        (first,) = until(port.look)
        port.arrivals.cut(first.number)
        connection.settimeout(20)
        with pytest.raises(ConnectionError):
            while True:
                connection.sendall(bytes(1 << 20))
    until(lambda: port.look() == [] and port.gone == [first.number])
    port.arrivals.cut(first.number)
    with port.dealer():
        (second,) = until(port.look)
        assert second.inode != first.inode


def test_what_is_no_connection_any_longer(port: Port) -> None:
    """Its number may be anything by now, and is let go."""
    reader, writer = os.pipe()
    port.arrivals._numbers |= {reader, 1 << 20}
    assert port.look() == []
    assert sorted(port.gone) == [reader, 1 << 20]
    os.close(reader)
    os.close(writer)


def test_a_peer_of_an_old_zmtp(port: Port) -> None:
    """libzmq speaks ZMTP 1, too, and says nothing of such peers; what is no ZeroMQ at all may look like one."""
    with socket.create_connection(("127.0.0.1", port.number)) as connection:
        connection.sendall(b"\x01\x00" + b"\x02\x00?")
        assert port.router.poll(20_000)
        peer, frame = port.router.recv_multipart(copy=False)
        assert frame.bytes == b"?"
        assert number_of(peer) is None
        assert len(port.look()) == 1
