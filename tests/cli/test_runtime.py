"""The runtime directories: found while their owner lives, removed when it is dead."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from raymq_cli import runtime
from raymq_cli.runtime import State


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "raymq"


@pytest.fixture
def state() -> State:
    return State(os.getpid(), runtime.created(os.getpid()), 10001, "127.0.0.1:10001", "ipc:///nowhere", started=1.0)


HOLDER = """
import sys
from pathlib import Path
from raymq_cli import runtime
with runtime.own_directory(Path(sys.argv[1])) as directory:
    directory.write(runtime.State(1, 2.0, int(sys.argv[2]), "", directory.endpoint, started=3.0))
    print(directory.path, flush=True)
    sys.stdin.read()
"""


class Holder:
    """Another process with a runtime directory."""

    def __init__(self, base: Path, port: int) -> None:
        command = [sys.executable, "-c", HOLDER, str(base), str(port)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.path = Path(self.process.stdout.readline().strip())

    def end(self, *, kill: bool) -> None:
        if kill:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def holder(base: Path) -> Iterator[Holder]:
    holder = Holder(base, 10007)
    yield holder
    holder.end(kill=True)


def test_a_directory_is_private_and_goes_with_its_owner(base: Path, state: State) -> None:
    with runtime.own_directory(base) as directory:
        directory.write(state)
        assert directory.path.stat().st_mode & 0o077 == 0
        assert base.stat().st_mode & 0o077 == 0
        assert runtime.running(base) == [state]
        assert directory.endpoint == f"ipc://{directory.path}/bridges.sock"
    assert runtime.running(base) == []
    assert list(base.iterdir()) == []


def test_it_goes_too_when_its_owner_fails(base: Path) -> None:
    with pytest.raises(ZeroDivisionError), runtime.own_directory(base):
        raise ZeroDivisionError
    assert list(base.iterdir()) == []


def test_another_instance_is_seen_and_left_alone(base: Path, holder: Holder, state: State) -> None:
    with runtime.own_directory(base) as directory:
        directory.write(replace(state, started=9.0))
        assert [found.port for found in runtime.running(base)] == [10007, 10001]
    assert holder.path.is_dir()
    assert [found.port for found in runtime.running(base)] == [10007]


def test_what_a_killed_one_left_is_not_running_and_is_removed(base: Path, holder: Holder) -> None:
    holder.end(kill=True)
    assert holder.path.is_dir()
    assert runtime.running(base) == []
    with runtime.own_directory(base):
        assert not holder.path.exists()


def test_it_can_be_removed_without_starting(base: Path, holder: Holder) -> None:
    runtime.remove_dead(base)
    assert holder.path.is_dir()
    holder.end(kill=True)
    runtime.remove_dead(base)
    assert list(base.iterdir()) == []
    runtime.remove_dead(base / "never-there")


def test_a_process_that_got_the_pid_later_is_not_taken_for_it(state: State) -> None:
    assert state.process() == psutil.Process()
    assert replace(state, created=state.created - 100).process() is None
    assert replace(state, pid=2**22 + 1).process() is None


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_process_is_the_same_after_the_clock_was_set(
    state: State, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """The kernel says then that the machine started at another time of day."""
    before, original = psutil.Process().create_time(), psutil._psplatform.boot_time
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: original() + jump)
    monkeypatch.setattr(psutil._psplatform, "BOOT_TIME", original() + jump, raising=False)
    assert abs(psutil.Process().create_time() - before - jump) < 2
    assert state.process() == psutil.Process()


def test_a_directory_open_to_others_is_refused(base: Path) -> None:
    base.mkdir(mode=0o755)
    with pytest.raises(runtime.DirectoryError, match="chmod 700"), runtime.own_directory(base):
        pass


def test_what_others_could_have_written_is_not_believed(base: Path, state: State, tmp_path: Path) -> None:
    with runtime.own_directory(base) as directory:
        directory.write(state)
        base.chmod(0o777)
        assert runtime.running(base) == []
        base.chmod(0o700)
        link = tmp_path / "link"
        link.symlink_to(base)
        assert runtime.running(link) == []
        with pytest.raises(runtime.DirectoryError, match="chmod 700"), runtime.own_directory(link):
            pass
        assert runtime.running(base) == [state]


def test_too_long_a_name_is_refused(base: Path) -> None:
    with pytest.raises(runtime.DirectoryError, match="shorter directory"), runtime.own_directory(base / ("x" * 100)):
        pass


def test_one_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(runtime.DirectoryError, match="can write"), runtime.own_directory(tmp_path / "file" / "raymq"):
        pass


def test_what_a_dead_cluster_left_is_cleared(base: Path, state: State) -> None:
    with runtime.own_directory(base) as directory:
        directory.write(state)
        (directory.path / "r-old" / "ray").mkdir(parents=True)
        directory.clear()
        assert {path.name for path in directory.path.iterdir()} == {"lock", "state.json"}


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"pid": 1, "other": 2})])
def test_a_state_of_another_version_or_half_of_one_is_no_error(base: Path, content: str) -> None:
    with runtime.own_directory(base) as directory:
        (directory.path / "state.json").write_text(content)
        assert runtime.running(base) == []


def test_the_root_is_named_by_the_environment_or_the_user() -> None:
    assert runtime.root({"RAYMQ_RUNTIME_DIR": "/run/raymq"}) == Path("/run/raymq")
    assert runtime.root({}) == Path(f"/tmp/raymq-{os.getuid()}")


def test_a_last_file_that_somebody_puts_in_is_removed_too(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is just ending may still write into a directory that is being removed."""
    real, times = shutil.rmtree, []

    def rmtree(path: Path, *, ignore_errors: bool) -> None:
        real(path, ignore_errors=ignore_errors)
        times.append(path)
        if len(times) < 3:
            path.mkdir()
            (path / "late.log").touch()

    with runtime.own_directory(base) as directory:
        monkeypatch.setattr("shutil.rmtree", rmtree)
    assert times == [directory.path] * 3
    assert list(base.iterdir()) == []
