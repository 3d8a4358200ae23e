"""What is kept for whoever gets it again: bounded, the least used goes first, and only what is the same on both sides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import raymq
from raymq import pickling
from raymq.protocol.limits import INLINE_MAX
from raymq.protocol.messages import Pickled
from raymq.recent import ENTRY_COST, Recent

SMALL = Pickled(b"x" * 100)
COST = 100 + ENTRY_COST

steps = st.one_of(
    st.tuples(st.just("keep"), st.integers(1, 9), st.integers(0, 3000)),
    st.tuples(st.just("find"), st.lists(st.integers(1, 9), min_size=1, max_size=3)),
    st.tuples(st.just("forget"), st.lists(st.integers(1, 9), max_size=3)),
)


@given(st.lists(steps, max_size=60))
def test_it_is_bounded_and_tells_no_lies(script: list[tuple[str, ...]]) -> None:
    recent, last = Recent(limit=5000), {}
    for what, *arguments in script:
        if what == "keep":
            number, size = arguments
            last[number] = Pickled(b"x" * size)
            recent.keep(number, last[number])
        elif what == "find":
            (numbers,) = arguments
            found = recent.find(numbers)
            assert found is None or found == [last[number] for number in numbers]
        else:
            recent.forget(arguments[0])
            assert all(recent.find([number]) is None for number in arguments[0])
        assert recent.nbytes == sum(p.nbytes + ENTRY_COST for p in recent._payloads.values()) <= 5000


def test_the_one_that_was_used_least_lately_goes() -> None:
    recent = Recent(limit=3 * COST)
    for number in (1, 2, 3):
        recent.keep(number, SMALL)
    assert recent.find([1]) == [SMALL]
    recent.keep(4, SMALL)
    assert [recent.find([number]) is not None for number in (1, 2, 3, 4)] == [True, False, True, True]
    assert recent.find([1, 2]) is None, "all or nothing"


@pytest.mark.parametrize("value", [len, np.arange(3), raymq.put, raymq, raymq.exceptions.RayError])
def test_what_means_something_else_on_the_other_side_is_not_kept(value: object) -> None:
    """Functions and modules of raymq are Ray's on the cluster."""
    recent = Recent()
    payload = pickling.dumps(value, pickling.raymq_name)
    recent.keep(1, payload)
    ours = getattr(value, "__module__", getattr(value, "__name__", "")).startswith("raymq")
    assert (recent.find([1]) is None) is ours


def test_large_values_and_references_are_not_kept() -> None:
    recent = Recent()
    recent.keep(1, Pickled(b"x" * (INLINE_MAX + 1)))
    recent.keep(2, Pickled(b"x", [], [3]))
    assert recent.find([1]) is recent.find([2]) is None
