"""``ray.util``: named actors, pools of actors, queues."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import raymq as ray
from raymq.util import ActorPool
from raymq.util.queue import Empty, Full, Queue
from tests.integration.conftest import Head, wait_until

pytestmark = pytest.mark.cluster


@ray.remote(num_cpus=0)
class Worker:
    """Does what it is told."""

    def double(self, x: int, gate: Any = None) -> int:
        if gate is not None:
            gate.get()  # who wants the result opens it, by putting something in
        return 2 * x

    @ray.method(num_returns=2)
    def both(self, x: int) -> tuple[int, int]:
        return x, -x

    def fail(self, x: int) -> None:
        raise LookupError(str(x))


def test_named_actors(session: ray.Session) -> None:
    actor = Worker.options(name="listed").remote()
    ray.get(actor.__ray_ready__.remote())
    assert "listed" in ray.util.list_named_actors()
    entry = {"name": "listed", "namespace": session.info.namespace}
    assert entry in ray.util.list_named_actors(all_namespaces=True)

    @ray.remote(num_cpus=0)
    def there() -> list[str]:
        return ray.util.list_named_actors()

    assert "listed" in ray.get(there.remote())


def test_the_nodes_address(session: ray.Session) -> None:
    assert ray.util.get_node_ip_address() in {node["NodeManagerAddress"] for node in ray.nodes()}


# --- results as they come


def test_as_completed(session: ray.Session) -> None:
    gate = Queue()
    refs = [Worker.remote().double.remote(1, gate), Worker.remote().double.remote(2)]
    results = ray.util.as_completed(refs, chunk_size=1)
    assert next(results) == 4
    gate.put("open")
    assert list(results) == [2]
    assert set(ray.util.as_completed(refs, yield_obj_refs=True)) == set(refs)
    with pytest.raises(ValueError, match="chunk_size is 1 or more"):
        next(ray.util.as_completed(refs, chunk_size=0))
    with pytest.raises(ValueError, match="called chunk_size here"):
        next(ray.util.as_completed(refs, num_returns=2))


def test_map_unordered(session: ray.Session) -> None:
    double = ray.remote(lambda x: 2 * x)
    assert sorted(ray.util.map_unordered(double, range(30))) == list(range(0, 60, 2))
    few = ray.util.map_unordered(double, iter(range(30)), backpressure_size=2, chunk_size=1)
    assert sorted(few) == list(range(0, 60, 2))
    assert len(list(ray.util.map_unordered(double, range(3), backpressure_size=None, yield_obj_refs=True))) == 3
    with pytest.raises(ValueError, match="backpressure_size is 1 or more"):
        next(ray.util.map_unordered(double, range(3), backpressure_size=0))


# --- pools


def test_map(session: ray.Session) -> None:
    pool = ActorPool([Worker.remote(), Worker.remote()])
    assert list(pool.map(lambda a, v: a.double.remote(v), [1, 2, 3, 4, 5])) == [2, 4, 6, 8, 10]
    assert sorted(pool.map_unordered(lambda a, v: a.double.remote(v), [1, 2, 3, 4, 5])) == [2, 4, 6, 8, 10]
    assert list(pool.map(lambda a, v: a.both.remote(v), [1, 2])) == [[1, -1], [2, -2]]


def test_results_in_order_and_as_they_are_ready(session: ray.Session) -> None:
    pool, gate = ActorPool([Worker.remote(), Worker.remote()]), Queue()
    work = lambda a, v: a.double.remote(*v)
    for value in ((1, gate), (2,), (3,)):
        pool.submit(work, value)
    assert not pool.has_free()
    assert pool.pop_idle() is None
    assert [pool.get_next_unordered(), pool.get_next_unordered()] == [4, 6]
    gate.put("open")
    assert pool.get_next_unordered() == 2
    assert pool.has_free()
    with pytest.raises(StopIteration):
        pool.get_next()
    with pytest.raises(StopIteration):
        pool.get_next_unordered()
    gate.put("open")
    for value in ((1, gate), (2,)):
        pool.submit(work, value)
    assert [pool.get_next(), pool.get_next()] == [2, 4]
    for value in ((1, gate), (2,)):
        pool.submit(work, value)
    assert pool.get_next_unordered() == 4
    with pytest.raises(ValueError, match="after get_next_unordered"):
        pool.get_next()
    gate.put("open")
    assert pool.get_next_unordered() == 2


def test_results_that_do_not_come_in_time(session: ray.Session) -> None:
    pool, gate = ActorPool([Worker.remote()]), Queue()
    slow = lambda a, v: a.double.remote(v, gate)
    pool.submit(slow, 1)
    pool.submit(lambda a, v: a.double.remote(v), 2)
    for take in (pool.get_next, pool.get_next_unordered):
        with pytest.raises(TimeoutError, match="no result came within 0.1 s"):
            take(timeout=0.1)
    with pytest.raises(TimeoutError, match="is given up"):
        pool.get_next(timeout=0.1, ignore_if_timedout=True)
    gate.put("open")
    assert pool.get_next() == 4
    pool.submit(slow, 1)
    with pytest.raises(TimeoutError, match="is given up"):
        pool.get_next_unordered(timeout=0.1, ignore_if_timedout=True)
    assert not pool.has_next()
    assert pool.has_free()
    gate.put("open")


def test_a_map_drops_what_was_submitted_before(session: ray.Session) -> None:
    pool = ActorPool([Worker.remote()])
    for value in (1, 2):
        pool.submit(lambda a, v: a.double.remote(v), value)
    assert list(pool.map(lambda a, v: a.double.remote(v), [10])) == [20]
    pool.submit(lambda a, v: a.double.remote(v), 1)
    assert list(pool.map_unordered(lambda a, v: a.double.remote(v), [10])) == [20]


def test_actors_that_fail_stay_and_those_that_die_go(session: ray.Session) -> None:
    dying, pool, never = Worker.remote(), ActorPool([]), Queue()
    assert not pool.has_free()
    pool.push(dying)
    with pytest.raises(ValueError, match="in this ActorPool already"):
        pool.push(dying)
    pool.submit(lambda a, v: a.fail.remote(v), 1)
    with pytest.raises(ValueError, match="in this ActorPool already"):
        pool.push(dying)
    with pytest.raises(LookupError):
        pool.get_next()
    assert pool.has_free()
    pool.submit(lambda a, v: a.double.remote(v, never), 1)
    pool.submit(lambda a, v: a.double.remote(v), 2)
    ray.kill(dying)
    with pytest.raises(ray.exceptions.ActorDiedError):
        pool.get_next()
    assert not pool.has_free()
    pool.push(Worker.remote())
    assert pool.get_next() == 4
    assert pool.pop_idle() is not None
    assert pool.pop_idle() is None


def test_a_pool_in_a_task(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def use(pools: list[Any]) -> list[Any]:
        made = ActorPool([Worker.remote()])
        return [list(pool.map(lambda a, v: a.double.remote(v), [1, 2])) for pool in (*pools, made)]

    pool = ActorPool([Worker.remote()])
    assert ray.get(use.remote([pool])) == [[2, 4], [2, 4]]
    pool.submit(lambda a, v: a.double.remote(v), 2)
    with pytest.raises(ray.NotPicklable, match="take them first"):
        use.remote([pool])


# --- queues


def test_a_queue(session: ray.Session) -> None:
    queue = Queue()
    for item in range(5):
        queue.put(item)
    assert (len(queue), queue.size(), queue.qsize(), queue.empty(), queue.full()) == (5, 5, 5, False, False)
    assert [queue.get() for _ in range(5)] == list(range(5))
    assert queue.empty()
    queue.shutdown()


def test_nothing_there_and_no_room(session: ray.Session) -> None:
    queue = Queue(maxsize=2)
    with pytest.raises(Empty):
        queue.get(block=False)
    with pytest.raises(Empty):
        queue.get_nowait()
    with pytest.raises(Empty):
        queue.get(timeout=0.1)
    queue.put_nowait(1)
    queue.put_nowait(2)
    assert queue.full()
    with pytest.raises(Full):
        queue.put_nowait(3)
    with pytest.raises(Full):
        queue.put(3, timeout=0.1)
    for call in (queue.get, lambda timeout: queue.put(1, timeout=timeout)):
        with pytest.raises(ValueError, match="0 or more seconds"):
            call(timeout=-1)
    assert (queue.get(), queue.get(timeout=1)) == (1, 2)


def test_batches(session: ray.Session) -> None:
    queue = Queue(3)
    queue.put_nowait_batch(iter([1, 2]))
    with pytest.raises(Full):
        queue.put_nowait_batch([3, 4])
    with pytest.raises(Empty):
        queue.get_nowait_batch(3)
    assert queue.get_nowait_batch(2) == [1, 2]
    assert queue.get_nowait_batch(0) == []
    with pytest.raises(TypeError):
        queue.put_nowait_batch(1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        queue.get_nowait_batch("1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 or more"):
        queue.get_nowait_batch(-1)


def test_coroutines(session: ray.Session) -> None:
    queue = Queue(1)

    async def use() -> list[Any]:
        with pytest.raises(Empty):
            await queue.get_async(block=False)
        with pytest.raises(Empty):
            await queue.get_async(timeout=0.1)
        waits = asyncio.ensure_future(queue.get_async())
        await queue.put_async("first")
        got = await waits
        await queue.put_async("second", block=False)
        with pytest.raises(Full):
            await queue.put_async("third", block=False)
        with pytest.raises(Full):
            await queue.put_async("third", timeout=0.1)
        return [got, await queue.get_async()]

    assert asyncio.run(use()) == ["first", "second"]


def test_a_queue_between_client_tasks_and_actors(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def produce(queue: Any, count: int) -> str:
        for item in range(count):
            queue.put(item)
        return type(queue).__module__

    @ray.remote(num_cpus=0)
    class Consumer:
        def __init__(self, queue: Any) -> None:
            self.queue = queue

        def take(self, count: int) -> list[Any]:
            return [self.queue.get(timeout=60) for _ in range(count)]

        def none(self) -> bool:
            try:
                self.queue.get_nowait()
            except Empty:
                return True
            return False

        def lend(self) -> Any:
            return self.queue

        def fail(self) -> None:
            raise Full("of its own")

    queue = Queue(maxsize=3)
    consumer = Consumer.remote(queue)
    produced = produce.remote(queue, 10)
    assert ray.get(consumer.take.remote(6)) == list(range(6))
    assert [queue.get() for _ in range(4)] == [6, 7, 8, 9]
    assert ray.get(produced) == "ray.util.queue"
    assert ray.get(consumer.none.remote())
    back = ray.get(consumer.lend.remote())
    assert type(back) is Queue
    assert (back.actor, back.maxsize) == (queue.actor, 3)
    with pytest.raises(Full, match="of its own"):
        ray.get(consumer.fail.remote())


def test_a_queue_made_on_a_worker(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def make() -> Any:
        by_module = ray.util.queue.Queue(actor_options={"num_cpus": 0, "lifetime": "detached"})
        by_module.put("item")
        return by_module

    queue = ray.get(make.remote())
    assert queue.get() == "item"
    queue.shutdown()


def test_options_of_a_queues_actor(session: ray.Session) -> None:
    queue = Queue(actor_options={"name": "a queue", "num_cpus": 0})
    queue.put(1)
    assert "a queue" in ray.util.list_named_actors()
    with pytest.raises(ValueError, match="colour"):
        Queue(actor_options={"colour": "red"})


@pytest.mark.parametrize("force", [False, True])
def test_shutdown(session: ray.Session, force: bool, view: Any) -> None:
    queue = Queue(actor_options={"name": f"short-lived {force}"})
    queue.put(1)
    queue.shutdown(force=force)
    queue.shutdown()
    with pytest.raises(RuntimeError, match="was shut down"):
        queue.get()
    gone = lambda: not view.list_actors(filters=[("name", "=", f"short-lived {force}"), ("state", "=", "ALIVE")])
    wait_until(gone, "its actor is gone")


def test_a_queue_of_a_session_that_is_not_the_default_one(
    session: ray.Session, cluster: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster.connect() as own:
        queue = Queue()
        monkeypatch.setattr("raymq.api._default", session)
        queue.put(1)
        assert queue.get() == 1
        assert queue.actor._life.session is own
