"""A node dies, and with it objects: results are made again, and what cannot be made again is an error that says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

import raymq as ray
from tests.integration.conftest import Head, running_head, wait_until

pytestmark = pytest.mark.cluster

LARGE = 1 << 20
"""Bytes of a value that lies in the object store of the node where it was made."""

QUICK = {"RAY_health_check_period_ms": "1000"}
"""Has the cluster see soon that a node is gone, and yet not take a busy one for gone."""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """A cluster of its own, so that no other test sees nodes come and go."""
    with running_head("--address", "local", environ=QUICK, tracebacks=True) as head:
        yield head


@pytest.fixture
def session(head: Head, monkeypatch: pytest.MonkeyPatch) -> Iterator[ray.Session]:
    monkeypatch.setattr("raymq.api._default", None)
    with head.connect() as session:
        yield session


class Node:
    """A second node of the cluster, with a resource of its own."""

    def __init__(self, head: Head, log: Any) -> None:
        address = head.state["cluster"]
        command = [
            sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", f"--address={address}",
            f"--node-ip-address={address.rpartition(':')[0]}", "--num-cpus=1", "--block", "--disable-usage-stats",
            f"--resources={json.dumps({'second': 1})}", f"--object-store-memory={100 << 20}", "--min-worker-port=0",
            "--max-worker-port=0",
        ]  # fmt: skip
        environ = {**os.environ, **head.state["cluster_env"], **QUICK}
        self._process = subprocess.Popen(
            command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )

    @property
    def failed(self) -> bool:
        """Whether it has ended by itself: on a busy machine a raylet may not wait for all parts of its node."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """End it as a power cut would: nobody is told."""
        children = [] if self.failed else psutil.Process(self._process.pid).children(recursive=True)
        for process in children:
            if process.name() == "raylet":
                process.kill()
        self._process.terminate()
        self._process.wait(60)
        _, left = psutil.wait_procs(children, timeout=30)
        for process in left:
            process.kill()


def count(session: ray.Session) -> int:
    """Nodes with the resource."""
    return sum(node["Alive"] and "second" in node["Resources"] for node in session.nodes())


@contextmanager
def second_node(head: Head, session: ray.Session, directory: Path) -> Iterator[Node]:
    with (directory / "node.log").open("a") as log:
        nodes = [Node(head, log)]

        def has_come() -> bool:
            if nodes[-1].failed:
                nodes.append(Node(head, log))
            return count(session) == 1

        try:
            wait_until(has_come, "the second node has come", timeout=150)
            yield nodes[-1]
        finally:
            nodes[-1].kill()
    wait_until(lambda: count(session) == 0, "the cluster has seen that the second node is gone")


@ray.remote(num_cpus=0, resources={"second": 0.1})
def made(path: Path) -> bytes:
    with path.open("a") as file:
        file.write("made\n")
    return bytes(LARGE)


@pytest.mark.timeout(500)  # nodes come and go, each a minute on a busy machine
def test_a_result_is_made_again_and_what_cannot_be_is_an_error(
    head: Head, session: ray.Session, tmp_path: Path
) -> None:
    @ray.remote(num_cpus=0, resources={"second": 0.1})
    def own() -> list[Any]:
        return [ray.put(bytes(LARGE))]

    with second_node(head, session, tmp_path):
        result = made.remote(tmp_path / "made")
        single = made.options(max_retries=0).remote(tmp_path / "made once")
        (owned,) = ray.get(own.remote())
        # Not fetched: else there would be a copy on the head node, and nothing would be lost.
        assert ray.wait([result, single, owned], num_returns=3, timeout=60, fetch_local=False)[1] == []
    with pytest.raises(ray.exceptions.ObjectReconstructionFailedError) as failed:
        ray.get(single, timeout=60)
    assert failed.value.object_ref_hex
    assert "max_retries" in failed.value.reason_message
    assert failed.value.reason is not None
    with pytest.raises(ray.exceptions.OwnerDiedError) as orphaned:
        ray.get(owned, timeout=60)
    assert orphaned.value.object_ref_hex in str(orphaned.value)
    assert isinstance(orphaned.value.owner_address, bytes)
    with second_node(head, session, tmp_path):
        assert ray.get(result, timeout=60) == bytes(LARGE)
    assert (tmp_path / "made").read_text() == "made\n" * 2
    assert (tmp_path / "made once").read_text() == "made\n"


@ray.remote(num_cpus=0, resources={"second": 0.1}, max_retries=0)
def made_late(gate: Path) -> bytes:
    while not gate.exists():
        time.sleep(0.01)
    return bytes(LARGE)


@ray.remote(num_cpus=0, resources={"second": 0.1})
def nested() -> list[dict[str, Any]]:
    return [{"id": (number, "text")} for number in range(10_000)]


@pytest.mark.timeout(500)
def test_what_becomes_ready_during_a_wait_is_copied_to_the_head_node(
    head: Head, session: ray.Session, tmp_path: Path
) -> None:
    here, gate = ray.get_runtime_context().get_node_id(), tmp_path / "gate"

    def is_here(ref: ray.ObjectRef[bytes]) -> bool:
        return here in ray.experimental.get_object_locations([ref])[ref]["node_ids"]

    with second_node(head, session, tmp_path):
        near, far, both = (made_late.remote(gate) for _ in range(3))
        assert ray.wait([near, both], timeout=0) == ([], [near, both])
        assert ray.wait([far, both], timeout=0, fetch_local=False) == ([], [far, both])
        gate.touch()
        assert ray.get(nested.remote()) == [{"id": (number, "text")} for number in range(10_000)], "copied here for it"
        assert ray.wait([far, both], num_returns=2, timeout=60, fetch_local=False)[1] == []
        assert ray.wait([near, both], num_returns=2, timeout=60)[1] == []
        assert not is_here(far)
        with pytest.raises(ray.exceptions.GetTimeoutError):
            ray.get(far, timeout=0)
        assert ray.wait([far], timeout=60) == ([far], []), "what exists is copied by another wait"
        lost = made_late.remote(gate)
        assert ray.wait([lost], timeout=60, fetch_local=False) == ([lost], [])
        assert not is_here(lost)
    for ref in (near, far, both):
        assert ray.get(ref, timeout=60) == bytes(LARGE)
    assert ray.wait([lost], timeout=60) == ([lost], []), "what cannot be copied is ready: there is an error to get"
    with pytest.raises(ray.exceptions.ObjectLostError):
        ray.get(lost, timeout=60)


@pytest.mark.timeout(500)
def test_an_actor_on_a_node_that_dies(head: Head, session: ray.Session, tmp_path: Path) -> None:
    @ray.remote(num_cpus=0, resources={"second": 0.1})
    class Actor:
        def pid(self) -> int:
            return os.getpid()

    with second_node(head, session, tmp_path):
        actor = Actor.remote()
        ray.get(actor.pid.remote())
    with pytest.raises(ray.exceptions.ActorDiedError) as caught:
        wait_until(lambda: ray.get(actor.pid.remote(), timeout=60) < 0, "it is dead")
    assert caught.value.actor_id == actor._actor_id.hex()
    assert not caught.value.preempted
