"""The lives of a session, one after the other: where it starts over when it was lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from raymq.errors import ConnectError, SessionClosed, SessionLost
from raymq.life import Life
from raymq.refs import Held

log = logging.getLogger("raymq")

Reconnect = Literal["new"] | None
"""What a session does when it is lost: nothing, or start over, empty, with the next call."""

ADVICE: dict[Reconnect, str] = {
    None: 'Call connect() again for a new session; connect(..., reconnect="new") makes one that starts over by itself.',
    "new": "The session starts over, empty, with the next call that makes something new: make again what you need.",
}
"""What can be done about a loss, as its error says."""

WANTED = frozenset({"killed", "taken-over"})
"""Codes of ends that somebody wanted, so that nothing starts over by itself."""

GOODBYE_TIME = 5.0
"""Seconds in which the cluster should confirm the end of a life; after that the broker is just told."""


def what_now(reconnect: Reconnect, code: str) -> str:
    """What has become of a lost session's things, and what to do."""
    if code == "taken-over":
        return "What it kept by name is there for the other client; connect(..., takeover=True) takes it back."
    gone = "Its objects and actors are gone, except for detached actors."
    return f"{gone} {ADVICE[None if code in WANTED else reconnect]}"


class Lives:
    """A session's life on the cluster, and the next one when that is lost.

    Args:
        begin: opens a life; raises a ``ConnectError`` where it cannot.
        reconnect: what to do after a loss.
    """

    def __init__(self, begin: Callable[[], Life], reconnect: Reconnect) -> None:
        self._begin = begin
        self._reconnect = reconnect
        self._closed = False
        self._beginning = threading.Lock()
        self._failure: ConnectError | None = None
        self.last = begin()

    @property
    def state(self) -> str:
        """``"open"``, ``"lost"`` or ``"closed"``; the latter also in a forked child, which has no session."""
        if self._closed or not self.last.is_ours or isinstance(self.last.ended, SessionClosed):
            return "closed"
        return "open" if self.last.ended is None else "lost"

    @property
    def is_open(self) -> bool:
        """Whether calls can be made: there is a life, or the next call begins one."""
        return self.state == "open" or (self.state == "lost" and self._starts_over(self.last))

    def _starts_over(self, life: Life) -> bool:
        lost = isinstance(life.ended, SessionLost) and life.lost_by not in WANTED
        return lost and self._reconnect == "new"

    def close(self, timeout: float) -> None:
        """Say goodbye, and begin no other life. Does nothing in a forked child."""
        if self.last.is_ours:
            self._closed = True
            self.last.close(timeout)

    def for_call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Life:
        """The life for a call that makes something new, of these arguments.

        Raises:
            ObjectLost: an argument was lost with an earlier life. Nothing is begun for such a call.
            ActorLost: so was an actor's handle.
            SessionClosed: the session was closed after it was lost.
            ConnectError: the session cannot start over now; the next call tries again.
        """
        life = self.last
        if life.ended is None:
            return life
        for value in (*args, *kwargs.values()):
            if isinstance(value, Held) and value._life.session is life.session:
                value._life.check(value)
        if not self._starts_over(life):
            return life  # it says how it ended
        if not life.is_ours:
            life.check()
        return self._next(life)

    def _next(self, lost: Life) -> Life:
        """The life after a lost one. One thread begins it; those that wait for it meanwhile share its failure."""
        failure = self._failure
        with self._beginning:
            if self._closed:
                raise SessionClosed("the session is closed")
            if self.last is not lost:
                return self.last
            if self._failure is not None and self._failure is not failure:
                raise _copy(self._failure)
            try:
                life = self._begin()
            except ConnectError as error:
                self._failure = _copy(error)
                raise
            # In this order: of close() and this, whichever is later sees what the other did.
            self.last = life
            if self._closed:
                life.close(GOODBYE_TIME)
                raise SessionClosed("the session is closed")
        has = "with what it kept by name" if life.info.resumed else "empty"
        log.warning("%s\nThe session starts over, %s, as %s.", lost.how_lost, has, life.id.hex())
        return life


def _copy(error: ConnectError) -> ConnectError:
    """For each thread its own: an error keeps the tracebacks, and so the frames, of all its raises."""
    return type(error)(*error.args)
