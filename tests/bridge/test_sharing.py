"""What a session does when the holder ends, or cannot be had. The holder itself is in the integration tests."""

from __future__ import annotations

from typing import Any

import pytest
import ray.exceptions

from raymq import errors
from raymq_bridge import cluster, holder
from raymq_bridge.copying import FAILED
from raymq_bridge.holder import CLOSING
from raymq_bridge.sharing import PAUSES, Sharing

DIED = ray.exceptions.ActorDiedError()
AWAY = ray.exceptions.ActorUnavailableError("it cannot be reached", None)


class Calls:
    """Stands where the holder's actor is called, and notes who is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *actors: Any) -> None:
        self.actors = list(actors)
        self.called: list[Any] = []
        monkeypatch.setattr(holder, "find", lambda *, create: self.actors.pop(0))
        monkeypatch.setattr(cluster, "method", lambda actor, name, options: (actor, name))
        monkeypatch.setattr(cluster, "submit", lambda callee, args, kwargs: [self.called.append(callee)])


def driven(steps: Any, *came: Any) -> Any:
    """Take all steps of an operation; ``came`` is what it waits for, None for a pause."""
    steps.send(None)
    try:
        for one in came:
            steps.send(one)
    except StopIteration as done:
        return done.value
    pytest.fail("it is not done yet")


def test_a_holder_that_just_ends_has_a_successor(monkeypatch: pytest.MonkeyPatch) -> None:
    for outcome in ((CLOSING, ""), DIED, AWAY):
        calls = Calls(monkeypatch, "first", "second")
        sharing = Sharing()
        assert driven(sharing.lookup("name"), outcome, None, ("", ["found"])) == "found"
        assert driven(sharing.published(), ("", [])) == []
        assert calls.called == [("first", "lookup"), ("second", "lookup"), ("second", "published")]


def test_one_that_died_and_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    Calls(monkeypatch, "first", None, None)
    sharing = Sharing()
    with pytest.raises(
        errors.NotPublished, match=r"There are no publications\. The actor .* has died, .*The actor died"
    ):
        driven(sharing.lookup("name"), DIED, None)
    with pytest.raises(errors.NotPublished):
        driven(sharing.unpublish("name"))


def test_none_that_could_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    Calls(monkeypatch, *PAUSES)
    with pytest.raises(errors.PublicationError, match=r"cannot be had\. .*The actor died"):
        driven(Sharing().published(), *[DIED, None] * len(PAUSES))


def test_what_the_holder_refuses_or_fails_with(monkeypatch: pytest.MonkeyPatch) -> None:
    Calls(monkeypatch, "holder")
    sharing = Sharing()
    with pytest.raises(errors.AlreadyPublished, match="taken"):
        driven(sharing.unpublish("name"), ("AlreadyPublished", "it is taken"))
    full = ray.exceptions.ObjectStoreFullError("no room")
    with pytest.raises(ray.exceptions.ObjectStoreFullError):
        driven(sharing.published(), ray.exceptions.RayTaskError("publish", "text", full))


def test_an_object_that_is_an_error_for_the_holder_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    Calls(monkeypatch, "holder")
    monkeypatch.setattr(cluster, "is_reference", lambda value: True)
    sharing = Sharing()
    with pytest.raises(errors.PublicationError, match="cannot be copied: Ray's error type 7"):
        driven(sharing.publish("name", "reference"), None, (FAILED, "7"), "a value")
    with pytest.raises(KeyError):
        driven(
            sharing.publish("name", "reference"),
            None,
            (FAILED, "3"),
            ray.exceptions.RayTaskError("f", "", KeyError()),
        )


def test_only_what_can_be_shared() -> None:
    with pytest.raises(TypeError, match="a reference or an actor's handle, not int"):
        driven(Sharing().publish("name", 1))


def test_the_owner_is_what_the_client_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sharing = Sharing()
    assert sharing._owner() == {}
    sharing.client = {"user": "ada", "host": "", "pid": 7, "python": "3.11"}
    assert sharing._owner() == {"user": "ada", "pid": 7}
