"""``raymq start``: checks what can be checked before anything runs, then supervises."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from raymq import daemon
from raymq_cli import children, ports, runtime
from raymq_cli.children import Options
from raymq_cli.events import (
    Announce,
    Event,
    Finish,
    Note,
    Ready,
    Role,
    Spawn,
)
from raymq_cli.processes import Runner
from raymq_cli.supervisor import Plan, Supervisor


def checked_address(host: str, port: int, *, insecure: bool) -> str:
    """The numeric address to listen on.

    Raises:
        click.ClickException: it cannot be listened on, or must not be.
    """
    try:
        address = ports.resolve(host, port)
    except OSError as error:
        raise click.ClickException(
            f"--host {host!r}: {error.strerror or error}. It is an address or name of this machine: "
            "127.0.0.1 for this machine alone, 0.0.0.0 for all of its networks."
        ) from error
    if not ports.is_loopback(address) and not insecure:
        raise click.ClickException(
            f"--host {host} lets other machines connect, and in this version connections are neither encrypted nor "
            "authenticated: whoever reaches the port can run code on the cluster.\n"
            f"On a network that you trust:  raymq start --host {host} --insecure\n"
            "Else keep to this machine and go through ssh:  ssh -L 10001:127.0.0.1:10001 HEAD"
        )
    return address


def check_free(base: Path, options: Options) -> None:
    """See that the port can be had.

    Raises:
        click.ClickException: it cannot; the message says who has it and what to do.
    """
    for state in runtime.running(base):
        if options.port and state.port == options.port:
            raise click.ClickException(
                f"raymq already runs on port {state.port} (pid {state.pid}).\n"
                f"  raymq stop --port {state.port:<8}  stops it\n"
                "  raymq start --port 20001   starts one more"
            )
    try:
        taken = options.port != 0 and ports.is_taken(options.host, options.port)
    except PermissionError:
        raise click.ClickException(f"Port {options.port} is only for root; use one above 1023.") from None
    except OSError as error:
        raise click.ClickException(f"Cannot listen on {options.host}: {error.strerror}") from error
    if taken:
        raise click.ClickException(ports.explain(options.port, ports.holder_of(options.port)))


def start(options: Options, say: Callable[[str], None]) -> None:
    """Run until told to stop.

    Args:
        options: what to run.
        say: gets the one line that tells where to connect.

    Raises:
        click.ClickException: it cannot run; the message says why and what to do.
    """
    base = runtime.root(os.environ)
    check_free(base, options)
    try:
        with runtime.own_directory(base) as directory:
            finish = _Supervised(options, directory, base, say).run()
    except runtime.DirectoryError as error:
        raise click.ClickException(str(error)) from error
    if finish.code:
        if finish.role is Role.BROKER:
            check_free(base, options)
        raise click.ClickException(f"{_NO[finish.role]}: {finish.message}" if finish.role else finish.message)


class _Supervised:
    """One run of the supervisor: joins the core with processes, the log and the runtime directory."""

    def __init__(self, options: Options, directory: runtime.Directory, base: Path, say: Callable[[str], None]) -> None:
        self._options = options
        self._directory = directory
        self._base = base
        self._say = say
        self._log = daemon.configure_logging(options.log_format, process="supervisor")
        plan = Plan(options.external_cluster, options.spares, options.sessions_max)
        self._core = Supervisor(plan)
        self._state = runtime.State(
            pid=os.getpid(),
            created=runtime.created(os.getpid()),
            port=options.port,
            address="",
            bridges=directory.endpoint,
            started=time.time(),
            cluster=options.external_cluster or "",
        )

    def run(self) -> Finish:
        self._update()
        cluster = self._options.external_cluster
        if cluster is not None and not ports.answers(cluster):
            # It may still be on its way up, as after a reboot: that is no reason not to start.
            self._log.warning("cluster_does_not_answer", address=cluster, until_then="clients are told there is none")
        stop_at_end_of = sys.stdin if self._options.supervised else None
        return Runner(self._core, self._launch, self._note, self._announce, self._watch, stop_at_end_of).run()

    def _launch(self, spawn: Spawn) -> tuple[list[str], dict[str, str]]:
        if spawn.role is Role.CLUSTER:
            self._directory.clear()
        return children.command(spawn, self._options, self._directory.path), children.environment(
            spawn, self._options, os.environ
        )

    def _note(self, note: Note) -> None:
        with contextlib.suppress(OSError):  # nobody reads our stderr any more: no reason to stop serving
            self._log.log(_LEVELS[note.level], note.event, **note.fields)

    def _announce(self, announce: Announce) -> None:
        self._update(ready=True)
        with contextlib.suppress(OSError):
            self._say(f'raymq is ready: raymq.connect("{reachable(announce.address)}")')

    def _watch(self, event: Event) -> Event:
        """Keep ``state.json`` up to date, and say how to talk with a cluster that another raymq here holds."""
        if not isinstance(event, Ready):
            return event
        if self._core.children[event.child].role is Role.BROKER:
            self._update(address=event.address, port=int(event.address.rpartition(":")[2]))
            return event
        if not event.ours:
            known = {state.cluster: state.cluster_env for state in runtime.running(self._base)}
            event = dataclasses.replace(event, env=known.get(event.address, event.env))
        self._update(cluster=event.address, cluster_env=dict(event.env))
        return event

    def _update(self, **changes: object) -> None:
        self._state = dataclasses.replace(self._state, **changes)  # type: ignore[arg-type]
        self._directory.write(self._state)


_NO = {
    Role.CLUSTER: "There is no Ray cluster to serve",
    Role.BROKER: "The broker does not run",
    Role.BRIDGE: "There is no bridge",
}
_LEVELS = {"info": 20, "warning": 30, "error": 40}


def reachable(address: str) -> str:
    """The address that clients connect to, for one that a broker listens on: "all networks" is none to connect to."""
    host, _, port = address.rpartition(":")
    return f"{socket.gethostname()}:{port}" if host in ("0.0.0.0", "[::]", "::", "*") else address


def checked_cluster(address: str) -> str:
    """The value of ``--address``, if it can be one.

    Raises:
        click.ClickException: it cannot.
    """
    if address in ("auto", "local"):
        return address
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise click.ClickException(
            f"--address {address!r} is not auto, local or HOST:PORT. It is the address of the cluster's GCS, "
            "as `ray start --head` prints it (usually port 6379), not that of Ray Client."
        )
    return address
