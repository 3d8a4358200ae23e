"""When what the client watches is ready: when it exists, on whichever node, or when it is on this node, too."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from raymq_bridge import cluster
from raymq_bridge.outbox import Outbox


class Readiness:
    """Tells the client when references become ready that are not.

    Args:
        outbox: takes the news.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._watched: set[tuple[int, bool]] = set()

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
            cluster.on_local(real, functools.partial(self._tell, number, local=True))

    def _tell(self, number: int, *, local: bool) -> None:
        self._watched.discard((number, local))
        self._outbox.became_ready(number, local=local)
