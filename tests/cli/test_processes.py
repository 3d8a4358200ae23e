"""The supervisor's shell, with real processes: pipes, signals, and what a dead child leaves behind."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from raymq_cli import child_process, oom
from raymq_cli.child_process import ChildProcess
from raymq_cli.events import (
    Action,
    Announce,
    Died,
    Event,
    Finish,
    Note,
    Ready,
    Role,
    Spawn,
    Tell,
)
from raymq_cli.pipes import WAITING_MAX, Lines, Writer
from raymq_cli.processes import Runner
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


class TestWriter:
    def test_it_never_waits_and_keeps_what_has_no_room(self) -> None:
        reader, writer = os.pipe()
        with open(writer, "wb", buffering=0) as pipe, open(reader, "rb") as other:
            lines = Writer(pipe)
            sent = [f"{number:05} {'x' * 1000}".encode() for number in range(500)]
            for line in sent:
                lines.put(line)
            assert lines.is_waiting, "a pipe holds 64 KiB"
            got = b""
            while lines.is_waiting:
                got += os.read(other.fileno(), 1 << 20)
                lines.flush()
            got += os.read(other.fileno(), 1 << 20)
            assert got.split(b"\n") == [*sent, b""]

    def test_there_is_an_end_to_what_it_keeps(self) -> None:
        reader, writer = os.pipe()
        with open(writer, "wb", buffering=0) as pipe, open(reader, "rb") as other:
            lines = Writer(pipe)
            for number in range(WAITING_MAX // 100_000 + 5):
                lines.put(str(number).encode() * 100_000)
            got = bytearray()
            while lines.is_waiting:
                got += os.read(other.fileno(), 1 << 20)
                lines.flush()
            assert 0.8 * WAITING_MAX < len(got) < 1.2 * WAITING_MAX
            assert all(len(set(line)) <= 2 for line in got.split(b"\n")[:-2]), "lines are kept or dropped as a whole"

    def test_nobody_who_reads_is_no_reason_to_break(self) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "wb", buffering=0) as pipe:
            lines = Writer(pipe)
            lines.put(b"hello?")
            assert not lines.is_waiting

    def test_a_process_without_the_pipe_is_our_mistake(self) -> None:
        with pytest.raises(ValueError, match="pipe"):
            Writer(None)


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
    assert child.last_words.last == "dying"
    assert b"just so\ndying\n\n" in capfdbinary.readouterr().err


LEAVES_ONE = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
"""


@pytest.mark.parametrize("child", [LEAVES_ONE], indirect=True)
def test_what_a_dead_child_leaves_behind_is_ended(child: ChildProcess) -> None:
    child.popen.wait()
    (left,) = child_process.session_members(child.popen.pid)
    assert not child.is_gone(now=0.0)
    assert child.has_just_died(now=0.0)
    assert not child.has_just_died(now=0.0)
    assert child.death(out_of_memory=False) == Died(7, 0)
    assert not child.is_gone(now=2.9)
    assert left.is_running()
    child.is_gone(now=3.1)
    until(lambda: child.is_gone(now=4.0))
    assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE


JOINS = """
import json, subprocess, sys
raylet = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(json.dumps({"event": "joined", "raylet": raylet.pid}), flush=True)
print("joined", file=sys.stderr)
if sys.stdin.readline():
    raylet.kill()
    raylet.wait()
sys.exit(1)
"""


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("child", [JOINS], indirect=True)
def test_it_is_seen_whether_the_node_of_a_bridge_ended_before_it(child: ChildProcess, ends: bool) -> None:
    until(lambda: child.events() or child.last_words.last == "joined")
    if ends:
        child.tell(Tell(7, "go", {}))
    else:
        child.popen.kill()
    child.popen.wait()
    assert child.has_just_died(0.0)
    assert child.death(out_of_memory=False).node_ended is ends
    child.is_gone(now=9.0)
    until(lambda: child.is_gone(now=9.0))


@pytest.mark.parametrize("pid", [0, 1 << 40])
@pytest.mark.parametrize("child", ["import sys; print(sys.stdin.readline(), end='')"], indirect=True)
def test_a_node_that_cannot_be_seen_has_not_ended(child: ChildProcess, pid: int) -> None:
    child.tell(Tell(7, "joined", {"raylet": pid}))
    child.popen.wait()
    assert child.events() == []
    assert not child.death(out_of_memory=False).node_ended


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


@pytest.mark.parametrize("counts", [[0, 1], [1, 1], [None, None]])
def test_a_kill_with_a_rise_of_the_kernels_counter_was_for_want_of_memory(
    counts: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counter stands for a machine that has really run out of memory."""
    told = iter(counts)
    monkeypatch.setattr(oom, "kills", lambda: next(told, counts[-1]))
    run = Run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", stop=lambda: None)
    run.run()
    deaths = [event for event in run.events if isinstance(event, Died)]
    assert [(death.code, death.out_of_memory) for death in deaths][:1] == [(-9, counts == [0, 1])]


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


LISTENS = """
import os, sys, time
print('{"event": "ready", "address": "127.0.0.1:4711"}', flush=True)
while not os.path.exists(sys.argv[1] + "/ended"):
    time.sleep(0.01)
heard = b""
while heard.count(b"\\n") < 290:
    heard += os.read(0, 65536)
open(sys.argv[1] + "/heard", "wb").write(heard)
os.rename(sys.argv[1] + "/heard", sys.argv[1] + "/done")
sys.stdin.read()
"""
ENDS = """
import sys
sys.exit("these were my last words")
"""


def test_who_listens_is_told_of_a_death_and_who_does_not_read_yet_is_not_waited_for(tmp_path: Path) -> None:
    """300 KB are more than the pipe holds."""

    class Talkative(Supervisor):
        def handle(self, event: Event, now: float) -> list[Action]:
            actions = super().handle(event, now)
            if isinstance(event, Died) and self.children[event.child].role is Role.CLUSTER:
                (broker,) = [child.number for child in self.children.values() if child.role is Role.BROKER]
                actions += [Tell(broker, "line", {"number": n, "x": "y" * 1000, "of": event.lines}) for n in range(300)]
                (tmp_path / "ended").touch()
            return actions

    def launch(spawn: Spawn) -> tuple[list[str], dict[str, str]]:
        source = {Role.BROKER: LISTENS, Role.CLUSTER: ENDS}.get(spawn.role, "")
        return [sys.executable, "-c", source, str(tmp_path)], dict(os.environ)

    def stop() -> None:
        until(lambda: (tmp_path / "done").exists())
        os.kill(os.getpid(), signal.SIGTERM)

    # A cluster that never got ready ends the start, unless clients had been called before.
    core = Talkative(Plan(spares=0))
    core.announced = True
    threading.Thread(target=stop).start()
    runner = Runner(core, launch, lambda note: None, lambda announce: None)
    assert runner.run() == Finish(0)
    heard = [json.loads(line) for line in (tmp_path / "done").read_bytes().splitlines()[:290]]
    assert [each["number"] for each in heard] == list(range(290))
    assert heard[0]["of"] == ["these were my last words"]
