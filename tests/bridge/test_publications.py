"""What is published: names, times to live, and why something is gone. And operations that are done in steps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from raymq_bridge import publications as module
from raymq_bridge.publications import Publication, Publications, Refused, check_name, check_ttl, span, who
from raymq_bridge.steps import Resume, go_on, pause

ADA, BOB = {"user": "ada", "host": "laptop"}, {"user": "bob"}


def publication(name: str, identity: str = "", until: float | None = None, **changes: Any) -> Publication:
    return Publication(name, "object", object(), identity or name, 10, ADA, 0.0, until)._replace(**changes)


def refused(call: Callable[[], Any], kind: str) -> str:
    with pytest.raises(Refused) as caught:
        call()
    assert caught.value.kind == kind
    return caught.value.message


def test_found_until_it_is_removed() -> None:
    table = Publications(0.0)
    first = publication("a")
    table.add(first, replace=False, now=1.0)
    assert (table.find("a", 2.0), len(table), table.empty_since) == (first, 1, None)
    table.remove("a", BOB, 3.0)
    assert (len(table), table.empty_since, table.has_ended) == (0, 3.0, True)
    assert table.take_ended() == [first]
    assert table.take_ended() == []
    message = refused(lambda: table.find("a", 63.0), "NotPublished")
    assert message == "nothing is published as 'a' any more: bob unpublished it 1 min ago. There are no publications."
    assert "as 'b'. There are" in refused(lambda: table.find("b", 63.0), "NotPublished")


def test_a_name_is_taken_or_replaced() -> None:
    table = Publications(0.0)
    table.add(publication("a"), replace=False, now=0.0)
    message = refused(lambda: table.add(publication("a"), replace=False, now=90.0), "AlreadyPublished")
    assert "ada@laptop published an object as that 1 min ago" in message
    second = publication("a", "other")
    table.add(second, replace=True, now=91.0)
    assert table.find("a", 92.0) is second
    assert [ended.identity for ended in table.take_ended()] == ["a"]


def test_times_to_live() -> None:
    table = Publications(0.0)
    table.add(publication("short", until=10.0), replace=False, now=0.0)
    table.add(publication("long", until=20.0), replace=False, now=0.0)
    table.add(publication("ever"), replace=False, now=0.0)
    assert table.next_deadline() == 10.0
    assert [entry["name"] for entry in table.listing(9.9)] == ["ever", "long", "short"]
    assert [entry["expires_in"] for entry in table.listing(5.0)] == [None, 15.0, 5.0]
    assert [entry["name"] for entry in table.listing(10.0)] == ["ever", "long"]
    assert table.has_ended, "whoever looks ends what is over"
    assert "time to live ended 2 s ago. There is: 'ever', 'long'." in refused(
        lambda: table.find("short", 12.0), "NotPublished"
    )
    table.expire(30.0)
    assert table.next_deadline() is None
    assert [ended.name for ended in table.take_ended()] == ["short", "long"]


def test_what_has_another_name_as_well_has_not_ended() -> None:
    table = Publications(0.0)
    table.add(publication("one", "same"), replace=False, now=0.0)
    table.add(publication("two", "same"), replace=False, now=0.0)
    table.remove("one", ADA, 1.0)
    assert table.take_ended() == []
    table.remove("two", ADA, 1.0)
    assert [ended.name for ended in table.take_ended()] == ["two"]


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)
    table = Publications(0.0, limit=12)
    for number in range(12):
        table.add(publication(f"n{number:02}"), replace=False, now=0.0)
    assert "as many as there may be" in refused(lambda: table.check("x", replace=False, now=0.0), "PublicationError")
    table.check("n00", replace=True, now=0.0)
    assert "'n09' and 2 more." in refused(lambda: table.find("x", 0.0), "NotPublished")
    for number in range(3):
        table.remove(f"n{number:02}", ADA, 1.0)
    assert "any more" not in refused(lambda: table.find("n00", 1.0), "NotPublished"), "the oldest is forgotten"
    assert "any more" in refused(lambda: table.find("n01", 1.0), "NotPublished")


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 200"):
        check_name(name)


def test_arguments() -> None:
    with pytest.raises(TypeError, match="int"):
        check_name(7)
    for ttl in (None, 1, 2.5):
        check_ttl(ttl)
    for ttl in (True, "1h"):
        with pytest.raises(TypeError, match="number of seconds"):
            check_ttl(ttl)
    for ttl in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="above 0"):
            check_ttl(ttl)


def test_for_people() -> None:
    assert (who({}), who(BOB), who(ADA)) == ("somebody", "bob", "ada@laptop")
    assert [span(seconds) for seconds in (0.5, 42, 200, 7300, 90000)] == ["0 s", "42 s", "3 min", "2 h", "1 d"]


# --- steps


def test_steps_are_taken_one_after_the_other() -> None:
    waiting: list[Resume] = []
    queued: list[Callable[[], None]] = []
    answers: list[Callable[[], Any]] = []

    def steps() -> Any:
        first = yield waiting.append
        second = yield waiting.append
        return first, second

    go_on(steps(), None, queued.append, answers.append)
    assert (len(waiting), answers) == (1, [])
    waiting.pop()("one")
    assert answers == [], "the next step waits for its turn in the thread of calls"
    queued.pop()()
    waiting.pop()("two")
    queued.pop()()
    assert [answer() for answer in answers] == [("one", "two")]


def test_what_a_step_raises_is_the_answer() -> None:
    answers: list[Callable[[], Any]] = []

    def steps() -> Any:
        yield lambda resume: resume(None)
        raise SystemExit("user code")

    go_on(steps(), None, lambda step: step(), answers.append)
    with pytest.raises(SystemExit, match="user code"):
        answers[0]()


def test_a_pause_resumes() -> None:

    resumed = threading.Event()
    pause(0.01)(lambda came: resumed.set())
    assert resumed.wait(30)
