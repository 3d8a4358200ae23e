"""The supervisor's shell, with real processes: pipes, signals, and what a dead child leaves behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from raymq_cli import processes
from raymq_cli.events import (
    Announce,
    Event,
    Finish,
    Note,
    Ready,
    Role,
    Spawn,
)
from raymq_cli.processes import ChildProcess, Lines, Runner
from raymq_cli.supervisor import Plan, Supervisor


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


@pytest.fixture
def child(request: pytest.FixtureRequest) -> Iterator[ChildProcess]:
    child = ChildProcess(7, [sys.executable, "-c", request.param], os.environ)
    yield child
    child.popen.kill()
    child.popen.wait()
    child.close()


class TestLines:
    def test_lines_come_whole_in_whatever_pieces_they_were_written(self) -> None:
        reader, writer = os.pipe()
        with open(reader, "rb") as pipe:
            lines = Lines(pipe)
            assert lines.read() == []
            os.write(writer, b"on")
            assert lines.read() == []
            os.write(writer, b"e\ntwo\n\nth")
            assert lines.read() == [b"one", b"two", b""]
            assert not lines.ended
            os.write(writer, b"ree")
            os.close(writer)
            assert lines.read() == [b"three"]
            assert lines.ended

    def test_a_process_without_the_pipe_is_our_mistake(self) -> None:
        with pytest.raises(ValueError, match="pipe"):
            Lines(None)


TALKS = """
import sys
print('{"event": "ready", "address": "h:1"}')
print("just so")
print("dying", file=sys.stderr)
print(file=sys.stderr)
"""


@pytest.mark.parametrize("child", [TALKS], indirect=True)
def test_events_are_read_and_the_rest_is_passed_on(
    child: ChildProcess, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    child.popen.wait()
    assert child.events() == [Ready(7, "h:1")]
    assert child.last_line == "dying"
    assert b"just so\ndying\n\n" in capfdbinary.readouterr().err


LEAVES_ONE = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
"""


@pytest.mark.parametrize("child", [LEAVES_ONE], indirect=True)
def test_what_a_dead_child_leaves_behind_is_ended(child: ChildProcess) -> None:
    child.popen.wait()
    (left,) = processes.session_members(child.popen.pid)
    assert not child.is_gone(now=0.0)
    assert not child.is_gone(now=2.9)
    assert left.is_running()
    child.is_gone(now=3.1)
    until(lambda: child.is_gone(now=4.0))
    assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE


OBEYS = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print('{"event": "ready", "address": "127.0.0.1:4711"}', flush=True)
sys.stdin.read()
print("lost the supervisor", file=sys.stderr)
"""


class Run:
    """A runner over small children, stopped from another thread once it has announced itself."""

    def __init__(self, source: str, stop: Callable[[], None]) -> None:
        self.notes: list[str] = []
        self.spawned: list[Spawn] = []
        self.events: list[Event] = []
        self._source = source
        self._stop = stop

    def launch(self, spawn: Spawn) -> tuple[list[str], dict[str, str]]:
        self.spawned.append(spawn)
        return [sys.executable, "-c", self._source], dict(os.environ)

    def announce(self, announce: Announce) -> None:
        threading.Timer(0.1, self._stop).start()

    def watch(self, event: Event) -> Event:
        self.events.append(event)
        return event

    def run(self, **more: object) -> Finish:
        core = Supervisor(Plan(spares=0))
        note: Callable[[Note], None] = lambda note: self.notes.append(note.event)
        return Runner(core, self.launch, note, self.announce, self.watch, **more).run()  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_stop_it_and_handlers_are_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    run = Run(OBEYS, stop=lambda: os.kill(os.getpid(), number))
    assert run.run() == Finish(0)
    assert signal.getsignal(number) is before
    assert {spawn.role for spawn in run.spawned} == {Role.CLUSTER, Role.BROKER}
    assert "stopping" in run.notes


def test_the_end_of_its_own_stdin_stops_it() -> None:
    reader, writer = os.pipe()
    with open(reader, "rb") as stdin:
        run = Run(OBEYS, stop=lambda: os.close(writer))
        assert run.run(stop_at_end_of=stdin) == Finish(0)


def test_a_child_that_dies_at_once_ends_the_start() -> None:
    finish = Run("raise SystemExit('nothing works')", stop=lambda: None).run()
    assert finish.code == 1
    assert finish.message == "it ended with code 1: nothing works"


def test_a_machine_that_has_no_process_to_give_ends_the_start() -> None:
    run = Run("", stop=lambda: None)
    run.launch = lambda spawn: (["/nonexistent/python"], {})  # type: ignore[method-assign]
    finish = run.run()
    assert finish.code == 1
    assert "it could not be started: [Errno 2]" in finish.message


def test_children_see_the_end_of_their_stdin_if_the_supervisor_breaks() -> None:
    class Broken(Supervisor):
        def handle(self, event: Event, now: float) -> list[object]:  # type: ignore[override]
            raise ZeroDivisionError

    spawned: list[int] = []

    def launch(spawn: Spawn) -> tuple[list[str], dict[str, str]]:
        return [sys.executable, "-c", OBEYS], dict(os.environ)

    runner = Runner(Broken(Plan()), launch, lambda note: None, lambda announce: None)
    with pytest.raises(ZeroDivisionError):
        runner.run()
    for child in runner._children.values():
        spawned.append(child.popen.wait(10))
        child.close()
    assert spawned
