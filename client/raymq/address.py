"""Where the broker is: how addresses are written and read."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from raymq.errors import AddressError, NameNotResolved
from raymq.protocol.limits import PORT

ENVIRONMENT = "RAYMQ_ADDRESS"
"""The environment variable that holds the address where none is given."""

_ADDRESS = r"(?:raymq://)?(?:\[(?P<ipv6>[0-9a-fA-F:.%\w]+)\]|(?P<host>[^\[\]/:?#@\s]+))(?::(?P<port>[0-9]{1,5}))?/?"


class Address(NamedTuple):
    """A broker's host and port, as the user wrote them."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(address: str | None) -> Address:
    """Read ``HOST``, ``HOST:PORT``, ``[IPV6]:PORT``, each with or without ``raymq://`` before it.

    Args:
        address: what the user wrote; None or empty stands for ``$RAYMQ_ADDRESS``, or for ``$RAY_ADDRESS`` if that
            begins with ``raymq://``.

    Raises:
        AddressError: there is none, or it cannot be read.
    """
    text = address or os.environ.get(ENVIRONMENT) or _rays_own()
    if not text:
        raise AddressError(f'connect() needs an address, as in connect("head:{PORT}"), or ${ENVIRONMENT} set to one')
    if text.startswith("ray://"):
        raise AddressError(f"{text!r} is an address of Ray Client; a raymq broker's is raymq://HOST:PORT")
    if text in ("auto", "local"):
        raise AddressError(f"{text!r} means a cluster on this machine, to Ray: write the broker's HOST:PORT")
    match = re.fullmatch(_ADDRESS, text)
    port = int(match["port"] or PORT) if match else 0
    if match is None or not 0 < port < 1 << 16:
        raise AddressError(f"{text!r} is no address: write HOST:PORT, raymq://HOST:PORT or [IPV6]:PORT")
    return Address(match["ipv6"] or match["host"], port)


def _rays_own() -> str:
    """What an installed Ray would hand to raymq."""
    text = os.environ.get("RAY_ADDRESS", "")
    return text if text.startswith("raymq://") else ""


def resolve(address: Address) -> tuple[str, bool]:
    """Look the host's name up.

    Returns:
        The ZeroMQ endpoint, and whether it is an IPv6 one.

    Raises:
        NameNotResolved: the name has no address.
    """
    import socket

    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NameNotResolved(
            f"the name {address.host!r} does not resolve ({error}): is it spelled right, and known on this machine?"
        ) from None
    family, *_, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    ipv6 = family == socket.AF_INET6
    host = str(where[0])
    return (f"tcp://[{host}]:{address.port}" if ipv6 else f"tcp://{host}:{address.port}"), ipv6
