"""``log_once`` and its like."""

from __future__ import annotations

import pytest

from raymq.util import debug, log_once


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debug, "_logged", debug._Logged())


def test_each_key_once() -> None:
    assert log_once("a")
    assert not log_once("a")
    assert log_once("b")
    debug.reset_log_once("a")
    assert log_once("a")
    assert not log_once("b")
    debug.reset_log_once()
    assert log_once("b")


def test_never() -> None:
    debug.disable_log_once_globally()
    assert not log_once("a")


def test_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    assert log_once("a")
    now += debug.PERIOD + 1
    assert not log_once("a")
    debug.enable_periodic_logging()
    assert log_once("a")
    now += debug.PERIOD - 1
    assert not log_once("a")
    now += 2
    assert log_once("a")
