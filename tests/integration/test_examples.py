"""The programs of examples/ print what is right: through raymq, on Ray itself, and as programs that say ``import ray``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import HEAD_PYTHON, Head, wait_until
from tests.without_ray import PythonWithoutRay

EXAMPLES = Path(__file__).parents[2] / "examples"

OURS, RAYS = "\nimport raymq as ray\n", "\nimport ray\n"
"""The one line in which a program for raymq differs from one for Ray."""

PRINTED = {
    "await_references": [
        "awaited: 27",
        "gathered: [0, 1, 8, 27, 64]",
        "as completed: [0, 1, 8, 27, 64]",
        "counted down: [4, 3, 2, 1]",
        "they met: Blaise Ada",
    ],
    "backpressure": [
        "60 tasks, at most 8 pending",
        f"all digits of 2**0 to 2**59: {sum(int(digit) for n in range(60) for digit in str(2**n))}",
    ],
    # The three parts of a colour differ and come in all orders, so the largest is as often red as green as blue.
    "batch_prediction": [f"{name}: {8 * 7 * 6 // 3} of {8 * 7 * 6}" for name in ("blue", "green", "red")],
    "counter": [
        "counting: [1, 2, 3, 4, 5]",
        "the other one: 111",
        f"letters: {len('onelinehere' + 'andanotherone')}",
        "the other one has ended",
    ],
    # Random, but pinned by its seeds: half a standard error off.
    "monte_carlo_pi": ["100% of 800,000 points: pi is about 3.1407"],
    "nested_tasks": ["sorted: True", f"sum of 1 to 101: {101 * 102 // 2}"],
    "parameter_server": [f"{how}, 50 steps: y = 3.00 x + -1.50" for how in ("in_lockstep", "as_they_come")],
    "pipelining": [
        "100 pieces of work done, 100 different ones",
        "the longest way is that of 97: 118 steps",
    ],
    "prime_sieve": [
        "17,984 primes below 200,000",
        "the first: 2 3 5 7 11 13 17 19 23 29",
        "the last: 199961 199967 199999",
    ],
    "streaming_generator": [
        "chunk: 'stream'",
        "chunk: 's of i'",
        "chunk: 'tems'",
        "vowels by chunk: [125, 125, 125, 125]",
        "fibonacci: 0 1 1 2 3 5 8 13 21 34 55 89",
    ],
    "tasks_and_objects": [
        "squares: [0, 1, 4, 9, 16, 25]",
        f"3 to the power of 8: {3**8}",
        f"sum of 0 to 100,000: {100_000 * 100_001 // 2}",
        "47 / 5: 9 remainder 2",
        "1 / 0: ZeroDivisionError",
    ],
    # The roots of the derivatives: 4x(x² - 4) + 1 = 0 at -2.0306, and x = 3.
    "tree_of_actors": ["two_valleys: -2.015 at x = -2.031", "bowl: 1.000 at x = 3.000"],
    "word_count": [
        "  9 the",
        "  4 holds",
        *(f"  3 {word}" for word in ("an", "and", "cluster", "program")),
        *(f"  2 {word}" for word in ("a", "it", "object", "objects", "references", "task")),
        "46 words, 21 different ones",
    ],
}
"""The lines that each program prints."""

every_program = pytest.mark.parametrize("name", PRINTED)


def as_a_program_for_ray(name: str, folder: Path) -> Path:
    """The program with the one line changed."""
    changed = folder / f"{name}.py"
    changed.write_text((EXAMPLES / changed.name).read_text().replace(OURS, RAYS))
    return changed


def wait_for_a_bridge(head: Head) -> None:
    """``ray.init()`` waits for one, but not as long as a busy machine may take to start it."""
    wait_until(lambda: any(not bridge["session"] for bridge in head.status()["bridges"]), "a bridge is ready")


def lines(*command: str, **environ: str) -> list[str]:
    """What a program prints that has to succeed."""
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@every_program
@pytest.mark.cluster
def test_through_raymq(name: str, cluster: Head) -> None:
    wait_for_a_bridge(cluster)
    assert lines(sys.executable, str(EXAMPLES / f"{name}.py"), RAYMQ_ADDRESS=cluster.address) == PRINTED[name]


@every_program
@pytest.mark.cluster
def test_on_ray_itself(name: str, cluster: Head, tmp_path: Path) -> None:
    # Ray prints the warnings of its raylets on standard output.
    environ = {**cluster.state["cluster_env"], "RAY_ADDRESS": cluster.state["cluster"], "RAY_LOG_TO_DRIVER": "0"}
    assert lines(HEAD_PYTHON, str(as_a_program_for_ray(name, tmp_path)), **environ) == PRINTED[name]


@every_program
@pytest.mark.cluster
def test_as_a_program_for_ray_without_a_ray(name: str, cluster: Head, tmp_path: Path) -> None:
    program = as_a_program_for_ray(name, tmp_path)
    site = tmp_path / "site"
    site.mkdir()
    start = f"import raymq, runpy; raymq.install_as_ray(); runpy.run_path({str(program)!r}, run_name='__main__')"
    wait_for_a_bridge(cluster)
    printed = PythonWithoutRay(site).output(start, RAYMQ_ADDRESS=cluster.address)
    assert printed.splitlines() == PRINTED[name]


@every_program
def test_a_program_is_one_for_ray_but_for_a_line(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text()
    assert text.count(OURS) == 1
    assert text.count('\n\nif __name__ == "__main__":\n    ray.init()\n') == 1
    assert f"    RAYMQ_ADDRESS=head:10001 python examples/{name}.py\n" in text
    assert "raymq" not in text.replace(OURS, RAYS).replace("RAYMQ", "")


def test_the_table_names_all_programs_and_their_lines() -> None:
    rows = re.findall(
        r"^\| \[(\w+)\.py\]\((\w+)\.py\) \|.+\| (\d+) \|$", (EXAMPLES / "README.md").read_text(), re.MULTILINE
    )
    there = {path.stem: len(path.read_text().splitlines()) for path in EXAMPLES.glob("*.py")}
    assert {name: int(count) for name, _, count in rows} == there
    assert all(name == target for name, target, _ in rows)
    assert set(there) == set(PRINTED)
