"""What listens there: asked of real listeners, on ports that the system picks."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from raymq import diagnosis
from raymq.address import Address
from raymq.diagnosis import Found, diagnose

Talk = Callable[[socket.socket], None]
HTTP2_SETTINGS = b"\x00\x00\x0c\x04\x00\x00\x00\x00\x00" + bytes(12)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "PATIENCE", 0.2)


@contextmanager
def listening(talk: Talk) -> Iterator[Address]:
    """A listener that talks to the one who connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5.0)
                talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Address("127.0.0.1", server.getsockname()[1])
        finally:
            server.close()
            thread.join(10.0)
    assert not thread.is_alive()


def until_closed(connection: socket.socket) -> None:
    while connection.recv(1024):
        pass


def silent(connection: socket.socket) -> None:
    until_closed(connection)


def hangs_up(connection: socket.socket) -> None:
    pass


def grpc(connection: socket.socket) -> None:
    connection.sendall(HTTP2_SETTINGS)
    until_closed(connection)


def http(connection: socket.socket) -> None:
    """A web server waits to be asked."""
    assert connection.recv(1024).startswith(b"GET / ")
    connection.sendall(b"HTTP/1.0 404 Not Found\r\n\r\n")


def ssh(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
    until_closed(connection)


def resets_when_asked(connection: socket.socket) -> None:
    connection.recv(1024)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    ("talk", "found", "says"),
    [
        (silent, Found.SILENT, "it says nothing"),
        (hangs_up, Found.SILENT, "it says nothing"),
        (resets_when_asked, Found.SILENT, "it says nothing"),
        (grpc, Found.GRPC, "Ray Client's own server"),
        (http, Found.OTHER, "b'HTTP/1.0 404 Not"),
        (ssh, Found.OTHER, "b'SSH-2.0-OpenSSH_'"),
    ],
)
def test_what_listens(talk: Talk, found: Found, says: str) -> None:
    with listening(talk) as address:
        answer = diagnose(address)
    assert answer.found is found
    assert says in answer.text
    assert str(address) in answer.text


def test_both_ways_out_of_ray_clients_port() -> None:
    with listening(grpc) as address:
        text = diagnose(address).text
    for hint in ("raymq start --port", "10002 to 19999", "--ray-client-server-port"):
        assert hint in text


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address("127.0.0.1", server.getsockname()[1])
    answer = diagnose(address)
    assert answer.found is Found.NOTHING
    assert f"nothing listens at {address}" in answer.text
    assert "raymq start" in answer.text


def test_a_machine_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object, **__: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", connect)
    answer = diagnose(Address("192.0.2.1", 7))
    assert answer.found is Found.NOTHING
    assert "firewall" in answer.text


def test_a_zeromq_socket() -> None:
    with zmq.Context() as context, context.socket(zmq.REP) as rep:
        rep.linger = 0
        port = rep.bind_to_random_port("tcp://127.0.0.1")
        answer = diagnose(Address("127.0.0.1", port))
    assert answer.found is Found.ZEROMQ
    assert "does not answer as a broker" in answer.text


@given(st.binary(max_size=64))
def test_any_greeting_is_something(greeting: bytes) -> None:
    answer = diagnosis._classify(Address("head", 7), greeting)
    assert answer.found is not Found.NOTHING
    assert (answer.found is Found.SILENT) is (greeting == b"")
