"""When what the client watches is ready: when it exists, on whichever node, or when it is on this node, too."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from raymq_bridge import cluster
from raymq_bridge.outbox import Outbox
from raymq_bridge.steps import Later, Steps, go_on, pause

LOOK_MIN, LOOK_MAX = 0.005, 0.1
"""Seconds between two looks at what is being copied here: rarer and rarer. Ray tells of a copy only with its value,
unpickled, which nobody has asked for."""


class Readiness:
    """Tells the client when references become ready that are not.

    Args:
        outbox: takes the news.
        later: brings something into the thread of calls.
    """

    def __init__(self, outbox: Outbox, later: Later) -> None:
        self._outbox = outbox
        self._later = later
        self._watched: set[tuple[int, bool]] = set()
        self._copied: dict[int, Any] = {}

    def watch(self, pending: Mapping[int, Any], *, local: bool) -> None:
        """The client watches references that are not ready yet; ``local``: on this node."""
        for number, real in pending.items():
            if (number, local) not in self._watched:
                self._watched.add((number, local))
                cluster.on_ready(real, functools.partial(self._exists, number, real, local=local))

    def _exists(self, number: int, real: Any, *, local: bool) -> None:
        """A reference has a value or an error, says Ray, in a thread of its own."""
        if not local or cluster.is_at_hand(real):
            self._tell(number, local=local)
        else:
            self._later(functools.partial(self._copy, number, real))

    def _tell(self, number: int, *, local: bool) -> None:
        self._watched.discard((number, local))
        self._outbox.became_ready(number, local=local)

    # --- the thread of calls

    def _copy(self, number: int, real: Any) -> None:
        """Have an object copied to this node, unless it is here."""
        if cluster.ready_now([real], fetch_local=True):
            self._tell(number, local=True)
            return
        self._copied[number] = real
        if len(self._copied) == 1:  # else the look at the others sees it, too
            go_on(self._look(), None, self._later, _end)

    def _look(self) -> Steps:
        seconds = LOOK_MIN
        while self._copied:
            yield pause(seconds)
            here = cluster.ready_now(list(self._copied.values()), fetch_local=True)
            for number in [n for n, real in self._copied.items() if cluster.identity(real) in here]:
                del self._copied[number]
                self._tell(number, local=True)
            seconds = LOOK_MIN if here else min(2 * seconds, LOOK_MAX)


def _end(result: Callable[[], Any]) -> None:
    """What went wrong in there is nobody's answer: it ends the session, as whatever goes wrong in the thread."""
    result()
