"""Wakes a loop that waits for sockets, from another thread or from a signal handler."""

from __future__ import annotations

import socket as sockets


class Waker:
    """A pair of sockets, one of which the loop polls; both ends of it are the loop's to close.

    However often the loop is woken before it looks, that costs one system call.
    """

    def __init__(self) -> None:
        self._reader, self._writer = sockets.socketpair()
        self._writer.setblocking(False)
        self._awake = False  # no Event: a signal handler may come while the loop changes it

    def fileno(self) -> int:
        """What the loop polls."""
        return self._reader.fileno()

    def wake(self) -> None:
        """Make the loop go round once more; callable from anywhere, at any time."""
        if not self._awake:
            self._awake = True
            try:
                self._writer.send(b"\0")
            except OSError:
                pass  # the loop has ended
            except BaseException:
                self._awake = False  # an interrupt: who comes next has to try again
                raise

    def clear(self) -> None:
        """There is something to read: the loop is awake, and is going to look at all that it may be woken for."""
        self._reader.recv(64)
        self._awake = False

    def close(self) -> None:
        """Nobody waits any longer."""
        self._reader.close()
        self._writer.close()
