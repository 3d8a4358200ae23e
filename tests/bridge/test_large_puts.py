"""Large values that are put are copied in a thread of their own: nothing is used before it is there, and nothing stays."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest

from raymq import pickling
from raymq.protocol.channel import Arrived, Received
from raymq.protocol.messages import Coming, Fetch, Pickled, Put, Task, Value
from raymq_bridge import cluster
from raymq_bridge.executor import Executor
from raymq_bridge.outbox import Outbox
from tests.bridge.fake_ray import Reference, until

pytestmark = pytest.mark.usefixtures("fake")

LARGE = 1 << 20


class Mentioned:
    """A reference, as a client would send it."""

    def __init__(self, number: int) -> None:
        self.number = number


def packed(value: Any) -> Pickled:
    refs: list[int] = []

    def replace(value: Any) -> pickling.Fields | None:
        if not isinstance(value, Mentioned):
            return None
        refs.append(value.number)
        return "ref", value.number

    return pickling.dumps(value, replace, refs)


class Scene:
    def __init__(self) -> None:
        self.outbox = Outbox(lambda: None)
        self.broken: list[Exception] = []
        self.executor = Executor(self.outbox, lambda farewell: None, self.broken.append, 1 << 40, {})
        self.executor.start()

    def made(self, number: int) -> Any:
        """What is behind a number in the end."""
        until(lambda: self.executor._table.peek(number) is not None)
        return self.executor._table.peek(number)


@pytest.fixture
def scene() -> Any:
    scene = Scene()
    yield scene
    scene.executor.stop()
    until(lambda: not any(thread.is_alive() for thread in scene.executor._threads))
    assert scene.broken == []


def test_a_value_that_mentions_another_waits_for_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr(
        cluster, "put", lambda value: (isinstance(value, bytes) and gate.wait(20), Reference(value, at_hand=True))[1]
    )
    second = packed([Mentioned(1), bytes(LARGE)])
    scene.executor.put(Received([Put(1, Coming(1)), Put(3, Coming(2, second.refs))]))
    scene.executor.put(Arrived(1, packed(bytes(LARGE))))
    scene.executor.put(Arrived(2, second))
    until(scene.executor._events.empty)
    gate.set()
    first, later = scene.made(1), scene.made(3)
    assert later.value[0] is first


def test_a_value_waits_for_the_task_that_it_mentions(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    result = Reference("result", at_hand=True)
    monkeypatch.setattr(cluster, "put", lambda value: Reference(value, at_hand=True))
    monkeypatch.setattr(cluster, "submit", lambda function, args, kwargs: [result])
    scene.executor._belongings.define(5, lambda array: array)
    put = packed([Mentioned(1), bytes(LARGE)])
    scene.executor.put(Received([Task([1], 5, b"", Coming(1)), Put(3, Coming(2, put.refs))]))
    scene.executor.put(Arrived(2, put))
    until(scene.executor._events.empty)
    scene.executor.put(Arrived(1, packed(((bytes(2 * LARGE),), {}))))
    assert scene.made(3).value[0] is result


def test_calls_go_on_while_a_value_is_copied(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr(cluster, "put", lambda value: (gate.wait(20), Reference(value, at_hand=True))[1])
    scene.executor._table.add(7, Reference("there", at_hand=True))
    scene.executor.put(Received([Put(1, Coming(1)), Fetch([7])]))
    scene.executor.put(Arrived(1, packed(bytes(LARGE))))
    scene.executor.put(Received([Fetch([7]), Fetch([1])]))
    sent: list[int] = []

    def answers() -> list[int]:
        sent.extend(message.ref for message in scene.outbox.take() if isinstance(message, Value))
        return sent

    until(lambda: answers() == [7, 7])
    gate.set()
    until(lambda: answers() == [7, 7, 1])


def test_a_value_is_sent_although_room_comes_just_when_it_is_put_off(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, outbox = scene.executor, scene.outbox
    executor._table.add(1, Reference("x" * 90_000, at_hand=True))
    outbox._held = 300 << 20  # another value is under way
    put_off = executor._values._fetches.put_off

    def too_late(number: int) -> None:
        outbox.delivered(300 << 20)
        executor.delivered()
        until(executor._values._queue.empty)
        put_off(number)

    monkeypatch.setattr(executor._values._fetches, "put_off", too_late)
    executor.put(Received([Fetch([1])]))
    until(lambda: any(isinstance(message, Value) for message in outbox.take()))


def test_what_is_copied_when_the_client_leaves_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    made: list[weakref.ref[Reference]] = []

    def put(value: Any) -> Reference:
        gate.wait(20)
        reference = Reference(value, at_hand=True)
        made.append(weakref.ref(reference))
        return reference

    monkeypatch.setattr(cluster, "put", put)
    scene = Scene()
    scene.executor.put(Received([Put(1, Coming(1))]))
    scene.executor.put(Arrived(1, packed(bytes(LARGE))))
    until(lambda: scene.executor._events.empty() and scene.executor._puts.empty())
    scene.executor.stop()
    gate.set()
    until(lambda: not any(thread.is_alive() for thread in scene.executor._threads))
    gc.collect()
    assert made
    assert made[0]() is None
