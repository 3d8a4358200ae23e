"""Nothing that decides about life, waiting or order looks at the wall clock: it jumps, the monotonic one does not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("client/raymq", "broker/raymq_broker", "worker_bridge/raymq_bridge", "cli/raymq_cli")

WALL = {
    "time": {"time", "time_ns", "localtime", "gmtime", "ctime", "asctime", "strftime", "mktime", "clock_gettime"},
    "datetime": {"now", "utcnow", "today", "fromtimestamp", "datetime", "date"},
}
"""What tells the time of day, by module. Importing ``datetime`` at all is worth a look."""

FOR_PEOPLE = {
    ("cli/raymq_cli/start.py", "time.time"): "when it was started, for `raymq status`",
    ("cli/raymq_cli/commands.py", "time.time"): "how long ago that was, on the screen",
    ("client/raymq/life.py", "time.strftime"): "when a session was lost, in its error",
    ("client/raymq/daemon.py", "time.strftime"): "when a bridge or the cluster ended, in errors and logs",
    ("client/raymq/daemon.py", "time.gmtime"): "the same",
    ("worker_bridge/raymq_bridge/holder.py", "time.time"): "how old the list of publications is, for `raymq status`",
    ("client/raymq/daemon.py", "TimeStamper"): "the time of each log line",
}
"""Where the time of day is shown, and nothing depends on it."""


def wall_clocks(source: str) -> Iterator[str]:
    """Every use of the wall clock in a program: as an attribute, under another name, or imported from its module."""
    tree = ast.parse(source)
    names = {
        (alias.asname or alias.name): alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name in WALL
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            module = names.get(owner.id) if isinstance(owner, ast.Name) else None
            if module and node.attr in WALL[module]:
                yield f"{module}.{node.attr}"
            elif node.attr == "TimeStamper":
                yield "TimeStamper"
        elif isinstance(node, ast.ImportFrom) and node.module in WALL:
            yield from (f"{node.module}.{alias.name}" for alias in node.names if alias.name in WALL[node.module])


def test_only_what_people_read_has_the_time_of_day() -> None:
    found = {
        (str(path.relative_to(ROOT)), use)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for use in wall_clocks(path.read_text())
    }
    assert found == set(FOR_PEOPLE)


@pytest.mark.parametrize(
    ("source", "use"),
    [
        ("import time\ntime.time()", "time.time"),
        ("import time as t\ndef f(): return t.time_ns()", "time.time_ns"),
        ("from time import localtime", "time.localtime"),
        ("from datetime import datetime", "datetime.datetime"),
        ("import datetime\ndatetime.date.today()", "datetime.date"),
        ("import time\ntime.monotonic()", None),
    ],
)
def test_the_search_finds_what_it_is_for(source: str, use: str | None) -> None:
    assert list(wall_clocks(source)) == ([use] if use else [])
