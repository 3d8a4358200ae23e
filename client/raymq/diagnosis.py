"""What is it that listens there? Asked by ``connect()`` when the broker does not answer."""

from __future__ import annotations

import socket
from enum import Enum
from typing import NamedTuple

from raymq.address import Address

PATIENCE = 1.0
"""Seconds that a listener gets to say its first bytes; both ZeroMQ and gRPC speak at once."""

_ZMTP_SIGNATURE = 0xFF
_HTTP2_SETTINGS = 4


class Found(Enum):
    """What the address turned out to be."""

    NOTHING = "nothing listens"
    SILENT = "something listens that says nothing"
    GRPC = "a gRPC server"
    OTHER = "something that speaks another protocol"
    ZEROMQ = "a ZeroMQ socket"


class Diagnosis(NamedTuple):
    """What was found, and a sentence about it."""

    found: Found
    text: str


def diagnose(address: Address) -> Diagnosis:
    """Connect by plain TCP and look at the first bytes."""
    try:
        with socket.create_connection((address.host, address.port), timeout=PATIENCE) as connection:
            try:
                greeting = connection.recv(64)
            except TimeoutError:
                greeting = _ask_http(connection)
    except TimeoutError:
        text = f"{address} does not answer: is the machine up, and does a firewall let port {address.port} through?"
        return Diagnosis(Found.NOTHING, text)
    except OSError as error:
        text = f"nothing listens at {address} ({error}): is `raymq start` running there, on that port?"
        return Diagnosis(Found.NOTHING, text)
    return _classify(address, greeting)


def _ask_http(connection: socket.socket) -> bytes:
    """A web server waits to be asked."""
    try:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return connection.recv(64)
    except OSError:
        return b""


def _classify(address: Address, greeting: bytes) -> Diagnosis:
    if greeting[:1] == bytes((_ZMTP_SIGNATURE,)):
        return Diagnosis(Found.ZEROMQ, f"a ZeroMQ socket listens at {address}, but it does not answer as a broker")
    if len(greeting) >= 9 and greeting[3] == _HTTP2_SETTINGS and greeting[5:9] == bytes(4):
        return Diagnosis(
            Found.GRPC,
            f"a gRPC server listens at {address}, not a raymq broker. On a head node started with `ray start --head` "
            f"port 10001 belongs to Ray Client's own server (ray://). Start raymq there on another port (raymq start "
            f"--port PORT, outside of 10002 to 19999, which Ray's workers use), or move Ray Client's server away (ray "
            f"start --head --ray-client-server-port PORT), and connect to raymq's port.",
        )
    if greeting:
        text = f"what listens at {address} speaks another protocol, not raymq's; it began with {greeting[:16]!r}"
        return Diagnosis(Found.OTHER, text)
    return Diagnosis(Found.SILENT, f"something listens at {address}, but it says nothing: it is no raymq broker")
