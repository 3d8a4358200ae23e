"""Whether the Ray cluster under a bridge is gone: decided from a series of looks at it. Pure.

Ray itself tells late. A driver whose raylet has ended learns it when it next needs it, and the process then just ends;
calls in flight fail after some 9 s. Without its GCS a driver goes on for 60 s, and the process then just ends, too.
(Measured with Ray 2.60.)

A cluster that is slow is not gone: a stopped process still accepts connections, which is the kernel's doing.
"""

from __future__ import annotations

from enum import Enum

RAYLET_LOOKS = 2
"""Looks in a row that have to find the raylet gone."""

REFUSED_MAX = 4.0
"""Seconds for which the GCS may refuse connections."""

SILENT_MAX = 30.0
"""Seconds for which connections to the GCS may come to nothing: packets may be lost on the way to another machine."""

RESTART_MAX = 55.0
"""Seconds that a GCS gets to come back, if it can. Ray's drivers end after 60 (gcs_rpc_server_reconnect_timeout_s)."""


class Gcs(Enum):
    """What a look at the GCS found."""

    ACCEPTS = "accepts"
    REFUSES = "refuses"
    SILENT = "silent"


class Watch:
    """Takes in looks, and says when they add up to the end of the cluster.

    Args:
        fault_tolerant: the GCS keeps its tables elsewhere and can be restarted under a running cluster.
    """

    def __init__(self, *, fault_tolerant: bool) -> None:
        self._refused_max = RESTART_MAX if fault_tolerant else REFUSED_MAX
        self._missing_max = RESTART_MAX if fault_tolerant else SILENT_MAX
        self._without_raylet = 0
        self._refuses_since: float | None = None
        self._missing_since: float | None = None

    @property
    def suspicious(self) -> bool:
        """Whether the last look found something missing: the next one should come soon."""
        return self._without_raylet > 0 or self._missing_since is not None

    def look(self, *, raylet: bool, gcs: Gcs, now: float) -> str:
        """Take in one look.

        Args:
            raylet: the process of this node's raylet is there.
            gcs: what the GCS does with connections.
            now: the time, in seconds of any monotonic clock.

        Returns:
            What is gone, for people; empty as long as nothing is for certain.
        """
        self._without_raylet = 0 if raylet else self._without_raylet + 1
        self._refuses_since = _since(self._refuses_since, now, still=gcs is Gcs.REFUSES)
        self._missing_since = _since(self._missing_since, now, still=gcs is not Gcs.ACCEPTS)
        if self._without_raylet >= RAYLET_LOOKS:
            return "the raylet of this node has ended"
        if self._refuses_since is not None and now - self._refuses_since >= self._refused_max:
            return f"nothing has listened there for {now - self._refuses_since:.0f} s"
        if self._missing_since is not None and now - self._missing_since >= self._missing_max:
            return f"nothing has answered there for {now - self._missing_since:.0f} s"
        return ""


def _since(before: float | None, now: float, *, still: bool) -> float | None:
    if not still:
        return None
    return now if before is None else before
