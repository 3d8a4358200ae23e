"""Values at hand are sent at once; those that have to wait meanwhile are not forgotten over it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from raymq import pickling
from raymq.protocol.channel import Received
from raymq.protocol.limits import INLINE_MAX
from raymq.protocol.messages import Ahead, Fetch, Value
from raymq_bridge.crowds import CROWD_MIN
from raymq_bridge.executor import Executor
from raymq_bridge.outbox import Outbox
from tests.bridge.fake_ray import Reference, until


class Slow(list[Any]):
    """Large, by guess, and slow to pickle."""

    gate = threading.Event()

    def __sizeof__(self) -> int:
        return 40 << 20

    def __reduce__(self) -> Any:
        self.gate.wait(20)
        return list, ([1],)


class Guessed(list[Any]):
    """Large by guess, small as a pickle."""

    def __sizeof__(self) -> int:
        return 40 << 20

    def __reduce__(self) -> Any:
        return list, ([2],)


@pytest.mark.usefixtures("fake")
def test_every_value_is_sent_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is pickled and another waits, there is no room for what is at hand: it is asked for again.

    What is wanted as a crowd is sent as soon as it is found, and waits for nothing.
    """
    callbacks: list[Callable[[Any], None]] = []
    monkeypatch.setattr("raymq_bridge.cluster.on_arrival", lambda reference, callback: callbacks.append(callback))
    outbox = Outbox(lambda: None)
    broken: list[Exception] = []
    executor = Executor(outbox, lambda farewell: None, broken.append, 1 << 40, {})
    references = [Reference(Slow(), at_hand=False) for _ in range(2)]
    references += [Reference(Guessed(), at_hand=True) for _ in range(CROWD_MIN - 1 + CROWD_MIN)]
    numbers = [2 * place + 1 for place in range(len(references))]
    for number, reference in zip(numbers, references, strict=True):
        executor._table.add(number, reference)
    executor.start()
    executor.put(Received([Fetch([number]) for number in numbers[:2]]))
    until(lambda: len(callbacks) == 2)
    callbacks[0](references[0].value)
    until(lambda: not executor._values._fetches._waiting)  # it is being pickled
    callbacks[1](references[1].value)
    executor.put(Received([Fetch(numbers[2:-CROWD_MIN])]))
    until(lambda: len(executor._values._fetches._off) > 10)
    executor.put(Received([Fetch(numbers[-CROWD_MIN:])]))
    sent: set[int] = set()

    def are_sent(expected: list[int]) -> bool:
        sent.update(message.ref for message in outbox.take() if isinstance(message, Value))
        return sent == set(expected)

    until(lambda: are_sent(numbers[-CROWD_MIN:]))
    Slow.gate.set()
    until(lambda: are_sent(numbers))
    executor.stop()
    assert broken == []


@pytest.mark.usefixtures("fake")
def test_what_is_sent_ahead_is_small_at_hand_and_free_of_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymq_bridge.cluster.on_ready", lambda reference, callback: None)
    outbox = Outbox(lambda: None)
    broken: list[Exception] = []
    executor = Executor(outbox, lambda farewell: None, broken.append, 1 << 40, {})
    inner = Reference(0, at_hand=True)
    references = {
        1: Reference("small", at_hand=True),
        3: Reference("elsewhere", at_hand=False),
        5: Reference(b"x" * INLINE_MAX, at_hand=True),
        7: Reference([inner], at_hand=True),
        9: Reference(lambda: 1 / 0, at_hand=True),
        11: Reference(b"last", at_hand=True),
    }
    for number, reference in references.items():
        executor._table.add(number, reference)
    executor._belongings.store(13, pickling.dumps("stored", lambda value: None))
    executor.start()
    executor.put(Received([Ahead([*range(1, 20)]), Fetch([3, 1])]))
    sent: list[int] = []

    def asked_sent() -> bool:
        sent.extend(message.ref for message in outbox.take() if isinstance(message, Value))
        return sent[-1:] == [1]

    until(asked_sent)
    executor.stop()
    assert sent == [1, 9, 11, 13, 1], "what was asked for comes last"
    assert len(executor._table) == len(references) + 1, "nothing was handed out"
    assert broken == []


@pytest.mark.usefixtures("fake")
def test_values_that_are_wanted_together_are_sent_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymq_bridge.values.GATHER", 10.0)
    there: list[Callable[[], None]] = []
    values: list[Callable[[Any], None]] = []
    monkeypatch.setattr("raymq_bridge.cluster.on_ready", lambda reference, callback: there.append(callback))
    monkeypatch.setattr("raymq_bridge.cluster.on_arrival", lambda reference, callback: values.append(callback))
    outbox = Outbox(lambda: None)
    executor = Executor(outbox, lambda farewell: None, lambda error: None, 1 << 40, {})
    references = {number: Reference(number, at_hand=False) for number in (1, 3, 5, 7)}
    for number, reference in references.items():
        executor._table.add(number, reference)
    executor.start()
    executor.put(Received([Fetch([1, 3, 5]), Fetch([7])]))
    until(lambda: len(there) == 3 and len(values) == 1)
    references[1].at_hand = references[5].at_hand = True
    for callback in there[:2]:
        callback()
    sent: list[int] = []

    def take() -> list[int]:
        sent.extend(message.ref for message in outbox.take() if isinstance(message, Value))
        return sent

    begun = time.monotonic()
    until(lambda: executor._values._queue.qsize() == 1)  # the first was taken, and is held back
    assert take() == [], "the third is missing"
    values[0]([7])
    until(lambda: len(take()) == 2 and len(values) == 2)
    assert set(sent) == {1, 7}, "whoever is wanted alone waits for nobody, and takes the others along"
    values[1]([3])  # it is there, but not at hand: in the object store
    there[2]()
    until(lambda: len(take()) == 4)
    assert time.monotonic() - begun < 9, "the last one of several does not wait"
    executor.stop()
