"""How the status looks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rich.console import Console

from raymq_cli import status
from raymq_cli.asking import Published
from raymq_cli.runtime import State
from raymq_cli.status import Report, span

STATE = State(42, 1.0, 10001, "127.0.0.1:10001", "ipc:///x", started=1000.0, cluster="10.0.0.1:6379", ready=True)


def reply(**parts: Any) -> dict[str, Any]:
    broker = {"version": "0.1.0", "pid": 43, "address": "127.0.0.1:10001", "uptime": 7384.2}
    return {"broker": broker, "bridges": [], "sessions": [], "counters": {}, **parts}


def shown(report: Report, width: int = 80) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        status.show([report], console, now=2000.0)
    return capture.get()


def session(number: int, **parts: Any) -> dict[str, Any]:
    client = {"user": "ada", "host": "analytical-engine", "pid": 4194304, "name": "notebook"}
    return {
        "id": f"{number:032x}",
        "client": client,
        "state": "attached",
        "age": 3725.0,
        "last_seen": 0.3,
        "bridge": "b" * 32,
        **parts,
    }


BRIDGE = {
    "id": "b" * 32,
    "pid": 4194303,
    "state": "busy",
    "session": "0" * 32,
    "cluster": {"python": "3.11.7", "ray": "2.60.0"},
}


def test_nobody_is_connected() -> None:
    text = shown(Report(STATE, reply(bridges=[{**BRIDGE, "state": "idle", "session": None}])))
    assert 'raymq.connect("127.0.0.1:10001")' in text
    assert "10.0.0.1:6379" in text
    assert "2 h 3 min" in text
    assert "Nobody is connected." in text
    assert "1 bridge\n" in "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    assert "session" not in text.split("1 bridge")[0]


def test_somebody_is_and_it_fits_80_columns() -> None:
    text = shown(Report(STATE, reply(sessions=[session(1), session(2, last_seen=61.0)], bridges=[BRIDGE])))
    assert "2 sessions" in text
    assert "notebook" in text
    assert "1 min 1 s ago" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def publication(name: str, **parts: Any) -> dict[str, Any]:
    owner = {"user": "ada", "host": "engine", "pid": 4194304, "program": "train.py"}
    fields = {"kind": "object", "size": 104857600, "owner": owner, "age": 3725.0, "expires_in": 5400.0, **parts}
    return {"name": name, **fields}


def test_publications_fit_80_columns() -> None:
    actor = publication("counter", kind="actor", size=None, expires_in=None)
    listed = [actor, publication("features"), publication("tiny", size=12), publication("x" * 200)]
    text = shown(Report(STATE, reply(), Published(4, listed)))
    assert "4 publications" in text
    rows = {line.split()[0]: line for line in text.splitlines() if "object" in line or "actor" in line}
    assert [part in rows["features"] for part in ("105 MB", "ada@engine", "1 h 2 min", "1 h 30 min")] == [True] * 4
    assert "12 B" in rows["tiny"]
    assert rows["counter"].rstrip().endswith("-"), "it does not end by itself"
    assert all(len(line) <= 80 for line in text.splitlines())


def test_of_many_publications_the_first_are_shown() -> None:
    listed = [publication(f"n{number:04}") for number in range(1000)]
    text = shown(Report(STATE, reply(), Published(2345, listed)))
    assert "2345 publications" in text
    assert "n0019" in text
    assert "n0020" not in text
    assert "and 2,325 more: raymq status --json" in text


def test_publications_that_are_not_known_or_not_there() -> None:
    assert "What is published is not known: it is [red] away" in shown(
        Report(STATE, reply(), Published(problem="it is [red] away"))
    )
    for nothing in (None, Published()):
        assert "ublication" not in shown(Report(STATE, reply(), nothing))


def test_publications_for_machines() -> None:
    listed = [publication("a")]
    assert Report(STATE, reply(), Published(1, listed)).as_json()["publications"] == listed
    assert Report(STATE, reply(), Published()).as_json()["publications"] == []
    for unknown in (None, Published(problem="away")):
        assert Report(STATE, reply(), unknown).as_json()["publications"] is None


def test_counters_that_counted_are_shown() -> None:
    text = shown(Report(STATE, reply(counters={"dropped": 1234, "malformed": 0})))
    assert "dropped" in text
    assert "1,234" in text
    assert "malformed" not in text


def test_markup_and_escapes_in_a_clients_name_are_only_text() -> None:
    text = shown(Report(STATE, reply(sessions=[session(1, client={"name": "[red]x[/]\x1b[2J\n"})])))
    assert "[red]x[/]?[2J?" in text


@pytest.mark.parametrize("odd", [{}, {"client": None, "state": None, "age": None, "last_seen": None}])
def test_a_broker_that_tells_less_is_shown_too(odd: dict[str, Any]) -> None:
    assert "1 session" in shown(Report(STATE, reply(sessions=[odd], bridges=[{}], broker={})))


def test_one_that_does_not_answer() -> None:
    assert "does not answer" in shown(Report(STATE, None))


def test_for_machines_the_keys_are_the_same_with_and_without_an_answer() -> None:
    with_answer, without = Report(STATE, reply()).as_json(), Report(STATE, None).as_json()
    assert set(with_answer) == set(without)
    json.dumps(with_answer)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (90061, "1 d 1 h"),
    ],
)
def test_spans(seconds: float | None, text: str) -> None:
    assert span(seconds) == text
