"""Many values wanted in one go: which of them are looked for, when, and when that is given up."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import ray.exceptions

from raymq.protocol.channel import Received
from raymq.protocol.messages import Failure, Fetch, Value
from raymq_bridge.crowds import CROWD_MIN, PATIENCE, ROUND, STRIDE, WORTHWHILE, Crowd
from raymq_bridge.executor import Executor
from raymq_bridge.outbox import Outbox
from tests.bridge.fake_ray import Reference, until

COUNT = 10 * STRIDE


def crowd_of(count: int = COUNT) -> Crowd:
    return Crowd({number: f"reference {number}" for number in range(1, count + 1)}, 0.0)


def test_the_first_look_finds_nothing_and_that_is_no_reason_to_give_up() -> None:
    crowd = crowd_of()
    assert crowd.due == 0.0
    assert crowd.found([], 0.0)
    assert crowd.due == PATIENCE


def test_only_the_front_is_looked_for_and_one_in_a_stride_announced() -> None:
    crowd = crowd_of()
    front = crowd.front(0.0)
    assert front == list(range(1, len(front) + 1)), "in the order in which they may be expected"
    assert STRIDE < len(front) < 2 * STRIDE
    assert crowd.next_sentinel() == STRIDE
    assert crowd.next_sentinel() == 0, "one at a time"
    crowd.announced(STRIDE)
    assert crowd.found(range(1, STRIDE + 1), 0.01)
    assert crowd.next_sentinel() == 2 * STRIDE


def test_the_last_ones_have_the_last_as_their_sentinel() -> None:
    crowd = crowd_of(3)
    assert crowd.next_sentinel() == 3


def test_all_are_looked_for_now_and_then() -> None:
    crowd = crowd_of()
    assert len(crowd.front(ROUND)) == COUNT
    assert len(crowd.front(ROUND + 0.01)) < COUNT
    assert len(crowd.front(2 * ROUND)) == COUNT


@pytest.mark.parametrize("count", [WORTHWHILE - 1, WORTHWHILE])
def test_it_is_given_up_when_too_few_come_in_time(count: int) -> None:
    crowd = crowd_of()
    crowd.found([], 0.0)
    assert crowd.found([], PATIENCE / 3), "it is too early to say"
    assert crowd.found(range(1, 4), PATIENCE / 2)
    assert crowd.found(range(4, count + 1), PATIENCE) is (count == WORTHWHILE), "those found before count, too"


def test_it_is_given_up_when_the_sentinel_exists_and_is_not_found() -> None:
    crowd = crowd_of()
    crowd.found([], 0.0)
    sentinel = crowd.next_sentinel()
    crowd.announced(sentinel - 1)
    assert crowd.found(range(1, 50), 0.001), "that was another one's announcement, which came late"
    crowd.announced(sentinel)
    assert not crowd.found(range(50, 90), 0.002)


class Stage:
    """An executor whose references become ready as a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        self.announce: dict[Any, Callable[[], None]] = {}
        self.values: dict[Any, Callable[[Any], None]] = {}
        monkeypatch.setattr("raymq_bridge.cluster.on_ready", self.announce.__setitem__)
        monkeypatch.setattr("raymq_bridge.cluster.on_arrival", self.values.__setitem__)
        self.broken: list[Exception] = []
        self.outbox = Outbox(lambda: None)
        self.executor = Executor(self.outbox, lambda farewell: None, self.broken.append, 1 << 40, {})
        self.references = {number: Reference(number, at_hand=False) for number in range(1, count + 1)}
        for number, reference in self.references.items():
            self.executor._table.add(number, reference)
        self.sent: list[int] = []
        self.failed: list[int] = []
        self.executor.start()
        self.fetch()
        until(lambda: len(self.announce) > 0)  # the first look has found nothing

    def fetch(self) -> None:
        self.executor.put(Received([Fetch(list(self.references))]))

    def make_ready(self, numbers: range) -> None:
        for number in numbers:
            self.references[number].at_hand = True

    def announced(self, number: int) -> None:
        until(lambda: self.references[number] in self.announce)
        self.announce[self.references[number]]()

    def take(self) -> list[int]:
        answers = [message for message in self.outbox.take() if isinstance(message, Value | Failure)]
        self.sent += [message.ref for message in answers]
        self.failed += [message.ref for message in answers if isinstance(message, Failure)]
        return self.sent

    def end(self) -> None:
        self.executor.stop()
        assert self.broken == []


@pytest.fixture
def patient(fake: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymq_bridge.crowds.PATIENCE", 1000.0)


@pytest.mark.usefixtures("patient")
def test_one_announcement_brings_a_stride_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, 3 * STRIDE)
    stage.make_ready(range(1, STRIDE + 1))
    stage.announced(STRIDE)
    until(lambda: len(stage.take()) == STRIDE)
    stage.make_ready(range(STRIDE + 1, 3 * STRIDE + 1))
    stage.announced(2 * STRIDE)
    until(lambda: len(stage.take()) == 3 * STRIDE)
    assert stage.sent == list(stage.references), "all, in order, once"
    assert len(stage.announce) == 2, "and nothing else was asked for"
    stage.end()


@pytest.mark.usefixtures("patient")
def test_what_is_there_already_is_not_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, CROWD_MIN)
    stage.make_ready(range(1, CROWD_MIN + 1))
    stage.announced(CROWD_MIN)
    until(lambda: len(stage.take()) == CROWD_MIN)
    stage.fetch()
    until(lambda: len(stage.take()) == 2 * CROWD_MIN)
    assert len(stage.announce) == 1
    stage.end()


@pytest.mark.usefixtures("patient")
def test_large_values_are_each_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentinel exists, but not in this process: it is in the object store."""
    stage = Stage(monkeypatch, 2 * STRIDE)
    stage.make_ready(range(1, 11))
    stage.announced(STRIDE)
    until(lambda: len(stage.announce) == 2 * STRIDE - 10)
    assert stage.take() == list(range(1, 11))
    stage.end()


@pytest.mark.usefixtures("fake")
def test_slow_values_are_each_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, 2 * STRIDE)
    until(lambda: len(stage.announce) == 2 * STRIDE)
    stage.make_ready(range(7, 8))
    stage.announced(7)
    until(lambda: stage.take() == [7])
    stage.end()


@pytest.mark.usefixtures("patient")
def test_an_error_among_them_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, 2 * STRIDE)
    stage.references[5].value = ray.exceptions.WorkerCrashedError()
    stage.make_ready(range(1, STRIDE + 1))
    stage.announced(STRIDE)
    until(lambda: len(stage.take()) == STRIDE)
    assert stage.failed == [5]
    assert not stage.values, "and it was not asked for again"
    stage.end()


@pytest.mark.usefixtures("patient")
def test_nothing_is_held_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray may announce a sentinel much later, and holds what it calls until then."""
    stage = Stage(monkeypatch, STRIDE)
    held = weakref.ref(stage.references[1])
    stage.end()
    until(lambda: not any(thread.is_alive() for thread in stage.executor._threads))
    stage.references.clear()
    gc.collect()
    assert held() is None
    assert len(stage.announce) == 1
