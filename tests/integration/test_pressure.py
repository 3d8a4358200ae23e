"""Slow and hostile peers: memory stays bounded, the others hardly notice, and whoever is to blame is held up or told."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import msgpack
import numpy as np
import psutil
import pytest
import zmq

import raymq as ray
from raymq.protocol.codec import data_header
from raymq.protocol.control import encode_control
from raymq.protocol.limits import HELD_MAX, INTAKE_MAX, MIB, PACKET_MAX, QUEUE_MAX
from raymq.protocol.route import Kind, Lane, encode_route
from tests.integration.conftest import Head, counted, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

SLACK = 64 * MIB
"""What allocators, libzmq and a busy machine may add to a bound."""

QUIET = 4.0
"""How many times as long a small call may take, in the median, beside somebody who does not read: about 1 was seen."""

LOUD = 10.0
"""The same beside a flood, which takes its share of the machine, too: 1.4 to 2.8 was seen, with all of it on two cores."""


class Peak:
    """How much the memory of a process has grown at its most, by the kernel's account."""

    def __init__(self, process: psutil.Process) -> None:
        self._status = Path(f"/proc/{process.pid}/status")
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # the peak begins anew (proc(5))
        self._base = self._peak()

    def _peak(self) -> int:
        lines = self._status.read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) << 10

    @property
    def growth(self) -> int:
        growth = self._peak() - self._base
        print(f"grew by up to {growth:,} bytes")
        return growth


class Witness:
    """An honest client beside it all, which takes its time."""

    def __init__(self, head: Head) -> None:
        self._session = head.connect()
        self.small_call()
        self.idle = self.typical(1.0)

    def small_call(self) -> float:
        began = time.perf_counter()
        assert list(self._session.kept) == []
        return time.perf_counter() - began

    def typical(self, seconds: float) -> float:
        """The median time of a small call."""
        until = time.monotonic() + seconds
        times = []
        while time.monotonic() < until:
            times.append(self.small_call())
            time.sleep(0.001)
        return median(times)

    def hardly_notices(self, seconds: float, at_most: float) -> None:
        ratio = self.typical(seconds) / self.idle
        print(f"a small call takes {ratio:.2f} times as long as on an idle broker")
        assert ratio < at_most

    def close(self) -> None:
        self._session.close()


@pytest.fixture
def witness(cluster: Head) -> Iterator[Witness]:
    it = Witness(cluster)
    yield it
    it.close()


@pytest.fixture
def broker(cluster: Head) -> psutil.Process:
    return psutil.Process(cluster.child("raymq_broker").pid)


@contextmanager
def stopped(process: psutil.Process | subprocess.Popen[Any]) -> Iterator[None]:
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


def no_more(value: Callable[[], int], what: str) -> int:
    """Wait until something has stopped to grow."""
    seen = [value()]

    def still() -> bool:
        time.sleep(0.5)
        seen.append(value())
        return len(seen) > 3 and seen[-1] == seen[-2] == seen[-3]

    wait_until(still, f"{what} stays as it is")
    return seen[-1]


# --- who does not read

SLEEPER = """
import sys
import numpy as np
import raymq as ray
ray.connect({address!r}, timeout=60)

@ray.remote(num_cpus=0)
def make(number):
    return np.full(4_000_000, number % 256, dtype=np.uint8)

refs = [make.remote(number) for number in range(200)]
ray.wait(refs, num_returns=len(refs), fetch_local=False)
print("asks", flush=True)
values = ray.get(refs)
print(all((value == number % 256).all() for number, value in enumerate(values)), flush=True)
"""


def test_a_client_that_does_not_read(cluster: Head, witness: Witness, broker: psutil.Process) -> None:
    """It asks for 800 MB and sleeps; when it wakes up, all of it comes."""
    client = subprocess.Popen(
        [sys.executable, "-c", SLEEPER.format(address=cluster.address)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == "asks\n"
        session = next(s for s in cluster.status()["sessions"] if s["client"]["pid"] == client.pid)
        bridge = next(b for b in cluster.status()["bridges"] if b["session"] == session["id"])
        of_broker, of_bridge = Peak(broker), Peak(psutil.Process(bridge["pid"]))
        with stopped(client):
            witness.hardly_notices(4.0, QUIET)
            assert of_broker.growth < QUEUE_MAX + SLACK
            assert of_bridge.growth < HELD_MAX + SLACK
        assert client.stdout.readline() == "True\n"
        assert client.wait(60) == 0
        assert of_broker.growth < QUEUE_MAX + SLACK
    finally:
        client.kill()
        client.wait()
        client.stdout.close()


def test_a_bridge_that_does_not_read(cluster: Head, witness: Witness, broker: psutil.Process) -> None:
    """Its client is held up, then gets an error for what it asks in vain; when the bridge goes on, so does the client."""
    with cluster.connect() as session:
        bridge = psutil.Process(cluster.bridge_pid(session))
        of_broker = Peak(broker)
        refs: list[Any] = []

        def pour() -> None:
            for number in range(6000):
                refs.append(session.put(np.full(60_000, number % 256, dtype=np.uint8)))  # 360 MB of small values

        pouring = threading.Thread(target=pour)
        with stopped(bridge):
            pouring.start()
            held_up_at = no_more(lambda: len(refs), "the number of values that were put")
            assert 0 < held_up_at < 6000
            witness.hardly_notices(2.0, QUIET)
            with pytest.raises(ray.exceptions.GetTimeoutError):
                session.get(refs[0], timeout=0.5)
            assert of_broker.growth < QUEUE_MAX + SLACK
        pouring.join(60)
        assert len(refs) == 6000
        assert all(session.get(refs[number])[-1] == number % 256 for number in range(0, 6000, 500))
        assert of_broker.growth < QUEUE_MAX + SLACK


# --- who says too much


Pour = Callable[[], bool]
"""Sends something, or finds that there is no room just now."""


@contextmanager
def flood(pour: Pour) -> Iterator[list[int]]:
    """Pour as fast as it goes, in a thread, during the block; the list's element counts what went."""
    ended = threading.Event()
    sent = [0]

    def run() -> None:
        while not ended.is_set():
            if pour():
                sent[0] += 1
            else:
                ended.wait(0.001)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield sent
    finally:
        ended.set()
        thread.join()


def packets(dealer: zmq.Socket[bytes], frames: Callable[[], list[bytes]]) -> Pour:
    def pour() -> bool:
        try:
            dealer.send_multipart(frames(), zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        return True

    return pour


class Endless:
    """A packet that never ends, by hand (RFC 37): libzmq's own sockets give it up with the first connection.

    Args:
        address: the broker's.
        before: packets that are sent first, whole.
        part: what follows, over and over: frames that are not the last one.
    """

    GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
    READY = b"\x04\x1c" + b"\x05READY" + b"\x0bSocket-Type" + b"\x00\x00\x00\x06" + b"DEALER"

    def __init__(self, address: str, before: list[list[bytes]], part: bytes) -> None:
        host, _, port = address.rpartition(":")
        self._address = host, int(port)
        self._before = b"".join(map(self._packet, before))
        self._part = part
        self._connection: socket.socket | None = None

    @staticmethod
    def frame(data: bytes, *, more: bool) -> bytes:
        size = len(data).to_bytes(8 if len(data) > 255 else 1, "big")
        return bytes([more | (len(data) > 255) << 1]) + size + data

    def _packet(self, frames: list[bytes]) -> bytes:
        return b"".join(self.frame(frame, more=number < len(frames)) for number, frame in enumerate(frames, 1))

    def __call__(self) -> bool:
        try:
            if self._connection is None:
                self._connection = socket.create_connection(self._address, timeout=30)
                self._connection.sendall(self.GREETING + self.READY)
                came = b""
                while b"READY" not in came:  # nothing may be said before
                    came += self._connection.recv(1000) or b"READY"
                self._connection.sendall(self._before)
            self._connection.sendall(self._part)
        except OSError:
            self.close()
        return True

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def greet(head: Head, dealer: zmq.Socket[bytes]) -> bytes:
    """Open a session by hand."""
    session = secrets.token_bytes(16)
    client = {"python": sys.version.split()[0], "ray": ""}
    hello = {"protocol": [1, 1], "token": bytes(32), "client": client, "job": {}}

    def answered() -> bool:
        dealer.send_multipart([encode_route(Kind.HELLO, session), encode_control(Kind.HELLO, **hello)])
        return dealer.recv_multipart()[0][5] == Kind.WELCOME

    wait_until(answered, "the session is open")
    return session


def ending(dealer: zmq.Socket[bytes], session: bytes) -> dict[str, Any]:
    """What a client is told that comes back to a session."""
    dealer.send_multipart([encode_route(Kind.ATTACH, session), encode_control(Kind.ATTACH, token=bytes(32))])
    while True:
        route, answer = dealer.recv_multipart()
        if route[5] == Kind.ENDED:
            return dict(msgpack.unpackb(answer))


@pytest.mark.parametrize("part", [bytes(MIB), b""], ids=["large frames", "empty frames"])
@pytest.mark.parametrize("known", [False, True], ids=["stranger", "client"])
def test_a_packet_that_never_ends(
    cluster: Head, witness: Witness, broker: psutil.Process, dealer: zmq.Socket[bytes], known: bool, part: bytes
) -> None:
    """Over and over: the connection is closed each time before it fills the memory, and a session ends with it."""
    dealer.connect(f"tcp://{cluster.address}")
    session = greet(cluster, dealer) if known else secrets.token_bytes(16)
    before = counted(cluster, "flooded")
    of_broker = Peak(broker)
    attach = [encode_route(Kind.ATTACH, session), encode_control(Kind.ATTACH, token=bytes(32))]
    endless = Endless(cluster.address, [attach], Endless.frame(part, more=True) * (1 if part else 10_000))
    with closing(endless), flood(endless):
        wait_until(lambda: counted(cluster, "flooded") >= before + 3, "it was cut three times")
        witness.hardly_notices(2.0, LOUD)
    # What comes between two looks comes on top; on loopback that is much. An empty frame takes 32 times its 2 bytes.
    assert of_broker.growth < (2 * INTAKE_MAX if part else 40 * PACKET_MAX) + 4 * SLACK
    if known:
        told = ending(dealer, session)
        assert told["code"] == "protocol-error"
        assert "bytes at once" in told["message"]


@pytest.mark.parametrize(
    ("frames", "counter"),
    [
        (lambda: [b"?"], "malformed"),
        (lambda: [encode_route(Kind.DATA, b"s" * 16, Lane.CALLS), data_header(1, 0, 64, b"\x90")], "unbound"),
        (lambda: [encode_route(Kind.DATA, b"s" * 16, Lane.BULK), *[bytes(MIB)] * 16], "unbound"),
    ],
    ids=["garbage", "small packets", "large packets"],
)
def test_a_stranger_who_says_much(
    cluster: Head,
    witness: Witness,
    broker: psutil.Process,
    dealer: zmq.Socket[bytes],
    frames: Callable[[], list[bytes]],
    counter: str,
) -> None:
    """Whole packets, as many as there are: each is dropped and counted."""
    dealer.connect(f"tcp://{cluster.address}")
    before = counted(cluster, counter)
    of_broker = Peak(broker)
    with flood(packets(dealer, frames)) as sent:
        witness.hardly_notices(3.0, LOUD)
    assert sent[0] > 100
    assert of_broker.growth < INTAKE_MAX + 2 * SLACK
    wait_until(lambda: counted(cluster, counter) > before + 50, "they are counted")


def test_a_client_that_ignores_its_credit(
    cluster: Head, witness: Witness, broker: psutil.Process, dealer: zmq.Socket[bytes]
) -> None:
    """Its bridge ends its session, and no more of it goes there."""
    dealer.connect(f"tcp://{cluster.address}")
    session = greet(cluster, dealer)
    of_broker = Peak(broker)
    numbers = iter(range(1, 1 << 40))

    def packet() -> list[bytes]:
        return [encode_route(Kind.DATA, session), data_header(next(numbers), 0, 64, b"\x90")]

    with flood(packets(dealer, packet)) as sent:
        witness.hardly_notices(2.0, LOUD)
        wait_until(
            lambda: session.hex() not in [s["id"] for s in cluster.status()["sessions"]], "its session has ended"
        )
    assert sent[0] > 100
    assert of_broker.growth < QUEUE_MAX + SLACK
    told = ending(dealer, session)
    assert told["code"] == "protocol-error", told


def test_a_client_that_comes_and_goes(cluster: Head, witness: Witness, dealer: zmq.Socket[bytes]) -> None:
    """Thousands of sessions that end at once don't fill the disk with what the log says of them."""
    dealer.connect(f"tcp://{cluster.address}")
    hello = {"protocol": [1, 1], "token": bytes(32), "client": {"python": sys.version.split()[0], "ray": ""}, "job": {}}
    greeting, farewell = encode_control(Kind.HELLO, **hello), encode_control(Kind.BYE, token=bytes(32))
    lines = len(cluster.log.read_text().splitlines())
    before = counted(cluster, "unlogged")
    for _ in range(2000):
        session = secrets.token_bytes(16)
        dealer.send_multipart([encode_route(Kind.HELLO, session), greeting])
        dealer.send_multipart([encode_route(Kind.BYE, session), farewell])
    unlogged = wait_until(lambda: max(0, counted(cluster, "unlogged") - before - 1000), "the log has had enough")
    assert len(cluster.log.read_text().splitlines()) - lines < 4000 - unlogged
    assert witness.small_call() > 0
