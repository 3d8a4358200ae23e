"""Small values that wait in the bridge until the cluster needs them; the table is what decides when they are gone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from raymq import pickling
from raymq.protocol.limits import INLINE_MAX
from raymq.protocol.messages import Coming, Pickled
from raymq_bridge import belongings
from raymq_bridge.belongings import Belongings
from raymq_bridge.failures import DependencyFailed


class Object:
    """What stands for a reference of Ray's."""

    def __init__(self, value: Any) -> None:
        self.value = value


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was put into the cluster."""
    made: list[Any] = []

    def put(value: Any) -> Object:
        made.append(value)
        return Object(value)

    monkeypatch.setattr("raymq_bridge.cluster.put", put)
    monkeypatch.setattr("raymq_bridge.cluster.identity", lambda value: str(id(value)).encode())
    return made


def pickled(value: Any) -> Pickled:
    return pickling.dumps(value, pickling.raymq_name)


def test_it_goes_to_the_cluster_once_and_when_it_is_needed(made: list[Any]) -> None:
    mine = Belongings(1 << 30)
    assert mine.store(1, pickled([1, 2]))
    stored = mine.stored(1)
    assert stored is not None
    assert mine.load(stored) == [1, 2]
    assert made == []
    first, again = mine.real(1), mine.real(1)
    assert first is again
    assert made == [[1, 2]]
    assert mine.stored(1) is None
    assert mine._stored == 0
    assert mine.table.hand_out(first) == 1, "it is known by its number"


def test_what_is_released_is_forgotten(made: list[Any]) -> None:
    mine = Belongings(1 << 30)
    mine.store(1, pickled(1))
    mine.store(3, pickled(3))
    mine.real(3)
    for number in (1, 3, 5):
        mine.release(number)
    assert mine._stored == 0
    assert len(mine.table) == 0
    with pytest.raises(LookupError):
        mine.real(1)


def test_one_that_cannot_be_unpickled_fails_who_needs_it(made: list[Any]) -> None:
    mine = Belongings(1 << 30)
    assert mine.store(1, Pickled(b"\x80\x05cnowhere\nf\n."))
    for _ in range(2):
        with pytest.raises(DependencyFailed):
            mine.real(1)
    assert mine.stored(1) is None
    assert mine._stored == 0


@pytest.mark.parametrize(
    "payload",
    [
        Coming(1),
        Pickled(b"x" * (INLINE_MAX + 1)),
        Pickled(b"N.", [], [3]),
        pickled(np.zeros(3)),
        pickled(pickling.pickle),
        pickled(pickling),
    ],
    ids=["large", "too large", "references", "an array that can be written to", "a module", "a module of raymq"],
)
def test_what_goes_to_the_cluster_at_once(payload: Any, request: pytest.FixtureRequest) -> None:
    mine = Belongings(1 << 30)
    assert mine.store(1, payload) is ("a module]" in request.node.name)


def test_there_is_an_end_to_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(belongings, "STORED_MAX", 2 * (100 + belongings.STORED_COST) + 50)
    mine = Belongings(1 << 30)
    payload = Pickled(b"x" * 100)
    assert [mine.store(number, payload) for number in (1, 3, 5)] == [True, True, False]
    mine.release(1)
    assert mine.store(5, payload)
