"""Bridges and clusters that die: the client is told which, when and why, at once; and everything comes back."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

import raymq as ray
from tests.integration.conftest import CI_PATIENCE, HEAD_PYTHON, Head, running_head, there_and_back, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]  # clusters are started again and again

RESTART_PATIENCE = 180.0
"""Seconds until a cluster has been started again and a bridge is in it; it takes 14 on two idle cores."""


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


def do_there(session: ray.Session, *call: Any) -> Any:
    """Have the bridge call a function, by unpickling an argument."""

    @session.remote(num_cpus=0)
    def take(value: Any) -> None: ...

    return take.remote(Fatal(*call))


class Fatal:
    """Does something to the process that unpickles it."""

    def __init__(self, *call: Any) -> None:
        self._call = call

    def __reduce__(self) -> Any:
        function, *arguments = self._call
        return function, tuple(arguments)


UTC = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"

# --- bridges


def test_kill_9_of_a_bridge_is_told_at_once(cluster: Head) -> None:
    """The supervisor sees it in no time; by the connection alone it would take two heartbeats at least."""
    session = cluster.connect()
    waiter = Waiter(lambda ref=endless(session): session.get(ref))
    pid = cluster.bridge_pid(session)
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    text = waiter.lost()
    assert waiter.at - killed < 2.0, "the patience with a bridge that is cut off: two heartbeats"
    assert re.search(rf"bridge-lost\).*\(pid {pid}\) died at {UTC}: SIGKILL ended it\n", text), text
    assert "out-of-memory" not in text
    assert "session_opened" in text, "the last lines of its log"
    with pytest.raises(ray.SessionLost, match=f"pid {pid}"):
        session.put(1)
    session.close()
    with cluster.connect() as again:
        assert there_and_back(again)


@pytest.mark.parametrize(
    ("call", "reason"),
    [((os._exit, 7), "it ended with code 7"), ((os._exit, 0), "it ended with code 0")],
)
def test_a_bridge_that_is_ended_from_within_leaves_its_last_lines(
    cluster: Head, call: tuple[Any, ...], reason: str
) -> None:
    """By user code that is unpickled in there."""
    session = cluster.connect()
    do_there(session, os.write, 2, b"these are my last words\n")
    do_there(session, *call)
    text = Waiter(lambda: there_and_back(session)).lost()
    assert reason in text
    assert "\n    these are my last words\n" in text
    session.close()


def test_a_crash_is_told_by_the_best_lines_of_its_dump(cluster: Head) -> None:
    session = cluster.connect()
    do_there(session, os.abort)
    text = Waiter(lambda: there_and_back(session)).lost()
    assert "SIGABRT ended it\n" in text
    assert "Fatal Python error: Aborted" in text
    assert "pickling.py" in text, "where it happened"
    session.close()


CRASH = """
import ctypes, threading
main = ctypes.c_ulong(threading.main_thread().ident)
ctypes.pythonapi.PyThreadState_SetAsyncExc(main, ctypes.py_object(ZeroDivisionError))
"""


def test_a_traceback_is_among_the_last_lines(guest: Head) -> None:
    """Of an error in the bridge's own loop, say."""
    session = guest.connect()
    do_there(session, exec, CRASH)
    text = Waiter(lambda: session.get(endless(session))).lost()
    assert "it ended with code 1" in text
    assert "ZeroDivisionError" in text
    session.close()


def test_who_comes_late_is_told_too(cluster: Head) -> None:
    """A client that was suspended when its bridge died."""
    program = (
        "import sys, raymq\n"
        f"session = raymq.connect({cluster.address!r}, timeout=60)\n"
        "print(session.id.hex(), flush=True)\n"
        "sys.stdin.readline()\n"
        "try:\n"
        "    session.get(session.put(bytes(100_000)), timeout=60)\n"
        "except raymq.SessionLost as error:\n"
        "    print(str(error))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True) as client:
        assert client.stdout is not None
        session = client.stdout.readline().strip()
        (pid,) = [bridge["pid"] for bridge in cluster.status()["bridges"] if bridge["session"] == session]
        client.send_signal(signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: session not in {each["id"] for each in cluster.status()["sessions"]}, "it has ended")
        client.send_signal(signal.SIGCONT)
        said, _ = client.communicate("go on\n", timeout=60)
    assert f"pid {pid}) died at" in said
    assert "SIGKILL ended it" in said


def test_want_of_memory_in_a_call_is_the_error_of_the_call(cluster: Head) -> None:
    """No reason for a bridge to die."""
    with cluster.connect() as session:
        with pytest.raises(MemoryError):
            session.get(do_there(session, bytes, 1 << 62))
        assert there_and_back(session)


def test_a_bridge_that_is_stopped_says_so(guest: Head) -> None:
    """By its own handler: Ray's would dump the stack first, from within whatever the thread was in."""
    session = guest.connect()
    waiter = Waiter(lambda ref=endless(session): session.get(ref))
    os.kill(guest.bridge_pid(session), signal.SIGTERM)
    assert "(bridge-stopped): the bridge of this session was stopped" in waiter.lost()
    session.close()
    assert "SIGTERM received" not in guest.log.read_text()


# --- clusters


class External:
    """A Ray cluster that raymq did not start, on a port that stays the same when it is started again."""

    def __init__(self, directory: Path, **environ: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        token = directory / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        self.environ = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        self.address = ""
        self._directory = directory
        self._own = {**os.environ, **self.environ, "RAY_GCS_SERVER_PORT": str(port), **environ}
        self._holder: subprocess.Popen[str] | None = None
        self._parts: dict[str, psutil.Process] = {}

    def start(self) -> None:
        with (self._directory / "log").open("a") as log:
            self._holder = subprocess.Popen(
                [HEAD_PYTHON, "-m", "raymq_bridge.local_cluster", "--supervised", f"--directory={self._directory}"],
                env=self._own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self._holder.stdout is not None
        told = json.loads(self._holder.stdout.readline())
        assert told["event"] == "ready", told
        assert self.address in ("", told["address"])
        self.address = told["address"]
        self._parts = {child.name(): child for child in psutil.Process(self._holder.pid).children()}

    @property
    def is_whole(self) -> bool:
        if self._holder is None:
            return False
        return all(part.is_running() and part.status() != psutil.STATUS_ZOMBIE for part in self._parts.values())

    def part(self, name: str) -> psutil.Process:
        return self._parts[name]

    def kill(self, name: str) -> None:
        """Kill one of its processes; whoever started them does not see it."""
        assert self._holder is not None
        self._holder.send_signal(signal.SIGSTOP)
        part = self._parts[name]
        part.kill()
        # Its first thread may have ended before the others, which still hold what it listens on.
        threads = Path(f"/proc/{part.pid}/task")
        wait_until(
            lambda: part.status() == psutil.STATUS_ZOMBIE and len(list(threads.iterdir())) == 1, f"{name} has ended"
        )

    def stop(self) -> None:
        if self._holder is not None:
            self._holder.send_signal(signal.SIGCONT)
            self._holder.communicate(timeout=60)  # closes its stdin
            self._holder = None


@contextmanager
def external_cluster(**environ: str) -> Iterator[External]:
    with tempfile.TemporaryDirectory(prefix="rmq", ignore_cleanup_errors=True) as directory:
        external = External(Path(directory), **environ)
        external.start()
        try:
            yield external
        finally:
            external.stop()


@pytest.fixture(scope="module")
def _external() -> Iterator[External]:
    with external_cluster() as external:
        yield external


@pytest.fixture
def external(_external: External) -> Iterator[External]:
    """A cluster to be killed; the next test finds it started again."""
    yield _external
    if not _external.is_whole:
        _external.stop()
        _external.start()


@pytest.fixture(scope="module")
def guest(_external: External) -> Iterator[Head]:
    """A head on it."""
    with running_head("--address", _external.address, environ=_external.environ, tracebacks=True) as head:
        yield head


def test_a_cluster_that_is_slow_is_not_gone(external: External, guest: Head) -> None:
    """A stopped process still accepts connections, which is the kernel's doing; Ray waits for it, and so do we."""
    with guest.connect() as session:
        for part in ("gcs_server", "raylet"):
            external.part(part).suspend()
            try:
                time.sleep(6)  # longer than a GCS may refuse connections
                assert session.is_open
            finally:
                external.part(part).resume()
        assert there_and_back(session, timeout=CI_PATIENCE)


@pytest.mark.parametrize(
    ("part", "what"),
    [("raylet", "the raylet of this node has ended"), ("gcs_server", "nothing has listened there for")],
)
def test_a_cluster_that_dies_ends_its_sessions_and_connect_waits_for_the_next(
    external: External, guest: Head, part: str, what: str
) -> None:
    session = guest.connect()
    waiter = Waiter(lambda ref=endless(session): session.get(ref))
    pid = guest.bridge_pid(session)
    killed = time.monotonic()
    external.kill(part)
    text = waiter.lost()
    assert waiter.at - killed < 30.0, "Ray takes twice as long to notice that its GCS is gone"
    assert f"(cluster-lost): the Ray cluster at {external.address} is gone: {what}" in text
    assert re.search(rf"\(at {UTC}\)", text)
    session.close()
    wait_until(lambda: not psutil.pid_exists(pid), "the bridge does not wait for a cluster that is gone", timeout=8)
    external.stop()
    with pytest.raises(ray.NoCluster, match=re.escape(external.address)):
        ray.connect(guest.address, timeout=8)
    with ThreadPoolExecutor() as pool:
        connecting = pool.submit(ray.connect, guest.address, timeout=RESTART_PATIENCE)
        external.start()
        with connecting.result() as session:
            assert there_and_back(session)


def test_a_busy_bridge_whose_raylet_is_killed(external: External, guest: Head) -> None:
    """Ray ends such a driver on the spot, with code 1 and no word: it is the cluster that died all the same."""
    session = guest.connect()

    def busy() -> None:
        while True:
            session.get(session.put(bytes(200_000)))

    waiters = [Waiter(busy) for _ in range(2)]
    external.kill("raylet")
    for waiter in waiters:
        text = waiter.lost()
        assert f"(cluster-lost): the Ray cluster at {external.address} is gone: " in text
    session.close()


def test_a_bridge_that_is_stopped_after_its_cluster_died_tells_of_the_cluster(external: External, guest: Head) -> None:
    session = guest.connect()
    waiter = Waiter(lambda ref=endless(session): session.get(ref))
    pid = guest.bridge_pid(session)
    external.kill("gcs_server")
    os.kill(pid, signal.SIGTERM)
    assert f"(cluster-lost): the Ray cluster at {external.address} is gone: nothing listens there" in waiter.lost()
    session.close()


@pytest.mark.parametrize("part", ["gcs_server", ""])
def test_a_cluster_of_our_own_that_dies_is_replaced(part: str) -> None:
    """Or the process that holds it, and with it all the others."""
    with running_head("--address", "local") as head:
        session = head.connect()
        waiter = Waiter(lambda ref=endless(session): session.get(ref))
        holder = head.child("raymq_bridge.local_cluster")
        [process] = [child for child in holder.children() if child.name() == part] or [holder]
        address = head.status()["cluster"]
        killed = time.monotonic()
        process.kill()
        text = waiter.lost()
        assert waiter.at - killed < 30.0
        what = rf"SIGKILL ended its {part} \(pid {process.pid}\)" if part else "SIGKILL ended it"
        lost = rf"\(cluster-lost\): the Ray cluster at {address} (ended: {what}|is gone: .*) \(at {UTC}\)\n"
        assert re.search(lost, text), text
        session.close()
        with ray.connect(head.address, timeout=RESTART_PATIENCE) as again:
            assert there_and_back(again)
        assert head.status()["cluster"] != address


def test_a_gcs_that_can_come_back_gets_the_time(tmp_path: Path) -> None:
    """A GCS that keeps its tables on disk is started again under the running cluster."""
    tables = {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(tmp_path)}
    with (
        external_cluster(**tables) as external,
        running_head("--address", external.address, environ=external.environ) as head,
        head.connect() as session,
    ):
        gcs = external.part("gcs_server")
        command, environ = gcs.cmdline(), gcs.environ()
        waiter = Waiter(lambda ref=endless(session): session.get(ref, timeout=12))
        external.kill("gcs_server")
        time.sleep(8)  # twice as long as a GCS may be away that cannot come back
        assert there_and_back(session)
        again = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert session.get(session.remote(lambda: 2).remote(), timeout=CI_PATIENCE) == 2
            assert session.nodes()
            waiter._thread.join(CI_PATIENCE)
            assert isinstance(waiter.error, ray.exceptions.GetTimeoutError)
        finally:
            again.kill()
            again.wait()
