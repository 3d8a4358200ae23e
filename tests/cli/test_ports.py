"""The port to listen on: really taken by a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from raymq_cli import ports
from raymq_cli.ports import Holder


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_taken_port_is_seen_and_so_is_who_has_it(taken: int) -> None:
    assert ports.is_taken("127.0.0.1", taken)
    holder = ports.holder_of(taken)
    assert holder is not None
    assert holder.pid == os.getpid()
    assert "python" in holder.command


def test_whether_somebody_answers(taken: int) -> None:
    assert ports.answers(f"127.0.0.1:{taken}")
    assert not ports.answers("127.0.0.1:1")
    assert not ports.answers("no-such-host.invalid:6379")


def test_a_port_taken_on_all_networks_is_taken_on_each() -> None:
    with socket.create_server(("", 0)) as listener:
        assert ports.is_taken("127.0.0.1", listener.getsockname()[1])


def test_a_free_port_is_free_even_after_use(taken: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            listener.accept()[0].close()  # whoever closes first leaves a connection in TIME_WAIT
    assert not ports.is_taken("127.0.0.1", port)
    assert ports.holder_of(port) is None


def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(OSError, match="assign"):
        ports.is_taken("192.0.2.77", 10001)


@pytest.mark.parametrize(
    ("host", "address", "loopback"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("localhost", "127.0.0.1", True),
        ("127.8.9.1", "127.8.9.1", True),
        ("::1", "::1", True),
        ("0.0.0.0", "0.0.0.0", False),
        ("*", "0.0.0.0", False),
        ("::", "::", False),
        ("192.0.2.1", "192.0.2.1", False),
    ],
)
def test_hosts(host: str, address: str, loopback: bool) -> None:
    assert ports.resolve(host, 10001) == address
    assert ports.is_loopback(address) is loopback


def test_the_message_names_the_process_and_the_ways_out() -> None:
    text = ports.explain(10001, Holder(42, "nginx", "nginx -g daemon", "www"))
    assert "pid 42, nginx, user www" in text
    assert "nginx -g daemon" in text
    assert "kill 42" in text
    assert "raymq start --port 20001" in text
    assert "10002 to 19999" in text


def test_ray_clients_server_gets_both_ways_out() -> None:
    command = "python -m ray.util.client.server --address=10.0.0.1:6379 --host=0.0.0.0 --port=10001 --mode=proxy"
    text = ports.explain(10001, Holder(42, "python", command, "ray"))
    assert "Ray Client's server" in text
    assert "ray start --head --ray-client-server-port" in text
    assert "raymq start --port 20001" in text
    assert "kill" not in text


def test_a_process_that_we_may_not_see_gets_a_hint() -> None:
    assert "sudo ss -ltnp" in ports.explain(10001, None)


def test_the_messages_fit_a_terminal() -> None:
    for holder in (None, Holder(4194304, "python"), Holder(4194304, "x", "ray.util.client.server", "ubuntu")):
        for line in ports.explain(10001, holder).splitlines()[1:]:
            assert len(line) <= 100
