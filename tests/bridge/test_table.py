"""The table of references: a number is there as long as the client holds it, however messages cross."""

from __future__ import annotations

from collections import Counter, deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from raymq_bridge.table import Table


class Failure:
    """Has no identity: to ask for it is an error."""


@pytest.fixture
def table() -> Table:
    return Table(str.encode)


def test_what_the_client_made(table: Table) -> None:
    table.add(1, "a")
    assert (table.get(1), len(table)) == ("a", 1)
    table.release(1)
    with pytest.raises(KeyError):
        table.get(1)
    table.release(1)
    assert len(table) == 0


def test_a_failure_has_no_identity(table: Table) -> None:
    failure = Failure()
    table.add(1, failure, known=False)
    table.add(3, failure, known=False)
    assert table.get(1) is table.get(3) is failure
    table.release(1)
    assert table.get(3) is failure
    table.release(3)
    assert len(table) == 0


def test_what_the_client_knows_goes_out_under_its_number(table: Table) -> None:
    table.add(1, "a")
    assert [table.hand_out("a"), table.hand_out("a")] == [1, 1]
    for _ in range(2):
        table.release(1)
        assert table.get(1) == "a"
    table.release(1)
    assert len(table) == 0
    assert table.hand_out("a") == 2, "a new number: the client knows the old one no more"


def test_what_the_client_does_not_know_gets_an_even_number(table: Table) -> None:
    assert [table.hand_out("a"), table.hand_out("b"), table.hand_out("a")] == [2, 4, 2]
    table.release(2)
    assert table.get(2) == "a"
    table.release(2)
    assert table.hand_out("a") == 6


def test_several_are_released_at_once_and_those_dropped_are_told(table: Table) -> None:
    table.add(1, "a")
    table.add(3, "b")
    table.hand_out("a")
    assert table.release(1, 3, 5) == ["b"], "the first is held once more, the last was never made"
    assert table.release(1) == ["a"]


def test_two_numbers_for_one_object(table: Table) -> None:
    """Two tasks may return the same reference. It goes out under the first as long as that is held."""
    table.add(1, "a")
    table.add(3, "a")
    assert table.hand_out("a") == 1
    table.release(1)
    table.release(1)
    assert table.get(3) == "a"
    assert table.hand_out("a") == 2
    table.release(3)
    assert table.hand_out("a") == 2


def test_a_number_that_a_client_uses_twice_does_not_confuse_the_table(table: Table) -> None:
    """No honest client does so; the objects of another must not go out under it."""
    table.add(1, "a")
    table.add(1, "b")
    table.add(1, "c", known=False)
    assert table.get(1) == "c"
    assert [table.hand_out("a"), table.hand_out("b")] == [2, 4]
    table.release(1)
    assert [table.hand_out("a"), table.hand_out("b")] == [2, 4]


objects = st.sampled_from("abc")


class Traffic(RuleBasedStateMachine):
    """A client and a bridge whose messages cross: values on their way bring numbers, releases go the other way."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table(str.encode)
        self.to_client: deque[int] = deque()
        self.to_bridge: deque[tuple[str, int, str]] = deque()
        self.held: Counter[int] = Counter()
        self.meaning: dict[int, str] = {}
        self.next = 1

    # --- the client

    @rule(real=objects)
    def make(self, real: str) -> None:
        """A call whose result is this object."""
        number, self.next = self.next, self.next + 2
        self.meaning[number] = real
        self.held[number] += 1
        self.to_bridge.append(("add", number, real))

    @rule(index=st.integers(0, 9))
    def drop(self, index: int) -> None:
        held = sorted(self.held.elements())
        if held:
            number = held[index % len(held)]
            self.held[number] -= 1
            self.to_bridge.append(("release", number, ""))

    @rule()
    def receive(self) -> None:
        if self.to_client:
            self.held[self.to_client.popleft()] += 1

    # --- the bridge

    @rule(real=objects)
    def answer(self, real: str) -> None:
        """A value that mentions this object."""
        number = self.table.hand_out(real)
        assert self.meaning.setdefault(number, real) == real
        self.to_client.append(number)

    @rule()
    def carry_out(self) -> None:
        if self.to_bridge:
            what, number, real = self.to_bridge.popleft()
            if what == "add":
                self.table.add(number, real)
            else:
                self.table.release(number)

    # --- what holds

    @invariant()
    def nothing_is_dropped_that_is_held(self) -> None:
        on_its_way = {number for what, number, _ in self.to_bridge if what == "add"}
        for number in (+self.held).keys() | set(self.to_client):
            if number not in on_its_way:
                assert self.table.get(number) == self.meaning[number]

    @invariant()
    def the_counts_agree(self) -> None:
        """Held by the bridge's count: what the client holds, or is about to, or has just released."""
        expected = self.held + Counter(self.to_client)
        expected.update(number for what, number, _ in self.to_bridge if what == "release")
        expected.subtract(number for what, number, _ in self.to_bridge if what == "add")
        counts = Counter({number: entry.held for number, entry in self.table._entries.items()})
        assert counts == +expected
        assert all(number in self.table._entries for number in self.table._numbers.values())

    def teardown(self) -> None:
        while self.to_client:
            self.receive()
        while any(self.held.values()):
            self.drop(0)
        while self.to_bridge:
            self.carry_out()
        assert len(self.table) == 0
        assert self.table._numbers == {}


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=60, stateful_step_count=30)
