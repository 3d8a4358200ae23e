"""``python -m benchmarks``: one cluster, three ways to it, timed in turn; figures as ratios to the native driver."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks.rows import ROWS

CONTENDERS = ("native", "Ray Client", "raymq")


@contextlib.contextmanager
def process(command: list[str], environ: dict[str, str], **more: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that is ended with the block."""
    started = subprocess.Popen(command, env=environ, text=True, **more)
    try:
        yield started
    finally:
        started.terminate()
        started.wait(60)


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def cluster(base: Path) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """A Ray cluster with raymq and Ray Client's server beside each other.

    Yields:
        Where each contender connects, and the environment that lets it.
    """
    environ = {**os.environ, "RAYMQ_RUNTIME_DIR": str(base / "run"), "RAY_USAGE_STATS_ENABLED": "0"}
    start = [sys.executable, "-m", "raymq_cli", "start", "--port", "0", "--address", "local"]
    with (base / "log").open("w") as log, process(start, environ, stdout=subprocess.PIPE, stderr=log) as head:
        if "ready" not in head.stdout.readline():  # type: ignore[union-attr]
            raise click.ClickException((base / "log").read_text())
        state = json.loads((base / "run" / str(head.pid) / "state.json").read_text())
        environ |= state["cluster_env"]
        port = free_port()
        server = [sys.executable, "-m", "ray.util.client.server", f"--address={state['cluster']}"]
        server += ["--host=127.0.0.1", f"--port={port}", "--mode=specific-server"]
        with process(server, environ, stdout=log, stderr=log):
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            addresses = {"native": state["cluster"], "Ray Client": f"ray://127.0.0.1:{port}", "raymq": state["address"]}
            yield addresses, environ


def ask(contender: subprocess.Popen[str], question: str = "") -> dict[str, float]:
    """Put a question to a contender and wait for its answer."""
    if question:
        contender.stdin.write(question + "\n")  # type: ignore[union-attr]
        contender.stdin.flush()  # type: ignore[union-attr]
    line = contender.stdout.readline()  # type: ignore[union-attr]
    if not line:
        raise click.ClickException(f"a contender ended: {contender.args}")
    return dict(json.loads(line))


def measure(rounds: int, seconds: float, console: Console) -> dict[str, dict[str, list[float]]]:
    """All rates, by row and contender; the contenders take turns within each round of each row."""
    rates: dict[str, dict[str, list[float]]] = {"connect": {name: [] for name in CONTENDERS}}
    with contextlib.ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rmqb")))
        addresses, environ = stack.enter_context(cluster(base))
        running = {}
        for name in CONTENDERS:
            command = [sys.executable, "-m", "benchmarks.contender", name, addresses[name]]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            running[name] = stack.enter_context(process(command, environ, **pipes))
            rates["connect"][name].append(1 / ask(running[name])["connect"])
        for number, row in enumerate(ROWS):
            console.print(f"{row.name} ...", style="dim")
            rates[row.name] = {name: [] for name in CONTENDERS}
            for _ in range(rounds):
                for name in CONTENDERS:
                    rates[row.name][name].append(ask(running[name], f"{number} {seconds}")["rate"])
    return rates


def show(rates: dict[str, dict[str, list[float]]], console: Console) -> None:
    """The medians as a table, raymq beside the others as ratios."""
    table = Table(title="per second (median), and how many times as fast raymq is")
    table.add_column("row")
    for name in CONTENDERS:
        table.add_column(name, justify="right")
    table.add_column("spread", justify="right")
    table.add_column("/ native", justify="right")
    table.add_column("/ Ray Client", justify="right")
    for name, by_contender in rates.items():
        native, client, ours = (statistics.median(by_contender[contender]) for contender in CONTENDERS)
        spread = (max(by_contender["raymq"]) - min(by_contender["raymq"])) / ours
        figures = [f"{figure:,.2f}" if figure < 10 else f"{figure:,.0f}" for figure in (native, client, ours)]
        ratios = [f"{ours / figure:.2f}" if figure else "cannot" for figure in (native, client)]
        table.add_row(name, *figures, f"{spread:.0%}", *ratios)
    console.print(table)


@click.command()
@click.option("--quick", is_flag=True, help="Three short rounds.")
@click.option("--json", "output", type=click.Path(path_type=Path), help="Write all rates to this file.")
def main(quick: bool, output: Path | None) -> None:
    """Time a native driver, Ray Client and raymq on one cluster, in turn."""
    console = Console()
    rates = measure(3 if quick else 7, 0.5 if quick else 2.0, console)
    show(rates, console)
    if output is not None:
        output.write_text(json.dumps(rates, indent=1))


if __name__ == "__main__":
    main()
