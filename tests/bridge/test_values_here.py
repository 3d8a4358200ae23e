"""Values that are here are taken as they are found; what is gone meanwhile, or in another way than most, is no reason to fail."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
import ray
import ray.exceptions

from raymq_bridge import copying
from raymq_bridge.cluster import NOT_AT_HAND, arrivals, value_at_hand, values_at_hand

GONE = ray.exceptions.GetTimeoutError("it is not here")


class Store:
    """Ray's part: references are numbers of entries, or what asking for them raises."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entries: dict[int, Any] = {}
        self.unpickled: list[list[int]] = []
        monkeypatch.setattr(arrivals, "is_at_hand", lambda reference: reference in self.entries)
        monkeypatch.setattr(copying, "entries", self._entries)
        monkeypatch.setattr(copying, "split", lambda data, metadata: (data, b"", []))
        worker = SimpleNamespace(deserialize_objects=self._deserialize)
        monkeypatch.setattr("ray._private.worker.global_worker", worker)

    def plain(self, reference: int, value: Any) -> None:
        self.entries[reference] = msgpack.packb(value), b"XLANG", None

    def _entries(self, references: Sequence[int], timeout_ms: int) -> list[Any]:
        assert timeout_ms == 0
        found = [self.entries[reference] for reference in references]
        for each in found:
            if isinstance(each, Exception):
                raise each
        return found

    def _deserialize(self, entries: Sequence[Any], references: Sequence[int]) -> list[Any]:
        self.unpickled.append(list(references))
        for data, _, _ in entries:
            if isinstance(data, type):
                raise data("boom")
        return [data for data, _, _ in entries]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    return Store(monkeypatch)


def test_plain_values_are_not_unpickled_by_ray(store: Store) -> None:
    store.plain(1, [1, {"a": None}])
    store.entries[2] = bytearray(b"bytes"), b"RAW", None
    store.entries[3] = None, b"RAW", None
    assert values_at_hand([3, 1, 4, 2]) == [b"", [1, {"a": None}], NOT_AT_HAND, b"bytes"]
    assert store.unpickled == []


def test_the_others_are_in_one_go(store: Store) -> None:
    store.plain(1, 1)
    store.entries[2] = {2}, b"PYTHON", None
    store.entries[3] = msgpack.packb(msgpack.ExtType(5, b"")), b"XLANG", None
    store.entries[4] = "an error", b"7", "NIXL"
    values = values_at_hand([1, 2, 3, 4])
    assert [values[0], values[1], values[3]] == [1, {2}, "an error"]
    assert store.unpickled == [[2, 3, 4]]


@pytest.mark.parametrize("bomb", [SystemExit, KeyboardInterrupt])
def test_what_ray_lets_through_is_the_error_of_its_own_value(store: Store, bomb: type[BaseException]) -> None:
    store.entries = {1: ({1}, b"PYTHON", None), 2: (bomb, b"PYTHON", None), 3: ({3}, b"PYTHON", None)}
    one, error, other = values_at_hand([1, 2, 3])
    assert (one, other) == ({1}, {3})
    assert isinstance(error, ray.exceptions.RaySystemError)
    assert isinstance(error.client_exc, bomb)
    assert isinstance(value_at_hand(2), ray.exceptions.RaySystemError)


def test_what_is_gone_meanwhile_is_not_at_hand(store: Store) -> None:
    store.plain(1, 1)
    store.entries |= {2: GONE, 3: (None, None, None)}
    assert values_at_hand([1, 2, 3]) == [1, NOT_AT_HAND, NOT_AT_HAND]
    assert values_at_hand([1, 3]) == [1, NOT_AT_HAND]
    assert value_at_hand(2) is NOT_AT_HAND
    assert value_at_hand(3) is NOT_AT_HAND
    assert store.unpickled == []


def test_tensors_that_travel_apart_are_an_error(store: Store) -> None:
    store.entries[1] = "placeholders", b"PYTHON", "NIXL"
    assert "use it in a task" in str(value_at_hand(1))
    assert store.unpickled == []
