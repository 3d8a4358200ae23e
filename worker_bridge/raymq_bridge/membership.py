"""Being a driver of the cluster: sought ahead of the session, since it is most of the time that a connect() takes.

A bridge that waits for a session has joined with the job that most sessions want: one with nothing said about it. A
session with a namespace or a runtime environment of its own makes it leave, and join anew.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from raymq_bridge.sentry import Place

PLAIN: dict[str, Any] = {}
"""The job of a session that says nothing about it."""


@dataclass(frozen=True)
class Joined:
    """This process is a driver of the cluster; ``described`` is what the client is told of that."""

    described: dict[str, Any]
    place: Place


class Membership:
    """Joins in threads of its own: Ray may take minutes, and the session may be closed meanwhile.

    Args:
        join: become a driver with a job; raises what it likes.
        leave: be one no longer.
        wake: called from those threads when ``poll`` has something to tell.
    """

    def __init__(
        self, join: Callable[[dict[str, Any]], tuple[dict[str, Any], Place]], leave: Callable[[], None],
        wake: Callable[[], None],
    ) -> None:  # fmt: skip
        self._join = join
        self._leave = leave
        self._wake = wake
        self._wanted = PLAIN
        self._tried: dict[str, Any] | None = None
        self._joined: Joined | None = None
        self._told = True
        self._outcomes: queue.SimpleQueue[Joined | Exception] = queue.SimpleQueue()

    @property
    def under_way(self) -> bool:
        """Whether a thread is about to join."""
        return self._tried is not None and self._joined is None

    def seek(self, job: dict[str, Any]) -> None:
        """Be a driver with this job; ``poll`` tells what came of it, also if this process is one already."""
        self._wanted, self._told = job, False
        if not self.under_way and job != self._tried:
            self._begin()

    def _begin(self) -> None:
        leaves, self._joined, self._tried = self._joined is not None, None, self._wanted
        threading.Thread(target=self._run, args=(self._wanted, leaves), name="raymq_connect", daemon=True).start()

    def _run(self, job: dict[str, Any], leaves: bool) -> None:
        try:
            if leaves:
                self._leave()
            self._outcomes.put(Joined(*self._join(job)))
        except Exception as error:
            self._outcomes.put(error)
        self._wake()

    def poll(self) -> Joined | Exception | None:
        """What came of what was sought last, told once; None if nothing has yet."""
        if not self._outcomes.empty():
            outcome = self._outcomes.get()
            tried, self._tried = self._tried, None
            if isinstance(outcome, Joined):
                self._joined, self._tried = outcome, tried
            if tried != self._wanted:
                self._begin()
            elif isinstance(outcome, Exception):
                self._told = True
                return outcome
        if self._joined is None or self._told:
            return None
        self._told = True
        return self._joined
