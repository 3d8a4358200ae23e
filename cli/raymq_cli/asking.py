"""An administrator's questions: to a broker, on its bridges' endpoint, and to the cluster."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from typing import Any

import zmq

from raymq.errors import RemoteProtocolError
from raymq.protocol.control import decode_control, encode_control
from raymq.protocol.route import Kind, decode_route, encode_route
from raymq_cli.children import python
from raymq_cli.runtime import State

_PATIENCE = 3.0
"""Seconds that a broker gets to answer."""

_CLUSTERS_PATIENCE = 20.0
"""Seconds that the cluster gets: Ray takes one or two to be imported."""

_ANSWERS = {Kind.STATUS: Kind.STATUS_REPLY, Kind.KILL: Kind.KILLED}


def ask(endpoint: str, kind: Kind = Kind.STATUS, **fields: Any) -> dict[str, Any] | None:
    """Ask the broker behind a bridges' endpoint; None if it does not answer in time, or not in our protocol."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(endpoint)
        dealer.send_multipart([encode_route(kind), encode_control(kind, **fields)])
        deadline = time.monotonic() + _PATIENCE
        while dealer.poll(max(0, int((deadline - time.monotonic()) * 1000))):
            frames = dealer.recv_multipart()
            try:
                if decode_route(frames[0]).kind == _ANSWERS[kind]:
                    return decode_control(_ANSWERS[kind], frames[1])
            except (RemoteProtocolError, IndexError):
                continue
    return None


def published(state: State) -> list[dict[str, Any]] | None:
    """What is published on an instance's cluster; None if that cannot be found out."""
    if not state.cluster:
        return None
    command = [*python("raymq_bridge.board"), f"--address={state.cluster}"]
    with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
        done = subprocess.run(
            command,
            env={**os.environ, **state.cluster_env},
            capture_output=True,
            timeout=_CLUSTERS_PATIENCE,
            check=False,
        )
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found
    return None
