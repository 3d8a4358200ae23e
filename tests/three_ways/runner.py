"""Runs cases in a process of their own, each way, and tells how they went."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from typing import Any

from tests.integration.conftest import Head
from tests.three_ways.ways import WAY, ray, start

WITH_RAY_ONLY = "case_ray_has_"
"""Begins the names of cases for what a thin client has not."""


def run_all(cases: dict[str, Any], names: list[str]) -> None:
    """Run cases; a line of JSON for each says how it went."""
    start()
    for name in sys.argv[1:] or names:
        if WAY == "thin" and name.startswith(WITH_RAY_ONLY):
            continue
        began = time.monotonic()
        try:
            cases[name]()
            failure = ""
        except BaseException:
            failure = traceback.format_exc()
        print(json.dumps([name, failure, time.monotonic() - began]), flush=True)
    ray.shutdown()


def results(cluster: Head, module: str, names: list[str], way: str, timeout: float) -> dict[str, str]:
    """How each case of a module went: empty, or a traceback; and ``exit`` for how the process ended."""
    environ = {
        **os.environ,
        **(cluster.state["cluster_env"] if way == "native" else {}),
        "RAYMQ_TEST_WAY": way,
        "RAYMQ_TEST_CLUSTER": cluster.state["cluster"],
        "RAYMQ_TEST_HEAD": cluster.address,
    }
    command = [sys.executable, "-m", module]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=timeout, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('["case_')]
    told = {name: failure for name, failure, _ in lines}
    return {**dict.fromkeys(names, f"did not run\n{done.stderr}"), **told, "exit": f"{done.returncode or ''}"}
