"""Small values that were put or fetched lately: whoever gets one of them again need not ask the cluster.

They are kept as they travel, pickled, so that each ``get`` makes an object of its own.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from raymq import pickling
from raymq.protocol.limits import INLINE_MAX
from raymq.protocol.messages import Pickled

RECENT_MAX = 16 << 20
"""Bytes that are kept."""

ENTRY_COST = 400
"""Bytes that an entry takes beside its payload."""


class Recent:
    """The payloads of references, by number; those that were used last stay. Each method is atomic.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int = RECENT_MAX) -> None:
        self.nbytes = 0
        self._limit = limit
        self._payloads: OrderedDict[int, Pickled] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, number: int, payload: Pickled) -> None:
        """Keep a value, unless it is large, or it means something else on each side: references, parts of raymq."""
        nbytes = payload.nbytes
        if payload.refs or nbytes > INLINE_MAX or not pickling.is_plain(payload):
            return
        with self._lock:
            self._drop(number)
            self._payloads[number] = payload
            self.nbytes += nbytes + ENTRY_COST
            while self.nbytes > self._limit:
                self._drop(next(iter(self._payloads)))

    def find(self, numbers: Sequence[int]) -> list[Pickled] | None:
        """The payloads of references, if all are here."""
        with self._lock:
            found = [payload for number in numbers if (payload := self._payloads.get(number)) is not None]
            if len(found) < len(numbers):
                return None
            for number in numbers:
                self._payloads.move_to_end(number)
            return found

    def missing(self, numbers: Iterable[int]) -> list[int]:
        """Those whose values are not here."""
        with self._lock:
            return [number for number in numbers if number not in self._payloads]

    def forget(self, numbers: Iterable[int]) -> None:
        """These references were released."""
        with self._lock:
            for number in numbers:
                self._drop(number)

    def _drop(self, number: int) -> None:
        payload = self._payloads.pop(number, None)
        if payload is not None:
            self.nbytes -= payload.nbytes + ENTRY_COST
