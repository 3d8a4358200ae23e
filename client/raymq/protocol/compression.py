"""Compression of large payloads, chunk by chunk, where the way is thin and the bytes allow it.

What it takes are well-kept libraries, the extra ``raymq[compression]``; an end that has none sends and gets none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from raymq.errors import RemoteProtocolError
from raymq.protocol.limits import CHUNK
from raymq.protocol.messages import Buffer

AUTO = "auto"


def _zstd(data: memoryview) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=1).compress(data)


def _from_zstd(data: Buffer, size: int) -> Buffer:
    import zstandard

    try:
        if zstandard.frame_content_size(data) != size:  # so much would be set aside
            raise ValueError("it tells of another size")
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise ValueError(error) from None


def _lz4(data: memoryview) -> bytes:
    from lz4 import block

    return bytes(block.compress(data, store_size=False))


def _from_lz4(data: Buffer, size: int) -> Buffer:
    from lz4 import block

    try:
        return bytes(block.decompress(data, uncompressed_size=size))
    except block.LZ4BlockError as error:
        raise ValueError(error) from None


class Codec(NamedTuple):
    """One way to compress.

    Attributes:
        number: its name on the wire.
        package: what has it.
        thin: bytes per second up to which a way is worth its time; on one core it makes about five times as many.
        compress: a chunk.
        decompress: bytes to a chunk of so many; raises ValueError.
    """

    number: int
    package: str
    thin: float
    compress: Callable[[memoryview], bytes]
    decompress: Callable[[Buffer, int], Buffer]


CODECS = {
    "zstd": Codec(1, "zstandard", 40e6, _zstd, _from_zstd),
    "lz4": Codec(2, "lz4", 100e6, _lz4, _from_lz4),
}
"""By name, the best one first."""

WORTH = 0.9
"""A chunk goes compressed if that leaves at most so much of it."""

SAMPLE_AGAIN = 16
"""Chunks that go as they are after one that was not worth it; the next one is a sample again."""

LEAST = 1024
"""Bytes below which a chunk goes as it is."""


@cache
def available() -> tuple[str, ...]:
    """The codecs that this process can use, the best one first."""
    from importlib.util import find_spec

    return tuple(name for name, codec in CODECS.items() if find_spec(codec.package) is not None)


def wish(mode: str | None) -> str:
    """What is told of compression in the handshake: ``mode``, and the codecs that are there, with spaces between.

    Raises:
        ValueError: there is no such mode.
        ModuleNotFoundError: that codec's library is not installed.
    """
    if mode is None:
        return ""
    if mode != AUTO and mode not in CODECS:
        raise ValueError(f'compression is "auto", {", ".join(map(repr, CODECS))} or None, not {mode!r}')
    there = available()
    if mode not in (AUTO, *there):
        raise ModuleNotFoundError(f'compression={mode!r} needs its library: pip install "raymq[compression]"')
    return " ".join((mode, *there)) if there else ""


def agreed(wished: Any, theirs: Any) -> Compressor | None:
    """What an end compresses with, from the client's wish and what the other end of the way can read; maybe nothing."""
    mode, *codecs = str(wished or "").split() or [""]
    readable = str(theirs or "").split()
    usable = [codec for codec in available() if codec in codecs and codec in readable and mode in (AUTO, codec)]
    return Compressor(usable, always=mode != AUTO) if usable else None


class Compressor:
    """Compresses chunks on their way out, or leaves them as they are.

    Args:
        codecs: those that both ends have, the best one first.
        always: not only on a way that is known to be thin.

    Attributes:
        busy: the last chunk took the time of a codec.
    """

    def __init__(self, codecs: Sequence[str], *, always: bool) -> None:
        self._codecs = codecs
        self._always = always
        self._poor: dict[int, int] = {}
        self.busy = False

    def codec(self, bandwidth: float | None) -> str:
        """The codec for a way of so many bytes per second, or an empty string; None: they are not known."""
        if self._always:
            return self._codecs[0]
        return next((codec for codec in self._codecs if bandwidth is not None and bandwidth <= CODECS[codec].thin), "")

    def compress(self, transfer: int, chunk: memoryview, bandwidth: float | None) -> tuple[int, bytes] | None:
        """The number of a codec and the chunk compressed by it, or None: it is to go as it is.

        A chunk that was not worth it speaks for those that follow it in its transfer.
        """
        codec = self.codec(bandwidth) if len(chunk) >= LEAST else ""
        poor = self._poor.get(transfer, 0) if codec else 0
        self.busy = bool(codec) and not poor
        if not self.busy:
            if poor:
                self._poor[transfer] = poor - 1
            return None
        packed = CODECS[codec].compress(chunk)
        if len(packed) > WORTH * len(chunk):
            self._poor[transfer] = SAMPLE_AGAIN - 1
            return None
        return CODECS[codec].number, packed

    def forget(self, transfer: int) -> None:
        """A transfer is over."""
        self._poor.pop(transfer, None)


def decompress(number: int, data: Buffer, size: int) -> Buffer:
    """A chunk as it was.

    Raises:
        RemoteProtocolError: it is none of this codec and size, or too large, or the codec is not known here.
    """
    codec = next((CODECS[name] for name in available() if CODECS[name].number == number), None)
    if codec is None or not 0 < size <= CHUNK:
        raise RemoteProtocolError(f"a compressed chunk of {size:,} bytes by codec {number}")
    try:
        found = codec.decompress(data, size)
    except ValueError as error:
        raise RemoteProtocolError(f"a compressed chunk that is none: {error}") from None
    if len(found) != size:
        raise RemoteProtocolError(f"a compressed chunk that has {len(found):,} bytes, and says {size:,}")
    return found
