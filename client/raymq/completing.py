"""Futures are completed in a thread of their own: unpickling runs user code, which must not hold up the I/O thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Completions:
    """Runs what is put in, in order, in one thread that starts with the first."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, complete: Callable[[], None]) -> None:
        """Have it run soon; may be called from any thread."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="raymq-futures", daemon=True)
                self._thread.start()
        self._queue.put(complete)

    def _run(self) -> None:
        while True:
            self._queue.get()()
