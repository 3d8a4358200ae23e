"""Ray's libraries over a session; the cases are in ``cases.py``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.util import find_spec

import pytest

from tests.integration.conftest import Head, cluster
from tests.three_ways.runner import results

if find_spec("ray") is None or find_spec("pyarrow") is None or find_spec("fastapi") is None:
    pytest.skip("Ray's libraries are not installed: tox -e libraries", allow_module_level=True)

from tests.libraries.cases import CASES

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
__all__ = ["cluster"]


@pytest.fixture(scope="module")
def told(cluster: Head) -> Callable[[], dict[str, str]]:
    """Runs the cases, once, and tells how each went."""
    return functools.cache(lambda: results(cluster, "tests.libraries.cases", CASES, "dropin", timeout=840))


@pytest.mark.parametrize("case", [*CASES, "exit"])
def test_case(case: str, told: Callable[[], dict[str, str]]) -> None:
    failure = told()[case]
    assert not failure, failure
