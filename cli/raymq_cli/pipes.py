"""The supervisor's ends of the pipes to and from a child; nothing here ever waits."""

from __future__ import annotations

import os
from typing import IO

_READ_SIZE = 65536
_READS = 64

WAITING_MAX = 1 << 20
"""Bytes that may wait for a child that does not read; more is dropped."""


class Lines:
    """A pipe that is read without waiting, cut into lines."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        if pipe is None:
            raise ValueError("the process was started without this pipe")
        self.pipe = pipe
        self.ended = False
        self._rest = b""
        os.set_blocking(pipe.fileno(), False)

    def read(self) -> list[bytes]:
        """The lines that have come, up to a few MiB; at the end of the pipe also a last one without a newline."""
        data = self._rest
        for _ in range(_READS):
            try:
                piece = os.read(self.pipe.fileno(), _READ_SIZE)
            except BlockingIOError:
                break
            data += piece
            if not piece:
                self.ended = True
                break
        *lines, self._rest = data.split(b"\n")
        if self.ended and self._rest:
            lines.append(self._rest)
            self._rest = b""
        return lines


class Writer:
    """A pipe that is written to without waiting, a line at a time; what its reader has no room for yet is kept."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        if pipe is None:
            raise ValueError("the process was started without this pipe")
        self.pipe = pipe
        self._waiting = b""
        os.set_blocking(pipe.fileno(), False)

    @property
    def is_waiting(self) -> bool:
        """Whether ``flush`` has something to write, as soon as the pipe has room."""
        return bool(self._waiting)

    def put(self, line: bytes) -> None:
        """Write a line, now or as soon as the pipe has room; drop it if too much waits already."""
        if len(self._waiting) + len(line) < WAITING_MAX:
            self._waiting += line + b"\n"
            self.flush()

    def flush(self) -> None:
        """Write what waits, as far as the pipe has room for it."""
        try:
            while self._waiting:
                self._waiting = self._waiting[os.write(self.pipe.fileno(), self._waiting) :]
        except BlockingIOError:
            pass
        except OSError:  # nobody reads there any more: the child is gone, or about to be
            self._waiting = b""
