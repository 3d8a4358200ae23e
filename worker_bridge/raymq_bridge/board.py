"""``python -m raymq_bridge.board``: prints, as JSON, what is published on a cluster; without a Ray job of its own."""

from __future__ import annotations

import json
import os
import sys

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--address", required=True, help="The cluster's GCS, HOST:PORT.")
def main(address: str) -> None:
    """Print the publications of a Ray cluster."""
    from raymq_bridge import cluster, holder

    try:
        cluster.check_reachable(address)
        told = holder.read_list(address)
    except (cluster.NoCluster, ConnectionError) as error:
        raise click.ClickException(str(error)) from None
    sys.stdout.write(json.dumps(told))
    sys.stdout.flush()
    os._exit(0)  # Ray's client of the GCS takes a second to end


if __name__ == "__main__":
    main()
