"""One Ray cluster and one head for the whole test session; everything is the real thing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zmq

import raymq
from raymq.util.state.exception import RayStateApiException

CI_PATIENCE = 60.0
"""Seconds that a condition may take to come true; a limit for a busy machine, not a measure."""


def wait_until(condition: Callable[[], Any], what: str, timeout: float = CI_PATIENCE) -> Any:
    """Wait until the condition is true, and return what it returned."""
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout} s in vain until {what}; the last look gave {found!r}")
        time.sleep(0.05)


BEYOND_RECENT = bytes(range(256)) * 300
"""A value that is too large for the client or the bridge to have it at hand."""


def there_and_back(api: Any, **options: Any) -> bool:
    """Whether a session works: a value goes to the cluster and comes back."""
    return bool(api.get(api.put(BEYOND_RECENT), **options) == BEYOND_RECENT)


HEAD_PYTHON = os.environ.get("RAYMQ_HEAD_PYTHON", sys.executable)
"""The Python that runs the heads: another one than ours where ours has no Ray."""


@dataclass
class Head:
    """A running ``raymq start``."""

    process: subprocess.Popen[str]
    address: str
    state: dict[str, Any]
    environ: dict[str, str]
    log: Path

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def status(self) -> dict[str, Any]:
        """What ``raymq status --json`` says of it."""
        command = [HEAD_PYTHON, "-m", "raymq_cli", "status", "--json", "--no-publications", "--port", str(self.port)]
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=60, check=True)
        instance = json.loads(done.stdout)["instances"][0]
        return dict(instance)

    def bridge_pid(self, session: raymq.Session) -> int:
        """The process that serves a session."""
        bridges = self.status()["bridges"]
        return next(bridge["pid"] for bridge in bridges if bridge["session"] == session.id.hex())

    def child(self, module: str) -> Any:
        """The one process of it that runs a module; there may be zombies beside it, of those that have just ended."""
        import psutil  # which a thin client does not have

        found = []
        for process in psutil.Process(self.process.pid).children():
            with suppress(psutil.ZombieProcess, psutil.NoSuchProcess):
                if module in process.cmdline():
                    found.append(process)
        assert len(found) == 1, found
        return found[0]

    def connect(self, **options: Any) -> raymq.Session:
        """A session on this head; long patience, since on two cores a bridge may take a while to start."""
        return raymq.connect(self.address, timeout=CI_PATIENCE, **options)


def counted(head: Head, name: str) -> int:
    """How often something has happened, by the broker's own count."""
    return int(head.status()["counters"].get(name, 0))


@contextmanager
def running_head(*options: str, environ: dict[str, str] | None = None, tracebacks: bool = False) -> Iterator[Head]:
    """Run ``raymq start`` with a runtime directory of its own, and stop it at the end.

    ``tracebacks``: some are expected in its log.
    """
    base = Path(tempfile.mkdtemp(prefix="rmq"))
    full = {**os.environ, "RAYMQ_RUNTIME_DIR": str(base / "run"), **(environ or {})}
    log = base / "log"
    command = [HEAD_PYTHON, "-m", "raymq_cli", "start", "--port", "0", *options]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command, env=full, cwd=base, stdout=subprocess.PIPE, stderr=stderr, stdin=subprocess.DEVNULL, text=True
        )
    try:
        assert process.stdout is not None
        killer = threading.Timer(120, process.kill)
        killer.start()
        line = process.stdout.readline()
        killer.cancel()
        if "ready" not in line:
            pytest.fail(f"raymq start did not become ready: {line!r}\n{log.read_text()}")
        state = json.loads((base / "run" / str(process.pid) / "state.json").read_text())
        yield Head(process, state["address"], state, full, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            process.kill()
            if process.stdout is not None:
                process.stdout.close()
        output = log.read_text()
        shutil.rmtree(base, ignore_errors=True)
    assert process.returncode == 0, output
    assert tracebacks or "Traceback" not in output, output


@pytest.fixture(scope="session")
def cluster() -> Iterator[Head]:
    """The one Ray cluster, and a head with the default settings that owns it."""
    with running_head("--address", "local", "--max-object-size", str(1 << 30)) as head:
        yield head


@pytest.fixture(scope="session")
def brisk(cluster: Head) -> Iterator[Head]:
    """A second head on the same cluster that loses patience soon: for tests in which somebody goes missing."""
    environ = dict(cluster.state["cluster_env"])
    options = ("--heartbeat-interval", "0.3", "--lease", "2", "--grace", "2", "--max-sessions", "4")
    with running_head("--address", cluster.state["cluster"], *options, environ=environ) as head:
        yield head


@pytest.fixture(scope="session")
def _shared(cluster: Head) -> Iterator[raymq.Session]:
    with cluster.connect() as session:
        yield session


@pytest.fixture
def session(_shared: raymq.Session, monkeypatch: pytest.MonkeyPatch) -> raymq.Session:
    """The session that all tests share which need none of their own; it is the default one."""
    monkeypatch.setattr("raymq.api._default", _shared)
    return _shared


AGENT_PATIENCE = 240.0
"""Seconds that the node's agent may take to come up: Ray starts it beside everything else, and it imports a lot."""


@pytest.fixture(scope="session")
def agent(_shared: raymq.Session) -> None:
    """The agent of the head node is up, which tells of logs and exports metrics."""

    def tells() -> Any:
        with suppress(RayStateApiException):
            return _shared.request("state", "list_logs", node_id=_shared.info.node_id)

    wait_until(tells, "the node's agent tells of its logs", AGENT_PATIENCE)


@pytest.fixture
def own_session(cluster: Head, monkeypatch: pytest.MonkeyPatch) -> Iterator[raymq.Session]:
    """A session for this test alone; it is the default one."""
    monkeypatch.setattr("raymq.api._default", None)
    with cluster.connect() as session:
        yield session


@pytest.fixture
def dealer() -> Iterator[zmq.Socket[bytes]]:
    """A socket for those who speak to a broker by hand."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.rcvtimeo = 30_000
        yield socket


class View:
    """What Ray says that the cluster holds, asked in a process of its own: a driver that only looks."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __getattr__(self, name: str) -> Callable[..., list[Any]]:
        """The functions of ``ray.util.state``; entries come as namespaces of their plain fields."""

        def ask(**arguments: Any) -> list[Any]:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps([name, arguments]) + "\n")
            self._process.stdin.flush()
            told = json.loads(self._process.stdout.readline())
            assert isinstance(told, list), f"{name}({arguments}): {told}"
            return [SimpleNamespace(**entry) for entry in told]

        return ask


LOOK = """
import json, os, sys
# Ray prints the warnings of its raylets on standard output, even of drivers that want no logs: that goes elsewhere.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
import ray
from ray.util import state
ray.init(address=sys.argv[1], log_to_driver=False, configure_logging=False)
for line in sys.stdin:
    name, arguments = json.loads(line)
    try:
        # Ray lists 100 unless it is told otherwise, and a whole run has more jobs and actors than that.
        found = getattr(state, name)(**{"limit": 10_000, "raise_on_missing_output": False, **arguments})
        told = [vars(entry) for entry in found]
    except Exception as error:
        told = repr(error)
    print(json.dumps(told, default=str), file=answers, flush=True)
ray.shutdown()
"""


@pytest.fixture(scope="session")
def view(cluster: Head) -> Iterator[View]:
    """Ray's own tables."""
    environ = {**os.environ, **cluster.state["cluster_env"], "RAY_ADDRESS": cluster.state["cluster"]}
    process = subprocess.Popen(
        [HEAD_PYTHON, "-c", LOOK, cluster.state["cluster"]],
        env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        yield View(process)
    finally:
        process.communicate(timeout=60)
