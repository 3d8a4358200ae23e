"""Items of generators on the client's side: what is here, what is asked for, who waits."""

from __future__ import annotations

import asyncio
import functools
from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from raymq.awaiting import _ring
from raymq.errors import SessionLost
from raymq.protocol.messages import Yielded
from raymq.refs import Hold
from raymq.waiting import Ledger, Waiter

NUMBER = 7


class Source:
    """A bridge that yields numbers counted up from 0, and a ledger that takes them."""

    def __init__(self, window: int, length: int) -> None:
        self.ledger = Ledger()
        self.ledger.expect_items(NUMBER)
        self.window = window
        self.length = length
        self.credit = self.yielded = 0
        self.dropped: deque[int] = deque()
        self.taken: list[int] = []

    def ask(self) -> None:
        self.credit += self.ledger.ask_for_items(NUMBER, self.window)

    def bring(self, count: int) -> None:
        count = min(count, self.credit, self.length - self.yielded)
        numbers = list(range(self.yielded, self.yielded + count))
        self.yielded += count
        self.credit -= count
        done = self.yielded == self.length and self.credit > 0
        if numbers or done:
            self.ledger.items_came(Yielded(NUMBER, numbers, done), [Hold(n, self.dropped) for n in numbers])

    def take(self) -> bool:
        hold, done = self.ledger.take_item(NUMBER)
        if hold is not None:
            self.taken.append(hold.number)
        return done

    @property
    def is_ready(self) -> bool:
        return self.ledger.ready_among([NUMBER]) == [NUMBER]


steps = st.one_of(st.just(("ask",)), st.just(("take",)), st.tuples(st.just("bring"), st.integers(1, 20)))


@given(st.sampled_from([1, 16]), st.integers(0, 50), st.lists(steps, max_size=80))
def test_each_item_once_and_in_order(window: int, length: int, script: list[tuple[object, ...]]) -> None:
    source = Source(window, length)
    for what, *arguments in script:
        getattr(source, str(what))(*arguments)
        here = source.yielded - len(source.taken)
        assert here + source.credit <= window, "no more is under way than the window"
        assert source.is_ready == (here > 0 or source.ledger._items[NUMBER].done)
    while not source.take():
        source.ask()
        source.bring(3)
    assert source.taken == list(range(length))
    assert source.ledger.are_items_finished(NUMBER)
    assert sorted(source.dropped) == source.taken, "and nothing else was held"


def test_few_items_are_not_worth_a_message() -> None:
    source = Source(16, 100)
    assert source.ledger.ask_for_items(NUMBER, 16) == 16
    source.credit = 16
    source.bring(16)
    for _ in range(7):
        source.take()
        assert source.ledger.ask_for_items(NUMBER, 16) == 0
    source.take()
    assert source.ledger.ask_for_items(NUMBER, 16) == 8


def test_who_waits_is_woken() -> None:
    source = Source(1, 1)
    rung: list[int] = []
    waiter, bell = Waiter(1), Waiter(1, lambda: rung.append(1))
    source.ledger.wait_for([NUMBER], waiter)
    source.ledger.wait_for([NUMBER], bell)
    assert not waiter.wait(0)
    source.ask()
    source.bring(1)
    assert waiter.wait(0)
    assert rung == [1]
    source.take()
    assert not source.is_ready, "the next one is not here"
    late = Waiter(1)
    source.ledger.wait_for([NUMBER], late)
    assert not late.wait(0)
    source.ledger.end(SessionLost("gone"))
    assert late.wait(0)


def test_what_nobody_wants_is_dropped() -> None:
    """Items that come after a close, or after the generator was released, are released in turn."""
    source = Source(16, 100)
    source.ask()
    source.bring(2)
    source.ledger.drop_items(NUMBER)
    assert sorted(source.dropped) == [0, 1]
    assert source.ledger.are_items_finished(NUMBER)
    assert source.take()
    source.bring(2)
    assert sorted(source.dropped) == [0, 1, 2, 3]
    source.ledger.forget([NUMBER])
    source.bring(2)
    assert sorted(source.dropped) == [0, 1, 2, 3, 4, 5]
    assert not source.is_ready


def test_a_loop_that_was_closed_harms_nobody() -> None:
    """Its coroutine waits for ever; whoever else waits is told."""
    source = Source(1, 2)
    loop = asyncio.new_event_loop()
    woken = loop.create_future()
    source.ledger.wait_for([NUMBER], Waiter(1, functools.partial(_ring, loop, woken)))
    other = Waiter(1)
    source.ledger.wait_for([NUMBER], other)
    loop.close()
    source.ask()
    source.bring(1)
    assert other.wait(0)
    assert not woken.done()
