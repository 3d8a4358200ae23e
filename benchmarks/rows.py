"""What is measured: each row makes, from a module with Ray's API, a function to be timed and what it counts for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

BATCH = 1000
ITEMS = 100
DISTINCT = 4000
"""Objects that are made before they are gotten: the row ends when all were."""

LARGE = 100_000_000


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        name: as in the table.
        unit: what is counted, for each second.
        count: how many of them one call of the function does.
        make: makes the function.
    """

    name: str
    unit: str
    count: float
    make: Callable[[Any], Callable[[], Any]]


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


def _actor(ray: Any) -> Any:
    @ray.remote(num_cpus=0)
    class Actor:
        def small_value(self) -> bytes:
            return b"ok"

    actor = Actor.remote()
    ray.get(actor.small_value.remote())
    return actor


def _one_call(ray: Any) -> Callable[[], Any]:
    actor = _actor(ray)
    return lambda: ray.get(actor.small_value.remote())


def _many_calls(ray: Any) -> Callable[[], Any]:
    actor = _actor(ray)
    return lambda: ray.get([actor.small_value.remote() for _ in range(BATCH)])


def _generator(ray: Any) -> Callable[[], Any]:
    @ray.remote
    def items() -> Iterator[int]:
        for number in range(ITEMS):  # noqa: UP028 - Ray 2.60 sends values into generators
            yield number

    return lambda: [ray.get(item) for item in items.remote()]


def _put_large(ray: Any) -> Callable[[], Any]:
    array = np.zeros(LARGE, dtype=np.uint8)
    return lambda: ray.put(array)


def _get_large(ray: Any) -> Callable[[], Any]:
    reference = ray.put(np.zeros(LARGE, dtype=np.uint8))
    return lambda: ray.get(reference)


ROWS = [
    Row("get of small objects, each once", "calls", 1, _get_distinct),
    Row("get of small objects again", "calls", 1, _get_again),
    Row("put of a small object", "calls", 1, _put_small),
    Row("one task and its get", "calls", 1, _one_task),
    Row("1,000 tasks, then get", "calls", BATCH, _many_tasks),
    Row("one actor call and its get", "calls", 1, _one_call),
    Row("1,000 actor calls, then get", "calls", BATCH, _many_calls),
    Row("a generator's items, and get", "items", ITEMS, _generator),
    Row("put of 100 MB", "GB", LARGE / 1e9, _put_large),
    Row("get of 100 MB", "GB", LARGE / 1e9, _get_large),
]
