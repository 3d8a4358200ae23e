"""What a bare pyzmq pipe through a copy-free Python broker does: the limit for anything that goes this way.

A DEALER on TCP, a broker of two ROUTERs that hands frames on, a DEALER on ipc: as in raymq, and nothing else.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
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


def measure(seconds: float) -> dict[str, float]:
    """Round trips per second of a small packet, and GB/s of 100 MB in chunks of 1 MiB, each way."""
    here, there = multiprocessing.Pipe()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="rmqb") as base, zmq.Context() as context:
        endpoint = f"ipc://{base}/pipe"
        ends = [
            spawn.Process(target=_broker, args=(there, endpoint), daemon=True),
            spawn.Process(target=_worker, args=(endpoint,), daemon=True),
        ]
        for end in ends:
            end.start()
        dealer = context.socket(zmq.DEALER)
        dealer.linger = 0
        if not here.poll(30):
            raise RuntimeError("the bare broker did not start")
        dealer.connect(f"tcp://127.0.0.1:{here.recv()}")
        data = memoryview(bytearray(NBYTES))
        try:
            return {
                "round trips": _rate(seconds, lambda: _ping(dealer)),
                "up": NBYTES / 1e9 * _rate(seconds, lambda: _up(dealer, data)),
                "down": NBYTES / 1e9 * _rate(seconds, lambda: _down(dealer)),
            }
        finally:
            dealer.close()
            for end in ends:
                end.terminate()
                end.join()


def _rate(seconds: float, function: Any) -> float:
    function()
    calls, begin = 0, time.perf_counter()
    while time.perf_counter() < begin + seconds:
        function()
        calls += 1
    return calls / (time.perf_counter() - begin)


def _ping(dealer: Any) -> None:
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
