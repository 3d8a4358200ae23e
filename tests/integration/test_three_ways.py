"""The public API, run three ways with the same expectations; the cases are in ``tests/three_ways``."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec

import pytest

from tests.integration.conftest import Head
from tests.three_ways.cases import CASES
from tests.three_ways.ways import WAYS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

HERE = [way for way in WAYS if way == "thin" or find_spec("ray") is not None]


@pytest.fixture(scope="module")
def results(cluster: Head) -> Callable[[str], dict[str, str]]:
    """Runs a way, once, and tells how each case went: empty, or a traceback."""
    return functools.cache(functools.partial(run, cluster))


def run(cluster: Head, way: str) -> dict[str, str]:
    environ = {
        **os.environ,
        **(cluster.state["cluster_env"] if way == "native" else {}),
        "RAYMQ_TEST_WAY": way,
        "RAYMQ_TEST_CLUSTER": cluster.state["cluster"],
        "RAYMQ_TEST_HEAD": cluster.address,
    }
    command = [sys.executable, "-m", "tests.three_ways.cases"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('["case_')]
    told = {name: failure for name, failure, _ in lines}
    return {**dict.fromkeys(CASES, f"did not run\n{done.stderr}"), **told, "exit": f"{done.returncode or ''}"}


@pytest.mark.parametrize("case", [*CASES, "exit"])
@pytest.mark.parametrize("way", HERE)
def test_case(way: str, case: str, results: Callable[[str], dict[str, str]]) -> None:
    if way == "thin" and case.startswith("case_ray_has_"):
        pytest.skip("a thin client has no such thing")
    failure = results(way)[case]
    assert not failure, failure
