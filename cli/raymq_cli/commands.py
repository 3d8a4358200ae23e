"""The commands: what can be typed, and what each option means."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import click
from rich.console import Console

from raymq.protocol.limits import OBJECT_MAX, PORT, QUEUE_MAX, SESSIONS_MAX, Timing
from raymq.protocol.version import __version__
from raymq_cli import runtime
from raymq_cli.children import Options

NOTHING_RUNS = 3
"""Exit code of ``raymq status`` if nothing runs: what an init script answers for a stopped service."""

_TIMING = Timing()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="raymq %(version)s")
def raymq() -> None:
    """Use a Ray cluster from a thin Python client.

    On the head node: `raymq start`. On your machine: `import raymq as ray; ray.connect("head:10001")`.
    Each option can also be set by an environment variable: RAYMQ_START_PORT for `raymq start --port`.
    """


@raymq.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen here: 127.0.0.1 is this machine alone.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option(
    "--address",
    default="auto",
    show_default=True,
    help="The Ray cluster: auto (the one that runs here, else a new one), local (a new one), or its GCS's HOST:PORT.",
)
@click.option("--redis-username", help="Handed to Ray.")
@click.option("--redis-password", help="Handed to Ray.")
@click.option("--heartbeat-interval", default=_TIMING.heartbeat, show_default=True, help="Seconds.")
@click.option("--lease", default=_TIMING.lease, show_default=True, help="Seconds of silence that detach a client.")
@click.option(
    "--grace", default=_TIMING.grace, show_default=True, help="Seconds that a detached client has to come back."
)
@click.option("--max-sessions", default=SESSIONS_MAX, show_default=True, type=click.IntRange(1), help="At a time.")
@click.option(
    "--max-object-size", default=OBJECT_MAX, show_default=True, type=click.IntRange(1), help="Bytes, pickled."
)
@click.option(
    "--max-queue",
    default=QUEUE_MAX,
    show_default=True,
    type=click.IntRange(1),
    help="Bytes that may wait in the broker for one connection that does not read.",
)
@click.option(
    "--spare-bridges",
    default=1,
    show_default=True,
    type=click.IntRange(0),
    help="Bridges kept ready, so that connecting does not wait for Ray; each takes about 150 MB.",
)
@click.option("--insecure", is_flag=True, help="Allow a --host that other machines reach, without any protection.")
@click.option("--log-format", default="console", show_default=True, type=click.Choice(["console", "json"]))
@click.option("--supervised", is_flag=True, hidden=True, help="Stop when stdin ends: whoever started us is gone.")
def start(**given: Any) -> None:
    """Serve a Ray cluster to clients until Ctrl-C or `raymq stop`.

    Starts a broker, keeps a bridge into the cluster ready, and starts again what dies. Prints one line on stdout when
    clients can connect; logs go to stderr.
    """
    from raymq_cli import start as starting

    starting.start(_options(**given), click.echo)


def _options(
    *,
    heartbeat_interval: float,
    lease: float,
    grace: float,
    max_sessions: int,
    max_object_size: int,
    max_queue: int,
    spare_bridges: int,
    **same: Any,
) -> Options:
    from raymq_cli.start import checked_address, checked_cluster

    try:
        timing = Timing(heartbeat_interval, lease, grace)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    same["host"] = checked_address(same["host"], same["port"], insecure=same["insecure"])
    same["address"] = checked_cluster(same["address"])
    return Options(
        timing=timing,
        sessions_max=max_sessions,
        object_max=max_object_size,
        queue_max=max_queue,
        spares=spare_bridges,
        **same,
    )


_port = click.option("--port", type=int, help="Only the one on this port (default: all of this user).")


@raymq.command()
@_port
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.option("--publications/--no-publications", default=True, help="Also ask the cluster what is published there.")
def status(port: int | None, as_json: bool, publications: bool) -> None:
    """Say what is running, who is connected, and what is published.

    Exit code 0 if something runs, 3 if not.
    """
    from raymq_cli.asking import ask, published
    from raymq_cli.status import Report, show

    reports = [
        Report(state, ask(state.bridges), published(state) if publications else None) for state in _running(port)
    ]
    if as_json:
        instances = [report.as_json() for report in reports]
        click.echo(json.dumps({"instances": instances}, indent=2, default=repr))
    elif reports:
        show(reports, Console(), time.time())
    else:
        click.echo(_nothing(port), err=True)
    sys.exit(0 if reports else NOTHING_RUNS)


@raymq.group(invoke_without_command=True)
@_port
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_context
def sessions(context: click.Context, port: int | None, as_json: bool) -> None:
    """List the sessions, and end them: `raymq sessions kill NAME`.

    Exit code 0 if raymq runs, 3 if not.
    """
    from raymq_cli import sessions as listing

    context.obj = _running(port)
    if not context.obj:
        click.echo(_nothing(port), err=True)
        sys.exit(NOTHING_RUNS)
    if context.invoked_subcommand is None:
        listing.show(context.obj, Console(), as_json=as_json)


@sessions.command()
@click.argument("name")
@click.pass_obj
def kill(states: list[runtime.State], name: str) -> None:
    """End a session: its tasks are cancelled, its objects and actors released, except for detached actors.

    NAME is the session's name, or the beginning of its id. Exit code 0 if it has ended, 1 if there is none, or several.
    """
    from raymq_cli import sessions as listing

    done, told = listing.kill(states, name)
    click.echo(told, err=not done)
    sys.exit(0 if done else 1)


@raymq.command()
@_port
def stop(port: int | None) -> None:
    """Stop the raymq that runs here, and all that it started.

    Exit code 0 if nothing runs any more, 1 if something did not stop within 30 s.
    """
    from raymq_cli import stop as stopping

    states = _running(port)
    runtime.remove_dead(runtime.root(os.environ))
    if not states:
        click.echo(_nothing(port), err=True)
    failed = False
    for state in states:
        where = f"raymq on {state.address or 'its way up'} (pid {state.pid})"
        if stopping.stop(state):
            click.echo(f"Stopped {where}.")
        else:
            click.echo(
                f"{where} did not stop within {stopping.PATIENCE:.0f} s; `kill -9 {state.pid}` ends it.", err=True
            )
            failed = True
    sys.exit(1 if failed else 0)


@raymq.command()
@click.option("--address", help="Use the broker at HOST[:PORT], instead of starting all that is needed here.")
def demo(address: str | None) -> None:
    """Watch it work: real work on real text, through a real broker, on a real cluster.

    Starts a Ray cluster, a broker and a bridge on this machine, counts words and imports of the Python library with
    parallel tasks, sends a large array there and back, and stops all that it started.
    """
    from raymq_cli import demo as showing

    showing.demo(address, Console())


def _running(port: int | None) -> list[runtime.State]:
    return [state for state in runtime.running(runtime.root(os.environ)) if port in (None, state.port)]


def _nothing(port: int | None) -> str:
    return "No raymq is running here." if port is None else f"No raymq is running here on port {port}."
