"""``python -m raymq_broker``: the broker on its own."""

from __future__ import annotations

import ipaddress
import os
import sys
from dataclasses import asdict

import click
import zmq

from raymq import daemon
from raymq.protocol import limits
from raymq_broker.actions import Pool
from raymq_broker.lifecycle import Settings
from raymq_broker.server import Server


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def endpoint(host: str, port: int) -> str:
    """The ZeroMQ endpoint of a host and port; IPv6 addresses go in brackets."""
    host = "127.0.0.1" if host == "localhost" else host
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


@click.command(
    context_settings={"show_default": True, "auto_envvar_prefix": "RAYMQ_BROKER", "help_option_names": ["-h", "--help"]}
)
@click.option("--host", default="127.0.0.1", help="Address to listen on for clients.")
@click.option("--port", default=limits.PORT, help="Port to listen on for clients; 0 picks a free one.")
@click.option("--bridges", required=True, help="Endpoint to listen on for bridges: ipc://PATH or tcp://HOST:PORT.")
@click.option("--heartbeat-interval", default=limits.Timing.heartbeat, help="Seconds between heartbeats.")
@click.option("--lease", default=limits.Timing.lease, help="Seconds of silence after which a client is detached.")
@click.option("--grace", default=limits.Timing.grace, help="Seconds for which a detached session is kept.")
@click.option("--max-sessions", default=limits.SESSIONS_MAX, help="Sessions served at a time.")
@click.option("--max-object-size", default=limits.OBJECT_MAX, help="Bytes that one pickled value may have.")
@click.option("--max-queue", default=limits.QUEUE_MAX, help="Bytes that may wait for one connection to read them.")
@click.option("--insecure", is_flag=True, help="Listen beyond this machine without encryption or authentication.")
@click.option("--log-format", type=click.Choice(["console", "json"]), default="console")
@click.option("--expect", help="Process ids of bridges of the broker before this one, with commas.")
@click.option("--supervised", is_flag=True, help="Stop when standard input ends; tell events on standard output.")
def main(
    host: str,
    port: int,
    bridges: str,
    heartbeat_interval: float,
    lease: float,
    grace: float,
    max_sessions: int,
    max_object_size: int,
    max_queue: int,
    insecure: bool,
    log_format: str,
    expect: str | None,
    supervised: bool,
) -> None:
    """Run the raymq broker: it moves frames between clients and bridges and owns the leases."""
    if not insecure and not is_loopback(host):
        raise click.UsageError(
            f"--host {host} can be reached from other machines, and connections are neither encrypted nor "
            "authenticated: whoever connects can run code here. Listen on 127.0.0.1 and tunnel (ssh -L), or say "
            "--insecure if the network is trusted."
        )
    try:
        timing = limits.Timing(heartbeat_interval, lease, grace)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    expected = None if expect is None else frozenset(map(int, filter(None, expect.split(","))))
    settings = Settings(timing, max_sessions, max_object_size, os.getpid(), max_queue, expected)
    log = daemon.configure_logging(log_format, process="broker")
    daemon.keep_memory()

    def pool_changed(pool: Pool) -> None:
        if supervised:
            daemon.tell("bridges", **asdict(pool))

    try:
        told = daemon.Told() if supervised else None
        server = Server(endpoint(host, port), bridges, settings, log, pool_changed, told)
    except zmq.ZMQError as error:
        message = f"cannot listen on {endpoint(host, port)} and {bridges}: {error}"
        daemon.tell("failed", message=message)
        log.error("broker_failed", error=message)  # noqa: TRY400 - the message says it all
        sys.exit(1)
    daemon.stop_on_signals(server.stop)
    log.info("broker_listening", address=server.address, bridges=bridges)
    daemon.tell("ready", address=server.address)
    try:
        server.run()
    finally:
        server.close()
        log.info("broker_stopped", counters=dict(server.core.counters))


if __name__ == "__main__":
    main()
