"""What the processes on the head node have in common: their log, and how they are supervised. Needs the head extra.

A supervised process has a pipe as its standard input, which its supervisor holds open: its end means that the
supervisor is gone, and that the process stops. What the supervisor has to tell comes as JSON lines in there (to the
broker: who has died; the others are told nothing). The process tells the supervisor what happens as JSON lines on its
standard output. Logs go to standard error.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO, cast

import structlog

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's parameters (malloc.h)."""

MEMORY_KEPT = 64 << 20
"""Bytes that may be free before they are given back to the system."""

MAPPED_FROM = 32 << 20
"""Bytes from which a piece of memory is asked of the system for itself: more than any frame has."""


def keep_memory() -> None:
    """Have memory that is freed used again. A chunk of a transfer is 1 MiB, and glibc would give it back each time.

    Getting it again has its price: the system clears every page anew.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library: it has its own ways
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_TRIM_THRESHOLD, MEMORY_KEPT)
        libc.mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM)


class _Forgiving:
    """Standard error, for a log that goes on when nobody reads it any longer."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def configure_logging(log_format: str, **context: Any) -> structlog.stdlib.BoundLogger:
    """Set up structlog on standard error as ``"console"`` or ``"json"``, and return a logger bound to ``context``."""
    renderer: Any = structlog.processors.JSONRenderer()
    if log_format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Forgiving())),
        cache_logger_on_first_use=True,
    )
    logger: structlog.stdlib.BoundLogger = structlog.get_logger().bind(**context)
    return logger


_events_to = 1


def claim_stdout() -> None:
    """Keep standard output for events: whatever else prints there, Ray for instance, goes to standard error."""
    global _events_to
    _events_to = os.dup(1)
    os.dup2(2, 1)


def tell(event: str, **fields: Any) -> None:
    """Tell the supervisor, or whoever reads standard output, one event."""
    try:
        os.write(_events_to, json.dumps({"event": event, **fields}).encode() + b"\n")
    except BrokenPipeError:
        pass  # the supervisor is gone; the end of standard input says so too, and is what we act on


class Told:
    """The supervisor's lines, read from standard input whenever a poller says that something is there.

    Attributes:
        ended: the supervisor is gone.
    """

    def __init__(self, fileno: int = 0) -> None:
        self.ended = False
        self._fileno = fileno
        self._rest = b""

    def fileno(self) -> int:
        """What to poll."""
        return self._fileno

    def read(self) -> list[dict[str, Any]]:
        """What has come: at least a part of a line, or the end. A line that is no JSON map is passed over."""
        piece = os.read(self._fileno, 65536)
        self.ended = not piece
        *lines, self._rest = (self._rest + piece).split(b"\n")
        told = []
        for line in lines:
            with contextlib.suppress(ValueError):
                told.append(json.loads(line))
        return [each for each in told if isinstance(each, dict)]


def clock() -> str:
    """The time of day, for people far and near."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())


def how_it_ended(code: int, what: str = "it") -> str:
    """What a process's exit code says, for people; it is minus the signal's number if a signal ended it."""
    if code >= 0:
        return f"{what} ended with code {code}"
    number = -code
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return f"{name} ended {what}"


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call ``stop`` on SIGTERM and SIGINT, from the main thread, between two bytecodes: it must only set a flag."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())


def stop_with_supervisor(stop: Callable[[], None]) -> None:
    """Call ``stop``, from a thread of its own, when standard input ends."""

    def watch() -> None:
        # Read from the descriptor: at exit the interpreter would wait for the lock of a buffered sys.stdin.
        while os.read(0, 1024):
            pass
        stop()

    threading.Thread(target=watch, name="supervisor-watch", daemon=True).start()
