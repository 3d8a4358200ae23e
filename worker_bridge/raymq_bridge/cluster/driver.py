"""A driver of the cluster: how it joins, leaves, and hears what the workers print."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable
from typing import Any

import ray
import ray.exceptions
from ray._private.ray_logging import global_worker_stdstream_dispatcher
from ray._private.worker import print_worker_logs
from ray.experimental import internal_kv

from raymq_bridge.cluster.copies import COPIES
from raymq_bridge.sentry import Place, peer_of

REACH_TIME = 5.0
"""Seconds that the cluster's GCS gets to accept a connection."""

VERSION: str = ray.__version__


class NoCluster(Exception):
    """The Ray cluster cannot be reached."""


def connect(address: str, job: dict[str, Any], redis: dict[str, str]) -> tuple[dict[str, Any], Place]:
    """Become a driver of the cluster: a Ray job of its own.

    Args:
        address: the GCS, ``HOST:PORT``, or ``auto``.
        job: ``namespace`` and ``runtime_env`` as in ``ray.init``, and ``logging_config``, a dict; each may be missing.
        redis: ``username`` and ``password`` for the cluster's Redis, either may be missing.

    Returns:
        ``job_id``, ``node_id``, ``dashboard_url``, ``namespace``, ``address``; and what to watch from now on.

    Raises:
        NoCluster: nothing answers at the address, or it refuses us.
    """
    check_reachable(address)
    options = {f"_redis_{key}": value for key, value in redis.items() if value}
    if job.get("logging_config"):  # of the workers alone: ray.init(logging_config=...) would change this process's, too
        options["job_config"] = config = ray.job_config.JobConfig()
        config.set_py_logging_config(ray.LoggingConfig(**job["logging_config"]))
    try:
        context = ray.init(
            address=address,
            namespace=job.get("namespace"),
            runtime_env=job.get("runtime_env"),
            log_to_driver=True,
            configure_logging=False,
            **options,
        )
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        if isinstance(error, RuntimeError) and job.get("runtime_env"):
            raise  # else it says that the cluster is still on its way up: its GCS answers, but no node is there yet
        raise NoCluster(f"no Ray cluster at {address}: {_causes(error)}") from error
    COPIES.start()
    os.environ["RAY_ADDRESS"] = context.address_info["address"]  # ray.util.state minds it more than its argument
    # Workers' output goes to the client, not to the bridge's own log.
    global_worker_stdstream_dispatcher.remove_handler("ray_print_logs")
    here = ray.get_runtime_context()
    described = {
        "job_id": here.get_job_id(),
        "node_id": here.get_node_id(),
        "namespace": here.namespace,
        "dashboard_url": context.dashboard_url or "",
        "address": context.address_info["address"],
    }
    place = Place(
        address=context.address_info["address"],
        raylet=peer_of(context.address_info.get("raylet_socket_name") or ""),
        fault_tolerant=_storage() in ("redis", "rocksdb") or any(redis.values()),
    )
    return described, place


def _storage() -> str:
    """Where the GCS keeps its tables: "memory", "redis" or "rocksdb"; empty if it does not tell."""
    told = internal_kv._internal_kv_get(b"extra_usage_tag_gcs_storage", namespace=b"usage_stats")
    return told.decode(errors="replace") if told else ""


def check_reachable(address: str) -> None:
    """Knock at the GCS. Ray itself would try for most of a minute, and then end the process.

    Raises:
        NoCluster: nothing listens there.
    """
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal():
        return  # "auto", and whatever else Ray finds out by itself
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_TIME).close()
    except OSError as error:
        raise NoCluster(f"no Ray cluster answers at {address} ({error}): is it running, and is that its GCS?") from None


def _causes(error: BaseException | None) -> str:
    texts = []
    while error is not None:
        texts.append(str(error) or type(error).__name__)
        error = error.__cause__
    return ": ".join(texts)


def disconnect() -> None:
    """End the job: Ray drops its objects, cancels its tasks, and terminates its actors that are not detached."""
    COPIES.stop()
    ray.shutdown()


def listen_to_workers(callback: Callable[[str, list[str]], None]) -> None:
    """Call ``callback(stream, lines)`` with what the job's workers print, formatted as Ray would print it."""

    def handle(data: dict[str, Any]) -> None:
        with io.StringIO() as text:
            print_worker_logs(data, text)
            callback("stderr" if data["is_err"] else "stdout", text.getvalue().splitlines())

    global_worker_stdstream_dispatcher.remove_handler("raymq")  # that of the session's client before
    global_worker_stdstream_dispatcher.add_handler("raymq", handle)
