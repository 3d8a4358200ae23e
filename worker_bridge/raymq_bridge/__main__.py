"""``python -m raymq_bridge``: one bridge on its own, for one session."""

from __future__ import annotations

import click

from raymq import daemon


@click.command(
    context_settings={"show_default": True, "auto_envvar_prefix": "RAYMQ_BRIDGE", "help_option_names": ["-h", "--help"]}
)
@click.option("--broker", required=True, help="The broker's endpoint for bridges: ipc://PATH or tcp://HOST:PORT.")
@click.option("--address", default="auto", help="The Ray cluster: HOST:PORT of its GCS, or auto.")
@click.option("--redis-username", default="", help="Handed to Ray.")
@click.option("--redis-password", default="", help="Handed to Ray.")
@click.option("--log-format", type=click.Choice(["console", "json"]), default="console")
@click.option("--supervised", is_flag=True, help="Stop when standard input ends; tell events on standard output.")
def main(
    broker: str, address: str, redis_username: str, redis_password: str, log_format: str, supervised: bool
) -> None:
    """Run a bridge: a Ray driver that serves one session, and ends with it."""
    log = daemon.configure_logging(log_format, process="bridge")
    daemon.claim_stdout()
    daemon.keep_memory()
    from raymq_bridge.bridge import Bridge  # imports ray, which takes its time: not before the options are read

    bridge = Bridge(broker, address, {"username": redis_username, "password": redis_password}, log)
    daemon.stop_on_signals(bridge.stop)
    if supervised:
        daemon.stop_with_supervisor(bridge.stop)
    bridge.run()


if __name__ == "__main__":
    main()
