"""The watch's shell: real sockets, real processes, no Ray."""

from __future__ import annotations

import errno
import os
import queue
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from raymq_bridge import sentry, vitals
from raymq_bridge.sentry import Place, Sentry, knock, peer_of
from raymq_bridge.watch import Gcs

PATIENCE = 30.0


@pytest.fixture
def gcs() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def raylet() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def address_of(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


# --- looking


def test_who_listens_accepts(gcs: socket.socket) -> None:
    assert knock(address_of(gcs)) is Gcs.ACCEPTS
    connection, _ = gcs.accept()
    with connection:
        connection.settimeout(PATIENCE)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_who_does_not_take_connections_in_accepts_too(gcs: socket.socket) -> None:
    """A process that was stopped, or is busy: the kernel answers for it."""
    assert [knock(address_of(gcs)) for _ in range(5)] == [Gcs.ACCEPTS] * 5


def test_a_host_in_brackets() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        assert knock(f"[::1]:{server.getsockname()[1]}") is Gcs.ACCEPTS


def test_nobody_listens(gcs: socket.socket) -> None:
    address = address_of(gcs)
    gcs.close()
    assert knock(address) is Gcs.REFUSES


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (TimeoutError("timed out"), Gcs.SILENT),
        (OSError(errno.EHOSTUNREACH, "No route to host"), Gcs.SILENT),
        (OSError(errno.EMFILE, "Too many open files"), Gcs.ACCEPTS),
        (OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address"), Gcs.ACCEPTS),
    ],
)
def test_no_way_there_is_no_answer_and_what_is_wrong_here_is_none_either(
    monkeypatch: pytest.MonkeyPatch, error: OSError, found: Gcs
) -> None:
    """The kernel's answers that a test cannot bring about."""

    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)
    assert knock("10.0.0.1:6379") is found


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="Linux alone tells who listens at a unix socket")
def test_who_listens_at_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        assert peer_of(path) == os.getpid()
    assert peer_of(path) == 0
    assert peer_of(str(tmp_path / "none")) == 0


# --- watching


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentry, "INTERVAL", 0.02)
    monkeypatch.setattr(sentry, "SECOND_LOOK", 0.02)


def test_the_end_of_the_raylet_is_told_once(gcs: socket.socket, raylet: subprocess.Popen[bytes], quick: None) -> None:
    """Although it is a zombie: nobody has waited for it yet."""
    told: queue.SimpleQueue[str] = queue.SimpleQueue()
    watching = Sentry(Place(address_of(gcs), raylet.pid, fault_tolerant=False), told.put)
    watching.start()
    assert watching.glance() == ""
    os.kill(raylet.pid, signal.SIGSTOP)
    assert watching.glance() == ""
    os.kill(raylet.pid, signal.SIGKILL)
    news = told.get(timeout=PATIENCE)
    assert news.startswith(f"the Ray cluster at {address_of(gcs)} is gone: the raylet of this node has ended (at 20")
    assert "the raylet of this node has ended" in watching.glance()
    raylet.wait()
    assert "the raylet of this node has ended" in watching.glance()
    assert told.empty()


def test_who_was_relieved_says_nothing_more(
    gcs: socket.socket, raylet: subprocess.Popen[bytes], quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: queue.SimpleQueue[str] = queue.SimpleQueue()
    watching = Sentry(Place(address_of(gcs), raylet.pid, fault_tolerant=False), told.put)
    watching.stop()
    raylet.kill()
    raylet.wait()
    watching._run()
    assert told.empty()


def test_a_glance_at_a_gcs_that_is_gone(gcs: socket.socket, raylet: subprocess.Popen[bytes]) -> None:
    """One that can come back is not given up so soon."""
    address = address_of(gcs)
    gcs.close()
    assert "nothing listens there" in Sentry(Place(address, raylet.pid, fault_tolerant=False), print).glance()
    assert Sentry(Place(address, raylet.pid, fault_tolerant=True), print).glance() == ""


@pytest.mark.parametrize("pid", [0, (1 << 22) - 1])
def test_a_raylet_that_cannot_be_seen_is_not_gone(gcs: socket.socket, pid: int) -> None:
    """In another container, or hidden from other users."""
    assert not psutil.pid_exists(pid) or pid == 0
    assert Sentry(Place(address_of(gcs), pid, fault_tolerant=False), print).glance() == ""


# --- the processes of one's own cluster


def named(name: str, tmp_path: Path) -> subprocess.Popen[bytes]:
    """A process of that name."""
    script = tmp_path / name
    script.write_text("#!/bin/sh\nread -r line\nexit 5\n")
    script.chmod(0o755)
    return subprocess.Popen([str(script)], stdin=subprocess.PIPE)


def test_the_vital_processes_are_found_and_their_ends_told(tmp_path: Path, raylet: subprocess.Popen[bytes]) -> None:
    with named("gcs_server", tmp_path) as first, named("raylet", tmp_path) as second:
        found = vitals.find()
        assert len(found) == 2, "the others that this process has started are not"
        assert vitals.first_death(found) == ""
        assert second.stdin is not None
        second.stdin.close()
        assert death(found) == f"its raylet (pid {second.pid}) ended with code 5"
        os.kill(first.pid, signal.SIGKILL)
        assert death(vitals.find()) == f"SIGKILL ended its gcs_server (pid {first.pid})"


def death(found: list[vitals.Vital]) -> str:
    deadline = time.monotonic() + PATIENCE
    while not (told := vitals.first_death(found)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return told


def test_the_descendants_of_a_process_can_be_ended() -> None:
    """Those of a process of its own: this one has others, which are not for this test to end."""
    family = (
        "import subprocess, sys, psutil\n"
        "from raymq_bridge import leftovers\n"
        'child = \'import subprocess, sys, time; subprocess.Popen([sys.executable, "-c", "import time; '
        "time.sleep(99)\"]); print(1, flush=True); time.sleep(99)'\n"
        "with subprocess.Popen([sys.executable, '-c', child], stdout=subprocess.PIPE) as parent:\n"
        "    parent.stdout.readline()\n"
        "    family = psutil.Process().children(recursive=True)\n"
        "    leftovers.end_descendants()\n"
        "    left = [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]\n"
        "    print(len(family), len(left))\n"
    )
    done = subprocess.run([sys.executable, "-c", family], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "2 0\n"
