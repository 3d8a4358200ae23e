"""Large payloads in pieces: cut up for the bulk lane without a copy, and put together with one."""

from __future__ import annotations

from collections.abc import Sequence

from raymq.errors import RemoteProtocolError
from raymq.protocol.memory import Memory
from raymq.protocol.messages import Buffer, Pickled


def _flat(buffer: Buffer) -> memoryview:
    view = memoryview(buffer)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


class Outgoing:
    """A payload on its way out. Holds the sender's buffers until the last chunk is taken."""

    def __init__(self, payload: Pickled) -> None:
        self._parts = [_flat(part) for part in (payload.inband, *payload.buffers)]
        self.sizes = [len(part) for part in self._parts]
        self._part = 0
        self._offset = 0
        self._skip_finished()

    def _skip_finished(self) -> None:
        while self._part < len(self._parts) and self._offset == self.sizes[self._part]:
            self._part += 1
            self._offset = 0

    @property
    def finished(self) -> bool:
        """Whether all bytes have been taken."""
        return self._part == len(self._parts)

    def take(self, limit: int) -> memoryview:
        """The next bytes, at most ``limit`` of them, from one part: a view, not a copy."""
        piece = self._parts[self._part][self._offset : self._offset + limit]
        self._offset += len(piece)
        self._skip_finished()
        return piece


class Incoming:
    """A payload on its way in. Memory is set aside at its announced size, so that each byte is copied once."""

    def __init__(self, sizes: Sequence[int], limit: int, memory: Memory) -> None:
        if not 0 < sum(sizes) <= limit:
            raise RemoteProtocolError(f"a transfer of {sum(sizes)} bytes; 1 to {limit} are accepted here")
        self.nbytes = sum(sizes)
        try:
            self._parts = [memory.take(size) for size in sizes]
        except (MemoryError, OSError):
            raise RemoteProtocolError(f"no memory for a transfer of {self.nbytes:,} bytes") from None
        self._left = self.nbytes
        self._part = 0
        self._offset = 0

    @property
    def finished(self) -> bool:
        """Whether all bytes are here."""
        return self._left == 0

    def write(self, data: Buffer) -> None:
        """Take in the next bytes.

        Raises:
            RemoteProtocolError: they run over the end of a part.
        """
        while self._part < len(self._parts) and self._offset == len(self._parts[self._part]):
            self._part += 1
            self._offset = 0
        end = self._offset + len(data)
        if self._part == len(self._parts) or end > len(self._parts[self._part]) or not len(data):
            raise RemoteProtocolError("a chunk that does not fit where its transfer stands")
        self._parts[self._part][self._offset : end] = data
        self._offset = end
        self._left -= len(data)

    def payload(self) -> Pickled:
        """The whole, as read-only views: as Ray's own zero-copy values are."""
        inband, *buffers = (part.toreadonly() for part in self._parts)
        return Pickled(inband, buffers)
