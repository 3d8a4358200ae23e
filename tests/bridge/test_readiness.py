"""What is copied to this node is looked at until it is there, and only that; what is small is here already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from raymq.protocol.messages import Ready
from raymq_bridge import cluster
from raymq_bridge.outbox import Outbox
from raymq_bridge.readiness import LOOK_MAX, LOOK_MIN, Readiness
from tests.bridge.fake_ray import Reference

pytestmark = pytest.mark.usefixtures("fake")


class Scene:
    """Ray, time and the thread of calls, all moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[Callable[[], None]] = []
        self.pauses: list[float] = []
        self.here: set[Any] = set()
        self.looks = 0
        self.steps: list[Callable[[], None]] = []
        self.resume: list[Callable[[Any], None]] = []
        self.outbox = Outbox(lambda: None)
        self.readiness = Readiness(self.outbox, self.steps.append)
        monkeypatch.setattr(cluster, "on_ready", lambda reference, callback: self.made.append(callback))
        monkeypatch.setattr(cluster, "is_at_hand", lambda reference: reference.at_hand)
        monkeypatch.setattr(cluster, "ready_now", self._ready_now)
        monkeypatch.setattr("raymq_bridge.readiness.pause", self._pause)

    def _ready_now(self, references: Sequence[Any], *, fetch_local: bool) -> set[bytes]:
        assert fetch_local
        self.looks += 1
        return {cluster.identity(reference) for reference in references if reference in self.here}

    def _pause(self, seconds: float) -> Callable[[Callable[[Any], None]], None]:
        self.pauses.append(seconds)
        return self.resume.append

    def go_on(self) -> None:
        while self.steps:
            self.steps.pop(0)()

    def time_passes(self) -> None:
        self.resume.pop()(None)
        self.go_on()

    def told(self) -> list[Any]:
        news = []
        while (message := self.outbox.take_rest()) is not None:
            assert isinstance(message, Ready)
            news.append((message.refs, message.local))
        return news


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_to_exist_is_enough_for_what_is_small_and_where_nothing_is_to_be_copied(scene: Scene) -> None:
    large = Reference(0, at_hand=False)
    scene.readiness.watch({1: Reference(0, at_hand=True)}, local=True)
    scene.readiness.watch({3: large}, local=False)
    for made in scene.made:
        made()
    assert scene.told() == [([3], False), ([1], True)]
    assert (scene.steps, scene.looks) == ([], 0)


def test_copies_are_looked_at_until_all_are_here(scene: Scene) -> None:
    references = {number: Reference(number, at_hand=False) for number in (1, 3, 5)}
    scene.here.add(references[5])
    scene.readiness.watch(references, local=True)
    for made in scene.made:
        made()
    scene.go_on()
    assert scene.told() == [([5], True)], "it was made on this node"
    for _ in range(10):
        scene.time_passes()
    assert scene.pauses[:3] == [LOOK_MIN, 2 * LOOK_MIN, 4 * LOOK_MIN]
    assert scene.pauses[-1] == LOOK_MAX
    scene.here.add(references[3])
    scene.time_passes()
    assert (scene.told(), scene.pauses[-1]) == ([([3], True)], LOOK_MIN)
    scene.here.add(references[1])
    scene.time_passes()
    assert scene.told() == [([1], True)]
    assert scene.resume == [], "nobody looks any more"


def test_a_reference_is_watched_once_in_each_way_and_again_when_it_was_told(scene: Scene) -> None:
    pending = {1: Reference(0, at_hand=True)}
    for local in (True, True, False, False):
        scene.readiness.watch(pending, local=local)
    assert len(scene.made) == 2
    for made in scene.made:
        made()
    scene.readiness.watch(pending, local=True)
    assert len(scene.made) == 3


def test_what_fails_in_a_look_is_raised_in_the_thread_of_calls(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.readiness.watch({1: Reference(0, at_hand=False)}, local=True)
    scene.made[0]()
    scene.go_on()

    def fail(references: Sequence[Any], *, fetch_local: bool) -> set[bytes]:
        raise ConnectionError("no raylet")

    monkeypatch.setattr(cluster, "ready_now", fail)
    with pytest.raises(ConnectionError, match="no raylet"):
        scene.time_passes()
