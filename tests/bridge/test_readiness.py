"""What is to be on this node is copied there once it exists; what is small is here already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raymq_bridge import cluster
from raymq_bridge.outbox import Outbox
from raymq_bridge.readiness import Readiness
from tests.bridge.fake_ray import Reference

pytestmark = pytest.mark.usefixtures("fake")


class Scene:
    """Ray, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.made: list[Callable[[], None]] = []
        self.copied: dict[Any, Callable[[], None]] = {}
        self.outbox = Outbox(lambda: None)
        self.readiness = Readiness(self.outbox)
        monkeypatch.setattr(cluster, "on_ready", lambda reference, callback: self.made.append(callback))
        monkeypatch.setattr(cluster, "on_local", self.copied.__setitem__)
        monkeypatch.setattr(cluster, "is_at_hand", lambda reference: reference.at_hand)

    def told(self) -> list[Any]:
        self.now += 1.0
        return [(message.refs, message.local) for message in self.outbox.take_news(self.now)]


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
    assert scene.copied == {}


def test_what_is_large_is_copied_once_it_exists_and_told_when_it_is_here(scene: Scene) -> None:
    references = {number: Reference(number, at_hand=False) for number in (1, 3)}
    scene.readiness.watch(references, local=True)
    assert scene.copied == {}, "there is nothing yet to copy"
    for made in scene.made:
        made()
    assert (list(scene.copied), scene.told()) == ([references[1], references[3]], [])
    scene.copied[references[3]]()
    assert scene.told() == [([3], True)]
    scene.copied[references[1]]()
    assert scene.told() == [([1], True)]


def test_a_reference_is_watched_once_in_each_way_and_again_when_it_was_told(scene: Scene) -> None:
    pending = {1: Reference(0, at_hand=True)}
    for local in (True, True, False, False):
        scene.readiness.watch(pending, local=local)
    assert len(scene.made) == 2
    for made in scene.made:
        made()
    scene.readiness.watch(pending, local=True)
    assert len(scene.made) == 3
