"""Command lines, and the lines that children tell us things with."""

from __future__ import annotations

from pathlib import Path

import pytest

from raymq.protocol.limits import Timing
from raymq_cli import children
from raymq_cli.children import Options
from raymq_cli.events import Event, Failed, Listed, Ready, Role, Spawn

RUN = Path("/run/x")


def command(role: Role, address: str = "", **options: object) -> list[str]:
    line = children.command(Spawn(1, role, address), Options(**options), RUN)  # type: ignore[arg-type]
    return line[line.index("-m") + 1 :]


def test_the_cluster() -> None:
    assert command(Role.CLUSTER, address="local") == [
        "raymq_bridge.local_cluster",
        "--supervised",
        "--address=auto",
        "--directory=/run/x",
    ]


def test_the_broker() -> None:
    line = command(Role.BROKER, port=10005, timing=Timing(0.5, 5, 7), sessions_max=3, object_max=99, queue_max=77)
    assert line[0] == "raymq_broker"
    expected = {
        "--supervised",
        "--port=10005",
        "--bridges=ipc:///run/x/bridges.sock",
        "--heartbeat-interval=0.5",
        "--lease=5",
        "--grace=7",
        "--max-sessions=3",
        "--max-object-size=99",
        "--max-queue=77",
    }
    assert expected <= set(line)
    assert "--insecure" not in line
    assert "--insecure" in command(Role.BROKER, insecure=True)


def test_a_broker_that_is_started_again_keeps_the_port_it_found() -> None:
    assert "--port=43210" in command(Role.BROKER, address="127.0.0.1:43210", port=0)


def test_a_bridge() -> None:
    line = command(Role.BRIDGE, address="10.0.0.1:6379", log_format="json", redis_password="secret")
    assert line == [
        "raymq_bridge",
        "--supervised",
        "--broker=ipc:///run/x/bridges.sock",
        "--address=10.0.0.1:6379",
        "--log-format=json",
    ]


def test_the_environment_is_ours_and_the_clusters() -> None:
    spawn = Spawn(1, Role.BRIDGE, env={"TOKEN": "new"})
    inherited = {"HOME": "/h", "TOKEN": "old"}
    assert children.environment(spawn, Options(), inherited) == {"HOME": "/h", "TOKEN": "new"}
    redis = children.environment(spawn, Options(redis_password="secret"), inherited)
    assert redis == {"HOME": "/h", "TOKEN": "new", "RAYMQ_BRIDGE_REDIS_PASSWORD": "secret"}


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b'{"event": "ready", "address": "h:1"}', Ready(7, "h:1")),
        (
            b'{"event": "ready", "address": "h:1", "env": {"A": "b"}, "started": false}',
            Ready(7, "h:1", {"A": "b"}, ours=False),
        ),
        (
            b'{"event": "bridges", "idle": [1], "busy": [2, 3], "waiting": 4}',
            Listed(7, frozenset([1]), frozenset([2, 3]), 4),
        ),
        (b'{"event": "failed", "message": "m"}', Failed(7, "m")),
    ],
)
def test_events(line: bytes, event: Event) -> None:
    assert children.parse_line(7, line) == event


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"{",
        b"[]",
        b"7",
        b"null",
        b"\xff",
        b'{"event": "no such"}',
        b'{"event": ["ready"]}',
        b'{"event": "ready"}',
        b'{"event": "ready", "address": "h:1", "env": 7}',
        b'{"event": "bridges", "idle": [[]], "busy": [], "waiting": 0}',
        b'{"event": "bridges", "idle": 1, "busy": [], "waiting": "many"}',
    ],
)
def test_what_is_no_event_is_none(line: bytes) -> None:
    assert children.parse_line(7, line) is None
