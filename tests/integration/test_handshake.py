"""connect(), stage by stage: each ends in an exception of its own that says what to do."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

import raymq
from raymq import connecting, errors
from tests.integration.conftest import Head, there_and_back, wait_until

pytestmark = pytest.mark.cluster


@contextmanager
def lone_broker(tmp_path: Path, *options: str) -> Iterator[tuple[str, str]]:
    """A broker without bridges: its address, and its endpoint for bridges."""
    endpoint = f"ipc://{tmp_path}/bridges.sock"
    command = [sys.executable, "-m", "raymq_broker", "--port", "0", "--bridges", endpoint, *options]
    broker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert broker.stdout is not None
        yield json.loads(broker.stdout.readline())["address"], endpoint
    finally:
        broker.terminate()
        assert broker.wait(30) == 0
        broker.stdout.close()  # type: ignore[union-attr]
    assert not list(tmp_path.glob("*.sock"))


@contextmanager
def listener(greeting: bytes | None) -> Iterator[str]:
    """Something that listens and says ``greeting``, or closes at once for None."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            kept = []
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    break
                if greeting is None:
                    connection.close()
                    continue
                connection.sendall(greeting)
                kept.append(connection)
            for connection in kept:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_the_address_cannot_be_read() -> None:
    for bad in ("ray://head:10001", "http://head", "head:port", "head:99999", "a b"):
        with pytest.raises(raymq.AddressError):
            raymq.connect(bad)


def test_the_name_does_not_resolve() -> None:
    with pytest.raises(raymq.NameNotResolved, match=r"'no-such-host\.invalid' does not resolve"):
        raymq.connect("no-such-host.invalid")


def test_nothing_listens(caplog: pytest.LogCaptureFixture) -> None:
    """Waited for until the time is over, with one line in the log that says what for."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with (
        caplog.at_level(logging.WARNING, "raymq"),
        pytest.raises(raymq.NothingListens, match="is `raymq start` running"),
    ):
        raymq.connect(f"127.0.0.1:{port}", timeout=3)
    assert [record.getMessage() for record in caplog.records if "waiting" in record.getMessage()] == [
        record.getMessage() for record in caplog.records
    ]
    assert len(caplog.records) == 1


def test_what_waiting_heals_is_waited_for(tmp_path: Path, cluster: Head) -> None:
    """The client is there first, then the broker, then a bridge."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    results: list[object] = []

    def connect() -> None:
        with connecting.open_session(f"127.0.0.1:{port}", timeout=60, job={}, log_to_driver=False) as session:
            results.append(there_and_back(session))

    client = threading.Thread(target=connect)
    client.start()
    time.sleep(0.5)  # not a wait for anything: the client is to be early
    with lone_broker(tmp_path, "--port", str(port)) as (_, endpoint):
        time.sleep(0.5)
        command = [sys.executable, "-m", "raymq_bridge", "--broker", endpoint, "--address", cluster.state["cluster"]]
        environ = {**os.environ, **cluster.state["cluster_env"]}
        with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as bridge:
            client.join(90)
            assert bridge.wait(60) == 0
    assert results == [True]


@pytest.mark.parametrize("namespace", [None, "of-its-own"])
def test_a_bridge_has_joined_the_cluster_before_its_session_is_there(
    tmp_path: Path, cluster: Head, view: Any, namespace: str | None
) -> None:
    """A plain session finds its Ray job under way; one that says how its job is to be gets another one."""
    with lone_broker(tmp_path) as (address, endpoint):
        command = [sys.executable, "-m", "raymq_bridge", "--broker", endpoint, "--address", cluster.state["cluster"]]
        environ = {**os.environ, **cluster.state["cluster_env"]}
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as bridge:
            assert bridge.stdout is not None
            assert json.loads(bridge.stdout.readline())["event"] == "joined"
            before = {job.job_id for job in view.list_jobs() if job.status == "RUNNING"}
            job = {"namespace": namespace}
            with connecting.open_session(address, timeout=60, job=job, log_to_driver=False) as session:
                assert (session.info.job_id in before) == (namespace is None)
                assert namespace in (None, session.info.namespace)
                assert there_and_back(session)
                joined = {entry.job_id for entry in view.list_jobs() if entry.status == "RUNNING"}
                assert session.info.job_id in joined
                if namespace:
                    assert before - joined, "it has left the job that it had before"
            assert bridge.wait(60) == 0


def test_a_grpc_server_is_named_as_what_it_is() -> None:
    """As Ray Client's own server on port 10001, which is gRPC's."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    started = time.monotonic()
    with pytest.raises(raymq.NotABroker, match=r"gRPC server .* Ray Client's own server .* --ray-client-server-port"):
        raymq.connect(f"127.0.0.1:{port}", timeout=60)
    assert time.monotonic() - started < 30, "waiting does not heal it"
    server.stop(0).wait()


def test_another_protocol() -> None:
    with listener(b"SSH-2.0-OpenSSH_9.2\r\n") as address, pytest.raises(raymq.NotABroker, match="SSH-2.0"):
        raymq.connect(address, timeout=60)


def test_a_silent_listener() -> None:
    with listener(b"") as address, pytest.raises(raymq.NotABroker, match="says nothing"):
        raymq.connect(address, timeout=3)


def test_another_zeromq_socket() -> None:
    import zmq

    with zmq.Context() as context, context.socket(zmq.REP) as other:
        port = other.bind_to_random_port("tcp://127.0.0.1")
        with pytest.raises(raymq.ConnectTimeout, match="no answer to the handshake"):
            raymq.connect(f"127.0.0.1:{port}", timeout=2)


def test_no_bridge(tmp_path: Path) -> None:
    with lone_broker(tmp_path) as (address, _), pytest.raises(raymq.NoBridge, match="no idle bridge"):
        raymq.connect(address, timeout=1.5)


def test_no_cluster(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        nowhere = f"127.0.0.1:{server.getsockname()[1]}"
    with lone_broker(tmp_path) as (address, endpoint):
        command = [sys.executable, "-m", "raymq_bridge", "--broker", endpoint, "--address", nowhere]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as bridge:
            with pytest.raises(raymq.NoCluster, match=f"no Ray cluster answers at {nowhere}"):
                raymq.connect(address, timeout=15)
            assert bridge.wait(60) == 0


def test_protocol_versions(cluster: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "PROTOCOL_OLDEST", 7)
    monkeypatch.setattr(connecting, "PROTOCOL_NEWEST", 9)
    with pytest.raises(raymq.ProtocolMismatch, match="upgrade raymq on the broker's side"):
        raymq.connect(cluster.address, timeout=60)


def test_limit(brisk: Head) -> None:
    sessions = [brisk.connect() for _ in range(4)]
    try:
        with pytest.raises(raymq.LimitReached, match="--max-sessions"):
            raymq.connect(brisk.address, timeout=1.5)
    finally:
        for session in sessions:
            session.close()
    wait_until(lambda: not brisk.status()["sessions"], "the sessions are gone")
    with brisk.connect() as session:
        assert there_and_back(session)


def test_another_ray_on_the_client(cluster: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the client can tell without importing it: by its metadata."""
    dist_info = tmp_path / "ray-2.1.0.dist-info"
    dist_info.mkdir()
    (dist_info / "METADATA").write_text("Metadata-Version: 2.1\nName: ray\nVersion: 2.1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(raymq.RayMismatch, match=r"Ray 2\.1\.0 .* or no Ray at all"):
        raymq.connect(cluster.address, timeout=60)


def test_errors_are_all_connect_errors() -> None:
    assert all(issubclass(kind, errors.ConnectError) for kind in connecting.REFUSALS.values())
    assert issubclass(errors.ConnectError, ConnectionError)


def other_python() -> str | None:
    """A Python of another minor version, if this machine has one."""
    here = sys.version_info[:2]
    candidates = [f"python3.{minor}" for minor in range(10, 15) if (3, minor) != here]
    found = [shutil.which(name) for name in candidates]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found += [str(path) for path in sorted(pyenv.glob("3.1[0-4].*/bin/python")) if f"/3.{here[1]}." not in str(path)]
    for path in filter(None, found):
        works = subprocess.run(
            [path, "-c", "import sys, venv; print(sys.version_info[:2])"], capture_output=True, text=True
        )
        if works.returncode == 0 and works.stdout.strip() != str(tuple(here)):
            return path
    return None


@pytest.mark.timeout(300)
def test_another_python(cluster: Head, tmp_path: Path) -> None:
    """Tried with a real second interpreter."""
    python = other_python()
    if python is None:
        pytest.skip("there is no second Python on this machine")
    subprocess.run([python, "-m", "venv", str(tmp_path / "venv")], check=True, capture_output=True)
    inside = str(tmp_path / "venv" / "bin" / "python")
    root = str(Path(__file__).parents[2])
    subprocess.run([inside, "-m", "pip", "install", "-q", root], check=True, capture_output=True, timeout=250)
    program = f"import raymq; raymq.connect({cluster.address!r}, timeout=60)"
    done = subprocess.run([inside, "-c", program], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("raymq.errors.PythonMismatch: this client runs Python 3.")
    assert f"Run the client with Python 3.{sys.version_info.minor}." in last
