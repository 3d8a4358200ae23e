"""A proxy that makes a way long or narrow: ``python -m benchmarks.wan LISTEN TARGET --delay S --rate BYTES``.

Bytes leave it so many seconds after they came, each way, and no more of them a second than the rate. What is on the
way is bounded, as it is in a network: by what the rate brings in the delay, and some buffers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib

PIECE = 1 << 16
BUFFERS = 4 << 20
"""Bytes that one direction holds beside those that the delay keeps."""


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float, rate: float) -> None:
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(BUFFERS // PIECE + int(delay * min(rate, 1e9) / PIECE))

    async def write() -> None:
        free = 0.0
        while True:
            due, piece = await pieces.get()
            begin = max(due, free, loop.time())
            free = begin + len(piece) / rate
            await asyncio.sleep(begin - loop.time())
            if not piece:
                writer.close()
                return
            writer.write(piece)
            await writer.drain()

    writing = asyncio.ensure_future(write())
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(PIECE):
            await pieces.put((loop.time() + delay, piece))
    await pieces.put((loop.time() + delay, b""))
    with contextlib.suppress(ConnectionError):
        await writing


async def serve(listen: int, target: int, delay: float, rate: float) -> None:
    """Serve until cancelled."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(_carry(reader, there[1], delay, rate), _carry(there[0], writer, delay, rate))

    async with await asyncio.start_server(connected, "127.0.0.1", listen) as server:
        await server.serve_forever()


def main() -> None:
    """Read the command line, and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("listen", type=int)
    parser.add_argument("target", type=int)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds, each way")
    parser.add_argument("--rate", type=float, default=1e12, help="bytes per second, each way")
    options = parser.parse_args()
    asyncio.run(serve(options.listen, options.target, options.delay, options.rate))


if __name__ == "__main__":
    main()
