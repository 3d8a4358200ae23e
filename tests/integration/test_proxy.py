"""The fault proxy does what the fault tests rely on: held against a plain server, no cluster needed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.proxy import DOWN, UP, Fault, Point, Proxy, Weather


class Once(Weather):
    """One fault at one point, and then no more."""

    def __init__(self, kind: str, direction: str, nbytes: int, seconds: float = 0.2) -> None:
        super().__init__(0)
        self._plan = [(Point(direction, nbytes, 1000.0), Fault(kind, False, seconds))]

    def next(self) -> tuple[Point, Fault]:
        return self._plan.pop() if self._plan else (Point(UP, 1 << 62, 1000.0), Fault("cut", True, 0.0))


def serve(server: socket.socket) -> None:
    """Send back whatever comes."""

    def echo(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(1 << 16):
                    connection.sendall(data)
            except OSError:
                pass

    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=echo, args=(connection,)).start()


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def connect(proxy: Proxy) -> socket.socket:
    host, _, port = proxy.address.rpartition(":")
    end = socket.create_connection((host, int(port)), timeout=20)
    end.sendall(b"?")
    assert end.recv(1) == b"?"
    return end


def read(end: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer if the connection ends before."""
    data = b""
    while len(data) < size:
        try:
            more = end.recv(size - len(data))
        except ConnectionResetError:
            break
        if not more:
            break
        data += more
    return data


def talk(end: socket.socket, size: int) -> bytes:
    """Send so many bytes and read as many back, or as many as come."""

    def send() -> None:
        try:
            end.sendall(bytes(size))
        except OSError:
            pass

    sender = threading.Thread(target=send)
    sender.start()
    data = read(end, size)
    sender.join()
    return data


@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_a_fault_at_an_exact_byte(port: int, kind: str) -> None:
    with Proxy(port) as proxy, connect(proxy) as end:
        proxy.begin(Once(kind, UP, 123_457))
        before = proxy.passed[UP]
        end.sendall(bytes(123_457))
        if kind == "reset":
            with pytest.raises(ConnectionResetError):
                while end.recv(1 << 16):
                    pass
        else:
            assert len(read(end, 123_457)) < 123_457
        assert proxy.passed[UP] - before == 123_457
        assert proxy.faults == {kind: 1}
        with connect(proxy) as again:
            assert talk(again, 100) == bytes(100)


def test_a_stall_holds_everything_back_and_loses_nothing(port: int) -> None:
    with Proxy(port) as proxy, connect(proxy) as end, connect(proxy) as other:
        proxy.begin(Once("stall", UP, 1000, seconds=0.5))
        started = time.monotonic()
        end.sendall(bytes(3_000))
        assert talk(other, 100) == bytes(100)
        quick = time.monotonic() - started
        assert len(read(end, 3_000)) == 3_000
        assert time.monotonic() - started >= 0.5 > quick
        assert proxy.faults == {"stall": 1}


def test_a_delay_makes_every_piece_late(port: int) -> None:
    with Proxy(port) as proxy, connect(proxy) as end:
        proxy.strike("delay", 1.0)
        started = time.monotonic()
        assert talk(end, 10) == bytes(10)
        assert time.monotonic() - started >= 0.2  # a tenth of a second each way


def test_a_black_hole_ends_in_a_cut(port: int) -> None:
    with Proxy(port) as proxy, connect(proxy) as end:
        proxy.begin(Once("swallow", DOWN, 500, seconds=0.3))
        assert len(talk(end, 5_000)) == 500
        assert proxy.faults == {"swallow": 1}


def test_a_refusal_lasts_a_while(port: int) -> None:
    with Proxy(port) as proxy, connect(proxy) as end:
        proxy.strike("refuse", 0.5)
        assert read(end, 1) == b""
        host, _, number = proxy.address.rpartition(":")
        with socket.create_connection((host, int(number)), timeout=20) as refused:
            assert read(refused, 1) == b""
        time.sleep(0.6)
        with connect(proxy) as again:
            assert talk(again, 100) == bytes(100)


def test_a_sink_that_is_full_stops_nobody_else(port: int) -> None:
    with Proxy(port) as proxy, connect(proxy) as stuck, connect(proxy) as other:
        stuck.settimeout(1.0)
        with pytest.raises(TimeoutError):
            stuck.sendall(bytes(200_000_000))  # what comes back is not read
        other.settimeout(20)
        assert talk(other, 1_000_000) == bytes(1_000_000)


def test_the_same_seed_gives_the_same_faults() -> None:
    def first(seed: int) -> list[tuple[Point, Fault]]:
        weather = Weather(seed)
        return [weather.next() for _ in range(50)]

    assert first(7) == first(7) != first(8)


def test_it_takes_the_place_of_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "some.sock"

    def own() -> tuple[socket.socket, threading.Thread]:
        path.unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind(str(path))
        server.listen()
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        return server, thread

    def once() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
            end.connect(str(path))
            assert talk(end, 100) == bytes(100)

    owners = [own()]
    with Proxy(path) as proxy:
        once()
        proxy.calm()  # its thread has done what it was at
        assert proxy.passed == {UP: 100, DOWN: 100}
        owners.append(own())
        proxy.interpose()
        once()
        proxy.calm()
        assert proxy.passed == {UP: 200, DOWN: 200}
    for server, thread in owners:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
