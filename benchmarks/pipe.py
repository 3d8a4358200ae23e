"""What a bare pyzmq pipe through a copy-free Python broker does: the limit for anything that goes this way.

A DEALER on TCP, a broker of two ROUTERs that hands frames on, a DEALER on ipc: as in raymq, and nothing else.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import zmq

CHUNK = 1 << 20
NBYTES = 100_000_000
ROUTE, HEADER = bytes(24), bytes(20)


def _broker(ports: Connection, endpoint: str) -> None:
    context = zmq.Context()
    clients, workers = context.socket(zmq.ROUTER), context.socket(zmq.ROUTER)
    workers.bind(endpoint)
    ports.send(clients.bind_to_random_port("tcp://127.0.0.1"))
    worker = workers.recv_multipart()[0]
    client = b""
    poller = zmq.Poller()
    poller.register(clients, zmq.POLLIN)
    poller.register(workers, zmq.POLLIN)
    while True:
        for socket, _ in poller.poll():
            peer, *frames = socket.recv_multipart(copy=False)
            if socket is clients:
                client = peer
                workers.send_multipart([worker, *frames], copy=False)
            else:
                clients.send_multipart([client, *frames], copy=False)


def _worker(endpoint: str) -> None:
    dealer = zmq.Context().socket(zmq.DEALER)
    dealer.connect(endpoint)
    dealer.send(b"here")
    data = memoryview(bytearray(NBYTES))
    while True:
        frames = dealer.recv_multipart(copy=False)
        what = bytes(frames[0].buffer[:4])
        if what == b"ping":
            dealer.send_multipart(frames, copy=False)
        elif what == b"want":
            _send(dealer, data)
        elif what == b"done":
            dealer.send(b"thanks")


def _send(dealer: Any, data: memoryview) -> None:
    for start in range(0, len(data), CHUNK):
        dealer.send_multipart([ROUTE, HEADER, data[start : start + CHUNK]], copy=False)


@contextlib.contextmanager
def bare_pipe() -> Iterator[str]:
    """A broker and a worker; where clients connect."""
    here, there = multiprocessing.Pipe()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="rmqb") as base:
        endpoint = f"ipc://{base}/pipe"
        ends = [
            spawn.Process(target=_broker, args=(there, endpoint), daemon=True),
            spawn.Process(target=_worker, args=(endpoint,), daemon=True),
        ]
        for end in ends:
            end.start()
        try:
            if not here.poll(30):
                raise RuntimeError("the bare broker did not start")
            yield f"tcp://127.0.0.1:{here.recv()}"
        finally:
            for end in ends:
                end.terminate()
                end.join()


@contextlib.contextmanager
def client(endpoint: str) -> Iterator[zmq.Socket[bytes]]:
    """A client of it, one at a time."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(endpoint)
        yield dealer


def measure(endpoint: str, seconds: float) -> dict[str, float]:
    """Round trips per second of a small packet, and GB/s of 100 MB in chunks of 1 MiB, each way."""
    data = memoryview(bytearray(NBYTES))
    with client(endpoint) as dealer:
        return {
            "round trips": _rate(seconds, lambda: round_trip(dealer)),
            "up": NBYTES / 1e9 * _rate(seconds, lambda: _up(dealer, data)),
            "down": NBYTES / 1e9 * _rate(seconds, lambda: _down(dealer)),
        }


def _rate(seconds: float, function: Any) -> float:
    function()
    calls, begin = 0, time.perf_counter()
    while time.perf_counter() < begin + seconds:
        function()
        calls += 1
    return calls / (time.perf_counter() - begin)


def round_trip(dealer: Any) -> None:
    """A small packet there and back."""
    dealer.send_multipart([b"ping" + ROUTE[4:], HEADER])
    dealer.recv_multipart()


def _up(dealer: Any, data: memoryview) -> None:
    _send(dealer, data)
    dealer.send(b"done")
    dealer.recv()


def _down(dealer: Any) -> None:
    dealer.send(b"want")
    left = NBYTES
    while left:
        left -= len(dealer.recv_multipart(copy=False)[2])
