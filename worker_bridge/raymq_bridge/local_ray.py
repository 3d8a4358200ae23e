"""A Ray cluster on this machine: finding the one that runs here, and holding one of our own.

Beside ``cluster`` the only module that touches Ray. Ray is imported inside the functions, because
``prepare_environment`` has to come before that import.
"""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Mapping, MutableMapping
from pathlib import Path

AUTH_MODE = "RAY_AUTH_MODE"
AUTH_TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"
USAGE_STATS = "RAY_USAGE_STATS_ENABLED"

_PROBE_TIMEOUT = 2.0
"""Seconds that a Ray which is said to run here has to accept a connection."""


def prepare_environment(directory: Path, environ: MutableMapping[str, str]) -> dict[str, str]:
    """Give our own cluster a token of its own, unless the user has decided on authentication already.

    Left alone, ``ray.init()`` of a local cluster (2.60) turns token authentication on and writes
    ``~/.ray/auth_token``; every later Ray of this user then finds that file and wants a token too, and
    disagrees with clusters that were started without one.

    Args:
        directory: a private directory for the token file.
        environ: the environment of this process; Ray's settings are entered into it.

    Returns:
        What other processes need in their environment to talk with the cluster.
    """
    environ.setdefault(USAGE_STATS, "0")
    if AUTH_MODE in environ:
        return {}
    path = directory / "ray_token"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    ours = {AUTH_MODE: "token", AUTH_TOKEN_PATH: str(path)}
    environ.update(ours)
    return ours


def find_running(environ: Mapping[str, str]) -> str | None:
    """The GCS address of the Ray that runs here, found as Ray finds it.

    That is RAY_ADDRESS, else the cluster that the last ``ray start`` wrote down, else the only one that has processes
    here. (Of several, ``ray.init("auto")`` would take any.)

    Returns:
        ``HOST:PORT``, or None if no Ray runs here, or RAY_ADDRESS asks for a new one.

    Raises:
        ConnectionError: it cannot be told which one is meant; the message says what to do.
    """
    from ray._private.services import canonicalize_bootstrap_address, find_gcs_addresses

    named = environ.get("RAY_ADDRESS", "")
    if "://" in named:
        raise ConnectionError(
            f"RAY_ADDRESS is {named!r}: a bridge is a Ray driver and needs the cluster's GCS address, HOST:PORT "
            "(usually port 6379). Set RAY_ADDRESS to that, or unset it, or use `raymq start --address HOST:PORT`."
        )
    if named == "local":
        return None
    address: str | None = canonicalize_bootstrap_address(None)
    # A Ray that was killed leaves its address behind in /tmp/ray/ray_current_cluster.
    if address and (named or _accepts(address)):
        return address
    running = sorted(find_gcs_addresses())
    if len(running) > 1:
        raise ConnectionError(
            f"several Ray clusters run here: {', '.join(running)}. Say which one: "
            f"`raymq start --address {running[0]}`, or `--address local` to start one more."
        )
    return running[0] if running else None


def _accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_TIMEOUT):
            return True
    except OSError:
        return False


def start_local(temp_dir: Path, num_cpus: int | None) -> str:
    """Start a Ray cluster that lives as long as this process; returns its GCS address.

    Args:
        temp_dir: where Ray keeps its sockets and logs. Keep it short: the path of a unix socket has 107 bytes.
        num_cpus: what the cluster believes to have; None for what the machine has.
    """
    import ray

    context = ray.init(
        address="local",
        num_cpus=num_cpus,
        include_dashboard=True,  # ray.util.state asks it
        log_to_driver=False,  # the holder of the cluster is nobody's driver
        logging_level=logging.WARNING,
        _temp_dir=str(temp_dir),
    )
    return str(context.address_info["gcs_address"])


def stop_local() -> None:
    """End the cluster that ``start_local`` started; does nothing if there is none."""
    import ray

    ray.shutdown()
