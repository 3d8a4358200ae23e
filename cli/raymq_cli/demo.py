"""``raymq demo``: starts everything on this machine, does real work as a client, and shows what it found."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

import click
from rich.columns import Columns
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

import raymq as ray
from raymq_cli.demo_work import ArrayTrip, Counts, count_sources, fetch_array, send_array, source_files

_READY = re.compile(r'raymq\.connect\("(?P<address>[^"]+)"\)')
_STOP_PATIENCE = 40.0
"""Seconds for all that was started to stop: the limits of the supervisor's three stages, and some more."""

_COUNT = "Count words and imports of all files"
_SEND = "Send an array of 100 MB"
_FETCH = "Get it back"

TOP = 8
"""Rows in each table of the most frequent."""


def demo(address: str | None, console: Console) -> None:
    """Run the demo.

    Args:
        address: a broker that runs already; None to start one, with a cluster, for as long as the demo lasts.
        console: where to show it.

    Raises:
        click.ClickException: it could not be started, or it broke off.
    """
    try:
        _demo(address, console)
    except ray.errors.RaymqError as error:
        raise click.ClickException(str(error)) from error


def _demo(address: str | None, console: Console) -> None:
    times: dict[str, float] = {}
    with _sigterm_as_exit(), contextlib.ExitStack() as stack:
        progress = stack.enter_context(_progress(console))
        if address is None:
            with _stage(progress, times, "Start Ray, broker and bridge"):
                address = stack.enter_context(everything_started())
        with _stage(progress, times, f"Connect to {address}"):
            session = stack.enter_context(ray.connect(address))
        counts = _count(session, progress, times)
        with _stage(progress, times, _SEND):
            sent = send_array(session)
        with _stage(progress, times, _FETCH):
            trip = fetch_array(session, *sent)
        times |= {_SEND: trip.there, _FETCH: trip.back}  # without making the array, and comparing it
        progress.stop()
        show(counts, trip, times, console)
        if not trip.equal:
            raise click.ClickException("the array that came back differs from the one that was sent")
        with console.status("Stopping what was started"):
            stack.close()


@contextlib.contextmanager
def everything_started() -> Iterator[str]:
    """Run ``raymq start`` with a cluster of its own; yields the address to connect to, and stops it all at the end."""
    with tempfile.TemporaryFile() as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "raymq_cli", "start", "--port=0", "--address=local", "--supervised"],
            stdin=subprocess.PIPE,  # its end stops the supervisor, also if we are killed
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C is for us; we tell the supervisor when it is its turn
        )
        try:
            yield _ready_address(supervisor, log)
        finally:
            _stop(supervisor)


def _ready_address(supervisor: subprocess.Popen[str], log: IO[bytes]) -> str:
    line = supervisor.stdout.readline() if supervisor.stdout else ""
    if found := _READY.search(line):
        return found["address"]
    supervisor.wait(_STOP_PATIENCE)
    log.seek(0)
    raise click.ClickException("raymq did not start. It said:\n" + log.read().decode(errors="replace"))


def _stop(supervisor: subprocess.Popen[str]) -> None:
    supervisor.terminate()
    try:
        supervisor.wait(_STOP_PATIENCE)
    except subprocess.TimeoutExpired:
        supervisor.kill()  # its children stop when they see the end of their stdin
        supervisor.wait()
    for pipe in (supervisor.stdin, supervisor.stdout):
        if pipe is not None:
            pipe.close()


@contextlib.contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Let SIGTERM unwind the stack, as Ctrl-C does, so that what was started is stopped."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
    )


@contextlib.contextmanager
def _stage(progress: Progress, times: dict[str, float], name: str) -> Iterator[None]:
    """A step without a measure of how far it is."""
    task = progress.add_task(name, total=None)
    begin = time.monotonic()
    yield
    times[name] = time.monotonic() - begin
    progress.update(task, total=1, completed=1)


def _count(session: Any, progress: Progress, times: dict[str, float]) -> Counts:
    files = source_files()
    task = progress.add_task(_COUNT, total=len(files))
    begin = time.monotonic()
    counts = count_sources(session, files, lambda done: progress.advance(task, done))
    times[_COUNT] = time.monotonic() - begin
    return counts


def show(counts: Counts, trip: ArrayTrip, times: dict[str, float], console: Console) -> None:
    """Print what was found and how long it took."""
    console.print()
    console.print(
        Columns(
            [_most_frequent("most imported", counts.imports), _most_frequent("most frequent words", counts.words)],
            padding=(0, 6),
        )
    )
    console.print(
        f"\n{counts.files:,} files, {counts.nbytes / 1e6:.1f} MB, {sum(counts.words.values()):,} words, "
        f"{sum(counts.imports.values()):,} imports; {counts.unparsable} files don't parse.\n"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("time", header_style="dim")
    table.add_column("s", justify="right", header_style="dim")
    table.add_column("", style="dim")
    rates = {
        _COUNT: f"{counts.nbytes / 1e6 / times[_COUNT]:.1f} MB/s",
        _SEND: f"{trip.nbytes / 1e9 / trip.there:.2f} GB/s, and added up there",
        _FETCH: f"{trip.nbytes / 1e9 / trip.back:.2f} GB/s, " + ("equal" if trip.equal else "NOT EQUAL"),
    }
    for name, seconds in times.items():
        table.add_row(name, f"{seconds:.2f}", rates.get(name, ""))
    console.print(table)


def _most_frequent(title: str, counter: Counter[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(title, header_style="dim", min_width=18)
    table.add_column("", justify="right")
    for name, count in counter.most_common(TOP):
        table.add_row(name, f"{count:,}")
    return table
