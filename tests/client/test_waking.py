"""A waker wakes whoever polls it, once for however many calls, and never again when it is closed."""

from __future__ import annotations

import os
import select

import pytest

from raymq.waking import Waker


@pytest.fixture(params=["here", "elsewhere"])
def waker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Waker:
    if request.param == "elsewhere":
        monkeypatch.delattr(os, "eventfd", raising=False)
    return Waker()


def is_awake(waker: Waker) -> bool:
    readable, _, _ = select.select([waker], [], [], 0)
    return bool(readable)


def test_it_wakes_once(waker: Waker) -> None:
    assert not is_awake(waker)
    for _ in range(1000):
        waker.wake()
    assert is_awake(waker)
    waker.clear()
    assert not is_awake(waker)
    waker.wake()
    assert is_awake(waker)
    waker.close()


def test_nothing_is_written_when_it_is_closed(waker: Waker) -> None:
    number = waker.fileno()
    waker.close()
    reader, writer = os.pipe()  # takes over the number
    try:
        assert number in (reader, writer)
        waker.wake()
        assert not select.select([reader], [], [], 0)[0]
    finally:
        os.close(reader)
        os.close(writer)
