"""The public API, run three ways with the same expectations; the cases are in ``tests/three_ways``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.util import find_spec

import pytest

from tests.integration.conftest import Head
from tests.three_ways.cases import CASES
from tests.three_ways.runner import WITH_RAY_ONLY, results
from tests.three_ways.ways import WAYS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

HERE = [way for way in WAYS if way == "thin" or find_spec("ray") is not None]


@pytest.fixture(scope="module")
def told(cluster: Head) -> Callable[[str], dict[str, str]]:
    """Runs a way, once, and tells how each case went."""
    return functools.cache(lambda way: results(cluster, "tests.three_ways.cases", CASES, way, timeout=300))


@pytest.mark.parametrize("case", [*CASES, "exit"])
@pytest.mark.parametrize("way", HERE)
def test_case(way: str, case: str, told: Callable[[str], dict[str, str]]) -> None:
    if way == "thin" and case.startswith(WITH_RAY_ONLY):
        pytest.skip("a thin client has no such thing")
    failure = told(way)[case]
    assert not failure, failure
