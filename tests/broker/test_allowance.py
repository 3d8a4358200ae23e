"""The log's lines: a burst goes through, a flood does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raymq_broker.allowance import Allowance


def test_a_burst_and_then_the_rate() -> None:
    allowance = Allowance(burst=5, rate=2, now=100.0)
    assert [allowance.take(100.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert [allowance.take(101.0) for _ in range(3)] == [True, True, False]
    assert [allowance.take(1000.0) for _ in range(6)] == [True] * 5 + [False]


@given(st.lists(st.floats(0, 3), max_size=100))
def test_never_more_than_burst_and_rate_allow(pauses: list[float]) -> None:
    now, taken = 0.0, 0
    allowance = Allowance(burst=5, rate=2, now=now)
    for pause in pauses:
        now += pause
        taken += allowance.take(now)
    assert taken <= 5 + 2 * now + 1e-6
