"""``raymq start`` and its companions with everything real: a Ray cluster, a broker, bridges, clients."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import raymq

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

PATIENCE = 90.0
"""Seconds for what takes ten on an idle machine."""


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain until {what}"
        time.sleep(0.1)
    return found


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "raymq_cli", *arguments]


class Machine:
    """A user's view of a machine: an environment with a home of its own, and what runs and lies around in there."""

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="rq-", dir="/tmp"))  # short: sockets' paths begin with it
        self.home = self.base / "home"
        self.temporary = self.base / "tmp"
        for path in (self.home, self.temporary):
            path.mkdir()
        ours = {"HOME": str(self.home), "TMPDIR": str(self.temporary), "RAYMQ_RUNTIME_DIR": str(self.base / "run")}
        self.environ = {key: value for key, value in os.environ.items() if not key.startswith("RAY")} | ours
        self.shared_memory = self._in_shared_memory()

    @staticmethod
    def _in_shared_memory() -> set[str]:
        return set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = command(*arguments)
        return subprocess.run(done, env=self.environ, capture_output=True, text=True, timeout=PATIENCE, check=False)

    def processes(self) -> list[psutil.Process]:
        """All that were started here, whoever is their parent by now."""
        mark = str(self.base)
        return [
            process
            for process in psutil.process_iter()
            if _environ(process).get("RAYMQ_RUNTIME_DIR", "").startswith(mark)
        ]

    def assert_nothing_left(self) -> None:
        until(lambda: not self.processes(), f"{self.processes()} are gone", seconds=10)
        left = [str(path.relative_to(self.base)) for path in self.base.rglob("*") if not path.is_dir()]
        assert left == [] or left == ["run/lock"], "no file is left, neither in the home nor elsewhere"
        assert self._in_shared_memory() <= self.shared_memory

    def remove(self) -> None:
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        shutil.rmtree(self.base, ignore_errors=True)


def _environ(process: psutil.Process) -> Mapping[str, str]:
    try:
        return process.environ() if process.status() != psutil.STATUS_ZOMBIE else {}
    except (psutil.Error, OSError):
        return {}


class Started:
    """A ``raymq start`` that is ready."""

    def __init__(self, machine: Machine, *options: str, **environ: str) -> None:
        self.machine = machine
        self.log = machine.base / f"log-{time.monotonic_ns()}"
        with self.log.open("w") as stderr:
            self.process = subprocess.Popen(
                command("start", "--port=0", *options),
                env=machine.environ | environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        found = re.fullmatch(r'raymq is ready: raymq\.connect\("(127\.0\.0\.1:(\d+))"\)\n', self.line)
        assert found, self.line + self.log.read_text()
        self.address, self.port = found[1], found[2]

    def status(self) -> dict[str, Any]:
        (instance,) = json.loads(self.machine.run("status", "--json", "--port", self.port).stdout)["instances"]
        return dict(instance)

    def child(self, module: str) -> psutil.Process | None:
        for process in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if module in process.cmdline():
                    return process
        return None

    def end(self) -> str:
        """Wait until it ended well; returns what more it said on stdout."""
        said, _ = self.process.communicate(timeout=PATIENCE)
        log = self.log.read_text()
        assert self.process.returncode == 0, log
        assert "Traceback" not in log
        self.log.unlink()
        return said


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    yield machine
    machine.remove()


@pytest.fixture(scope="module")
def started() -> Iterator[Started]:
    """One that several tests share. At the end it is stopped by ``raymq stop``, and nothing is left of it."""
    machine = Machine()
    try:
        started = Started(machine, "--address=local")
        yield started
        stopped = machine.run("stop")
        assert stopped.stdout == f"Stopped raymq on {started.address} (pid {started.process.pid}).\n"
        assert started.end() == "", "the line that says it is ready is the only one on stdout"
        machine.assert_nothing_left()
    finally:
        machine.remove()


def adds(session: raymq.Session) -> Any:
    """Add two numbers on the cluster; a reference to the sum, 3."""
    return session.remote(lambda a, b: a + b).remote(1, 2)  # a lambda travels by value


def works(address: str) -> bool:
    with raymq.connect(address, timeout=PATIENCE) as session:
        return bool(session.get(adds(session), timeout=PATIENCE) == 3)


def idle(started: Started) -> list[int]:
    return [bridge["pid"] for bridge in started.status()["bridges"] if bridge["state"] == "idle"]


def test_a_client_can_work_and_is_seen(started: Started) -> None:
    assert works(started.address)
    with raymq.connect(started.address, timeout=PATIENCE):
        status = until(started.status, "the status is there")
        assert [session["client"]["pid"] for session in status["sessions"]] == [os.getpid()]
        shown = started.machine.run("status")
        assert shown.returncode == 0
        assert "1 session" in shown.stdout
        assert f"pid {os.getpid()}" in " ".join(shown.stdout.split())
    until(lambda: not started.status()["sessions"], "the session is gone")
    assert "Nobody is connected." in started.machine.run("status").stdout


def test_the_port_is_taken_then_and_by_whom(started: Started) -> None:
    second = started.machine.run("start", "--port", started.port)
    assert second.returncode == 1
    assert second.stdout == ""
    assert f"raymq already runs on port {started.port} (pid {started.process.pid})" in second.stderr
    stranger = started.machine.environ | {"RAYMQ_RUNTIME_DIR": str(started.machine.base / "run2")}
    third = subprocess.run(
        command("start", "--port", started.port), env=stranger, capture_output=True, text=True, check=False
    )
    assert third.returncode == 1
    assert f"Port {started.port} is taken by another process" in third.stderr
    assert "raymq_broker" in third.stderr


def test_the_home_is_not_touched_and_secrets_are_private(started: Started) -> None:
    assert list(started.machine.home.iterdir()) == []
    (state,) = (started.machine.base / "run").glob("*/state.json")
    token = Path(json.loads(state.read_text())["cluster_env"]["RAY_AUTH_TOKEN_PATH"])
    assert token.stat().st_mode & 0o077 == 0
    assert token.read_text() not in state.read_text()


def test_a_killed_bridge_is_replaced(started: Started) -> None:
    (pid,) = until(lambda: idle(started), "a bridge is idle")
    os.kill(pid, signal.SIGKILL)
    until(lambda: idle(started) not in ([], [pid]), "another bridge is idle")
    assert works(started.address)


def test_a_killed_broker_comes_back_on_its_port(started: Started) -> None:
    with raymq.connect(started.address, timeout=PATIENCE) as session:
        three = adds(session)
        broker = started.child("raymq_broker")
        assert broker is not None
        broker.kill()
        until(lambda: started.child("raymq_broker") not in (None, broker), "there is another broker")
        assert session.get(three, timeout=PATIENCE) == 3
        assert session.get(adds(session), timeout=PATIENCE) == 3
    assert works(started.address)


def test_a_second_one_finds_the_cluster_of_the_first_and_leaves_it(started: Started) -> None:
    cluster = started.status()["cluster"]
    with contextlib.ExitStack() as stack:
        second = Started(started.machine, "--address=auto", RAY_ADDRESS=cluster)
        stack.callback(second.process.kill)
        assert second.status()["cluster"] == cluster
        assert works(second.address)
        assert started.machine.run("stop", "--port", second.port).returncode == 0
        second.end()
    assert works(started.address)


def test_the_demo_works_on_a_broker_that_runs(started: Started) -> None:
    demo = started.machine.run("demo", "--address", started.address)
    assert demo.returncode == 0, demo.stderr
    assert "unittest" in demo.stdout
    assert "equal" in demo.stdout


def test_a_killed_cluster_is_replaced_and_bridges_move_to_it(started: Started) -> None:
    cluster, held = started.status()["cluster"], started.child("raymq_bridge.local_cluster")
    assert held is not None
    held.kill()
    until(lambda: started.status()["cluster"] != cluster, "there is another cluster")
    until(lambda: idle(started), "a bridge is idle")
    assert works(started.address)


@pytest.mark.parametrize("after", [0.5, 3.0])
def test_ctrl_c_while_it_starts_leaves_nothing(machine: Machine, after: float) -> None:
    log = machine.temporary / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(command("start", "--port=0", "--address=local"), env=machine.environ, stderr=stderr)
    until(lambda: "broker_ready" in log.read_text(), "the broker runs")
    time.sleep(after)  # wherever the start of the cluster is by now
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0
    log.unlink()
    machine.assert_nothing_left()


def test_a_killed_supervisor_takes_all_with_it(machine: Machine) -> None:
    started = Started(machine, "--address=local")
    started.process.kill()
    started.process.wait()
    until(lambda: not machine.processes(), "the children have seen it and ended", seconds=30)
    assert machine.run("status").returncode == 3
    assert machine.run("stop").returncode == 0, "and what it left on the disk goes"
    assert started.process.stdout is not None
    started.process.stdout.close()
    started.log.unlink()
    machine.assert_nothing_left()


def test_a_cluster_that_does_not_start_ends_the_start_with_its_reason(machine: Machine) -> None:
    environ = machine.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/nonexistent/token"}
    failed = subprocess.run(
        command("start", "--port=0", "--address=local"), env=environ, capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "The cluster failed: Ray did not start on this machine" in failed.stderr
    assert "token" in failed.stderr
    machine.assert_nothing_left()
