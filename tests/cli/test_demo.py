"""``raymq demo``: it works, and whatever ends it, nothing is left running."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from tests.cli.machine import PATIENCE, Machine, command, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def test_without_a_broker_at_the_address_it_says_so(machine: Machine) -> None:
    demo = machine.run("demo", "--address", "127.0.0.1:1")
    assert demo.returncode == 1
    assert "Error: " in demo.stderr
    assert "127.0.0.1:1" in demo.stderr
    assert "Traceback" not in demo.stderr


def test_it_shows_what_it_found_and_leaves_nothing(machine: Machine) -> None:
    demo = machine.run("demo")
    assert demo.returncode == 0, demo.stderr
    for found in ("Start Ray, broker and bridge", "most imported", "unittest", "most frequent words", "GB/s, equal"):
        assert found in demo.stdout
    assert max(map(len, demo.stdout.splitlines())) <= 80
    machine.assert_nothing_left()


def has_a_session(machine: Machine) -> bool:
    instances = json.loads(machine.run("status", "--json").stdout)["instances"]
    return any(instance["sessions"] for instance in instances)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_ended_in_the_midst_of_its_work_it_leaves_nothing(machine: Machine, number: signal.Signals) -> None:
    demo = subprocess.Popen(command("demo"), env=machine.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: has_a_session(machine), "the demo is connected")
    demo.send_signal(number)
    code = demo.wait(PATIENCE)
    assert code == {signal.SIGINT: 1, signal.SIGKILL: -9}[number]
    until(lambda: not machine.processes(), "all that it started has ended", seconds=30)
    machine.assert_nothing_left()
