"""Holds a Ray cluster on this machine until it is told to stop: ``python -m raymq_bridge.local_cluster``.

It runs as a process of its own, so that the cluster outlives each bridge and bridges can come and go. It tells
what happens, ``ready`` or ``failed``, as lines of JSON on stdout. SIGTERM, SIGINT, and with ``--supervised``
the end of stdin too (the supervisor is gone) stop it; then no process and no file of the cluster is left. It also ends
when the cluster does, whose own processes do not watch over each other.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from raymq import daemon
from raymq_bridge import leftovers, local_ray, vitals

_LONGEST = "/session_2026-11-23_06-26-13_532880_4194304/sockets/dash_TaskEventsHead"
"""What Ray appends to its temp dir for a socket, at its longest: one of its dashboard's."""

_TEMP_DIR_MAX = 107 - len(_LONGEST)
"""A unix socket's path has at most 107 bytes."""


_PATIENCE = 3.0
"""Seconds that Ray's processes have to end by themselves after Ray was shut down."""

_LOOK_INTERVAL = 0.5
"""Seconds between two looks at the cluster's processes."""

_DIED = 3
"""Our exit code when the cluster has ended under us."""


class Stop(BaseException):
    """Raised in the main thread by the signals that end this process; no ``except Exception`` catches it."""


def main() -> int:
    """Run until told to stop; returns the exit code."""
    options = parse_arguments(sys.argv[1:])
    alone = options.supervised and leftovers.lead_a_session()
    _on_stop_signals(_raise_stop)
    daemon.claim_stdout()  # for events; Ray prints there too
    try:
        with private_directory(options.directory) as directory:
            code = 0
            try:
                code = hold(options, directory)
            finally:
                _on_stop_signals(signal.SIG_IGN)
                stop(alone, died=code == _DIED)
            return code
    except (Stop, SystemExit):  # SystemExit: while it starts, Ray has a handler of its own for SIGTERM
        return 0


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m raymq_bridge.local_cluster", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--address",
        choices=("local", "auto"),
        default="local",
        help="local: start a cluster; auto: tell the address of the Ray that runs here and exit, or else start one",
    )
    parser.add_argument("--num-cpus", type=int, help="what the cluster believes to have (default: all of the machine)")
    parser.add_argument("--directory", type=Path, help="a private directory for the cluster's files and its token")
    parser.add_argument("--supervised", action="store_true", help="stop when stdin ends")
    return parser.parse_args(arguments)


def hold(options: argparse.Namespace, directory: Path) -> int:
    """Find or start the cluster, say so, and hold it until told to stop."""
    try:
        found = local_ray.find_running(os.environ) if options.address == "auto" else None
    except ConnectionError as error:
        daemon.tell("failed", message=str(error))
        return 1
    if found is not None:
        daemon.tell("ready", address=found, env={}, started=False)
        return 0
    try:
        env = local_ray.prepare_environment(directory, os.environ)
        address = local_ray.start_local(directory / "ray", options.num_cpus)
    except Exception as error:
        daemon.tell("failed", message=f"Ray did not start on this machine: {type(error).__name__}: {error}")
        return 1
    _on_stop_signals(_raise_stop)  # ray.init() put in its own
    daemon.tell("ready", address=address, env=env, started=True)
    died = wait_for_stop(options.supervised, vitals.find())
    if died:
        daemon.tell("failed", message=died)
        return _DIED
    return 0


def stop(alone: bool, *, died: bool) -> None:
    """End the cluster, and with it all that is left in the session, if nobody else is in there."""
    if died:
        leftovers.end_descendants()  # Ray itself would wait for those that are gone
    elif "ray" in sys.modules:
        local_ray.stop_local()
    if alone:
        leftovers.end_others_of_session(0.0 if died else _PATIENCE)


def wait_for_stop(supervised: bool, vital: list[vitals.Vital]) -> str:
    """Block until stdin ends (if supervised), a signal raises ``Stop``, or one of the vital processes ends.

    Returns:
        Which of them ended, and how; empty if we are to stop.
    """
    stdin = [0] if supervised else []
    while not (died := vitals.first_death(vital)):
        readable, _, _ = select.select(stdin, [], [], _LOOK_INTERVAL)
        if readable and not os.read(0, 4096):
            return vitals.first_death(vital)  # a cluster that died meanwhile is not shut down as one that lives
    return died


@contextlib.contextmanager
def private_directory(parent: Path | None) -> Iterator[Path]:
    """A directory for the cluster's files that goes when the cluster does.

    It is in ``parent`` (or else in /tmp) and nobody else may look into it; Ray opens its temp dir to everybody.
    Temporary files of Ray's processes go the same way: its dashboard leaves a socket in ``$TMPDIR/pymp-*`` otherwise.
    """
    if parent is None or len(os.fsencode(parent)) + len("/r-abcdefgh/ray") > _TEMP_DIR_MAX:
        parent = Path("/tmp")
    with tempfile.TemporaryDirectory(prefix="r-", dir=parent, ignore_cleanup_errors=True) as made:
        temporary = Path(made, "tmp")
        temporary.mkdir()
        os.environ["TMPDIR"] = str(temporary)
        yield Path(made)


def _on_stop_signals(handler: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _raise_stop(number: int, frame: FrameType | None) -> NoReturn:
    raise Stop


if __name__ == "__main__":
    exit_code = main()
    if exit_code == _DIED:
        os._exit(exit_code)  # Ray's handler of exits would wait for a cluster that is gone
    sys.exit(exit_code)
