"""Values at hand are sent at once; those that have to wait meanwhile are not forgotten over it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from raymq.protocol.channel import Received
from raymq.protocol.messages import Fetch, Value
from raymq_bridge.executor import Executor
from raymq_bridge.outbox import Outbox


class Reference:
    def __init__(self, value: Any, *, at_hand: bool) -> None:
        self.value = value
        self.at_hand = at_hand


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


def test_every_value_is_sent_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is pickled and another waits, there is no room for what is at hand: it is asked for again."""
    monkeypatch.setattr("raymq_bridge.cluster.is_reference", lambda value: isinstance(value, Reference))
    monkeypatch.setattr("raymq_bridge.cluster.is_generator", lambda value: False)
    monkeypatch.setattr("raymq_bridge.cluster.identity", lambda value: str(id(value)).encode())
    monkeypatch.setattr("raymq_bridge.cluster.listen_to_workers", lambda callback: None)
    monkeypatch.setattr(
        "raymq_bridge.cluster.value_at_hand",
        lambda reference: reference.value if reference.at_hand else _not_at_hand(),
    )
    callbacks: list[Callable[[Any], None]] = []
    monkeypatch.setattr("raymq_bridge.cluster.on_value", lambda reference, callback: callbacks.append(callback))
    outbox = Outbox(lambda: None)
    broken: list[Exception] = []
    executor = Executor(outbox, lambda farewell: None, broken.append, 1 << 40, {})
    references = [Reference(Slow(), at_hand=False) for _ in range(2)]
    references += [Reference(Guessed(), at_hand=True) for _ in range(20)]
    numbers = [2 * place + 1 for place in range(len(references))]
    for number, reference in zip(numbers, references, strict=True):
        executor._table.add(number, reference)
    executor.start()
    executor.put(Received([Fetch(numbers[:2])]))
    until(lambda: len(callbacks) == 2)
    callbacks[0](references[0].value)
    until(lambda: not executor._fetches._waiting)  # it is being pickled
    callbacks[1](references[1].value)
    executor.put(Received([Fetch(numbers[2:])]))
    until(lambda: len(executor._fetches._off) > 10)
    Slow.gate.set()
    sent: set[int] = set()

    def all_sent() -> bool:
        sent.update(message.ref for message in outbox.take() if isinstance(message, Value))
        return sent == set(numbers)

    until(all_sent)
    executor.stop()
    assert broken == []


def _not_at_hand() -> Any:
    from raymq_bridge import cluster

    return cluster.NOT_AT_HAND


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
