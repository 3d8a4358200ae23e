"""What is published, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymq import errors
from raymq.protocol import limits
from raymq_bridge import publications
from raymq_bridge.publications import (
    NAME_MAX,
    REMEMBERED,
    Publication,
    Publications,
    Refused,
    check_name,
    check_ttl,
    span,
    who,
)

ADA = {"user": "ada", "host": "engine"}
BOB = {"user": "bob", "host": "laptop"}


def made(name: str, now: float = 0.0, ttl: float | None = None, **parts: Any) -> Publication:
    fields = {"kind": "object", "content": f"ref of {name}", "identity": name, "size": 5, "owner": ADA, **parts}
    return Publication(name=name, since=now, until=None if ttl is None else now + ttl, **fields)


def filled(*names: str, limit: int = 100) -> Publications:
    table = Publications(0.0, limit)
    for name in names:
        table.add(made(name), replace=False, now=0.0)
    return table


def refusal(call: Any, *args: Any, **kwargs: Any) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        call(*args, **kwargs)
    assert issubclass(getattr(errors, caught.value.kind), errors.PublicationError)
    return caught.value.kind, caught.value.message


def test_found_until_removed() -> None:
    table = filled("a", "b")
    assert table.find("a", 5.0).content == "ref of a"
    table.remove("a", BOB, 100.0)
    kind, message = refusal(table.find, "a", 230.0)
    assert kind == "NotPublished"
    assert message == "nothing is published as 'a' any more: bob@laptop unpublished it 2 min ago. There is: 'b'."
    assert refusal(table.remove, "a", BOB, 230.0)[0] == "NotPublished"
    assert [publication.name for publication in table.take_ended()] == ["a"]
    assert table.take_ended() == []


def test_nothing_there() -> None:
    assert refusal(Publications(0.0).find, "x", 1.0)[1] == "nothing is published as 'x'. There are no publications."


def test_names_are_listed_but_not_all() -> None:
    table = filled(*(f"n{number:02}" for number in range(12)))
    assert refusal(table.find, "x", 1.0)[1].endswith(
        "There is: 'n00', 'n01', 'n02', 'n03', 'n04', 'n05', 'n06', 'n07', 'n08', 'n09' and 2 more."
    )


def test_time_to_live() -> None:
    table = filled("stays")
    table.add(made("short", 10.0, ttl=5.0), replace=False, now=10.0)
    table.add(made("long", 10.0, ttl=50.0), replace=False, now=10.0)
    assert table.next_deadline() == 15.0
    assert table.find("short", 14.9)
    assert "its time to live ended 0 s ago" in refusal(table.find, "short", 15.0)[1]
    assert table.next_deadline() == 60.0
    table.expire(60.0)
    assert table.next_deadline() is None
    assert len(table) == 1
    assert [publication.name for publication in table.take_ended()] == ["short", "long"]


def test_a_name_is_free_again_when_its_time_is_over() -> None:
    table = filled()
    table.add(made("a", ttl=5.0), replace=False, now=0.0)
    kind, message = refusal(table.check, "a", replace=False, now=4.0)
    assert kind == "AlreadyPublished"
    assert message.startswith("'a' is taken: ada@engine published an object as that 4 s ago. Take another name")
    table.add(made("a", 5.0, identity="new"), replace=False, now=5.0)
    assert table.find("a", 6.0).identity == "new"
    assert table.has_ended
    assert [publication.identity for publication in table.take_ended()] == ["a"]
    assert not table.has_ended


def test_replaced() -> None:
    table = filled("a")
    table.add(made("a", 1.0, identity="new", owner=BOB), replace=True, now=1.0)
    assert table.find("a", 1.0).identity == "new"
    assert [publication.identity for publication in table.take_ended()] == ["a"]
    table.remove("a", ADA, 2.0)
    table.add(made("a", 3.0), replace=True, now=3.0)  # nothing to be replaced is no error
    assert len(table) == 1


def test_what_is_published_under_another_name_too_has_not_ended() -> None:
    table = filled("a")
    table.add(made("b", identity="a"), replace=False, now=0.0)
    table.add(made("b", 1.0, identity="a"), replace=True, now=1.0)
    table.remove("a", ADA, 2.0)
    assert table.take_ended() == []
    table.remove("b", ADA, 3.0)
    assert [publication.identity for publication in table.take_ended()] == ["a"]


def test_there_are_only_so_many() -> None:
    table = filled("a", "b", limit=2)
    kind, message = refusal(table.add, made("c"), replace=False, now=0.0)
    assert kind == "PublicationError"
    assert message.startswith("2 publications are there, which is as many as there may be")
    table.add(made("a", 1.0), replace=True, now=1.0)
    table.remove("a", ADA, 2.0)
    table.add(made("c", 2.0), replace=False, now=2.0)


def test_how_long_it_has_been_empty() -> None:
    table = Publications(7.0)
    assert table.empty_since == 7.0
    table.add(made("a", 8.0, ttl=2.0), replace=False, now=8.0)
    assert table.empty_since is None
    table.expire(10.5)
    assert table.empty_since == 10.5


def test_why_something_is_gone_is_forgotten_in_the_end() -> None:
    table = filled("first")
    table.remove("first", ADA, 0.0)
    for number in range(REMEMBERED - 1):
        table.add(made(f"{number}"), replace=False, now=0.0)
        table.remove(f"{number}", ADA, 0.0)
    assert "any more" in refusal(table.find, "first", 0.0)[1]
    table.add(made("last"), replace=False, now=0.0)
    table.remove("last", ADA, 0.0)
    assert "any more" not in refusal(table.find, "first", 0.0)[1]
    assert "any more" in refusal(table.find, "0", 0.0)[1]


def test_listing() -> None:
    table = filled("b")
    table.add(made("a", 10.0, ttl=60.0, kind="actor", size=None, owner=BOB), replace=False, now=10.0)
    table.add(made("over", 10.0, ttl=1.0), replace=False, now=10.0)
    assert table.listing(30.0) == [
        {"name": "a", "kind": "actor", "size": None, "owner": BOB, "age": 20.0, "expires_in": 40.0},
        {"name": "b", "kind": "object", "size": 5, "owner": ADA, "age": 30.0, "expires_in": None},
    ]


NAMES = st.sampled_from("abc")
STEPS = st.one_of(
    st.tuples(st.just("add"), NAMES, st.sampled_from([None, 1.0, 3.0]), st.booleans(), st.sampled_from("xyz")),
    st.tuples(st.just("remove"), NAMES),
    st.tuples(st.just("pass"), st.sampled_from([0.5, 1.0, 2.0])),
)


@given(st.lists(STEPS, max_size=40))
def test_what_has_ended_is_told_once_and_only_when_nothing_names_it(steps: list[Any]) -> None:
    """Against the plainest model: a dict of name to (identity, until)."""
    table, model, now = Publications(0.0, limit=2), {}, 0.0  # type: ignore[var-annotated]
    for what, *arguments in steps:
        before = {identity for identity, _ in model.values()}
        if what == "pass":
            now += arguments[0]
            table.expire(now)
        model = {name: entry for name, entry in model.items() if entry[1] is None or entry[1] > now}
        if what == "add":
            name, ttl, replace, identity = arguments
            allowed = (name in model and replace) or (name not in model and len(model) < 2)
            try:
                table.add(made(name, now, ttl, identity=identity), replace=replace, now=now)
                assert allowed
                model[name] = (identity, None if ttl is None else now + ttl)
            except Refused:
                assert not allowed
        elif what == "remove":
            try:
                table.remove(arguments[0], ADA, now)
                del model[arguments[0]]
            except Refused:
                assert arguments[0] not in model
        assert [entry["name"] for entry in table.listing(now)] == sorted(model)
        left = {identity for identity, _ in model.values()}
        ended = {publication.identity for publication in table.take_ended()}
        assert ended >= before - left, "whatever was there and is not any more has ended"
        assert not ended & left
        assert (table.empty_since is None) == bool(model)


# --- what is asked for


@pytest.mark.parametrize("name", ["a", "x" * NAME_MAX, "features/2024 (new)", "größe", "特徴"])
def test_names(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "x" * (NAME_MAX + 1), "a\nb", "\t", "\x1b", "\ud800", "\u202e"])
def test_no_names(name: str) -> None:
    with pytest.raises(ValueError, match=f"printable text of 1 to {NAME_MAX} characters; this one has {len(name):,}"):
        check_name(name)


@pytest.mark.parametrize("name", [None, 1, b"a", ["a"]])
def test_names_of_other_types(name: Any) -> None:
    with pytest.raises(TypeError, match="a publication's name is a str, not"):
        check_name(name)


def test_times_to_live() -> None:
    for ttl in (None, 1, 0.5, 1e9):
        check_ttl(ttl)
    for ttl in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="above 0 and has an end"):
            check_ttl(ttl)
    for odd in ("1h", True, [1]):
        with pytest.raises(TypeError, match="a number of seconds or None"):
            check_ttl(odd)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.9, "0 s"), (1, "1 s"), (59.9, "59 s"), (60, "1 min"), (7199, "1 h"), (200_000, "2 d"), (-1, "0 s")],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_owners() -> None:
    assert who(ADA) == "ada@engine"
    assert who({"host": "engine", "user": ""}) == "engine"
    assert who({}) == "somebody"


def test_the_limit_is_that_of_names_that_sessions_keep() -> None:
    """It cannot be the same constant: this module is sent to workers that have no raymq."""
    assert publications.NAME_MAX == limits.NAME_MAX
