"""``raymq start`` and its companions with everything real: a Ray cluster, a broker, bridges, clients."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import raymq
from tests.cli.machine import PATIENCE, Machine, Started, command, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


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


def test_a_killed_cluster_is_replaced_and_bridges_move_to_it(started: Started) -> None:
    cluster, held = started.status()["cluster"], started.child("raymq_bridge.local_cluster")
    assert held is not None
    with raymq.connect(started.address, timeout=PATIENCE) as session:
        never = session.remote(lambda: time.sleep(999)).remote()
        held.kill()
        with pytest.raises(raymq.SessionLost):
            session.get(never, timeout=30)
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
    assert "There is no Ray cluster to serve: Ray did not start on this machine" in failed.stderr
    assert "token" in failed.stderr
    machine.assert_nothing_left()
