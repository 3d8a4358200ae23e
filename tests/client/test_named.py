"""What connect() takes for sessions with a name."""

from __future__ import annotations

import math
from typing import Any

import pytest

from raymq.named import NAMELESS, check_named, check_ttl


def test_without_a_name() -> None:
    assert check_named(None, None, takeover=False) is NAMELESS
    assert NAMELESS.as_hello() == {}


def test_with_a_name() -> None:
    assert check_named("night", None, takeover=False).as_hello() == {"name": "night", "takeover": False, "ttl": 86400.0}
    assert check_named("night", "90s", takeover=True).as_hello() == {"name": "night", "takeover": True, "ttl": 90.0}


@pytest.mark.parametrize(
    ("session", "ttl", "takeover", "teaches"),
    [
        (None, "1h", False, "session=NAME"),
        (None, None, True, "session=NAME"),
        ("", None, False, "1 to 200"),
        ("x" * 201, None, False, "1 to 200"),
        ("x", "tomorrow", False, "24h"),
        ("x", 0, False, "above 0"),
        ("x", "1000d", False, "at most 365 days"),
        ("x", math.nan, False, "above 0"),
    ],
)
def test_bad_values(session: Any, ttl: Any, takeover: bool, teaches: str) -> None:
    with pytest.raises(ValueError, match=teaches):
        check_named(session, ttl, takeover=takeover)


def test_bad_types() -> None:
    with pytest.raises(TypeError, match="int"):
        check_named(7, None, takeover=False)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="list"):
        check_ttl([])  # type: ignore[arg-type]
