"""Sharing between sessions: objects and actors that outlive the session of whoever published them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raymq import duration
from raymq.actors import ActorHandle
from raymq.errors import AlreadyPublished
from raymq.packing import type_name
from raymq.refs import ObjectRef

if TYPE_CHECKING:
    from raymq.session import Session


@dataclass(frozen=True)
class Publication:
    """What ``published`` tells of one publication.

    Attributes:
        name: under which ``lookup`` finds it.
        kind: ``object`` or ``actor``.
        size: bytes of the object as it is stored; None of an actor.
        owner: who published it: ``user``, ``host``, ``pid`` and ``program``.
        age: seconds since it was published.
        expires_in: seconds until it ends; None if it has to be unpublished.
    """

    name: str
    kind: str
    size: int | None
    owner: dict[str, Any]
    age: float
    expires_in: float | None


def share(session: Session, name: str, what: Any, ttl: float | str | None, *, replace: bool) -> None:
    """``Session.publish``."""
    if not isinstance(what, ObjectRef | ActorHandle):
        raise TypeError(
            f"publish() takes an ObjectRef or an actor's handle, not {type_name(what)}: put() makes a reference of a "
            f"value, as in publish({name!r}, put(value))"
        )
    seconds = None if ttl is None else duration.parse("ttl", ttl)
    if isinstance(what, ObjectRef) and not session.wait([what], timeout=0, fetch_local=False)[0]:
        # Who waits for an hour wants to know before, not after, that the name is taken.
        if not replace and any(publication.name == name for publication in listing(session)):
            raise AlreadyPublished(f"{name!r} is taken: take another name, say replace=True, or unpublish({name!r})")
        session.wait([what], fetch_local=False)
    session._life.request("publish", (name, what), {"ttl": seconds, "replace": replace}, held=what)


def listing(session: Session) -> list[Publication]:
    """``Session.published``."""
    return [
        Publication(
            name=entry["name"],
            kind=entry["kind"],
            size=entry["size"],
            owner=entry["owner"],
            age=entry["age"],
            expires_in=entry["expires_in"],
        )
        for entry in session.request("published")
    ]
