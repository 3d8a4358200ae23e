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

LOOK_MIN, LOOK_MAX = 0.005, 0.02
"""Seconds that Ray waits for one of the objects, longer and longer, before others are looked at that may be here."""


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


_Added = queue.SimpleQueue["tuple[Any, Callable[[], None]] | None"]


class Copies:
    """Tells when objects are on this node, from a thread of its own.

    Ray itself tells it only together with the value, unpickled, which nobody has asked for.
    """

    def __init__(self) -> None:
        self._added: _Added = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self.has_ray = True
        """Whether Ray is there to be asked, and not going or gone."""

    def on_local(self, reference: Any, callback: Callable[[], None]) -> None:
        """Call back when an object is on this node, or its error; it is copied here if need be. Does not wait."""
        with self._starting:
            if not self.has_ray:
                return
            self._added.put((reference, callback))
            if self._thread is None:
                thread = threading.Thread(target=_run, args=(self._added,), name="raymq-copies", daemon=True)
                thread.start()
                self._thread = thread

    def start(self) -> None:
        """Ray is there, perhaps again."""
        self.has_ray = True

    def stop(self) -> None:
        """Tell nobody any more: Ray is about to go. It may come again, for another job."""
        with self._starting:
            self.has_ray = False
            thread, self._thread = self._thread, None
            added, self._added = self._added, queue.SimpleQueue()
        if thread is not None:
            added.put(None)
            thread.join()


def _run(added: _Added) -> None:
    # By reference. Nothing else here may hold one while nothing happens: objects would stay with it.
    waiting: dict[Any, list[Callable[[], None]]] = {}
    seconds = 0.0
    while (count := _take_in(added, waiting)) is not None:
        seconds = 0.0 if count else min(2 * seconds, LOOK_MAX) or LOOK_MIN
        if _look(waiting, seconds):
            seconds = 0.0


def _take_in(added: _Added, waiting: dict[Any, list[Callable[[], None]]]) -> int | None:
    """How many were added; waits for one if nothing else is waited for. None: nobody is to be told any more."""
    taken = [] if waiting else [added.get()]
    with contextlib.suppress(queue.Empty):
        while True:
            taken.append(added.get_nowait())
    for each in taken:
        if each is None:
            return None
        waiting.setdefault(each[0], []).append(each[1])
    return len(taken)


def _look(waiting: dict[Any, list[Callable[[], None]]], seconds: float) -> bool:
    """Call those who wait for what is here, after so many seconds at most if nothing is; whether there were any."""
    try:
        if seconds:
            ray.wait(list(waiting), timeout=seconds, fetch_local=True)
        here = ready_now(list(waiting), fetch_local=True)
    except Exception:
        log.warning("Ray does not tell what is on this node: whoever wants it finds out why", exc_info=True)
        here = {identity(reference) for reference in waiting if _is_here(reference)}
    for reference in [reference for reference in waiting if identity(reference) in here]:
        for callback in waiting.pop(reference):
            try:
                callback()
            except Exception:
                log.exception("what waited for a copy failed; this is a bug in raymq")  # and the others go on
    return bool(here)


def _is_here(reference: Any) -> bool:
    """Whether one of them is here, or it is the one for which Ray raises."""
    try:
        return bool(ready_now([reference], fetch_local=True))
    except Exception:
        return True


COPIES = Copies()
on_local = COPIES.on_local
