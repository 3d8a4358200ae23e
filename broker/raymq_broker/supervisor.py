"""What the supervisor of the broker and its bridges has to say: JSON maps to events. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raymq_broker.actions import BridgeEnded, ClusterLost, Event


def understand(told: dict[str, Any], at: str) -> Event | None:
    """Read one thing that it told; None if it is none that concerns us.

    Args:
        told: ``event``, and the fields of that event.
        at: the time of day, for people.
    """
    try:
        return _EVENTS[told["event"]](told, at)
    except (KeyError, TypeError, ValueError):
        return None


def _bridge_ended(told: dict[str, Any], at: str) -> Event:
    return BridgeEnded(int(told["bridge"]), at, str(told["reason"]), tuple(map(str, told["lines"])))


def _cluster_lost(told: dict[str, Any], at: str) -> Event:
    return ClusterLost(frozenset(map(int, told["bridges"])), at, str(told["message"]))


_EVENTS: dict[str, Callable[[dict[str, Any], str], Event]] = {
    "bridge_ended": _bridge_ended,
    "cluster_lost": _cluster_lost,
}
