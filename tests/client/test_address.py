"""How addresses are written and read."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymq.address import ENVIRONMENT, Address, parse, resolve
from raymq.errors import AddressError, ConnectError, NameNotResolved
from raymq.protocol.limits import PORT


@pytest.fixture(autouse=True)
def no_address(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("head", "head", PORT),
        ("head:10002", "head", 10002),
        ("raymq://head", "head", PORT),
        ("raymq://head:1/", "head", 1),
        ("10.0.0.1:65535", "10.0.0.1", 65535),
        ("[::1]", "::1", PORT),
        ("raymq://[fe80::1%eth0]:7", "fe80::1%eth0", 7),
        ("head.example.com:10001", "head.example.com", 10001),
        ("bücher.example", "bücher.example", PORT),
    ],
)
def test_what_is_read(text: str, host: str, port: int) -> None:
    assert parse(text) == Address(host, port)
    assert parse(str(parse(text))) == Address(host, port), "as it is printed it can be read again"


@pytest.mark.parametrize(
    "text",
    [
        "head:",
        "head:0",
        "head:65536",
        "head:" + "9" * 5000,
        "head:port",
        "head:\u0661",
        ":10001",
        "::1",
        "[::1",
        "http://head:10001",
        "a b",
        "head/path",
        "user@head",
        "head:1:2",
        "raymq://",
        " head",
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(AddressError, match="is no address: write HOST:PORT") as raised:
        parse(text)
    assert isinstance(raised.value, ValueError)
    assert isinstance(raised.value, ConnectError)


def test_ray_clients_own_addresses() -> None:
    with pytest.raises(AddressError, match="an address of Ray Client"):
        parse("ray://head:10001")


@pytest.mark.parametrize("nothing", [None, ""])
def test_the_environment_says_it_where_nobody_else_does(nothing: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AddressError, match=r"\$RAYMQ_ADDRESS"):
        parse(nothing)
    monkeypatch.setenv(ENVIRONMENT, "raymq://other:7")
    assert parse(nothing) == Address("other", 7)
    assert parse("head") == Address("head", PORT)


@given(st.text(max_size=30) | st.from_regex(r"(raymq://)?[a-z\[\]:0-9.]{0,12}(:[0-9]{0,7})?/?", fullmatch=True))
def test_any_text_is_an_address_or_none(text: str) -> None:
    try:
        address = parse(text)
    except AddressError:
        return
    assert address.host
    assert 0 < address.port < 1 << 16


@pytest.mark.parametrize(
    ("address", "endpoint", "ipv6"),
    [
        (Address("127.0.0.1", 7), "tcp://127.0.0.1:7", False),
        (Address("localhost", 7), "tcp://127.0.0.1:7", False),
        (Address("::1", 7), "tcp://[::1]:7", True),
    ],
)
def test_names_are_looked_up(address: Address, endpoint: str, ipv6: bool) -> None:
    assert resolve(address) == (endpoint, ipv6)


def test_ipv4_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 7, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 7)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert resolve(Address("both", 7)) == ("tcp://192.0.2.1:7", False)
    del found[1]
    assert resolve(Address("both", 7)) == ("tcp://[2001:db8::1]:7", True)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64, "x..y"])
def test_a_name_that_does_not_resolve(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if host.endswith(".invalid"):

        def fail(*_: object, **__: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(NameNotResolved, match="does not resolve"):
        resolve(Address(host, 7))


def test_an_address_that_is_meant_for_an_installed_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(AddressError, match="needs an address"):
        parse(None)
    monkeypatch.setenv("RAY_ADDRESS", "raymq://head:7")
    assert parse(None) == Address("head", 7)
    monkeypatch.setenv(ENVIRONMENT, "other:8")
    assert parse(None) == Address("other", 8)


@pytest.mark.parametrize("text", ["auto", "local"])
def test_an_address_of_this_machine(text: str) -> None:
    with pytest.raises(AddressError, match="a cluster on this machine"):
        parse(text)
