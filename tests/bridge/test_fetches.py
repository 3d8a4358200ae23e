"""Values on their way to a client that may not read: few wait at a time, and each comes in the end."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymq_bridge import fetches
from raymq_bridge.fetches import VALUE_COST, Fetches, guess_size


def test_a_value_is_asked_for_once() -> None:
    some = Fetches()
    assert some.want(1)
    assert not some.want(1), "Ray has been asked"
    assert some.came(1, 100)
    assert not some.want(1), "it waits to be sent"
    assert some.taken(1)
    assert some.want(1), "this is another time"


def test_a_value_that_nobody_wants_is_dropped() -> None:
    some = Fetches()
    some.want(1)
    some.want_no_more([1, 2])
    assert not some.came(1, 100)
    some.want(1)
    some.came(1, 100)
    some.want_no_more([1])
    assert not some.taken(1)
    assert some.again(large=True) == []


def test_of_values_that_are_sent_at_once_only_those_that_are_wanted_are() -> None:
    some = Fetches()
    for number in (1, 2, 3):
        some.want(number)
    some.want_no_more([2])
    assert some.taken_at_once([3, 2, 1]) == [3, 1]
    assert some.taken_at_once([1]) == []
    assert some.want(1), "this is another time"
    assert some.want(2)


def test_a_value_that_is_wanted_again_while_it_is_under_way_comes_once() -> None:
    some = Fetches()
    some.want(1)
    some.want_no_more([1])
    assert not some.want(1)
    assert some.came(1, 100)
    assert some.taken(1)


def test_too_many_values_are_put_off_and_asked_for_again_in_their_order() -> None:
    some = Fetches(waiting_max=2 * VALUE_COST)
    for number in range(1, 6):
        some.want(number)
    assert [some.came(number, 10) for number in range(1, 6)] == [True, True, False, False, False]
    assert some.again(large=True) == []
    assert not some.want(3), "it will be asked for"
    some.want_no_more([4])
    assert some.taken(1)
    assert some.again(large=True) == [3]
    assert some.came(3, 10 * VALUE_COST), "its place was kept"
    assert some.taken(2)
    assert some.taken(3)
    assert some.again(large=True) == [5]


def test_a_lone_value_may_be_of_any_size() -> None:
    some = Fetches(waiting_max=2 * VALUE_COST)
    for number in (1, 2):
        some.want(number)
        assert some.came(number, 100 * VALUE_COST) is (number == 1)
    some.taken(1)
    assert some.again(large=False) == [2]


def test_a_value_that_is_too_large_for_now_waits_for_its_own_room() -> None:
    some = Fetches()
    for number in (1, 2, 3):
        some.want(number)
        some.came(number, 0)
        some.taken(number)
        some.put_off(number)
    assert not some.want(2)
    some.want_no_more([1])
    assert some.again(large=False) == []
    assert some.again(large=True) == [2], "one at a time"
    assert some.came(2, 0)
    assert some.taken(2)
    assert some.again(large=True) == [3]


class Ray:
    """Asks, gives, and sends, in any order; the client wants and unwants."""

    def __init__(self) -> None:
        self.fetches = Fetches(waiting_max=4 * VALUE_COST)
        self.asked: list[int] = []
        self.queue: list[int] = []
        self.wanted: set[int] = set()
        self.room = False

    def want(self, number: int) -> None:
        self.wanted.add(number)
        if self.fetches.want(number):
            self.asked.append(number)

    def want_no_more(self, number: int) -> None:
        self.wanted.discard(number)
        self.fetches.want_no_more([number])

    def give(self, at: int) -> None:
        if self.asked:
            number = self.asked.pop(at % len(self.asked))
            if self.fetches.came(number, VALUE_COST * (number % 3)):
                self.queue.append(number)
            else:
                self.queue.append(0)

    def give_at_once(self, at: int) -> None:
        if self.asked:
            number = self.asked.pop(at % len(self.asked))
            if self.fetches.taken_at_once([number]):
                self.was_sent(number)
            self.ask_again()

    def send(self) -> None:
        if not self.queue:
            return
        number = self.queue.pop(0)
        if number and self.fetches.taken(number):
            self.was_sent(number)
        self.ask_again()

    def was_sent(self, number: int) -> None:
        if number % 5 == 0 and not self.room:
            self.fetches.put_off(number)
        else:
            assert number in self.wanted
            self.wanted.discard(number)

    def ask_again(self) -> None:
        self.asked += self.fetches.again(large=self.room)

    def check(self) -> None:
        waiting = self.fetches._waiting
        assert sum(waiting.values()) == self.fetches._total
        assert self.fetches._total <= 4 * VALUE_COST or len(waiting) == 1
        assert len(self.asked) == len(set(self.asked)), "Ray is asked for each but once at a time"
        assert {number for number in self.queue if number} <= waiting.keys()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["want", "want", "want", "want_no_more", "give", "give", "give_at_once", "send", "room"]),
            st.integers(1, 20),
        ),
        max_size=80,
    )
)
def test_whatever_happens_each_value_that_is_wanted_is_sent(steps: list[tuple[str, int]]) -> None:
    ray = Ray()
    for what, number in steps:
        if what == "room":
            ray.room = not ray.room
            ray.ask_again()
        elif what == "send":
            ray.send()
        else:
            getattr(ray, what)(number)
        ray.check()
    ray.room = True
    ray.ask_again()
    for _ in range(200):
        ray.give(0)
        ray.send()
        ray.check()
    assert ray.wanted == set()
    assert (ray.fetches._total, ray.fetches._waiting, ray.asked) == (0, {}, [])
    assert not ray.fetches._off
    assert not ray.fetches._large


# --- guesses


@dataclass
class Record:
    """A value with attributes."""

    data: bytes = b""
    more: list[Any] = field(default_factory=list)


@pytest.mark.parametrize(
    ("value", "nbytes"),
    [
        (bytes(1_000_000), 1_000_000),
        ("x" * 1_000_000, 1_000_000),
        ([bytes(60_000)], 60_000),
        ([bytes(1000)] * 1000, 1_000_000),
        ({number: bytes(1000) for number in range(1000)}, 1_000_000),
        ((b"", {"key": [bytes(100_000)]}), 100_000),
        ({b"x" * 50_000, b"y" * 50_000}, 100_000),
        (Record(bytes(100_000)), 100_000),
        ([Record(bytes(1000))] * 100, 100_000),
        ([], 0),
        (None, 0),
    ],
)
def test_guesses(value: Any, nbytes: int) -> None:
    assert nbytes <= guess_size(value) <= 2 * nbytes + 1000


def test_a_guess_takes_no_time() -> None:
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep] * 100
    assert guess_size(deep) > 100**fetches.LEVELS
    endless: list[Any] = []
    endless.append(endless)
    assert guess_size(endless) > 0


@pytest.mark.parametrize("error", [TypeError, ValueError, SystemExit])
def test_user_code_may_do_what_it_likes(error: type[BaseException]) -> None:
    class Mean:
        def __sizeof__(self) -> int:
            raise error("no")

    assert guess_size(Mean()) == 0
    with contextlib.suppress(error):
        assert guess_size([Mean()]) > 0
