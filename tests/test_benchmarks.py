"""The benchmark's own arithmetic: what is a ratio, and when it is a regression. (It runs by ``tox -e bench``.)"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import footprint, report, stage
from benchmarks.rows import BY_NAME, ROWS

RESULTS: dict[str, Any] = {
    "rates": {
        "a": {"native": [100.0, 300.0, 200.0], "Ray Client": [10.0], "raymq": [100.0]},
        "b": {"native": [8.0], "Ray Client": [0.0], "raymq": [4.0]},
        "far": {"Ray Client": [2.0], "raymq": [6.0]},
    },
    "figures": {},
}


def test_ratios_are_of_medians_and_only_where_there_is_something_to_compare() -> None:
    assert report.ratios(RESULTS) == {
        "a / native": 0.5,
        "a / Ray Client": 10.0,
        "b / native": 0.5,
        "far / Ray Client": 3.0,
    }


def test_the_limit_of_a_row_is_no_contender() -> None:
    rates = {"a": {"native": [10.0], "Ray Client": [2.0], "raymq": [4.0], report.LIMIT: [6.0]}}
    results = {"rates": rates, "figures": {"b": 1.0}}
    assert set(report.ratios(results)) == {"a / native", "a / Ray Client"}
    assert list(report._figures(results)) == [
        ("a: native and then the bare pipe / Ray Client", 3.0),
        ("a: native and then the bare pipe / raymq", 1.5),
        ("b", 1.0),
    ]


def test_what_is_expected_is_the_lowest_of_several_runs() -> None:
    faster = {"rates": {"a": {"native": [10.0], "raymq": [9.0]}, "b": {"native": [10.0], "raymq": [1.0]}}}
    lowest = {"a / native": 0.5, "a / Ray Client": 10.0, "b / native": 0.1, "far / Ray Client": 3.0}
    assert report.slowest([RESULTS, faster]) == report.slowest([faster, RESULTS]) == lowest


def test_only_what_is_far_below_is_a_regression(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = tmp_path / "expected.json"
    monkeypatch.setattr(report, "EXPECTED", expected)
    expected.write_text(json.dumps({"a / native": 0.55, "a / Ray Client": 30.0, "gone / native": 1.0}))
    assert report.check(RESULTS) == ["a / Ray Client: 10.00, expected 30.00"]


def test_the_checked_in_expectations_are_of_rows_that_there_are() -> None:
    rows = {what.rpartition(" / ")[0] for what in json.loads(report.EXPECTED.read_text())}
    assert len(rows & set(BY_NAME)) > 10
    assert len(BY_NAME) == len(ROWS)


def test_an_installation_counts_what_it_requires() -> None:
    found = footprint._closure(["raymq"])
    assert {"raymq", "pyzmq", "msgpack", "cloudpickle"} <= found
    assert "ray" not in found, "that is an extra"


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what comes over its one connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                while piece := connection.recv(1 << 16):
                    connection.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join(30)


@pytest.mark.parametrize(
    ("options", "nbytes"), [(["--delay=0.2"], 1), (["--rate=1e6"], 500_000)], ids=["far", "narrow"]
)
def test_a_long_way_takes_its_time_and_a_narrow_one_its_own(echo: int, options: list[str], nbytes: int) -> None:
    """There and back in 0.2 s each way; half a megabyte at one a second."""
    listen = stage.free_port()
    command = [sys.executable, "-m", "benchmarks.wan", str(listen), str(echo), *options]
    with stage.process(command, dict(os.environ)):
        deadline = time.monotonic() + 30
        while True:
            try:
                client = socket.create_connection(("127.0.0.1", listen))
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        with client:
            begin = time.monotonic()
            client.sendall(bytes(nbytes))
            left = nbytes
            while left:
                left -= len(client.recv(1 << 16))
            assert time.monotonic() - begin >= 0.4
