"""What the commands say when they cannot do what was asked, and with what exit code."""

from __future__ import annotations

import builtins
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner, Result

import raymq_cli
from raymq_cli import commands, runtime, start, stop


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Instances of a real user are none of this test's."""
    base = tmp_path / "r"
    monkeypatch.setenv("RAYMQ_RUNTIME_DIR", str(base))
    return base


@pytest.fixture(autouse=True)
def nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about what is refused; a command that goes further than that fails."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a process was about to be started")

    monkeypatch.setattr("subprocess.Popen", refuse)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(commands.raymq, arguments, prog_name="raymq")


@pytest.fixture
def running(base: Path) -> Iterator[runtime.State]:
    """An instance, as the other commands see one: this test's own process, whose broker does not answer."""
    me = psutil.Process()
    with runtime.own_directory(base) as directory:
        state = runtime.State(me.pid, me.create_time(), 10001, "127.0.0.1:10001", directory.endpoint, started=1.0)
        directory.write(state)
        yield state


class TestStart:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "*", "192.0.2.9"])
    def test_other_machines_are_kept_out(self, host: str) -> None:
        result = run("start", "--host", host)
        assert result.exit_code == 1
        assert "neither encrypted nor authenticated" in result.output
        assert "--insecure" in result.output
        assert "ssh -L" in result.output

    def test_insecure_says_otherwise(self) -> None:
        assert start.checked_address("0.0.0.0", 10001, insecure=True) == "0.0.0.0"

    def test_a_host_without_address(self) -> None:
        result = run("start", "--host", "no-such-host.invalid")
        assert result.exit_code == 1
        assert "It is an address or name of this machine" in result.output

    def test_a_host_that_is_elsewhere(self) -> None:
        result = run("start", "--host", "192.0.2.9", "--insecure")
        assert result.exit_code == 1
        assert "Cannot listen on 192.0.2.9" in result.output

    @pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:", ":6379", "head:port"])
    def test_an_address_that_is_none(self, address: str) -> None:
        result = run("start", "--address", address)
        assert result.exit_code == 1
        assert "HOST:PORT" in result.output

    @pytest.mark.parametrize("address", ["auto", "local", "head:6379", "[::1]:6379"])
    def test_an_address_that_is_one(self, address: str) -> None:
        assert start.checked_cluster(address) == address

    def test_a_lease_shorter_than_the_heartbeat(self) -> None:
        result = run("start", "--lease", "0.5")
        assert result.exit_code == 2
        assert "below the lease" in result.output

    def test_a_taken_port_names_its_holder(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            result = run("start", "--port", str(port))
        assert result.exit_code == 1
        assert f"Port {port} is taken" in result.output
        assert f"pid {os.getpid()}" in result.output

    def test_a_second_one_on_the_port_is_told_of_the_first(self, running: runtime.State) -> None:
        result = run("start")
        assert result.exit_code == 1
        assert f"raymq already runs on port 10001 (pid {running.pid})" in result.output
        assert "raymq stop --port 10001" in result.output

    def test_options_come_from_the_environment_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAYMQ_START_HOST", "0.0.0.0")
        result = CliRunner().invoke(commands.raymq, ["start"], auto_envvar_prefix="RAYMQ")
        assert "neither encrypted" in result.output


class TestNothingRuns:
    def test_status(self) -> None:
        result = run("status")
        assert (result.exit_code, result.stdout) == (3, "")
        assert result.stderr == "No raymq is running here.\n"

    def test_status_for_machines(self) -> None:
        result = run("status", "--json")
        assert result.exit_code == 3
        assert json.loads(result.stdout) == {"instances": []}

    def test_stop(self) -> None:
        result = run("stop", "--port", "10001")
        assert result.exit_code == 0
        assert result.stderr == "No raymq is running here on port 10001.\n"


class TestStop:
    def test_another_process_with_the_pid_is_not_signalled(self, running: runtime.State, base: Path) -> None:
        reused = runtime.State(running.pid, running.created - 1000, 10001, "", "", started=1.0)
        assert stop.stop(reused)

    def test_it_is_waited_for_but_not_for_ever(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()  # a real process, deaf to SIGTERM
        deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(99)"
        with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            created = runtime.created(process.pid)
            state = runtime.State(process.pid, created, 10001, "", "", started=1.0)
            assert not stop.stop(state, patience=0.1)
            process.kill()
            until_zombie = psutil.Process(process.pid)
            while until_zombie.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)
            assert stop.stop(state, patience=0.1), "one whose parent takes no notice counts as gone"
        assert stop.stop(state)

    def test_who_does_not_stop_is_named(self, running: runtime.State, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stop, "stop", lambda state: False)
        result = run("stop")
        assert result.exit_code == 1
        assert f"kill -9 {running.pid}" in result.output

    def test_only_the_one_on_the_port(self, running: runtime.State, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stop, "stop", lambda state: True)
        assert "No raymq" in run("stop", "--port", "10002").output
        assert run("stop", "--port", "10001").stdout == f"Stopped raymq on 127.0.0.1:10001 (pid {running.pid}).\n"


@pytest.mark.parametrize("command", [[], ["start"], ["status"], ["stop"], ["demo"]])
def test_help_is_there_and_fits_a_terminal(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 100


def test_a_thin_installation_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "click" else find_spec(name))
    monkeypatch.setattr(builtins, "__import__", _without("click", builtins.__import__))
    for name in [name for name in sys.modules if name.startswith("raymq_cli.")]:
        monkeypatch.delitem(sys.modules, name)
    assert raymq_cli.main() == 1
    assert 'pip install "raymq[head]"' in capsys.readouterr().err


def _without(missing: str, real: Any) -> Any:
    def fake(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    return fake
