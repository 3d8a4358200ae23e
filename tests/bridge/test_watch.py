"""When looks at a cluster add up to its end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymq_bridge.watch import RAYLET_LOOKS, REFUSED_MAX, RESTART_MAX, SILENT_MAX, Gcs, Watch


def look(
    watch: Watch, seconds: float, *, raylet: bool = True, gcs: Gcs = Gcs.ACCEPTS, start: float = 0.0
) -> float | None:
    """Look each half second; when the cluster was said to be gone, in seconds since the start."""
    for step in range(int(seconds * 2) + 1):
        if watch.look(raylet=raylet, gcs=gcs, now=start + step / 2):
            return step / 2
    return None


def test_a_cluster_that_is_there() -> None:
    watch = Watch(fault_tolerant=False)
    assert look(watch, 100.0) is None
    assert not watch.suspicious


def test_a_raylet_that_has_ended_is_looked_at_twice() -> None:
    watch = Watch(fault_tolerant=True)
    for _ in range(5):
        for number in range(1, RAYLET_LOOKS):
            assert watch.look(raylet=False, gcs=Gcs.ACCEPTS, now=float(number)) == ""
            assert watch.suspicious
        assert watch.look(raylet=True, gcs=Gcs.ACCEPTS, now=9.0) == ""
        assert not watch.suspicious
    assert look(watch, 1.0, raylet=False) == (RAYLET_LOOKS - 1) / 2
    assert "raylet" in watch.look(raylet=False, gcs=Gcs.ACCEPTS, now=10.0)


@pytest.mark.parametrize(
    ("gcs", "fault_tolerant", "after", "words"),
    [
        (Gcs.REFUSES, False, REFUSED_MAX, "nothing has listened there for 4 s"),
        (Gcs.SILENT, False, SILENT_MAX, "nothing has answered there for 30 s"),
        (Gcs.REFUSES, True, RESTART_MAX, "nothing has listened there for 55 s"),
        (Gcs.SILENT, True, RESTART_MAX, "nothing has answered there for 55 s"),
    ],
)
def test_a_gcs_that_is_gone_gets_its_time_to_come_back(
    gcs: Gcs, fault_tolerant: bool, after: float, words: str
) -> None:
    watch = Watch(fault_tolerant=fault_tolerant)
    assert look(watch, after - 0.5, gcs=gcs) is None
    assert watch.suspicious
    assert watch.look(raylet=True, gcs=Gcs.ACCEPTS, now=after) == "", "it is back"
    assert not watch.suspicious
    assert look(watch, 100.0, gcs=gcs, start=after + 1.0) == after
    assert watch.look(raylet=True, gcs=gcs, now=after + 1.0 + after) == words


def test_a_way_that_comes_and_goes_is_no_refusal() -> None:
    """What was silent and now refuses has been started again, or is about to be: its time to come back begins."""
    watch = Watch(fault_tolerant=False)
    assert look(watch, 20.0, gcs=Gcs.SILENT) is None
    assert look(watch, REFUSED_MAX - 0.5, gcs=Gcs.REFUSES, start=21.0) is None
    assert look(watch, 0.0, gcs=Gcs.SILENT, start=25.0) is None
    assert look(watch, 100.0, gcs=Gcs.REFUSES, start=26.0) == REFUSED_MAX


def test_all_in_all_it_gets_no_more_than_the_longest_time() -> None:
    watch = Watch(fault_tolerant=False)
    now = 0.0
    while not (what := watch.look(raylet=True, gcs=Gcs.SILENT if now % 4 else Gcs.REFUSES, now=now)):
        now += 1.0
    assert (now, what) == (SILENT_MAX, "nothing has answered there for 30 s")


def test_time_in_which_nobody_looked_counts_between_two_looks_that_found_nothing() -> None:
    watch = Watch(fault_tolerant=False)
    assert watch.look(raylet=True, gcs=Gcs.ACCEPTS, now=0.0) == ""
    assert watch.look(raylet=True, gcs=Gcs.REFUSES, now=100.0) == "", "it may have gone just now"
    assert watch.look(raylet=True, gcs=Gcs.REFUSES, now=200.0) != ""


@given(st.booleans(), st.lists(st.tuples(st.sampled_from(Gcs), st.floats(0.0, 3.0)), max_size=40))
def test_nothing_is_gone_that_accepted_lately(fault_tolerant: bool, looks: list[tuple[Gcs, float]]) -> None:
    watch, now, accepted = Watch(fault_tolerant=fault_tolerant), 0.0, 0.0
    for gcs, pause in looks:
        now += pause
        what = watch.look(raylet=True, gcs=gcs, now=now)
        if gcs is Gcs.ACCEPTS:
            accepted = now
        if what:
            assert now - accepted >= REFUSED_MAX
            assert gcs is not Gcs.ACCEPTS
        assert watch.suspicious is (gcs is not Gcs.ACCEPTS)
