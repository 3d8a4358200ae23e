"""Bridges and clusters that die: the client is told which, when and why, at once; and everything comes back."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import raymq as ray
from tests.integration.conftest import CI_PATIENCE, HEAD_PYTHON, Head, running_head

pytestmark = pytest.mark.cluster


class Waiter:
    """A thread that waits for what never comes, and what it was told instead."""

    def __init__(self, wait: Callable[[], Any]) -> None:
        self._wait = wait
        self.error: BaseException | None = None
        self.at = 0.0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._wait()
        except BaseException as error:
            self.error = error
        self.at = time.monotonic()

    def lost(self) -> str:
        """The text of the SessionLost that ended the wait."""
        self._thread.join(CI_PATIENCE)
        assert not self._thread.is_alive(), "it still waits"
        assert isinstance(self.error, ray.SessionLost), repr(self.error)
        return str(self.error)


def endless(session: ray.Session) -> Any:
    """A reference to what is never there; its task runs."""

    @session.remote(num_cpus=0)
    class Sleeper:
        def ready(self) -> None:
            pass

        def sleep(self) -> None:
            time.sleep(9999)

    sleeper = Sleeper.remote()
    session.get(sleeper.ready.remote(), timeout=CI_PATIENCE)
    return sleeper.sleep.remote()


class Fatal:
    """Ends the process that unpickles it."""

    def __init__(self, *call: Any) -> None:
        self._call = call

    def __reduce__(self) -> Any:
        function, *arguments = self._call
        return function, tuple(arguments)


UTC = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"

# --- bridges


def test_kill_9_of_a_bridge_is_told_at_once(cluster: Head) -> None:
    """The supervisor sees it in no time; by the connection alone it would take up to three heartbeats."""
    session = cluster.connect()
    waiter = Waiter(lambda ref=endless(session): session.get(ref))
    pid = cluster.bridge_pid(session)
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    text = waiter.lost()
    took = waiter.at - killed
    assert re.search(rf"bridge-lost.*pid {pid}\) died at {UTC}: SIGKILL ended it\. ", text), text
    assert "out-of-memory" not in text
    assert "session_opened" in text, "the last lines of its log"
    assert took < 2.0, "the patience with a bridge that is cut off: two heartbeats"
    with pytest.raises(ray.SessionLost, match=f"pid {pid}"):
        session.put(1)
    session.close()
    with cluster.connect() as again:
        assert again.get(again.put(1)) == 1


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ((os._exit, 7), "it ended with code 7"),
        ((os._exit, 0), "it ended with code 0"),
        ((os.abort,), "SIGABRT ended it"),
    ],
)
def test_a_bridge_that_crashes_leaves_its_last_lines(cluster: Head, call: tuple[Any, ...], reason: str) -> None:
    session = cluster.connect()
    last_words = "these are my last words"
    session.put(Fatal(os.write, 2, f"{last_words}\n".encode()))
    session.put(Fatal(*call))
    text = Waiter(lambda: session.get(session.put(1))).lost()
    assert reason in text
    assert last_words in text
    assert len(text) < 5_000
    session.close()


CRASH = """
import ctypes, threading
main = ctypes.c_ulong(threading.main_thread().ident)
ctypes.pythonapi.PyThreadState_SetAsyncExc(main, ctypes.py_object(ZeroDivisionError))
"""


def test_a_traceback_is_among_the_last_lines(cluster: Head) -> None:
    """Of an error in the bridge's own loop, say."""
    session = cluster.connect()
    session.put(Fatal(exec, CRASH))
    text = Waiter(lambda: session.get(endless(session))).lost()
    assert "it ended with code 1" in text
    assert "ZeroDivisionError" in text
    session.close()


def test_want_of_memory_in_a_call_is_the_error_of_the_call(cluster: Head) -> None:
    """No reason for a bridge to die."""
    with cluster.connect() as session:
        with pytest.raises(MemoryError):
            session.get(session.put(Fatal(bytes, 1 << 62)))
        assert session.get(session.put(1)) == 1


def test_a_bridge_that_is_stopped_says_so(cluster: Head) -> None:
    session = cluster.connect()
    waiter = Waiter(lambda ref=endless(session): session.get(ref))
    os.kill(cluster.bridge_pid(session), signal.SIGTERM)
    assert "(bridge-stopped): the bridge of this session was stopped" in waiter.lost()
    session.close()


# --- clusters


class External:
    """A Ray cluster that raymq did not start, on a port that stays the same when it is started again."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        token = directory / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        self.environ = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        self._directory = directory
        self.address = ""
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        environ = {**os.environ, **self.environ, "RAY_GCS_SERVER_PORT": str(self._port)}
        with (self._directory / "log").open("a") as log:
            self.process = subprocess.Popen(
                [HEAD_PYTHON, "-m", "raymq_bridge.local_cluster", "--supervised", f"--directory={self._directory}"],
                env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        assert told["event"] == "ready", told
        assert self.address in ("", told["address"])
        self.address = told["address"]

    def part(self, name: str) -> psutil.Process:
        assert self.process is not None
        (found,) = [child for child in psutil.Process(self.process.pid).children() if child.name() == name]
        return found

    def stop(self) -> None:
        if self.process is not None:
            self.process.communicate(timeout=60)  # closes its stdin
            self.process = None


@pytest.fixture(scope="module")
def external() -> Iterator[External]:
    with tempfile.TemporaryDirectory(prefix="rmq", ignore_cleanup_errors=True) as directory:
        external = External(Path(directory))
        external.start()
        try:
            yield external
        finally:
            external.stop()


@pytest.fixture(scope="module")
def guest(external: External) -> Iterator[Head]:
    """A head on it."""
    with running_head("--address", external.address, environ=external.environ) as head:
        yield head


@pytest.mark.parametrize("part", ["raylet", "gcs_server"])
def test_a_cluster_that_dies_ends_its_sessions_and_connect_waits_for_the_next(
    external: External, guest: Head, part: str
) -> None:
    session = guest.connect()
    waiter = Waiter(lambda ref=endless(session): session.get(ref))
    killed = time.monotonic()
    external.part(part).kill()
    text = waiter.lost()
    print(part, waiter.at - killed, text)
    assert f"(cluster-lost): the Ray cluster at {external.address} is gone: " in text
    session.close()
    external.stop()
    with pytest.raises(ray.NoCluster, match=re.escape(external.address)):
        ray.connect(guest.address, timeout=8)
    connecting = Waiter(lambda: guest.connect().close())
    external.start()
    connecting._thread.join(CI_PATIENCE)
    assert connecting.error is None


def test_the_supervisors_own_cluster() -> None:
    with running_head("--address", "local") as head:
        for part in ("gcs_server", "raylet", None):
            session = head.connect()
            waiter = Waiter(lambda ref=endless(session): session.get(ref))
            holder = next(
                p for p in psutil.Process(head.process.pid).children() if "raymq_bridge.local_cluster" in p.cmdline()
            )
            killed = time.monotonic()
            (next(c for c in holder.children() if c.name() == part) if part else holder).kill()
            text = waiter.lost()
            print(part, waiter.at - killed, text)
            assert "(cluster-lost)" in text
            session.close()
            t = time.monotonic()
            with head.connect() as again:
                assert again.get(again.put(1)) == 1
            print("again after", time.monotonic() - t)
