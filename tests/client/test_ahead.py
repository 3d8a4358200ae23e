"""What will be wanted next: guessed only from a sequence, more of it as long as that is of use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymq.ahead import AHEAD, FEW, Guess


def walk(guess: Guess, numbers: range, known: set[int]) -> int:
    """Get one after the other; what was guessed is here from then on. Returns how often something had to be asked."""
    asked = 0
    for number in numbers:
        if number in known:
            guess.hit(number)
        else:
            asked += 1
            known |= {number, *guess.miss(number)}
    return asked


@pytest.mark.parametrize("step", [2, 6, -2])
def test_a_sequence_is_asked_for_in_ever_larger_pieces(step: int) -> None:
    numbers = range(20_001, 20_001 + 2000 * step, step)
    assert walk(Guess(), numbers, set()) <= 15


def test_nothing_is_guessed_without_a_sequence() -> None:
    guess = Guess()
    for number in (11, 12, 19, 13, 13, 13, 17):
        assert list(guess.miss(number)) == []


def test_what_is_of_no_use_is_seldom_asked_for() -> None:
    guess = Guess()
    sizes = [len(list(guess.miss(number))) for number in range(1, 4001, 2)]
    assert set(sizes) == {0, FEW}, "nothing of it came"
    assert sum(map(bool, sizes)) < 40


def test_it_is_tried_again_and_goes_on_when_it_is_of_use() -> None:
    guess = Guess()
    for number in range(1, 401, 2):
        guess.miss(number)
    assert walk(guess, range(401, 10_001, 2), set()) < 100


def test_a_sequence_that_ends_is_forgotten() -> None:
    guess = Guess()
    walk(guess, range(1, 4001, 2), set())
    assert list(guess.miss(2)) == []
    assert list(guess.miss(3)) == []
    assert list(guess.miss(4)) == [5, 6, 7, 8]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 60)), max_size=200))
def test_it_is_bounded(script: list[tuple[bool, int]]) -> None:
    guess = Guess()
    for hit, number in script:
        if hit:
            guess.hit(number)
        else:
            soon = list(guess.miss(number))
            assert len(soon) <= AHEAD
            assert number not in soon
            assert all(one > 0 for one in soon)
