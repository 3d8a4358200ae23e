"""Options of tasks, actors and methods do in the cluster what Ray says of them."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import raymq as ray
from tests.integration.conftest import wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture(autouse=True)
def _by_value() -> Iterator[None]:
    """The cluster has not got the functions of this module."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@ray.remote(num_cpus=0)
def assigned() -> dict[str, float]:
    return ray.get_runtime_context().get_assigned_resources()  # type: ignore[attr-defined, no-any-return]


@ray.remote(num_cpus=0)
class Named:
    def pid(self) -> int:
        return os.getpid()

    def resources(self) -> dict[str, float]:
        return ray.get_runtime_context().get_assigned_resources()  # type: ignore[attr-defined, no-any-return]

    @ray.method(num_returns=2)
    def pair(self, first: int, second: int = 2) -> tuple[int, int]:
        return first, second


class Plain:
    def pid(self) -> int:
        return os.getpid()


def attempts(path: Path) -> int:
    """How often a function was run that adds a line each time."""
    return len(path.read_text().splitlines()) if path.exists() else 0


def tried(path: Path, error: BaseException | None, times: int) -> int:
    """Leave a line, and fail as long as there are not enough; with None, by ending the process."""
    with path.open("a") as file:
        file.write("\n")
    if attempts(path) < times:
        if error is None:
            os._exit(1)
        raise error
    return attempts(path)


def test_resources(session: ray.Session) -> None:
    got = ray.get(assigned.options(num_cpus=0.5, memory=1 << 20).remote())
    assert got["CPU"] == 0.5
    assert got["memory"] == 1 << 20
    assert ray.get(Named.options(num_cpus=0.25).remote().resources.remote())["CPU"] == 0.25


@pytest.mark.parametrize(
    "given", [{"num_gpus": 1}, {"resources": {"none": 1}}, {"accelerator_type": "A100"}, {"label_selector": {"a": "b"}}]
)
def test_what_no_node_has_is_waited_for(session: ray.Session, given: dict[str, Any]) -> None:
    waiting = assigned.options(**given).remote()
    assert ray.wait([waiting, assigned.remote()], num_returns=1)[1] == [waiting]
    ray.cancel(waiting)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(waiting, timeout=60)


def test_labels(session: ray.Session) -> None:
    node = ray.get_runtime_context().get_node_id()
    here, elsewhere = {"ray.io/node-id": node}, {"ray.io/node-id": "1" * 56}
    assert "CPU" in ray.get(assigned.options(num_cpus=0.5, label_selector=here).remote())
    fallback = [{"label_selector": here}]
    tasks = assigned.options(num_cpus=0.5, label_selector=elsewhere, fallback_strategy=fallback)
    assert "CPU" in ray.get(tasks.remote())
    assert ray.get(Named.options(label_selector=elsewhere, fallback_strategy=fallback).remote().pid.remote())


def test_retries_of_exceptions(session: ray.Session, tmp_path: Path) -> None:
    retried = ray.remote(num_cpus=0, max_retries=3)(tried)
    path = tmp_path / "any"
    assert ray.get(retried.options(retry_exceptions=True).remote(path, ValueError("again"), 3)) == 3
    path = tmp_path / "listed"
    assert ray.get(retried.options(retry_exceptions=[OSError, ValueError]).remote(path, ValueError("again"), 2)) == 2
    for which, given in {"others": [OSError], "none": False}.items():
        path = tmp_path / which
        with pytest.raises(ValueError, match="again"):
            ray.get(retried.options(retry_exceptions=given).remote(path, ValueError("again"), 2))
        assert attempts(path) == 1


def test_retries_of_crashes(session: ray.Session, tmp_path: Path) -> None:
    retried = ray.remote(num_cpus=0)(tried)
    assert ray.get(retried.options(max_retries=1).remote(tmp_path / "twice", None, 2)) == 2
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(retried.options(max_retries=0).remote(tmp_path / "once", None, 2))
    assert attempts(tmp_path / "once") == 1


def test_max_calls(session: ray.Session) -> None:
    pid = ray.remote(num_cpus=0, max_calls=1)(lambda: os.getpid())
    assert len({ray.get(pid.remote()) for _ in range(3)}) == 3


def test_names_of_tasks(session: ray.Session, view: Any) -> None:
    ray.get(assigned.options(name="a task with a name").remote())
    ray.get(assigned.options(name="a task without events", enable_task_events=False).remote())

    def listed(name: str) -> list[Any]:
        return list(view.list_tasks(filters=[("name", "=", name)]))

    wait_until(lambda: listed("a task with a name"), "the task is listed")
    assert not listed("a task without events")


def test_several_values_of_a_generator(session: ray.Session) -> None:
    @ray.remote(num_cpus=0, num_returns=3)
    def three() -> Iterator[int]:
        yield from range(3)

    assert ray.get(three.remote()) == [0, 1, 2]


def test_dynamic(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def some(count: int) -> Iterator[bytes]:
        for number in range(count):
            yield bytes([number]) * 200_000

    @ray.remote(num_cpus=0)
    def sizes(items: Any) -> list[int]:
        assert type(items).__module__.partition(".")[0] == "ray"
        return [len(ray.get(item)) for item in items]

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        dynamic = some.options(num_returns="dynamic")
    assert [entry.category for entry in told] == [DeprecationWarning]
    made = dynamic.remote(3)
    assert isinstance(made, ray.ObjectRef)
    items = ray.get(made)
    assert isinstance(items, ray.DynamicObjectRefGenerator)
    assert len(items) == 3
    assert ray.get(sizes.remote(made)) == [200_000] * 3, "as a reference"
    assert ray.get(sizes.remote(items)) == [200_000] * 3, "as a value"
    assert [ray.get(item)[0] for item in items] == [0, 1, 2]
    assert len(items) == 0


def test_several_objects_per_yield(session: ray.Session) -> None:
    @ray.remote(num_cpus=0, _num_objects_per_yield=2)
    def pairs() -> Iterator[tuple[int, int]]:
        yield 1, 2
        yield 3, 4

    assert [ray.get(item) for item in pairs.remote()] == [1, 2, 3, 4]


# --- actors


def test_named_and_detached(session: ray.Session, cluster: Any) -> None:
    with cluster.connect(namespace="options") as other:
        made = other.remote(num_cpus=0, lifetime="detached", name="stays")(Plain).remote()
        pid = other.get(made.pid.remote())
    found = session.get_actor("stays", namespace="options")
    assert session.get(found.pid.remote()) == pid
    session.kill(found)


def test_get_if_exists(session: ray.Session) -> None:
    shared = Named.options(name="shared", namespace="options", get_if_exists=True)
    first, second = shared.remote(), shared.remote()
    assert ray.get(first.pid.remote()) == ray.get(second.pid.remote())
    assert first == second
    assert len({first, second}) == 1
    assert first._actor_id == second._actor_id
    with pytest.raises(ray.exceptions.ActorAlreadyExistsError, match="already"):
        Named.options(name="shared", namespace="options").remote()


def test_restarts(session: ray.Session) -> None:
    @ray.remote(num_cpus=0, max_restarts=1)
    class Restarted:
        def pid(self) -> int:
            return os.getpid()

        def die(self) -> None:
            os._exit(1)

        @ray.method(max_task_retries=-1)
        def die_once(self, pid: int) -> int:
            if os.getpid() == pid:
                os._exit(1)
            return os.getpid()

    actor = Restarted.remote()
    pid = ray.get(actor.pid.remote())
    assert ray.get(actor.die_once.remote(pid), timeout=60) != pid
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(actor.die.remote())


def test_retries_of_methods(session: ray.Session, tmp_path: Path) -> None:
    @ray.remote(num_cpus=0, max_task_retries=2)
    class Retried:
        @ray.method(retry_exceptions=[ValueError])
        def tried(self, path: Path) -> int:
            return tried(path, ValueError("again"), 2)

    actor = Retried.remote()
    assert ray.get(actor.tried.remote(tmp_path / "listed")) == 2
    with pytest.raises(ValueError, match="again"):
        ray.get(actor.tried.options(retry_exceptions=False).remote(tmp_path / "none"))
    with pytest.raises(ValueError, match="again"):
        ray.get(actor.tried.options(max_task_retries=0).remote(tmp_path / "not once more"))
    assert attempts(tmp_path / "not once more") == 1


def test_threads(session: ray.Session) -> None:
    @ray.remote(num_cpus=0, max_concurrency=2)
    class Threaded:
        def __init__(self) -> None:
            self.both = threading.Barrier(2)

        def meet(self) -> int:
            return self.both.wait(60)

    actor = Threaded.remote()
    assert sorted(ray.get([actor.meet.remote(), actor.meet.remote()])) == [0, 1]


def test_concurrency_groups(session: ray.Session) -> None:
    @ray.remote(num_cpus=0, concurrency_groups={"io": 1, "compute": 1})
    class Grouped:
        def __init__(self) -> None:
            self.open = threading.Event()

        @ray.method(concurrency_group="io")
        def wait(self) -> bool:
            return self.open.wait(60)

        @ray.method(concurrency_group="compute")
        def release(self) -> str:
            self.open.set()
            return threading.current_thread().name

        def plain(self) -> str:
            return threading.current_thread().name

    actor = Grouped.remote()
    waits = actor.wait.remote()
    assert ray.get(actor.plain.remote()) != ray.get(actor.release.remote())
    assert ray.get(waits)
    name = ray.get(actor.release.remote())
    assert ray.get(actor.plain.options(concurrency_group="compute").remote()) == name


def test_pending_calls(session: ray.Session) -> None:
    @ray.remote(num_cpus=0, max_pending_calls=1)
    class Slow:
        def nap(self) -> None:
            time.sleep(1)

    actor = Slow.remote()
    with pytest.raises(ray.exceptions.PendingCallsLimitExceeded):
        ray.get([actor.nap.remote() for _ in range(4)])


def test_out_of_order(session: ray.Session) -> None:
    @ray.remote(num_cpus=0, allow_out_of_order_execution=True)
    class Unordered:
        def took(self, value: Any) -> Any:
            return value

    @ray.remote(num_cpus=0)
    class Gate:
        def __init__(self) -> None:
            self.open = asyncio.Event()

        async def ready(self) -> None:
            await self.open.wait()

        async def release(self) -> None:
            self.open.set()

    gate, actor = Gate.remote(), Unordered.remote()
    late = actor.took.remote(gate.ready.remote())
    assert ray.get(actor.took.remote(1), timeout=60) == 1, "it does not wait for the call before"
    ray.get(gate.release.remote())
    assert ray.get(late) is None


# --- _remote


def test_all_in_one_call(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def add(one: int, other: int = 1) -> tuple[int, int]:
        return one, other

    assert ray.get(add._remote([1], {"other": 2})) == (1, 2)
    assert ray.get(add._remote(args=(1,), num_returns=2)) == [1, 1]
    actor = Named._remote(name="in one call", namespace="options")
    assert ray.get_actor("in one call", namespace="options") == actor
    assert ray.get(actor.pair._remote((1,), {"second": 3}, num_returns=1)) == (1, 3)
    assert ray.get(actor.pair._remote([1])) == [1, 2]
    with pytest.raises(ValueError, match="Invalid option keyword colour"):
        add._remote(colour="red")
    with pytest.raises(TypeError, match=r"ActorMethod._remote\(\) got an unexpected keyword argument 'colour'"):
        actor.pair._remote(colour="red")
    with pytest.raises(ray.NotOnClient, match="bind"):
        actor.pair.bind(1)
