"""The command lines of the processes that ``raymq start`` runs, and the lines they tell it things with."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raymq.protocol.limits import OBJECT_MAX, PORT, QUEUE_MAX, SESSIONS_MAX, Timing
from raymq_cli.events import Event, Failed, Joined, Listed, Ready, Role, Spawn


@dataclass(frozen=True)
class Options:
    """What ``raymq start`` was asked to run.

    Attributes:
        host: numeric, where the broker listens.
        address: ``auto``, ``local`` or the ``HOST:PORT`` of a cluster's GCS.
        supervised: stop when our own stdin ends.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    address: str = "auto"
    redis_username: str | None = None
    redis_password: str | None = None
    timing: Timing = field(default_factory=Timing)
    sessions_max: int = SESSIONS_MAX
    object_max: int = OBJECT_MAX
    queue_max: int = QUEUE_MAX
    spares: int = 1
    insecure: bool = False
    log_format: str = "console"
    supervised: bool = False

    @property
    def external_cluster(self) -> str | None:
        """The cluster's address, if it is given, so that there is none to find or to start."""
        return None if self.address in ("auto", "local") else self.address


def command(spawn: Spawn, options: Options, directory: Path) -> list[str]:
    """The command line of a child."""
    endpoint = f"ipc://{directory / 'bridges.sock'}"
    return _COMMANDS[spawn.role](spawn, options, directory, endpoint)


def environment(spawn: Spawn, options: Options, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: ours, and what it needs to talk with the cluster.

    Passwords go this way since every user of the machine can read command lines.
    """
    redis = {
        "RAYMQ_BRIDGE_REDIS_USERNAME": options.redis_username,
        "RAYMQ_BRIDGE_REDIS_PASSWORD": options.redis_password,
    }
    return {**inherited, **spawn.env, **{name: value for name, value in redis.items() if value}}


def python(module: str) -> list[str]:
    """The beginning of a command line that runs a module of ours."""
    # Without -P, a folder named like a module, in the directory where raymq was started, would be imported instead.
    safe_path = ["-P"] if sys.version_info >= (3, 11) else []
    return [sys.executable, *safe_path, "-m", module]


def _cluster(spawn: Spawn, options: Options, directory: Path, endpoint: str) -> list[str]:
    return [
        *python("raymq_bridge.local_cluster"),
        "--supervised",
        f"--address={options.address}",
        f"--directory={directory}",
    ]


def _broker(spawn: Spawn, options: Options, directory: Path, endpoint: str) -> list[str]:
    # One that is started again has to be found where the first one was, also if the system chose that port.
    port = spawn.address.rpartition(":")[2] or options.port
    return [
        *python("raymq_broker"),
        "--supervised",
        f"--host={options.host}",
        f"--port={port}",
        f"--bridges={endpoint}",
        f"--heartbeat-interval={options.timing.heartbeat}",
        f"--lease={options.timing.lease}",
        f"--grace={options.timing.grace}",
        f"--max-sessions={options.sessions_max}",
        f"--max-object-size={options.object_max}",
        f"--max-queue={options.queue_max}",
        f"--log-format={options.log_format}",
        f"--expect={','.join(map(str, spawn.bridges))}",
        *(["--insecure"] if options.insecure else []),
    ]


def _bridge(spawn: Spawn, options: Options, directory: Path, endpoint: str) -> list[str]:
    return [
        *python("raymq_bridge"),
        "--supervised",
        f"--broker={endpoint}",
        f"--address={spawn.address}",
        f"--log-format={options.log_format}",
    ]


_COMMANDS = {Role.CLUSTER: _cluster, Role.BROKER: _broker, Role.BRIDGE: _bridge}


def parse_line(child: int, line: bytes) -> Event | Joined | None:
    """Read a line of a child's stdout; None if it is no event (a library that prints, say)."""
    try:
        told: Any = json.loads(line)
        return _EVENTS[told["event"]](child, told)
    except (ValueError, TypeError, KeyError):
        return None


def _ready(child: int, told: dict[str, Any]) -> Event:
    return Ready(child, str(told["address"]), dict(told.get("env", {})), bool(told.get("started", True)))


def _bridges(child: int, told: dict[str, Any]) -> Event:
    return Listed(child, frozenset(told["idle"]), frozenset(told["busy"]), int(told["waiting"]))


def _failed(child: int, told: dict[str, Any]) -> Event:
    return Failed(child, str(told["message"]))


def _joined(child: int, told: dict[str, Any]) -> Joined:
    return Joined(child, int(told["raylet"]))


_EVENTS = {"ready": _ready, "bridges": _bridges, "failed": _failed, "joined": _joined}
