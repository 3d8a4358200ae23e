"""``python -m benchmarks``: one cluster, four ways to it, timed in turn; figures as ratios to the native driver."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import psutil
from rich.console import Console

from benchmarks import footprint, pipe, report
from benchmarks.report import LIMIT, Rates
from benchmarks.rows import BATCH, ROWS
from benchmarks.stage import Contender, Stage, a_server_each, contender, far_away, stage, unprepared

CONTENDERS = ("native", "Ray Client", "raymq", "drop-in")
REMOTE = CONTENDERS[1:]
ONE_CALL = "one actor call and its get (Ray)"
CROWD = 8
"""Clients at once."""

SINGLE = ("one task and its get", ONE_CALL)
"""The rows whose limit is measured: a native call, and after it a round trip through the bare pipe."""

MANY_TASKS = "1,000 tasks, then get (Ray)"
FAR_ROWS = ("one task and its get", MANY_TASKS, "put of 1 MB")
LONG = 5.0
"""Seconds of a round after which a quick run has no second one."""

DELAY, RATE = 0.025, 20e6


class Benchmark:
    """One run: what is measured ends up in ``rates`` and ``figures``."""

    def __init__(self, here: Stage, endpoint: str, base: Path, console: Console, *, quick: bool, only: str) -> None:
        self.here = here
        self._pipe = endpoint
        self._base = base
        self.rates: Rates = {}
        self.figures: dict[str, float] = {}
        self._console = console
        self._only = only
        self._quick = quick
        self._rounds, self._seconds = (2, 0.3) if quick else (5, 0.6)

    def _wanted(self, what: str) -> bool:
        if self._only not in what:
            return False
        self._console.print(f"{what} ...", style="dim")
        return True

    def _rate(self, row: str, name: str, rate: float) -> None:
        self.rates.setdefault(row, {}).setdefault(name, []).append(rate)

    def connects(self) -> None:
        """To connect, a bridge (a server) being there; and where it has to be started first."""
        rounds = 1 if self._quick else self._rounds
        if self._wanted("connect"):
            self._connect("connect", CONTENDERS, self.here, rounds)
        if self._wanted("connect, cold"):
            with unprepared(self.here, self._base) as there:
                self._connect("connect, cold", REMOTE, there, rounds)

    def _connect(self, row: str, names: tuple[str, ...], there: Stage, rounds: int) -> None:
        for _ in range(rounds):
            for name in names:
                with self._attempt(row, name), contender(name, there) as one:
                    self._rate(row, name, 1 / one.connect_seconds)

    @contextlib.contextmanager
    def _attempt(self, row: str, name: str) -> Iterator[None]:
        """Go on where Ray Client fails, whose proxy does so now and then; it is counted. Nobody else may fail."""
        try:
            yield
        except click.ClickException as error:
            if name != "Ray Client":
                raise
            self._console.print(error.message, style="red")
            failures = f"{row}: times that it failed: {name}"
            self.figures[failures] = self.figures.get(failures, 0) + 1

    def rows(self) -> None:
        """What Ray's API does; the contenders take turns within each round of each row."""
        with self._all(CONTENDERS, self.here) as running:
            for one in running.values():
                one.ask(row=MANY_TASKS, seconds=0)  # Ray starts workers for each job; that is not to be in a rate
            for row in ROWS:
                if (row.slow and self._quick) or not self._wanted(row.name):
                    continue
                begin = time.monotonic()
                for _ in range(2 if row.slow else self._rounds):
                    self._round(row.name, running)
                    if self._quick and time.monotonic() > begin + LONG:
                        break
            if self._wanted("latency"):
                self._latencies(running)

    def _round(self, row: str, running: dict[str, Contender]) -> None:
        for name, one in running.items():
            self._rate(row, name, one.ask(row=row, seconds=self._seconds)["rate"])
        if row in SINGLE:
            both = running["native"].ask(row=row, seconds=self._seconds, pipe=self._pipe)["rate"]
            self._rate(row, LIMIT, both)

    def crowd(self) -> None:
        """Several clients at once, each with its own actor."""
        row = f"actor calls of {CROWD} clients, each with its get"
        if self._quick or not self._wanted(row):
            return
        with a_server_each(self.here, self._base) as there:
            for name in CONTENDERS:
                with self._attempt(row, name), contextlib.ExitStack() as stack:
                    clients = [stack.enter_context(contender(name, there)) for _ in range(CROWD)]
                    for _ in range(3):
                        for client in clients:
                            client.tell(row=ONE_CALL, seconds=3 * self._seconds)
                        self._rate(row, name, sum(client.answer()["rate"] for client in clients))

    def far(self) -> None:
        """The same over a long way, and over a narrow one."""
        for what, limits in (("50 ms away", {"delay": DELAY}), ("20 MB/s", {"rate": RATE})):
            if not self._wanted(what):
                continue
            with far_away(self.here, **limits) as there, self._all(REMOTE, there) as running:
                for row in FAR_ROWS:
                    for _ in range(1 if self._quick else 3):
                        for name, one in running.items():
                            self._rate(f"{what}: {row}", name, one.ask(row=row, seconds=self._seconds)["rate"])
                if "delay" in limits:
                    self._round_trips(running["raymq"])
                if not self._quick:
                    self._latencies(running, f"{what}: ")

    def _round_trips(self, far: Contender) -> None:
        """How many more than without the delay a batch of tasks takes."""
        with contender("raymq", self.here) as near:
            taken: dict[Contender, list[float]] = {near: [], far: []}
            for _ in range(self._rounds):
                for one, seconds in taken.items():
                    seconds.append(BATCH / one.ask(row=MANY_TASKS, seconds=self._seconds)["rate"])
        more = statistics.median(taken[far]) - statistics.median(taken[near])
        self.figures[f"50 ms away: round trips more that raymq needs for {MANY_TASKS}"] = more / (2 * DELAY)

    def _latencies(self, running: dict[str, Contender], where: str = "") -> None:
        """Of a small call, alone and beside a large transfer."""
        for name, one in running.items():
            for what, value in one.ask(latency=self._seconds).items():
                self.figures[f"{where}small call, {what}, ms: {name}"] = value

    def processor(self) -> None:
        """Seconds of processor time for 1,000 actor calls, each with its get, by process."""
        if self._wanted("processor"):
            with contender("raymq", self.here) as one:
                one.ask(row=ONE_CALL, seconds=0.5)
                processes = {"client": psutil.Process(one.pid), "broker": self.here.part("raymq_broker")}
                processes["bridge"] = self.here.part("raymq_bridge")
                before = {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}
                seconds = 2 * self._seconds
                calls = one.ask(row=ONE_CALL, seconds=seconds)["rate"] * seconds
                for name, process in processes.items():
                    used = sum(process.cpu_times()[:2]) - before[name]
                    self.figures[f"processor seconds for 1,000 actor calls: {name}"] = used / calls * 1000

    def memory(self) -> None:
        """Peaks for an array of 1 GB, and what one more client takes."""
        if not self._wanted("memory"):
            return
        with contender("raymq", self.here) as one:
            one.ask(row=ONE_CALL, seconds=0.2)
            self.figures["memory of a client, MB"] = psutil.Process(one.pid).memory_info().rss / 1e6
            bridge = self.here.part("raymq_bridge").memory_full_info()
            self.figures["memory of a bridge of its own (USS), MB"] = bridge.uss / 1e6
        if self._quick:
            return
        broker = self.here.part("raymq_broker")
        for what in ("get", "put"):
            with contender("raymq", self.here) as one:
                before = footprint.peak(broker.pid, reset=True)
                grown = one.ask(growth=what)["growth"]
                self.figures[f"{what} of 1 GB: the client grows by, MB"] = grown / 1e6
                self.figures[f"{what} of 1 GB: the broker grows by, MB"] = (footprint.peak(broker.pid) - before) / 1e6

    def bare(self) -> None:
        """The limit for all of it."""
        if self._wanted("bare pipe"):
            measured = [pipe.measure(self._pipe, self._seconds / 2) for _ in range(self._rounds)]
            for what, unit in (("round trips", "per second"), ("up", "GB/s"), ("down", "GB/s")):
                self.figures[f"bare pipe, {what}, {unit}"] = statistics.median(each[what] for each in measured)

    def footprint(self) -> None:
        """Seconds to import, bytes to install."""
        if self._wanted("footprint"):
            for name, seconds in footprint.import_seconds(3 if self._quick else 11).items():
                self.figures[f"import, seconds: {name}"] = seconds
            for name, nbytes in footprint.install_bytes().items():
                self.figures[f"install, MB: {name}"] = nbytes / 1e6

    @contextlib.contextmanager
    def _all(self, names: tuple[str, ...], here: Stage) -> Any:
        with contextlib.ExitStack() as stack:
            yield {name: stack.enter_context(contender(name, here)) for name in names}


def _machine() -> dict[str, Any]:
    versions = {name: metadata.version(name) for name in ("raymq", "ray", "pyzmq", "cloudpickle", "msgpack")}
    return {"python": platform.python_version(), "cpus": os.cpu_count(), "system": platform.platform(), **versions}


@click.command()
@click.option("--quick", is_flag=True, help="Short rounds, without the rows that move gigabytes: less than 3 minutes.")
@click.option("--only", default="", metavar="TEXT", help="Only what has this in its name.")
@click.option("--json", "output", type=click.Path(path_type=Path), help="Write all that was measured to this file.")
@click.option("--svg", type=click.Path(path_type=Path), help="Draw the chart.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the tables for the documents.")
@click.option("--check", is_flag=True, help="Fail if a ratio is below what is expected (expected.json).")
@click.option(
    "--expect",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="Measure nothing: expect, row by row, what the slowest of earlier runs (--json) shows. One option for each.",
)
def main(
    quick: bool,
    only: str,
    output: Path | None,
    svg: Path | None,
    markdown: Path | None,
    check: bool,
    expect: tuple[Path, ...],
) -> None:
    """Time a native driver, Ray Client and raymq on one cluster, in turn."""
    if expect:
        slowest = report.slowest([json.loads(run.read_text()) for run in expect])
        report.EXPECTED.write_text(json.dumps(slowest, indent=1) + "\n")
        return
    console = Console(width=None if sys.stdout.isatty() else 120)
    with (
        tempfile.TemporaryDirectory(prefix="rmqb") as base,
        stage(Path(base)) as here,
        pipe.bare_pipe() as endpoint,
    ):
        run = Benchmark(here, endpoint, Path(base), console, quick=quick, only=only)
        for part in (
            run.bare,
            run.connects,
            run.rows,
            run.crowd,
            run.far,
            run.processor,
            run.memory,
            run.footprint,
        ):
            part()
            results = {"machine": _machine(), "rates": run.rates, "figures": run.figures}
            if output is not None:
                output.write_text(json.dumps(results, indent=1) + "\n")
    report.show(results, console)
    if svg is not None:
        report.chart(results, svg)
    if markdown is not None:
        markdown.write_text(report.markdown(results))
    if check and (slower := report.check(results)):
        raise click.ClickException("slower than expected:\n" + "\n".join(slower))


if __name__ == "__main__":
    main()
