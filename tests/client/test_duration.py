"""How lengths of time are read."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymq.duration import parse


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (1, 1.0),
        (0.5, 0.5),
        ("90s", 90.0),
        ("30m", 1800.0),
        ("24h", 86400.0),
        ("7d", 604800.0),
        ("1.5h", 5400.0),
        (" 2 H ", 7200.0),
    ],
)
def test_what_is_read(written: Any, seconds: float) -> None:
    assert parse("ttl", written) == seconds


@pytest.mark.parametrize(
    "written",
    ["", "h", "90", "-1h", "+1h", "1h30m", "1 hour", "1e3s", "١h", "1.h", ".5h", "nan", "inf", "1" * 5000 + "s"],
)
def test_texts_that_cannot_be_read(written: str) -> None:
    with pytest.raises(ValueError, match="no length of time: write seconds as a number, or"):
        parse("ttl", written)


@pytest.mark.parametrize("written", [0, -1, 0.0, math.nan, math.inf, -math.inf, 10**400, -(10**400), "0s", "0.0d"])
def test_no_time_and_no_end(written: Any) -> None:
    with pytest.raises(ValueError, match="ttl is a length of time above 0 and with an end"):
        parse("ttl", written)


@pytest.mark.parametrize("written", [None, True, b"1h", [1], 1j])
def test_other_types(written: Any) -> None:
    with pytest.raises(TypeError, match=f"ttl is a length of time, not {type(written).__name__}"):
        parse("ttl", written)


@given(st.floats(min_value=1e-9, max_value=1e300))
def test_numbers_are_seconds(seconds: float) -> None:
    assert parse("ttl", seconds) == seconds


@given(st.integers(1, 10**9), st.sampled_from("smhd"))
def test_a_text_is_the_number_times_its_unit(count: int, unit: str) -> None:
    assert parse("ttl", f"{count}{unit}") == count * parse("ttl", f"1{unit}")
