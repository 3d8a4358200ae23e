"""References that die while their values are on the way: Ray ends a driver that drops an object which it still fetches."""

from __future__ import annotations

import time

import pytest

import raymq as ray
from raymq.exceptions import GetTimeoutError

pytestmark = pytest.mark.cluster

LARGE = bytes(300_000)
"""Above Ray's limit for values that it keeps in memory: it is fetched from the object store."""


def test_a_future_of_a_reference_that_nobody_holds(own_session: ray.Session) -> None:
    futures = [own_session.put(value).future() for value in ("small", LARGE) for _ in range(100)]
    assert [future.result(60) for future in futures] == ["small"] * 100 + [LARGE] * 100


def test_a_get_that_gives_up_and_drops_the_reference(own_session: ray.Session) -> None:
    @own_session.remote(num_cpus=0)
    def large(seconds: float) -> bytes:
        time.sleep(seconds)
        return bytes(300_000)

    for step in range(60):
        made = own_session.put(LARGE) if step % 2 else large.remote(0.001 * step)
        try:
            own_session.get(made, timeout=0.0005 * (step % 7))
        except GetTimeoutError:
            pass
        del made
    assert len(own_session.get(large.remote(0), timeout=60)) == 300_000


def test_a_wait_that_gives_up_and_drops_the_reference(own_session: ray.Session) -> None:
    @own_session.remote(num_cpus=0)
    def large(seconds: float) -> bytes:
        time.sleep(seconds)
        return bytes(300_000)

    for step in range(60):
        own_session.wait([large.remote(0.002 * step)], timeout=0, fetch_local=bool(step % 2))
    assert len(own_session.get(large.remote(0.2), timeout=60)) == 300_000
