"""What a client says of a session with a name when it opens it."""

from __future__ import annotations

from typing import Any, NamedTuple

from raymq import duration
from raymq.protocol.limits import NAME_MAX, TTL, TTL_MAX


class Named(NamedTuple):
    """The name of a session and what goes with it; an empty name stands for none."""

    name: str
    takeover: bool
    ttl: float

    def as_hello(self) -> dict[str, Any]:
        """The keys of HELLO."""
        return self._asdict() if self.name else {}


NAMELESS = Named("", takeover=False, ttl=0.0)


def check_named(session: str | None, ttl: float | str | None, *, takeover: bool) -> Named:
    """Read the arguments of ``connect``.

    Raises:
        TypeError: the name is no text.
        ValueError: it is empty or too long; a ttl that cannot be read; or a ttl or takeover without a name.
    """
    if session is None:
        if ttl is not None or takeover:
            raise ValueError("ttl and takeover are for sessions with a name: connect(..., session=NAME)")
        return NAMELESS
    if not isinstance(session, str):
        raise TypeError(f"session is the name of a session, not {type(session).__name__}")
    if not 0 < len(session) <= NAME_MAX:
        raise ValueError(f"the name of a session has 1 to {NAME_MAX} characters")
    return Named(session, takeover=bool(takeover), ttl=check_ttl(TTL if ttl is None else ttl))


def check_ttl(ttl: float | str) -> float:
    """Read how long a session waits for its next client; seconds.

    Raises:
        TypeError: it is neither a number nor a text.
        ValueError: it cannot be read, or is too long.
    """
    seconds = duration.parse("ttl", ttl)
    if seconds > TTL_MAX:
        raise ValueError(f"ttl={ttl!r} is too long: a session waits at most {TTL_MAX / 86400:.0f} days")
    return seconds
