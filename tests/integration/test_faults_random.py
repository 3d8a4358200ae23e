"""Faults at random points, from fixed seeds, while clients do everything: nothing is lost, doubled, or hangs.

The same program as ``tox -e soak``, for less than a minute. What it does is told in ``tests/soak``.
"""

from __future__ import annotations

import hashlib
import random

import pytest

import raymq
from raymq.protocol.limits import CHUNK, WINDOW_BULK
from tests.integration.conftest import Head, there_and_back, wait_until
from tests.integration.proxy import DOWN, UP, Fault, Point, Proxy, Weather
from tests.soak.storm import Plan, storm

pytestmark = pytest.mark.cluster

SHORT = Plan(
    faults=200, calls=3_000, clients=3, seed=11, kills=2, suspends=2, freezes=3, pause=(0.02, 0.8), patience=60.0,
    limit=90.0, large=2_000_000, memory=None,
)  # fmt: skip


@pytest.mark.timeout(240)
def test_a_short_storm(cluster: Head) -> None:
    outcome = storm(SHORT, cluster, print)
    print(outcome.faults, outcome.done, outcome.slowest, f"{outcome.seconds:.1f} s")
    assert outcome.wrong == []
    assert outcome.faults.total() >= SHORT.faults
    assert outcome.done["calls"] >= SHORT.calls
    assert outcome.done["transfers"] > 0
    assert outcome.done["lines"] > 0


def test_connecting_in_a_storm(cluster: Head) -> None:
    """The handshake, too, goes on after every fault; and what it meets is never mistaken for another service."""
    with Proxy(cluster.port) as proxy:
        proxy.begin(Weather(5, pause=(0.02, 0.3), nbytes=(1, 2_000)))
        for number in range(4):
            before = proxy.faults.total()
            with raymq.connect(proxy.address, timeout=60) as session:
                assert there_and_back(session)
                wait_until(lambda before=before: proxy.faults.total() >= before + 3, "some faults have hit")
                assert there_and_back(session)


class Cuts(Weather):
    """Ends and resets after so many bytes in one direction, from and to; so many in all."""

    def __init__(self, seed: int, direction: str, nbytes: tuple[int, int], cuts: int) -> None:
        super().__init__(seed)
        draw = random.Random(seed)
        self._plan = [
            (Point(direction, draw.randint(*nbytes), 1e6), Fault(draw.choice(["cut", "reset"]), draw.random() < 0.5, 0))
            for _ in range(cuts)
        ]

    def next(self) -> tuple[Point, Fault]:
        return self._plan.pop() if self._plan else (Point(UP, 1 << 62, 1e6), Fault("cut", True, 0.0))


SIZE = 300_000_000
CUTS = 15
ONE_CUT = (WINDOW_BULK + 1) * CHUNK
"""Bytes that may cross twice because of one cut: those under way, since they are not acknowledged yet."""


def test_a_large_transfer_goes_on_where_it_stopped(cluster: Head) -> None:
    """300 MB each way, with a cut about every 20 MB: a transfer that began anew would never come to its end.

    10 GB take the same way through the code, as does everything above 64 KiB: chunks of 1 MiB in a stream whose two
    ends remember which one they have sent and which ones have arrived, at most 16 of them without an acknowledgement.
    Nothing of that depends on the size of the whole.
    """
    draw = random.Random(3)
    value = b"".join(draw.randbytes(1_000_000) for _ in range(SIZE // 1_000_000))
    with Proxy(cluster.port) as proxy, raymq.connect(proxy.address, timeout=60) as session:

        @session.remote(num_cpus=0)
        def digest(data: bytes) -> bytes:
            return hashlib.sha256(data).digest()

        there_and_back(session)
        for direction in (UP, DOWN):
            before, faults = proxy.passed[direction], proxy.faults.total()
            proxy.begin(Cuts(7, direction, (10_000_000, 24_000_000), CUTS))
            if direction == UP:
                ref = session.put(value)
                assert session.get(digest.remote(ref), timeout=100) == hashlib.sha256(value).digest()
            else:
                assert session.get(ref, timeout=100) == value
            proxy.calm()
            crossed, cuts = proxy.passed[direction] - before, proxy.faults.total() - faults
            print(f"{direction}: {crossed:,} bytes crossed for {SIZE:,}, with {cuts} cuts")
            assert cuts == CUTS
            assert SIZE < crossed < SIZE + CUTS * ONE_CUT + CHUNK
