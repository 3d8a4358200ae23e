"""Gets of many values at once: small and large ones, errors, and some that take their time."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

import raymq as ray

pytestmark = pytest.mark.cluster

COUNT = 300


@ray.remote(num_cpus=0)
class Worker:
    def echo(self, value: Any) -> Any:
        return value

    def zeros(self, nbytes: int) -> Any:
        return np.zeros(nbytes, dtype=np.uint8)

    def fail(self, why: str) -> None:
        raise ValueError(why)

    def sleep(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds


@pytest.fixture
def worker(session: ray.Session) -> Any:
    return Worker.remote()


def test_values_come_in_the_order_of_the_references(worker: Any) -> None:
    refs = [worker.echo.remote(number) for number in range(COUNT)]
    assert ray.get(refs[::-1]) == [*range(COUNT)][::-1]
    assert ray.get(refs + refs[:50]) == [*range(COUNT), *range(50)]


def test_large_and_small_values_are_mixed(worker: Any) -> None:
    sizes = [200_000 if number % 3 else 10 for number in range(COUNT)]
    values = ray.get([worker.zeros.remote(nbytes) for nbytes in sizes])
    assert [value.nbytes for value in values] == sizes


@pytest.mark.parametrize("place", [0, COUNT // 2, COUNT - 1])
def test_an_error_among_them_is_raised(worker: Any, place: int) -> None:
    refs = [worker.echo.remote(number) for number in range(COUNT)]
    refs[place] = worker.fail.remote("this one")
    with pytest.raises(ValueError, match="this one"):
        ray.get(refs)
    del refs[place]
    assert len(ray.get(refs)) == COUNT - 1


def test_an_error_is_raised_while_others_take_their_time(worker: Any) -> None:
    slow = Worker.remote()
    refs = [slow.sleep.remote(3600) for _ in range(COUNT)]
    refs[COUNT // 2] = worker.fail.remote("early")
    with pytest.raises(ValueError, match="early"):
        ray.get(refs, timeout=60)


def test_values_that_come_slowly_come(worker: Any) -> None:
    refs = [worker.sleep.remote(0.01) for _ in range(COUNT)]
    with pytest.raises(ray.exceptions.GetTimeoutError, match="values are not there yet"):
        ray.get(refs, timeout=0.5)
    assert ray.get(refs) == [0.01] * COUNT


def test_references_that_are_released_meanwhile_are_let_go(worker: Any) -> None:
    for _ in range(3):
        refs = [worker.sleep.remote(0.001) for _ in range(COUNT)]
        with pytest.raises(ray.exceptions.GetTimeoutError):
            ray.get(refs, timeout=0.05)
        del refs
    assert ray.get([worker.echo.remote(number) for number in range(COUNT)]) == [*range(COUNT)]
