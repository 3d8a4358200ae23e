"""An administrator's questions to a broker, on its bridges' endpoint."""

from __future__ import annotations

import time
from typing import Any

import zmq

from raymq.errors import RemoteProtocolError
from raymq.protocol.control import decode_control, encode_control
from raymq.protocol.route import Kind, decode_route, encode_route

_PATIENCE = 3.0
"""Seconds that a broker gets to answer."""

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
