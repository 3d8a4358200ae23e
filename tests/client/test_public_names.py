"""What ``import raymq`` offers."""

from __future__ import annotations

import raymq
from raymq import api


def test_the_functions_are_those_of_the_default_session() -> None:
    """Names are looked up in several modules: none of them hides one of these."""
    functions = [name for name in raymq.__all__ if callable(getattr(api, name, None)) and name[0].islower()]
    assert {"connect", "get", "publish", "published", "keep", "kept"} <= set(functions)
    for name in functions:
        assert getattr(raymq, name) is getattr(api, name), name
