"""Wakes a loop that waits for sockets, from another thread or from a signal handler."""

from __future__ import annotations

import os
from io import FileIO, RawIOBase

_ONE = (1).to_bytes(8, "little")


class Waker:
    """Something to poll, which becomes readable when the loop is woken; the loop's to close.

    However often the loop is woken before it looks, that costs one system call.
    """

    def __init__(self) -> None:
        # Files, not bare numbers: a number may be another file's by the time that somebody wakes a loop that has ended.
        self._reader: RawIOBase
        self._writer: RawIOBase
        if hasattr(os, "eventfd"):
            self._reader = self._writer = FileIO(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC), "r+")
        else:
            self._reader, self._writer = _pair()
        self._awake = False  # no Event: a signal handler may come while the loop changes it

    def fileno(self) -> int:
        """What the loop polls."""
        return self._reader.fileno()

    def wake(self) -> None:
        """Make the loop go round once more; callable from anywhere, at any time."""
        if not self._awake:
            self._awake = True
            try:
                self._writer.write(_ONE)
            except (OSError, ValueError):
                pass  # the loop has ended
            except BaseException:
                self._awake = False  # an interrupt: who comes next has to try again
                raise

    def clear(self) -> None:
        """There is something to read: the loop is awake, and is going to look at all that it may be woken for."""
        self._reader.read(len(_ONE))
        self._awake = False

    def close(self) -> None:
        """Nobody waits any longer."""
        self._reader.close()
        self._writer.close()


def _pair() -> tuple[RawIOBase, RawIOBase]:
    """Two ends of a connection, where there are no eventfds; what is closed here stays open for its file."""
    import socket

    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        return reader.makefile("rb", buffering=0), writer.makefile("wb", buffering=0)
