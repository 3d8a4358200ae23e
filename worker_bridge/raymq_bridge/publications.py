"""What is published on a cluster: under which name, until when, and why something is not there any more. Pure.

It runs in the holder, on a worker that need not have raymq: it is sent there by value and imports nothing of raymq.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

NAME_MAX = 200
"""Characters of a name."""

PUBLICATIONS_MAX = 10_000
"""Publications of one cluster."""

REMEMBERED = 1_000
"""Names of which it is known why they are gone; the oldest is forgotten."""

_NAMED = 10
"""Names that an error lists."""

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


class Refused(Exception):
    """What was asked for cannot be done. ``kind`` names the error in ``raymq.errors`` that the client gets."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message


class Publication(NamedTuple):
    """One name, and what it stands for.

    Attributes:
        kind: ``object`` or ``actor``.
        content: the reference or handle that keeps it alive.
        identity: what makes two contents the same.
        size: bytes of an object; None of an actor.
        owner: who published it: ``user``, ``host``, ``pid``, ``program``.
        since: when, in seconds of any monotonic clock, as everywhere here.
        until: when it ends; None if it has to be unpublished.
    """

    name: str
    kind: str
    content: Any
    identity: str
    size: int | None
    owner: dict[str, Any]
    since: float
    until: float | None


def check_name(name: Any) -> None:
    """See that this can be a publication's name.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty, too long, or cannot be printed.
    """
    if not isinstance(name, str):
        raise TypeError(f"a publication's name is a str, not {type(name).__name__}")
    if not name or len(name) > NAME_MAX or not name.isprintable():
        raise ValueError(
            f"a publication's name is printable text of 1 to {NAME_MAX} characters; this one has {len(name):,}: "
            f"{name[:NAME_MAX]!r}"
        )


def check_ttl(ttl: Any) -> None:
    """See that this can be a time to live.

    Raises:
        TypeError: it is neither None nor a number.
        ValueError: it is not above 0, or has no end.
    """
    if ttl is None:
        return
    if isinstance(ttl, bool) or not isinstance(ttl, int | float):
        raise TypeError(f"a time to live is a number of seconds or None, not {type(ttl).__name__}")
    if not 0 < ttl < math.inf:
        raise ValueError(f"a time to live is above 0 and has an end, not {ttl!r}; None is until unpublished")


class Publications:
    """All publications. Each method first ends what is over by ``now``.

    Args:
        now: the time of its making: it is empty since then.
        limit: how many there may be.
    """

    def __init__(self, now: float, limit: int = PUBLICATIONS_MAX) -> None:
        self.empty_since: float | None = now
        self._limit = limit
        self._there: dict[str, Publication] = {}
        self._gone: dict[str, tuple[float, str]] = {}
        self._ended: list[Publication] = []

    def __len__(self) -> int:
        return len(self._there)

    def check(self, name: str, *, replace: bool, now: float) -> None:
        """See whether something could be published under a name.

        Raises:
            Refused: the name is taken, or there are as many as there may be.
        """
        self.expire(now)
        taken = self._there.get(name)
        if taken is not None and not replace:
            raise Refused(
                "AlreadyPublished",
                f"{name!r} is taken: {who(taken.owner)} published an {taken.kind} as that {span(now - taken.since)} "
                f"ago. Take another name, say replace=True, or unpublish({name!r}) first.",
            )
        if taken is None and len(self._there) >= self._limit:
            raise Refused(
                "PublicationError",
                f"{len(self._there):,} publications are there, which is as many as there may be: unpublish what is "
                "not needed any more; published() lists them",
            )

    def add(self, publication: Publication, *, replace: bool, now: float) -> None:
        """Publish something.

        Raises:
            Refused: as of ``check``.
        """
        self.check(publication.name, replace=replace, now=now)
        old = self._there.get(publication.name)
        if old is not None:
            self._end(old, now, f"{who(publication.owner)} replaced it")
        self._gone.pop(publication.name, None)
        self._there[publication.name] = publication
        self.empty_since = None

    def find(self, name: str, now: float) -> Publication:
        """What is published under a name.

        Raises:
            Refused: nothing is; the message says why, if that is known, and which names there are.
        """
        self.expire(now)
        found = self._there.get(name)
        if found is None:
            raise Refused("NotPublished", f"nothing is published as {name!r}{self._why(name, now)}. {self._names()}")
        return found

    def remove(self, name: str, by: dict[str, Any], now: float) -> None:
        """Unpublish.

        Raises:
            Refused: as of ``find``.
        """
        self._end(self.find(name, now), now, f"{who(by)} unpublished it")

    def expire(self, now: float) -> None:
        """End what is over by now."""
        for publication in [p for p in self._there.values() if p.until is not None and p.until <= now]:
            self._end(publication, now, "its time to live ended")

    @property
    def has_ended(self) -> bool:
        """Whether ``take_ended`` has something to give: whoever looks ends what is over."""
        return bool(self._ended)

    def take_ended(self) -> list[Publication]:
        """What has ended since this was asked last, and is not published under another name as well."""
        if not self._ended:
            return []
        ended, self._ended = self._ended, []
        left = {publication.identity for publication in self._there.values()}
        return [publication for publication in ended if publication.identity not in left]

    def next_deadline(self) -> float | None:
        """When the next one is over."""
        return min((p.until for p in self._there.values() if p.until is not None), default=None)

    def listing(self, now: float) -> list[dict[str, Any]]:
        """All that there is, by name, as plain data; times are seconds from ``now``."""
        self.expire(now)
        return [
            {
                "name": publication.name,
                "kind": publication.kind,
                "size": publication.size,
                "owner": publication.owner,
                "age": now - publication.since,
                "expires_in": None if publication.until is None else publication.until - now,
            }
            for _, publication in sorted(self._there.items())
        ]

    def _end(self, publication: Publication, now: float, why: str) -> None:
        del self._there[publication.name]
        if not self._there:
            self.empty_since = now
        self._ended.append(publication)
        self._gone.pop(publication.name, None)
        self._gone[publication.name] = (now, why)
        if len(self._gone) > REMEMBERED:
            del self._gone[next(iter(self._gone))]

    def _why(self, name: str, now: float) -> str:
        if name not in self._gone:
            return ""
        when, why = self._gone[name]
        return f" any more: {why} {span(now - when)} ago"

    def _names(self) -> str:
        if not self._there:
            return "There are no publications."
        names = sorted(self._there)
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        return f"There is: {', '.join(map(repr, names[:_NAMED]))}{more}."


def who(owner: dict[str, Any]) -> str:
    """An owner, for people: ``ada@laptop``."""
    return "@".join(str(owner[key]) for key in ("user", "host") if owner.get(key)) or "somebody"


def span(seconds: float) -> str:
    """A length of time in its largest unit, for people: ``42 s``, ``3 min``."""
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return "0 s"
