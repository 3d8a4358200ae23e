"""``ray.util.state`` and ``ray.experimental.internal_kv``: what the cluster's own services tell."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import raymq as ray
from raymq.experimental import internal_kv
from raymq.util import state
from raymq.util.state.common import ActorState, JobState, NodeState, ObjectState, TaskState
from raymq.util.state.exception import RayStateApiException, ServerUnavailable
from tests.integration.conftest import HEAD_PYTHON, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.cluster


@ray.remote(num_cpus=0)
class Watched:
    """Is listed."""

    def work(self) -> str:
        print("said by the watched one", flush=True)
        return ray.get_runtime_context().get_task_id()


@ray.remote(num_cpus=0)
def look(kind: str) -> list[Any]:
    from ray.util import state as theirs

    # Ray itself looks for a cluster on the machine, and there may be several.
    return list(getattr(theirs, f"list_{kind}")(ray.get_runtime_context().gcs_address, limit=1))


def events(list_events: Callable[..., list[Any]]) -> set[str] | str:
    """The ids of the cluster's events, or that the dashboard fails to tell them.

    Ray 2.60 fails from the first time that a worker has died and its autoscaler has said something: the times of the ones
    are numbers, of the others strings, and it sorts by them. It also walks through its events in one thread while another
    adds to them.
    """
    try:
        return {each.event_id for each in list_events(limit=10_000)}
    except (RayStateApiException, AssertionError) as error:
        assert "status=500" in str(error)
        return "the dashboard fails"


def test_actors(session: ray.Session, view: Any) -> None:
    actor = Watched.options(name="watched by state").remote()
    actor_id = actor._actor_id.hex() if hasattr(actor, "_actor_id") else None
    ray.get(actor.work.remote())
    found = state.list_actors(filters=[("name", "=", "watched by state")], detail=True)
    assert len(found) == 1
    told = found[0]
    assert type(told) is ActorState
    assert (told.class_name, told.state, told.job_id) == ("Watched", "ALIVE", session.info.job_id)
    assert told["name"] == told.get("name") == "watched by state"
    assert told.is_detached is False
    assert actor_id in (None, told.actor_id)
    # The same as Ray tells a driver.
    (theirs,) = view.list_actors(filters=[("actor_id", "=", told.actor_id)], detail=True)
    assert vars(theirs) == told.asdict() == dataclasses.asdict(told)
    alone = state.get_actor(told.actor_id)
    assert alone is not None
    assert alone.pid == told.pid
    assert state.get_actor("0" * 32) is None
    assert state.list_actors(filters=[("name", "=", "nobody")]) == []
    per_class = state.summarize_actors()["cluster"]["summary"]["Watched"]
    assert per_class["state_counts"]["ALIVE"] >= 1


def test_tasks_nodes_jobs_and_the_like(session: ray.Session, view: Any) -> None:
    task_id = ray.get(Watched.remote().work.remote())
    task = wait_until(lambda: state.get_task(task_id), "the worker has told of the task")
    assert type(task) is TaskState
    assert (task.func_or_class_name, task.type) == ("Watched.work", "ACTOR_TASK")
    assert task_id in [each.task_id for each in state.list_tasks(filters=[("task_id", "=", task_id)])]
    # Of more than 10,000 tasks, which the tests before may have left, Ray sums up a part only.
    summary = state.summarize_tasks(raise_on_missing_output=False)["cluster"]
    assert summary["total_actor_tasks"] + summary["total_tasks"] > 0
    assert all(type(counts["state_counts"]) is dict for counts in summary["summary"].values())
    (node,) = state.list_nodes(limit=1)
    assert type(node) is NodeState
    known = state.get_node(node.node_id)
    assert known is not None
    assert known.resources_total == node.resources_total
    assert node.node_id in {each["NodeID"] for each in ray.nodes()}
    job = wait_until(
        lambda: state.list_jobs(filters=[("job_id", "=", session.info.job_id)], raise_on_missing_output=False),
        "the session's job is listed",
    )[0]
    assert type(job) is JobState
    assert (job.type, job.status) == ("DRIVER", "RUNNING")
    assert job.driver_info is not None
    assert job.driver_info.id == session.info.job_id
    assert job.asdict()["driver_info"]["pid"] == job.driver_info.pid
    assert state.list_workers(filters=[("worker_type", "=", "DRIVER")])
    assert isinstance(state.list_runtime_envs(), list)
    # Between the two questions there may be another event.
    wait_until(
        lambda: events(state.list_cluster_events) == events(view.list_cluster_events), "a driver is told so, too"
    )


def test_objects_and_placement_groups(session: ray.Session) -> None:
    held = ray.put(b"x" * 300_000)
    ray.wait([held])
    sizes = {each.object_size for each in state.list_objects(limit=10_000, raise_on_missing_output=False)}
    assert any(size >= 300_000 for size in sizes)
    found = state.get_objects(held.hex())
    assert found is None or type(found[0]) is ObjectState
    group = ray.util.placement_group([{"CPU": 0.01}], name="a group for state")
    group.wait(60)
    (told,) = state.list_placement_groups(filters=[("name", "=", "a group for state")])
    assert told.state == "CREATED"
    again = state.get_placement_group(told.placement_group_id)
    assert again is not None
    assert again.name == "a group for state"
    ray.util.remove_placement_group(group)
    assert "total_objects" in state.summarize_objects(raise_on_missing_output=False)["cluster"]


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("agent")
def test_logs(session: ray.Session) -> None:
    node_id = session.info.node_id

    names = state.list_logs(node_id=node_id)
    assert any(name.startswith("raylet") for name in names["raylet"])
    actor = Watched.options(name="one that prints").remote()
    ray.get(actor.work.remote())
    (told,) = state.list_actors(filters=[("name", "=", "one that prints")])

    def printed() -> bool:
        return "said by the watched one" in "".join(state.get_log(actor_id=told.actor_id))

    wait_until(printed, "what it has printed is in its log")
    (raw,) = state.get_log(node_id=node_id, filename="raylet.out", tail=1, encoding=None)
    assert isinstance(raw, bytes)
    with pytest.raises(RayStateApiException):
        list(state.get_log(node_id="0" * 56, filename="raylet.out"))
    with pytest.raises(ValueError, match="yield from ray.util.state.get_log"):
        next(iter(state.get_log(node_id=node_id, filename="raylet.out", follow=True)))


def test_what_is_wrong_with_a_question(session: ray.Session) -> None:
    with pytest.raises(ValueError, match="predicate"):
        state.list_actors(filters=[("name", "<", "a")])
    with pytest.raises(RayStateApiException):
        state.list_actors(filters=[("of nothing", "=", "a")])
    with pytest.raises(ValueError, match="session's own cluster"):
        state.list_actors("other:6379")
    assert len(state.list_nodes(address="auto")) >= 1
    with pytest.raises(AssertionError):
        state.list_logs()


def test_what_ray_tells_in_a_task_comes_here(session: ray.Session) -> None:
    (node,) = ray.get(look.remote("nodes"))
    assert type(node) is NodeState
    assert node.is_head_node is True

    @ray.remote(num_cpus=0)
    def by_name() -> Any:
        return state.list_nodes(ray.get_runtime_context().gcs_address, limit=1)[0], state.list_nodes.__module__

    there, module = ray.get(by_name.remote())
    assert there.node_id == node.node_id
    assert module == "ray.util.state.api"

    @ray.remote(num_cpus=0)
    def takes(told: Any) -> Any:
        return type(told).__module__, told.node_id, told

    assert ray.get(takes.remote(node)) == ("ray.util.state.common", node.node_id, node)

    @ray.remote(num_cpus=0)
    def fails() -> None:
        raise ServerUnavailable("it says")

    with pytest.raises(ServerUnavailable, match="it says"):
        ray.get(fails.remote())


WITHOUT_DASHBOARD = """
import json, sys, tempfile
from raymq_bridge import services
import ray
with tempfile.TemporaryDirectory(prefix="rmq") as folder:
    ray.init(address="local", num_cpus=0, include_dashboard=False, _temp_dir=folder, configure_logging=False)
    try:
        services._ask_state("list_nodes", (), {})
    except Exception as error:
        told = type(error).__name__, str(error)
    ray.shutdown()
print(json.dumps(told))
"""


def test_a_cluster_without_a_dashboard() -> None:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    command = [HEAD_PYTHON, "-c", WITHOUT_DASHBOARD]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100, check=True)
    name, message = json.loads(done.stdout.splitlines()[-1])
    assert name == "ServerUnavailable"
    assert "the cluster has no dashboard" in message


# --- the key-value store


def test_the_key_value_store(session: ray.Session) -> None:
    here = {"namespace": "raymq's tests"}
    assert internal_kv._internal_kv_initialized()
    assert internal_kv._internal_kv_put("key", b"value", **here) is False
    assert internal_kv._internal_kv_put(b"key", "other", False, **here) is True
    assert internal_kv._internal_kv_get("key", **here) == b"value"
    assert internal_kv._internal_kv_put("key", "other", **here) is True
    assert internal_kv._internal_kv_get(b"key", namespace=b"raymq's tests") == b"other"
    assert internal_kv._internal_kv_get("key") is None
    assert internal_kv._internal_kv_exists("key", **here)
    assert not internal_kv._internal_kv_exists("no key", **here)
    internal_kv._internal_kv_put("keyring", "", **here)
    assert sorted(internal_kv._internal_kv_list("ke", **here)) == [b"key", b"keyring"]

    @ray.remote(num_cpus=0)
    def there() -> bytes | None:
        return internal_kv._internal_kv_get("key", namespace="raymq's tests")

    assert ray.get(there.remote()) == b"other"
    assert internal_kv._internal_kv_del("key", **here) == 1
    assert internal_kv._internal_kv_del("key", **here) == 0
    assert internal_kv._internal_kv_del("k", del_by_prefix=True, **here) == 1
    assert internal_kv._internal_kv_list("", **here) == []
    with pytest.raises(AssertionError):
        internal_kv._internal_kv_get(7, **here)  # type: ignore[arg-type]


def test_without_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymq.api._default", None)
    assert not internal_kv._internal_kv_initialized()
    for call in (lambda: internal_kv._internal_kv_get("key"), state.list_actors):
        with pytest.raises(ray.NotConnected):
            call()
