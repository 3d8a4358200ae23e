"""What the contenders meet on: one Ray cluster, with raymq and Ray Client's server beside it, and the ways there."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import click
import psutil


class Stage(NamedTuple):
    """What runs.

    Attributes:
        addresses: where each contender connects.
        environ: what lets it.
        head: the process of ``raymq start``.
    """

    addresses: dict[str, str]
    environ: dict[str, str]
    head: psutil.Process

    def part(self, module: str) -> psutil.Process:
        """The process that does the work of the broker or of a bridge: of several the one that did most."""
        found = [child for child in self.head.children() if module in child.cmdline()]
        return max(found, key=lambda process: sum(process.cpu_times()[:2]))


CALM = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Otherwise Ray ends workers for tasks that were idle for a second, while another contender had its turn.
    "RAY_idle_worker_killing_time_threshold_ms": "3600000",
}
"""What the cluster is told, so that it does nothing by itself."""


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


def _wait_for(port: int) -> None:
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)


@contextlib.contextmanager
def stage(base: Path) -> Iterator[Stage]:
    """Start it all, and stop it with the block."""
    environ = {**os.environ, **CALM, "RAYMQ_RUNTIME_DIR": str(base / "run")}
    with _head(base, environ, "--address", "local") as (head, state):
        environ |= state["cluster_env"]
        with _ray_client_server(base, environ, state["cluster"], "specific-server") as address:
            addresses = {"native": state["cluster"], "Ray Client": address, **_ways(state["address"])}
            made = Stage(addresses, environ, psutil.Process(head.pid))
            with contender("Ray Client", made):  # its server ends when it has had no client for half a minute
                yield made


def _ways(address: str) -> dict[str, str]:
    """Both ways to a broker: the thin client, and an installed Ray."""
    return {"raymq": address, "drop-in": f"raymq://{address}"}


@contextlib.contextmanager
def _head(base: Path, environ: dict[str, str], *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """``raymq start``, and what it has written down of itself."""
    start = [sys.executable, "-m", "raymq_cli", "start", "--port", "0", *options]
    with (base / "log").open("a") as log, process(start, environ, stdout=subprocess.PIPE, stderr=log) as head:
        if "ready" not in head.stdout.readline():  # type: ignore[union-attr]
            raise click.ClickException((base / "log").read_text())
        yield head, json.loads((base / "run" / str(head.pid) / "state.json").read_text())


@contextlib.contextmanager
def _ray_client_server(base: Path, environ: dict[str, str], cluster: str, mode: str) -> Iterator[str]:
    """Ray Client's server: ``proxy``, as ``ray start`` has it, or ``specific-server``, one for all."""
    port = free_port()
    server = [sys.executable, "-m", "ray.util.client.server", f"--address={cluster}"]
    server += ["--host=127.0.0.1", f"--port={port}", f"--mode={mode}"]
    with (base / "log").open("a") as log, process(server, environ, stdout=log, stderr=log):
        _wait_for(port)
        yield f"ray://127.0.0.1:{port}"


@contextlib.contextmanager
def unprepared(here: Stage, base: Path) -> Iterator[Stage]:
    """The same cluster, where nothing is ready for a client: it waits until a bridge, or a server, has started."""
    cluster = here.addresses["native"]
    with (
        _head(base, here.environ, "--address", cluster, "--spare-bridges", "0") as (head, state),
        _ray_client_server(base, here.environ, cluster, "proxy") as address,
    ):
        yield here._replace(addresses={"Ray Client": address, **_ways(state["address"])}, head=psutil.Process(head.pid))


@contextlib.contextmanager
def a_server_each(here: Stage, base: Path) -> Iterator[Stage]:
    """The same, where Ray Client has a server for each client, as with ``ray start``."""
    with _ray_client_server(base, here.environ, here.addresses["native"], "proxy") as address:
        yield here._replace(addresses={**here.addresses, "Ray Client": address})


@contextlib.contextmanager
def far_away(here: Stage, **limits: float) -> Iterator[Stage]:
    """The same, but with a proxy before it; ``limits`` as in ``wan.main``. A native driver cannot go that way."""
    with contextlib.ExitStack() as stack:
        addresses = {}
        for name in ("Ray Client", "raymq", "drop-in"):
            scheme, _, address = here.addresses[name].rpartition("://")
            listen = free_port()
            options = [f"--{key}={value}" for key, value in limits.items()]
            command = [sys.executable, "-m", "benchmarks.wan", str(listen), address.rpartition(":")[2], *options]
            stack.enter_context(process(command, here.environ))
            _wait_for(listen)
            addresses[name] = f"{scheme}://127.0.0.1:{listen}" if scheme else f"127.0.0.1:{listen}"
        yield here._replace(addresses=addresses)


BUSY = 30.0
"""Per cent of all processors that may be in use when somebody's turn begins: an idle cluster takes less."""

AFTERMATH = 3.0
"""Seconds after which it begins all the same."""


def calm_down() -> None:
    """Wait until what the last contender left to be done is done: it would be at the expense of the next one.

    Ray Client's server takes 0.2 s more of both processors after 1,000 calls.
    """
    end = time.monotonic() + AFTERMATH
    while psutil.cpu_percent(interval=0.05) > BUSY and time.monotonic() < end:
        pass


PATIENCE = 300.0
"""Seconds after which a contender that does not answer is ended."""


class Contender:
    """A process that measures, see ``contender.py``."""

    def __init__(self, name: str, started: subprocess.Popen[str], log: IO[str]) -> None:
        self.name = name
        self.pid = started.pid
        self._process = started
        self._log = log
        self.connect_seconds = self.answer()["connect"]

    def tell(self, **question: Any) -> None:
        """Ask for something; ``answer`` waits for the answer."""
        self._process.stdin.write(json.dumps(question) + "\n")  # type: ignore[union-attr]
        self._process.stdin.flush()  # type: ignore[union-attr]

    def answer(self) -> dict[str, float]:
        """The answer to the last question."""
        patience = threading.Timer(PATIENCE, self._process.kill)
        patience.start()
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        patience.cancel()
        if not line:
            self._log.seek(0)
            raise click.ClickException(f"{self.name} ended:\n{self._log.read()[-2000:]}")
        return dict(json.loads(line))

    def ask(self, **question: Any) -> dict[str, float]:
        """Put a question, when the machine is free for it, and wait for the answer."""
        calm_down()
        self.tell(**question)
        return self.answer()


@contextlib.contextmanager
def contender(name: str, here: Stage) -> Iterator[Contender]:
    """A contender that is connected."""
    command = [sys.executable, "-m", "benchmarks.contender", name, here.addresses[name]]
    with (
        tempfile.TemporaryFile("w+") as log,
        process(command, here.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log) as started,
    ):
        yield Contender(name, started, log)
        started.stdin.close()  # type: ignore[union-attr]  # it says goodbye
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(10)
