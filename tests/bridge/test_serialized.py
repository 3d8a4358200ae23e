"""A pickle that says anything of Ray's or of raymq's own is told from one that does not."""

from __future__ import annotations

import array
import pickle
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
import ray.util.queue

import raymq
from raymq import pickling
from raymq.protocol.limits import INLINE_MAX
from raymq.serialized import value_of
from raymq_bridge import copying
from raymq_bridge.cluster import NOT_AT_HAND, serialized
from raymq_bridge.cluster.serialized import _NAMES, Serialized, on_arrival


class Local:
    """Pickled by value where a function made it."""


def made() -> Any:
    class Inner:
        pass

    return Inner()


@pytest.mark.parametrize(
    "value",
    [
        ray.ObjectRef, ray.exceptions.RayTaskError, ray.util.queue.Empty(), ray.actor.ActorHandle, ray.NodeID.from_random(),
        raymq.ObjectRef, raymq.exceptions.RayError(""), raymq.get, made(), lambda: 1,
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", [0, 10, 1000])
def test_names_are_found(value: Any, before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pickled = ray.cloudpickle.dumps([bytes(before), {"deep": (value,)}])
    for scanned in (16 << 20, 64, 33):
        monkeypatch.setattr(copying, "SCANNED", scanned)
        assert copying.find(_NAMES, memoryview(pickled))


@pytest.mark.parametrize(
    "value",
    [
        "array", b"ray", b"ray.get", {"ray tracing": ["x-ray", "sunray."]}, np.arange(3), array.array("i", [1]),
        datetime(2026, 1, 1, tzinfo=timezone.utc), (1, {2}, frozenset({3})), Local(), pickle.PickleBuffer,
    ],
)  # fmt: skip
def test_nothing_is_found_in_what_only_sounds_like_it(value: Any) -> None:
    pickled = pickle.dumps([value, value], protocol=5)
    assert not copying.find(_NAMES, memoryview(pickled))


def test_ray_writes_what_clients_read() -> None:
    """By ``ray._private.serialization.MessagePackSerializer``: an extension for what msgpack does not have, tuples too."""
    objects: list[Any] = []
    value = {"plain": [1, 2.5, None, "é", b"\x00"], (1, 2): (3,), 5: {6}}

    def mention(thing: Any) -> int:
        objects.append(thing)
        return len(objects) - 1

    plain = ray._private.serialization.MessagePackSerializer.dumps(value, mention)
    assert objects == [(1, 2), (3,), {6}]
    assert value_of(plain, pickle.dumps(objects, 5), []) == value


def test_what_is_large_stays_where_it_lies() -> None:
    large, small = bytes(100_000), b"small"
    value = Serialized("msgpack", large, small, [memoryview(large), memoryview(small)])
    assert value.nbytes == 200_010
    payload = pickling.dumps(value, lambda each: each.fields() if each is value else None)
    assert [memoryview(buffer).obj for buffer in payload.buffers] == [large, large]
    assert pickling.loads(payload, lambda *fields: fields) == ("msgpack", large, small, [large, small])
    assert Serialized("bytes", memoryview(large)).nbytes == 100_000


class Scene:
    """Ray's part: what is at hand, what is stored, and callbacks made at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at_hand: Any = NOT_AT_HAND
        self.stored: Any = NOT_AT_HAND
        self.here: Any = NOT_AT_HAND
        self.came: list[Any] = []
        monkeypatch.setattr(serialized, "on_ready", lambda reference, callback: callback())
        monkeypatch.setattr(serialized, "on_local", lambda reference, callback: callback())
        monkeypatch.setattr(serialized, "value_at_hand", lambda reference: self.at_hand)
        monkeypatch.setattr(serialized, "value_here", lambda reference: self.here)
        monkeypatch.setattr(serialized, "serialized_here", self._stored)
        monkeypatch.setattr(serialized, "on_value", lambda reference, callback: callback("as Ray tells it"))

    def _stored(self, reference: Any) -> Any:
        if isinstance(self.stored, Exception):
            raise self.stored
        return self.stored

    def arrived(self, **reference: Any) -> Any:
        on_arrival(SimpleNamespace(**reference), self.came.append)
        return self.came.pop()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_what_is_small_is_taken_from_where_it_is(scene: Scene) -> None:
    scene.at_hand = [1]
    assert scene.arrived(_on_ready=None) == [1]
    scene.at_hand = NOT_AT_HAND
    scene.stored, scene.here = Serialized("bytes", bytes(INLINE_MAX)), b"pickled, clients can keep it"
    assert scene.arrived(_on_ready=None) == scene.here
    scene.stored = scene.here = NOT_AT_HAND
    assert scene.arrived(_on_ready=None) == "as Ray tells it", "it was here a moment ago"


def test_what_is_large_comes_as_it_is_stored_where_that_can_be(scene: Scene) -> None:
    scene.stored = Serialized("bytes", bytes(INLINE_MAX + 1))
    assert scene.arrived(_on_ready=None) is scene.stored
    assert scene.arrived() == "as Ray tells it", "before Ray 2.60"
    scene.stored, scene.here = NOT_AT_HAND, "it mentions something of Ray's"
    assert scene.arrived(_on_ready=None) == scene.here


def test_an_exception_on_the_way_is_what_comes(scene: Scene) -> None:
    scene.stored = KeyError("strange")
    came = scene.arrived(_on_ready=None)
    assert isinstance(came, ray.exceptions.RaySystemError)
    assert "strange" in str(came)
