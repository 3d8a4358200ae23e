"""``ray.util.multiprocessing.Pool``."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import cloudpickle
import pytest

import raymq as ray
from raymq.util.multiprocessing import Pool
from raymq.util.queue import Queue

pytestmark = pytest.mark.cluster


def double(x: int) -> int:
    return 2 * x


def add(x: int, y: int = 0) -> int:
    return x + y


def pid(_: Any = None) -> int:
    return os.getpid()


def fails(x: int) -> int:
    if x == 3:
        raise LookupError(f"no {x}")
    return x


def passes(gate: Any) -> str:
    return gate.get()


class Unpicklable:
    def __reduce__(self) -> Any:
        raise TypeError("it stays here")


@pytest.fixture(scope="module", autouse=True)
def _travels_by_value() -> Iterator[None]:
    """The cluster does not have this module, which the functions above are from."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def pool(session: ray.Session) -> Any:
    with Pool(2) as made:
        yield made
    made.join()


def test_one_call(pool: Any) -> None:
    assert pool.apply(add, (1,), {"y": 2}) == 3
    result = pool.apply_async(add, (1, 2))
    assert result.get(60) == 3
    assert result.ready()
    assert result.successful()
    result.wait(60)
    assert pool.apply(pid) != os.getpid()


def test_many_calls(pool: Any) -> None:
    items = range(23)
    assert pool.map(double, items) == [2 * x for x in items]
    assert pool.map(double, iter(items), chunksize=5) == [2 * x for x in items]
    assert pool.map_async(double, items).get(60) == [2 * x for x in items]
    assert pool.map(double, []) == []
    assert pool.starmap(add, [(1, 2), [3]]) == [3, 3]
    assert pool.starmap_async(add, [(1, 2)], chunksize=1).get(60) == [3]
    assert len(set(pool.map(pid, items, chunksize=1))) == 2
    with pytest.raises(ValueError, match="1 or more"):
        pool.map(double, items, chunksize=0)


def test_results_one_by_one(pool: Any) -> None:
    assert list(pool.imap(double, range(9))) == [2 * x for x in range(9)]
    assert list(pool.imap(double, iter(range(9)), chunksize=2)) == [2 * x for x in range(9)]
    assert list(pool.imap(double, range(9), chunksize=None)) == [2 * x for x in range(9)]
    assert sorted(pool.imap_unordered(double, range(9), chunksize=2)) == [2 * x for x in range(9)]
    endless = pool.imap(double, itertools.count())
    assert [next(endless) for _ in range(5)] == [0, 2, 4, 6, 8]
    with pytest.raises(StopIteration):
        pool.imap(double, []).next(timeout=1)


def test_the_order_of_results(pool: Any) -> None:
    first, second = Queue(), Queue()
    unordered = pool.imap_unordered(passes, [first, second])
    second.put("second")
    assert unordered.next(60) == "second"
    with pytest.raises(multiprocessing.TimeoutError):
        unordered.next(timeout=0.1)
    first.put("first")
    assert list(unordered) == ["first"]
    ordered = pool.imap(passes, [first, second])
    second.put("second")
    with pytest.raises(multiprocessing.TimeoutError):
        ordered.next(timeout=0.1)
    first.put("first")
    assert list(ordered) == ["first", "second"]


def test_results_that_are_not_there_yet(pool: Any) -> None:
    gate = Queue()
    result = pool.apply_async(passes, (gate,))
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(timeout=0.1)
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    gate.put("now")
    assert result.get(60) == "now"


def test_calls_that_fail(pool: Any) -> None:
    with pytest.raises(LookupError, match="no 3") as caught:
        pool.map(fails, range(6))
    assert "in fails" in str(caught.value.__cause__)
    result = pool.map_async(fails, range(6), chunksize=2)
    result.wait(60)
    assert result.ready()
    assert not result.successful()
    results = pool.imap(fails, range(5), chunksize=5)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LookupError):
        next(results)
    assert list(results) == [4]
    with pytest.raises(ray.NotPicklable):
        pool.apply(double, (Unpicklable(),))
    with pytest.raises(TypeError, match="it stays here"):
        pool.apply(lambda: Unpicklable())


def test_callbacks(pool: Any) -> None:
    told: list[Any] = []
    pool.apply_async(add, (1, 2), callback=told.append).get(60)
    pool.map_async(double, [1, 2], callback=told.append).get(60)
    pool.map_async(double, [], callback=told.append).get(60)
    assert told == [3, [2, 4], []]
    errors: list[Any] = []
    pool.apply_async(fails, (3,), callback=told.append, error_callback=errors.append).wait(60)
    pool.starmap_async(fails, [(3,)], told.append, errors.append).wait(60)
    assert [str(error) for error in errors] == ["no 3", "no 3"]
    assert len(told) == 3
    again = threading.Event()
    pool.apply_async(add, (1,), callback=lambda _: pool.apply_async(add, (2,), callback=lambda _: again.set()))
    assert again.wait(60)


def test_an_initializer(session: ray.Session) -> None:
    def begin(name: str) -> None:
        os.environ["POOL_OF_A_TEST"] = name

    with Pool(1, begin, ["its name"]) as pool:
        assert pool.apply(os.getenv, ("POOL_OF_A_TEST",)) == "its name"
    with pytest.raises(ray.exceptions.ActorDiedError, match="no 3"):
        Pool(1, fails, (3,))


def test_processes_that_take_turns(session: ray.Session) -> None:
    with Pool(1, maxtasksperchild=2) as pool:
        pids = [pool.apply(pid) for _ in range(8)]
        assert len(set(pids)) == 4
        assert pids[::2] == pids[1::2]
        assert len(pool._ending) <= 3
        assert len(set(pool.imap(pid, range(4)))) >= 2


def test_options_of_the_actors(session: ray.Session, view: Any) -> None:
    before = {each.actor_id for each in view.list_actors()}
    with Pool(1, ray_remote_args={"num_cpus": 0.5, "resources": {}}, context="spawn"):
        made = [each for each in view.list_actors(detail=True) if each.actor_id not in before]
        (ours,) = [each for each in made if each.class_name == "Worker" and each.state == "ALIVE"]
        assert ours.required_resources.get("CPU") == 0.5


def test_how_many_processes(session: ray.Session) -> None:
    cpus = int(ray.cluster_resources()["CPU"])
    with pytest.raises(ValueError, match=f"the cluster has {cpus} CPUs"):
        Pool(cpus + 1)
    with pytest.raises(ValueError, match="1 or more"):
        Pool(0)
    with pytest.raises(ValueError, match="connect"):
        Pool(1, ray_address="auto")
    with Pool() as pool:
        assert len(pool._processes) == cpus
    with pytest.raises(NotImplementedError, match="cannot travel"):
        pool.__reduce__()


def test_a_pool_that_is_closed_does_what_it_has_got(session: ray.Session, view: Any) -> None:
    gate, pool = Queue(), Pool(2)
    slow = pool.apply_async(passes, (gate,))
    lazy = pool.imap(double, range(20), chunksize=3)
    with pytest.raises(ValueError, match="still running"):
        pool.join()
    pool.close()
    pool.close()
    for call in (lambda: pool.apply(pid), lambda: pool.map(pid, [1]), lambda: pool.imap(pid, [1]), pool.__enter__):
        with pytest.raises(ValueError, match="closed"):
            call()
    gate.put("done")
    pool.join()
    assert slow.get(60) == "done"
    assert list(lazy) == [2 * x for x in range(20)]


def test_a_pool_that_is_terminated_does_not(session: ray.Session) -> None:
    gate, pool = Queue(), Pool(1)
    slow = pool.apply_async(passes, (gate,))
    pool.terminate()
    pool.join()
    with pytest.raises(ray.exceptions.RayActorError):
        slow.get(60)


def test_a_pool_in_a_task_is_rays(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def use() -> Any:
        with Pool(1) as pool:
            return type(pool).__module__, pool.map(abs, [-1])

    assert ray.get(use.remote()) == ("ray.util.multiprocessing.pool", [1])
