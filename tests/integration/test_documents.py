"""What the documents promise, done: the README's programs, and a client that knows no more than protocol.md."""

from __future__ import annotations

import collections
import posixpath
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import Head
from tests.integration.foreign_client import BULK, ForeignClient, StandIn, dumps, inline

pytestmark = pytest.mark.cluster

README = Path(__file__).parents[2] / "README.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


AROUND = """
import raymq as ray

@ray.remote(num_cpus=0)
def train(features=(), epoch=0):
    return f"loss {epoch}"

def read_features():
    return [1.5]
"""
"""What the README's later programs take for granted."""

HELD = """
ray.connect("head")
ref = ray.put(read_features())
"""

FILES = {"src/data.txt": "3", "src/data/left.out": "", "mylib/__init__.py": "WORDS = 4"}
"""What lies where they run."""

CRUNCH = """
import raymq as ray

@ray.remote(num_cpus=0)
def crunch():
    import mylib, os
    return mylib.WORDS * int(open("data.txt").read()), os.path.exists("data")
"""

SHOWN = [
    ("", ["4"]),
    (AROUND, [r".*", r"\[1, 2, 3\]"]),
    (CRUNCH, [r"\(12, False\)"]),
    ("", ["49", "332833500", r"\[0, 1, 2\]", r"\[0, 1, 2, 3, 4, 5, 6, 7, 8, 9\] 1"]),
    (AROUND, [f"loss {epoch}" for epoch in range(100)]),
    (AROUND, []),
    (AROUND, ["loss 0"]),
    (AROUND + HELD, []),
]
"""For each program of the README what stands before it, and the lines that it prints."""


def test_the_programs_of_the_readme_run(cluster: Head, tmp_path: Path) -> None:
    """One after the other, each in a process of its own."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for program, (before, shown) in zip(PROGRAMS, SHOWN, strict=True):
        whole = re.sub(r'(connect|init)\("head(:10001)?"', rf'\1("{cluster.address}", timeout=60', before + program)
        command = [sys.executable, "-c", whole]
        done = subprocess.run(command, capture_output=True, text=True, timeout=110, cwd=tmp_path, check=False)
        assert done.returncode == 0, program + done.stderr
        lines = done.stdout.splitlines()
        assert len(lines) == len(shown), done.stdout
        assert all(map(re.fullmatch, shown, lines)), done.stdout


@pytest.fixture(scope="module")
def foreign(cluster: Head) -> Iterator[ForeignClient]:
    client = ForeignClient(cluster.address)
    try:
        welcome = client.open()
        assert welcome["protocol"] == 1
        yield client
        client.send([11])
        while client.ended is None:
            client.step()
        assert client.ended["code"] == "goodbye"
    finally:
        client.close()


def test_a_foreign_client_calls_a_function(foreign: ForeignClient) -> None:
    foreign.send(
        [1, 1, "function", "join", inline((posixpath.join, {}))],
        [2, 3, inline("a")],
        [3, [5], 1, b"", inline(((StandIn("ref", 3), "b"), {}), [3])],
        [6, [5, 3]],
    )
    assert foreign.value(5) == "a/b"
    assert foreign.value(3) == "a"


def test_a_foreign_client_is_told_of_errors(foreign: ForeignClient) -> None:
    foreign.send(
        [1, 101, "function", "basename", inline((posixpath.basename, {}))],
        [3, [103], 101, b"", inline(((3,), {}))],
        [8, 1, [103, 105], True],
        [6, [103, 105]],
    )
    answer, _ = foreign.wait_for(lambda message: message[0] == 34 and message[1] == 1)
    assert 105 in answer[2]
    failure, _ = foreign.wait_for(lambda message: message[0] == 33 and message[1] == 103)
    assert "RayTaskError" in (failure[2]["type"], *failure[2]["mro"])
    unknown, _ = foreign.wait_for(lambda message: message[0] == 33 and message[1] == 105)
    assert unknown[2]["type"] == "LookupError"


@pytest.mark.parametrize(
    "large", [bytes(range(256)) * 10_000, {number: (number, None) for number in range(100_000)}], ids=["bytes", "dict"]
)
def test_a_foreign_client_sends_and_gets_a_large_value(foreign: ForeignClient, large: object) -> None:
    pickled = dumps(large)
    foreign.send([2, 201, [b"", [], [], 1]], [6, [201]])
    foreign.send([64, 1, [len(pickled)]], [65, 1], lane=BULK, buffers=[pickled[: 1 << 20]])
    for start in range(1 << 20, len(pickled), 1 << 20):
        foreign.send([65, 1], lane=BULK, buffers=[pickled[start : start + (1 << 20)]])
    assert foreign.value(201) == large


def test_a_foreign_client_gets_references_and_releases_them(foreign: ForeignClient) -> None:
    foreign.send([2, 301, inline("held")], [2, 303, inline([StandIn("ref", 301)], [301])], [6, [303]])
    assert foreign.value(303) == [StandIn("ref", 301)]
    foreign.send([9, [301]], [6, [301]])
    assert foreign.value(301) == "held", "it was counted once more when the list brought it along"
    foreign.send([9, [301]], [6, [301]])
    gone, _ = foreign.wait_for(lambda message: message[0] in (32, 33) and message[1] == 301)
    assert gone[0] == 33


def test_a_foreign_client_uses_an_actor(foreign: ForeignClient) -> None:
    foreign.send(
        [1, 401, "class", "Counter", inline((collections.Counter, {}))],
        [4, 403, 401, b"", inline((("abca",), {}))],
        [5, [405], 403, "most_common", b"", inline(((1,), {}))],
        [2, 407, inline([StandIn("actor", 403), StandIn("name", "", "put"), StandIn("module", "util")], [403])],
        [6, [405, 407]],
    )
    assert foreign.value(405) == [("a", 2)]
    handle = foreign.value(407)[0]
    assert handle.fields[:3] == ("actor", 403, "Counter")
    assert handle.fields[3]["most_common"] == 1


def test_a_foreign_client_asks_for_operations(foreign: ForeignClient) -> None:
    foreign.send([10, 2, "cluster_resources", inline(((), {}))], [10, 3, "nonsense", inline(((), {}))])
    reply, _ = foreign.wait_for(lambda message: message[0] == 35 and message[1] == 2)
    assert reply[2][0]
    refusal, _ = foreign.wait_for(lambda message: message[0] == 36 and message[1] == 3)
    assert refusal[2]["type"] == "ValueError"
