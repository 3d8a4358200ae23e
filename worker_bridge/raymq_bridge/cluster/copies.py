"""Copies of objects on this node, where Ray makes them when they are asked for."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

import ray

from raymq_bridge.cluster.references import identity

log = logging.getLogger(__name__)

LOOK_MIN, LOOK_MAX = 0.005, 0.1
"""Seconds that Ray waits for one of the objects, before the thread takes in others: longer and longer."""


def ready_now(references: Sequence[Any], *, fetch_local: bool) -> set[bytes]:
    """The identities of those references that are ready, without waiting.

    Args:
        references: which.
        fetch_local: to be ready is to be on this node. Ray begins to copy here what is only on others, and goes on.
    """
    if not references:
        return set()
    each = list(set(references))
    ready, _ = ray.wait(each, num_returns=len(each), timeout=0, fetch_local=fetch_local)
    return {identity(reference) for reference in ready}


class Copies:
    """Tells when objects are on this node, from a thread of its own.

    Ray itself tells it only together with the value, unpickled, which nobody has asked for.
    """

    def __init__(self) -> None:
        self._added: queue.SimpleQueue[tuple[Any, Callable[[], None]]] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def on_local(self, reference: Any, callback: Callable[[], None]) -> None:
        """Call back when an object is on this node, or its error; it is copied here if need be. Does not wait."""
        with self._starting:
            self._added.put((reference, callback))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="raymq-copies", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        waiting: dict[Any, list[Callable[[], None]]] = {}  # by reference
        seconds = 0.0
        while True:
            if self._take_in(waiting):
                seconds = 0.0
            here = self._look(list(waiting), seconds)
            seconds = LOOK_MIN if here or not seconds else min(2 * seconds, LOOK_MAX)
            _call(waiting, here)  # and hold nothing while nothing happens

    def _look(self, references: list[Any], seconds: float) -> set[bytes]:
        """The identities of those that are here, after so many seconds at most if none is."""
        try:
            if seconds:
                ray.wait(references, timeout=seconds, fetch_local=True)
            return ready_now(references, fetch_local=True)
        except Exception:
            log.warning("Ray does not tell what is on this node: whoever wants it finds out why", exc_info=True)
            return {identity(reference) for reference in references}

    def _take_in(self, waiting: dict[Any, list[Callable[[], None]]]) -> bool:
        """What was added; waits for it if there is nothing else to wait for."""
        added = []
        if not waiting:
            added.append(self._added.get())
        with contextlib.suppress(queue.Empty):
            while True:
                added.append(self._added.get_nowait())
        for reference, callback in added:
            waiting.setdefault(reference, []).append(callback)
        return bool(added)


def _call(waiting: dict[Any, list[Callable[[], None]]], here: set[bytes]) -> None:
    for reference in [reference for reference in waiting if identity(reference) in here]:
        for callback in waiting.pop(reference):
            callback()


_COPIES = Copies()
on_local = _COPIES.on_local
