"""An administrator's questions: to a broker, on its bridges' endpoint, and to the cluster."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Published:
    """What is published on a cluster.

    Attributes:
        count: how many publications there are.
        listed: the first of them, by name.
        problem: why that is not known; empty if it is.
    """

    count: int = 0
    listed: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""


def published(state: State) -> Published:
    """What is published on an instance's cluster: its holder's own list, also while nobody is connected."""
    if not state.cluster:
        return Published(problem="there is no cluster yet")
    command = [*python("raymq_bridge.board"), f"--address={state.cluster}"]
    environment = {**os.environ, **state.cluster_env}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=_CLUSTERS_PATIENCE, check=False)
        told = json.loads(done.stdout)
        return Published(told["count"], told["publications"])
    except subprocess.TimeoutExpired:
        return Published(problem=f"the cluster did not answer within {_CLUSTERS_PATIENCE:.0f} s")
    except (ValueError, LookupError, TypeError):
        said = done.stderr.decode(errors="replace").strip().splitlines()
        return Published(problem=said[-1].removeprefix("Error: ") if said else f"exit code {done.returncode}")
