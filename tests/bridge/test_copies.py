"""Whoever waits for a copy on this node is called when it is there: at once, or at the next look."""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Sequence

import pytest

from raymq_bridge.cluster import copies
from raymq_bridge.cluster.copies import LOOK_MAX, LOOK_MIN, Copies
from tests.bridge.fake_ray import until


class Ray:
    """What Ray says of objects, which are texts here, and how long it is asked to wait."""

    def __init__(self) -> None:
        self.here: set[str] = set()
        self.waits: queue.SimpleQueue[tuple[list[str], float]] = queue.SimpleQueue()
        self.go_on: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.error: Exception | None = None

    def wait(
        self, references: list[str], *, num_returns: int = 1, timeout: float, fetch_local: bool
    ) -> tuple[list[str], list[str]]:
        assert fetch_local
        if timeout:
            self.waits.put((references, timeout))
            self.go_on.get(timeout=20)
        if self.error is not None:
            raise self.error
        ready = [reference for reference in references if reference in self.here]
        return ready[:num_returns], []


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    ray = Ray()
    monkeypatch.setattr(copies, "ray", ray)
    monkeypatch.setattr(copies, "identity", str.encode)
    return ray


def called_for(names: Sequence[str], each: Copies) -> list[str]:
    called: list[str] = []
    for name in names:
        each.on_local(name, functools.partial(called.append, name))
    return called


def test_what_is_here_is_told_without_waiting(ray: Ray) -> None:
    ray.here = {"one", "two"}
    called = called_for(["one", "two", "one"], Copies())
    until(lambda: sorted(called) == ["one", "one", "two"])
    assert ray.waits.empty()


def test_the_others_are_waited_for_longer_and_longer_until_something_changes(ray: Ray) -> None:
    each = Copies()
    called = called_for(["one"], each)
    seconds = []
    for _ in range(8):
        seconds.append(ray.waits.get(timeout=20)[1])
        ray.go_on.put(None)
    assert seconds == [min(LOOK_MIN * 2**n, LOOK_MAX) for n in range(8)]
    ray.waits.get(timeout=20)
    each.on_local("two", functools.partial(called.append, "two"))  # while the thread waits
    ray.go_on.put(None)
    assert ray.waits.get(timeout=20) == (["one", "two"], LOOK_MIN), "after a look at both without waiting"
    assert called == []
    ray.here = {"one"}
    ray.go_on.put(None)
    assert ray.waits.get(timeout=20) == (["two"], LOOK_MIN)
    assert called == ["one"]
    ray.here = {"two"}
    ray.go_on.put(None)
    until(lambda: called == ["one", "two"])


def test_when_ray_does_not_tell_nobody_waits_for_ever(ray: Ray, caplog: pytest.LogCaptureFixture) -> None:
    each = Copies()
    called = called_for(["one"], each)
    ray.waits.get(timeout=20)
    ray.error = ConnectionError("no raylet")
    ray.go_on.put(None)
    until(lambda: called == ["one"])
    assert "no raylet" in caplog.text
    ray.error, ray.here = None, {"two"}
    called = called_for(["two"], each)
    until(lambda: called == ["two"])


def test_nobody_is_told_after_the_end_and_another_job_has_its_own(ray: Ray) -> None:
    each = Copies()
    each.stop()
    each.start()
    called = called_for(["one"], each)
    ray.waits.get(timeout=20)
    ray.here = {"one", "two"}
    each.on_local("two", functools.partial(called.append, "two"))
    added = each._added
    stopping = threading.Thread(target=each.stop)
    stopping.start()
    until(lambda: added.qsize() == 2)
    ray.go_on.put(None)
    stopping.join(20)
    assert not stopping.is_alive()
    assert called == ["one"], "which was found by the look that had begun"
    assert called_for(["two"], each) == []
    assert each._added.empty(), "Ray is gone"
    each.start()
    again = called_for(["two"], each)
    until(lambda: again == ["two"])
    assert called == ["one"]


def test_one_who_fails_does_not_keep_the_others_from_being_told(ray: Ray, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise KeyError("mine")

    each = Copies()
    each.on_local("one", fail)
    ray.waits.get(timeout=20)
    ray.here = {"one", "two"}
    ray.go_on.put(None)
    called = called_for(["two"], each)
    until(lambda: called == ["two"])
    assert "mine" in caplog.text
