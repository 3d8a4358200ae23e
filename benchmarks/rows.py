"""What is measured with Ray's API: each row makes, from a module with that API, a function to be timed.

"(Ray)" marks the rows of Ray's own benchmark of its client, ``ray/_private/ray_client_microbenchmark.py``.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

BATCH = 1000
ITEMS = 100
THREADS = 8

DISTINCT = 4000
"""Objects that are made before they are gotten: the row ends when all were."""

ARRAYS = 1500
"""The same, of arrays, which take longer to make."""

KB, MB, GB = 10**3, 10**6, 10**9

RECORDS = 1_500_000
"""Small dicts in the nested one: their pickle has about 100 MB."""


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        name: as in the table.
        unit: what is counted, for each second.
        count: how many of them one call of the function does.
        make: makes the function.
        slow: left out of quick runs.
        prepare: makes, before each call, what the function takes; that is not timed.
        used_up: a function measures once, then a new one is made.
    """

    name: str
    unit: str
    count: float
    make: Callable[[Any], Callable[..., Any]]
    slow: bool = False
    prepare: Callable[[Any], Any] | None = None
    used_up: bool = False


def _get_distinct(ray: Any) -> Callable[[], Any]:
    @ray.remote(num_returns=DISTINCT)
    def make() -> list[int]:
        return list(range(DISTINCT))

    refs = make.remote()
    ray.wait(refs, num_returns=DISTINCT)
    each = iter(refs)
    return lambda: ray.get(next(each))


def _get_again(ray: Any) -> Callable[[], Any]:
    kept = [ray.put(i) for i in range(2_000)]
    ray.get(kept)
    refs = itertools.cycle(kept)
    return lambda: ray.get(next(refs))


def _put_small(ray: Any) -> Callable[[], Any]:
    return lambda: ray.put(0)


def _task(ray: Any) -> Any:
    @ray.remote
    def small_value() -> bytes:
        return b"ok"

    ray.get([small_value.remote() for _ in range(10)])
    return small_value


def _one_task(ray: Any) -> Callable[[], Any]:
    task = _task(ray)
    return lambda: ray.get(task.remote())


def _many_tasks(ray: Any) -> Callable[[], Any]:
    task = _task(ray)
    return lambda: ray.get([task.remote() for _ in range(BATCH)])


def _tasks_that_put(ray: Any) -> Callable[[], Any]:
    @ray.remote
    def put_small() -> None:
        for _ in range(100):
            ray.put(0)

    ray.get(put_small.remote())
    return lambda: ray.get([put_small.remote() for _ in range(10)])


def small_actor(ray: Any, **options: Any) -> Any:
    """An actor whose method returns at once."""

    @ray.remote(num_cpus=0, **options)
    class Actor:
        def small_value(self) -> bytes:
            return b"ok"

    actor = Actor.remote()
    ray.get(actor.small_value.remote())
    return actor


def _one_call(ray: Any) -> Callable[[], Any]:
    actor = small_actor(ray)
    return lambda: ray.get(actor.small_value.remote())


def _many_calls(ray: Any, **options: Any) -> Callable[[], Any]:
    actor = small_actor(ray, **options)
    return lambda: ray.get([actor.small_value.remote() for _ in range(BATCH)])


def _many_concurrent_calls(ray: Any) -> Callable[[], Any]:
    return _many_calls(ray, max_concurrency=16)


def _threads(ray: Any) -> Callable[[], Any]:
    actor = small_actor(ray)

    def calls() -> None:
        for _ in range(BATCH // 10):
            ray.get(actor.small_value.remote())

    def run() -> None:
        threads = [threading.Thread(target=calls) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return run


def _generator(ray: Any) -> Callable[[], Any]:
    @ray.remote
    def items() -> Iterator[int]:
        for number in range(ITEMS):  # noqa: UP028 - Ray 2.60 sends values into generators
            yield number

    return lambda: [ray.get(item) for item in items.remote()]


def _wait_loop(ray: Any) -> Callable[[], Any]:
    task = _task(ray)

    def run() -> None:
        pending = [task.remote() for _ in range(BATCH)]
        while pending:
            _, pending = ray.wait(pending)

    return run


RELEASED = 10_000


def _references(ray: Any) -> list[Any]:
    @ray.remote(num_returns=RELEASED)
    def make() -> list[int]:
        return list(range(RELEASED))

    refs: list[Any] = make.remote()
    ray.wait(refs, num_returns=RELEASED)
    return refs


def _release(ray: Any) -> Callable[[list[Any]], Any]:
    task = _task(ray)

    def run(refs: list[Any]) -> None:
        refs.clear()
        ray.get(task.remote())

    return run


def _array(nbytes: int) -> Any:
    return np.zeros(nbytes, dtype=np.uint8)


def _put(nbytes: int) -> Callable[[Any], Callable[[], Any]]:
    def make(ray: Any) -> Callable[[], Any]:
        array = _array(nbytes)
        return lambda: ray.put(array)

    return make


def _get(nbytes: int) -> Callable[[Any], Callable[[], Any]]:
    def make(ray: Any) -> Callable[[], Any]:
        @ray.remote
        def make_array() -> Any:
            return np.zeros(nbytes, dtype=np.uint8)

        reference = make_array.remote()
        ray.wait([reference])
        return lambda: ray.get(reference)

    return make


def _get_small_arrays(ray: Any) -> Callable[[], Any]:
    @ray.remote(num_returns=ARRAYS)
    def make() -> list[Any]:
        return [np.zeros(KB, dtype=np.uint8) for _ in range(ARRAYS)]

    refs = make.remote()
    ray.wait(refs, num_returns=ARRAYS)
    each = iter(refs)
    return lambda: ray.get(next(each))


def records(count: int = RECORDS) -> dict[str, Any]:
    """A nested dict of small objects."""
    return {
        f"key-{i}": {"id": i, "name": f"name of {i}", "values": [i + 0.5, i * 2.0], "flags": (True, None)}
        for i in range(count)
    }


def _put_records(ray: Any) -> Callable[[], Any]:
    value = records()
    return lambda: ray.put(value)


def _get_records(ray: Any) -> Callable[[], Any]:
    reference = ray.put(records())
    return lambda: ray.get(reference)


ROWS = [
    Row("get of small objects, each once", "calls", 1, _get_distinct, used_up=True),
    Row("get of small objects again (Ray)", "calls", 1, _get_again),
    Row("put of a small object (Ray)", "calls", 1, _put_small),
    Row("one task and its get", "calls", 1, _one_task),
    Row("1,000 tasks, then get (Ray)", "calls", BATCH, _many_tasks),
    Row("10 tasks that put 100 objects (Ray)", "puts", BATCH, _tasks_that_put),
    Row("one actor call and its get (Ray)", "calls", 1, _one_call),
    Row("1,000 actor calls, then get (Ray)", "calls", BATCH, _many_calls),
    Row("1,000 calls of a threaded actor, then get (Ray)", "calls", BATCH, _many_concurrent_calls),
    Row("actor calls of 8 threads, each with its get", "calls", THREADS * (BATCH // 10), _threads),
    Row("wait, one at a time, for 1,000 tasks", "tasks", BATCH, _wait_loop),
    Row("a generator's items, and get", "items", ITEMS, _generator),
    Row("release of 10,000 references", "refs", RELEASED, _release, prepare=_references),
    Row("put of 1 KB", "calls", 1, _put(KB)),
    Row("get of 1 KB, each once", "calls", 1, _get_small_arrays, used_up=True),
    Row("put of 1 MB", "GB", MB / GB, _put(MB)),
    Row("get of 1 MB", "GB", MB / GB, _get(MB)),
    Row("put of 100 MB", "GB", 0.1, _put(100 * MB)),
    Row("get of 100 MB", "GB", 0.1, _get(100 * MB)),
    Row("put of 1 GB", "GB", 1.0, _put(GB), slow=True),
    Row("get of 1 GB", "GB", 1.0, _get(GB), slow=True),
    Row("put of a nested dict of 100 MB", "GB", 0.1, _put_records, slow=True),
    Row("get of a nested dict of 100 MB", "GB", 0.1, _get_records, slow=True),
]
BY_NAME = {row.name: row for row in ROWS}
