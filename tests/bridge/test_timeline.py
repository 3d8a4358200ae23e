"""Timelines are made a few at a time."""

from __future__ import annotations

import threading

import pytest

from raymq_bridge import services


def test_no_more_than_a_few_are_made_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr("ray.timeline", lambda: [{"made": gate.wait(60)}])
    made = []
    for _ in range(services.TIMELINES_MAX):
        steps, done = services.timeline(), threading.Event()
        next(steps)(lambda told, done=done: done.set())
        made.append((steps, done))
    with pytest.raises(RuntimeError, match="4 timelines of this session are under way already"):
        next(services.timeline())
    gate.set()
    for steps, done in made:
        assert done.wait(60)
        with pytest.raises(StopIteration) as ended:
            next(steps)
        assert ended.value.value == [{"made": True}]
    for thread in threading.enumerate():
        if thread.name == "raymq_timelines":
            thread.join(60)


def test_what_ray_raises_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("out of time")

    monkeypatch.setattr("ray.timeline", fail)
    steps, done = services.timeline(), threading.Event()
    next(steps)(lambda told: done.set())
    assert done.wait(60)
    with pytest.raises(ValueError, match="out of time"):
        next(steps)
