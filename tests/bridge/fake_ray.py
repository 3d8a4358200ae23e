"""Ray's part in tests of the executor's threads: what decides there is their interleaving, which no cluster can be told."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from raymq_bridge import cluster


class Reference:
    def __init__(self, value: Any, *, at_hand: bool) -> None:
        self.value = value
        self.at_hand = at_hand


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have ``Reference`` stand for Ray's references."""
    monkeypatch.setattr(cluster, "is_reference", lambda value: isinstance(value, Reference))
    monkeypatch.setattr(cluster, "is_generator", lambda value: False)
    monkeypatch.setattr(cluster, "identity", lambda value: str(id(value)).encode())
    monkeypatch.setattr(cluster, "listen_to_workers", lambda callback: None)
    monkeypatch.setattr(cluster, "value_at_hand", _value)
    monkeypatch.setattr(cluster, "values_at_hand", lambda references: [_value(each) for each in references])


def _value(reference: Reference) -> Any:
    return reference.value if reference.at_hand else cluster.NOT_AT_HAND


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
