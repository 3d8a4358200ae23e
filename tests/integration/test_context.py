"""The runtime context, on the client and in tasks, and Ray's ids."""

from __future__ import annotations

import json
import os
import pickle
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

import raymq as ray
from tests.integration.conftest import Head, wait_until

pytestmark = pytest.mark.cluster


@ray.remote(num_cpus=0)
def of_a_task() -> dict[str, Any]:
    here = ray.get_runtime_context()
    return {
        "job": here.get_job_id(),
        "node": here.get_node_id(),
        "namespace": here.namespace,
        "gcs": here.gcs_address,
        "temp": here.get_temp_dir(),
        "session": here.get_session_name(),
        "task": here.get_task_id(),
        "actor": here.get_actor_id(),
        "function": here.get_task_name(),
        "resources": here.get_assigned_resources(),
        "env": here.get_runtime_env_string(),
    }


def test_client_and_tasks_are_told_the_same(session: ray.Session) -> None:
    here = ray.get_runtime_context()
    told = ray.get(of_a_task.remote())
    assert here.get_job_id() == told["job"] == session.info.job_id
    assert here.get_node_id() == told["node"]
    assert here.namespace == told["namespace"]
    assert here.gcs_address == told["gcs"]
    assert here.get_temp_dir() == told["temp"]
    assert here.get_session_name() == told["session"]
    assert told["function"] == "of_a_task"
    assert len(told["task"]) == 48
    assert told["actor"] is None
    assert len(here.get_worker_id()) == 56


def test_the_context_is_rays_own_in_an_actor(session: ray.Session) -> None:
    from raymq import get_runtime_context

    @ray.remote(num_cpus=0, num_gpus=0)
    class Actor:
        def ids(self) -> tuple[str | None, Any]:
            return get_runtime_context().get_actor_id(), get_runtime_context().current_actor

    actor = Actor.options(name="in_context").remote()
    actor_id, itself = ray.get(actor.ids.remote())
    assert itself == actor
    assert len(actor_id) == 32


def test_what_a_driver_is_told(session: ray.Session, caplog: pytest.LogCaptureFixture) -> None:
    here = session.get_runtime_context()
    assert here.get_actor_id() is None
    assert here.get_placement_group_id() is None
    assert not caplog.records
    assert here.get_task_id() is None
    assert "get_task_id() tells of the task" in caplog.text
    assert (here.get_task_name(), here.get_task_function_name(), here.get_actor_name()) == (None, None, None)
    assert here.should_capture_child_tasks_in_placement_group is False
    assert set(here.get_accelerator_ids()) >= {"GPU"}
    assert not any(here.get_accelerator_ids().values())
    with pytest.raises(AssertionError, match="in tasks and actors only"):
        here.get_assigned_resources()
    with pytest.raises(AssertionError, match="in tasks and actors only"):
        here.was_current_actor_reconstructed  # noqa: B018
    with pytest.raises(RuntimeError, match="in an actor only"):
        here.current_actor  # noqa: B018
    with pytest.raises(ValueError, match="has no 'current_actor'"):
        session.request("runtime_context", "current_actor")


def test_names_that_ray_has_given_up(session: ray.Session) -> None:
    here = ray.get_runtime_context()
    with pytest.warns(DeprecationWarning, match=r"use the get_\.\.\._id\(\) methods"):
        told = here.get()
    assert told["namespace"] == session.info.namespace
    with pytest.warns(DeprecationWarning):
        assert here.job_id == told["job_id"] == ray.JobID.from_hex(session.info.job_id)
    with pytest.warns(DeprecationWarning):
        assert here.node_id == told["node_id"] == ray.NodeID.from_hex(session.info.node_id)
    with pytest.warns(DeprecationWarning), pytest.raises(AssertionError):
        here.task_id  # noqa: B018
    with pytest.warns(DeprecationWarning), pytest.raises(AssertionError):
        here.actor_id  # noqa: B018
    with pytest.warns(DeprecationWarning):
        assert here.current_placement_group_id.is_nil()
    with pytest.warns(DeprecationWarning):
        assert here.get_resource_ids() == here.get_accelerator_ids()


def test_the_runtime_environment(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymq.api._default", None)
    environment = {"env_vars": {"RAYMQ_TEST_CONTEXT": "1"}}
    with cluster.connect(runtime_env=environment, namespace="spaced"):
        here = ray.get_runtime_context()
        assert here.runtime_env["env_vars"] == environment["env_vars"]
        assert here.namespace == "spaced"
    with pytest.raises(ray.SessionClosed):
        here.get_job_id()
    with pytest.raises(ray.SessionClosed):
        here.gcs_address  # noqa: B018


def test_a_session_that_starts_over(cluster: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymq.api._default", None)
    with cluster.connect(reconnect="new") as own:
        here = ray.get_runtime_context()
        first = here.get_job_id()
        os.kill(cluster.bridge_pid(own), signal.SIGKILL)
        wait_until(lambda: own._lives.state == "lost", "the session is lost")
        assert here.get_job_id() != first


def test_rays_module_of_that_name(session: ray.Session) -> None:
    from raymq.runtime_context import RuntimeContext, get_runtime_context

    @ray.remote(num_cpus=0)
    def look() -> bool:
        here = ray.runtime_context.get_runtime_context()
        return isinstance(here, RuntimeContext) and here.get_job_id() == get_runtime_context().get_job_id()

    assert ray.get(look.remote())
    assert isinstance(ray.runtime_context.get_runtime_context(), RuntimeContext)


def test_a_context_does_not_travel(session: ray.Session) -> None:
    with pytest.raises(ray.NotPicklable, match=r"call ray\.get_runtime_context\(\) where it is wanted"):
        ray.put(ray.get_runtime_context())
    with pytest.raises(TypeError):
        pickle.dumps(ray.get_runtime_context())


def test_ids_are_rays_on_a_worker_and_raymqs_here(session: ray.Session) -> None:
    kinds = (ray.ActorClassID, ray.ActorID, ray.FunctionID, ray.JobID, ray.NodeID, ray.PlacementGroupID, ray.TaskID)
    kinds = (*kinds, ray.UniqueID, ray.WorkerID)

    @ray.remote(num_cpus=0)
    def look(ids: list[Any]) -> tuple[list[str], list[str], list[Any], int]:
        return [type(each).__module__ for each in ids], list(map(repr, ids)), ids, ids[-1].int()

    ids = [kind(bytes(range(kind.size()))) for kind in kinds] + [ray.JobID.from_int(7)]
    modules, texts, back, number = ray.get(look.remote(ids))
    assert set(modules) == {"ray._raylet"}
    assert texts == list(map(repr, ids))
    assert back == ids
    assert [type(each) for each in back] == [type(each) for each in ids]
    assert number == 7 == back[-1].int()


def test_ids_are_made_of_each_other_as_in_ray(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def look() -> Any:
        task = ray.TaskID.from_hex(ray.get_runtime_context().get_task_id())
        return task, task.actor_id(), task.job_id(), task.actor_id().job_id

    task, actor, job, same_job = ray.get(look.remote())
    assert (task.actor_id(), task.job_id(), task.actor_id().job_id) == (actor, job, same_job)
    assert job.hex() == session.info.job_id


# --- ids of references and actors


def test_the_task_of_a_reference(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def own() -> str:
        return str(ray.get_runtime_context().get_task_id())

    ref = own.remote()
    assert ref.task_id() == ray.TaskID.from_hex(ray.get(ref))
    assert ref.job_id() == ref.task_id().job_id() == ray.JobID.from_hex(session.info.job_id)
    assert not ref.is_nil()
    assert ray.put(1).job_id() == ref.job_id()


def test_the_actor_of_a_reference(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    class Actor:
        def own(self) -> str:
            return str(ray.get_runtime_context().get_actor_id())

    actor = Actor.remote()
    ref = actor.own.remote()
    actor_id = ray.ActorID.from_hex(ray.get(ref))
    assert ref.task_id().actor_id() == actor_id
    assert actor._actor_id == actor._ray_actor_id == actor_id


SOON = {"config": {"setup_timeout_seconds": "soon"}}
"""An option that only the cluster looks at."""


def test_no_task_where_the_call_could_not_be_made(session: ray.Session) -> None:
    ref = of_a_task.options(runtime_env=SOON).remote()
    with pytest.raises(TypeError, match="setup_timeout_seconds"):
        ref.task_id()


def test_ids_of_a_session_that_has_ended(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymq.api._default", None)
    with cluster.connect() as own:
        ref = own.put(1)
    with pytest.raises(ray.SessionClosed):
        ref.task_id()


# --- what is for workers, and the timeline


def test_gpus(session: ray.Session) -> None:
    with pytest.raises(ray.NotOnClient, match="a client is neither: call it in a remote function"):
        ray.get_gpu_ids()
    assert ray.get(ray.remote(num_cpus=0)(lambda: ray.get_gpu_ids()).remote()) == []


@pytest.mark.parametrize("asynchronous", [False, True])
def test_exit_actor(session: ray.Session, asynchronous: bool) -> None:
    from raymq.actor import exit_actor

    @ray.remote(num_cpus=0)
    class Leaves:
        def leave(self) -> None:
            ray.actor.exit_actor()

        def is_there(self) -> bool:
            return True

    @ray.remote(num_cpus=0)
    class LeavesLater:
        async def leave(self) -> None:
            exit_actor()

        async def is_there(self) -> bool:
            return True

    actor = (LeavesLater if asynchronous else Leaves).remote()
    assert ray.get(actor.is_there.remote())
    with pytest.raises(ray.exceptions.ActorDiedError, match="exit_actor|requested to exit"):
        ray.get(actor.leave.remote())
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(actor.is_there.remote())


def test_exit_actor_where_there_is_none(session: ray.Session) -> None:
    with pytest.raises(TypeError, match="this is none; kill"):
        ray.actor.exit_actor()

    @ray.remote(num_cpus=0)
    def leave() -> None:
        ray.actor.exit_actor()

    with pytest.raises(TypeError, match="non-actor"):
        ray.get(leave.remote())
    assert ray.actor.ActorHandle is ray.ActorHandle


def test_timeline(session: ray.Session, tmp_path: Path) -> None:
    ray.get([of_a_task.remote() for _ in range(3)])

    def shows() -> bool:
        events = ray.timeline()
        assert events is not None
        return any(event.get("ph") == "X" and event["name"].startswith("task") for event in events)

    wait_until(shows, "the tasks are in the timeline: their workers tell of them now and then")
    file = tmp_path / "timeline.json"
    assert ray.timeline(str(file)) is None
    assert {event["ph"] for event in json.loads(file.read_text())} >= {"X"}
    with pytest.raises(OSError):
        ray.timeline(str(tmp_path / "nowhere" / "timeline.json"))


def test_the_timeline_holds_up_nothing_else(session: ray.Session) -> None:
    asks = threading.Thread(target=ray.timeline)
    asks.start()
    meanwhile = 0
    while asks.is_alive():
        ray.available_resources()
        meanwhile += 1
    asks.join()
    assert meanwhile > 5


def test_a_session_may_end_while_its_timeline_is_made(cluster: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymq.api._default", None)
    raised: list[BaseException] = []

    def ask(session: ray.Session) -> None:
        try:
            session.timeline()
        except BaseException as error:
            raised.append(error)

    with cluster.connect() as own:
        asks = threading.Thread(target=ask, args=(own,))
        asks.start()
        wait_until(lambda: own._life.ledger._replies, "it has been asked for")
    asks.join()
    assert [type(error) for error in raised] == [ray.SessionClosed]
