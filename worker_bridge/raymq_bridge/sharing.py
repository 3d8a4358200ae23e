"""What a session asks of the holder, the actor that keeps what is published."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from raymq import errors
from raymq_bridge import cluster, holder, steps
from raymq_bridge.copying import FAILED
from raymq_bridge.holder import CLOSING, Outcome
from raymq_bridge.publications import check_name, check_ttl
from raymq_bridge.steps import Steps, Wait

PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Seconds for a holder that ends to be gone, before its successor is asked."""


class Sharing:
    """The operations of one session. Those that the holder carries out are done in steps, since it may take a while."""

    def __init__(self) -> None:
        self.client: dict[str, Any] = {}
        """What the session's client tells of itself."""
        self.operations: dict[str, Callable[..., Steps]] = {
            "publish": self.publish,
            "lookup": self.lookup,
            "unpublish": self.unpublish,
            "published": self.published,
        }
        self._holder: Any = None
        self._died = ""

    def publish(self, name: str, value: Any, *, ttl: float | None = None, replace: bool = False) -> Steps:
        """Publish an object, as soon as it is there, or an actor."""
        check_name(name)
        check_ttl(ttl)
        if cluster.is_reference(value):
            yield steps.ready(value)
        elif not cluster.is_actor(value):
            raise TypeError(f"publish() takes a reference or an actor's handle, not {type(value).__name__}")
        kind, found = yield from self._ask(
            "publish", name, [value], ttl, bool(replace), self._owner(), group="copies", create=True
        )
        if kind == FAILED:
            error = yield steps.value_of(value)
            if cluster.is_error(error):
                raise cluster.raised(error)
            raise errors.PublicationError(f"the object cannot be copied: Ray's error type {found}")
        return _checked(kind, found)

    def lookup(self, name: str) -> Steps:
        """The object or actor of that name."""
        check_name(name)
        [found] = _checked(*(yield from self._ask("lookup", name, none=lambda: self._nothing(name))))
        return found

    def unpublish(self, name: str) -> Steps:
        """End a publication."""
        check_name(name)
        outcome = yield from self._ask("unpublish", name, self._owner(), none=lambda: self._nothing(name))
        return _checked(*outcome)

    def published(self) -> Steps:
        """All publications, as plain data."""
        return _checked(*(yield from self._ask("published", none=lambda: ("", []))))

    def _ask(
        self,
        method: str,
        *args: Any,
        group: str | None = None,
        create: bool = False,
        none: Callable[[], Outcome] | None = None,
    ) -> Generator[Wait, Any, Outcome]:
        """Call a method of the holder.

        Args:
            method: its name.
            args: its arguments.
            group: the concurrency group that it runs in, if not the default one.
            create: make a holder where there is none.
            none: gives the outcome where there is none and none is to be made.
        """
        # Where it is not known whether a call was carried out, a second one does no harm: it is refused.
        for seconds in PAUSES:
            if self._holder is None:
                self._holder = holder.find(create=create)
            if self._holder is None and none is not None:
                return none()
            called = cluster.method(self._holder, method, {"concurrency_group": group} if group else {})
            [reference] = cluster.submit(called, args, {})
            outcome = yield steps.value_of(reference)
            if cluster.is_actor_gone(outcome):
                self._died = str(outcome)
            elif cluster.is_error(outcome):
                raise cluster.raised(outcome)
            elif outcome[0] != CLOSING:
                kind, value = outcome
                return kind, value
            self._holder = None
            yield steps.pause(seconds)
        raise errors.PublicationError(f"the actor that holds publications cannot be had. {self._died}".rstrip())

    def _owner(self) -> dict[str, Any]:
        return {key: self.client[key] for key in ("user", "host", "pid", "program") if self.client.get(key)}

    def _nothing(self, name: str) -> Outcome:
        why = f" The actor that held publications has died, and they with it: {self._died}" if self._died else ""
        return "NotPublished", f"nothing is published as {name!r}. There are no publications.{why}"


def _checked(kind: str, value: Any) -> Any:
    """The value of an outcome, or raise the error that it names."""
    if kind:
        raise getattr(errors, kind)(value)
    return value
