"""Memory is used again when nobody looks at it, never before, and not kept for long."""

from __future__ import annotations

import pytest

from raymq.protocol.memory import KEPT_MAX, KEPT_SECONDS, MAPPED_MIN, Memory

MARK = b"left over"


def marked(memory: Memory, size: int) -> memoryview:
    """Memory of a size, in which something was written."""
    view = memory.take(size)
    view[: len(MARK)] = MARK
    return view


def is_used_again(memory: Memory, size: int) -> bool:
    return bytes(memory.take(size)[: len(MARK)]) == MARK


@pytest.mark.parametrize("size", [MAPPED_MIN, MAPPED_MIN * 2, MAPPED_MIN + 12345])
def test_what_was_let_go_of_is_used_again(size: int) -> None:
    memory = Memory()
    marked(memory, size)
    assert len(memory.take(size)) == size
    assert is_used_again(memory, size)


def test_what_somebody_looks_at_is_not_written_to() -> None:
    memory = Memory()
    piece = marked(memory, MAPPED_MIN).toreadonly()[: len(MARK)]
    assert not is_used_again(memory, MAPPED_MIN)
    del piece
    assert any(is_used_again(memory, MAPPED_MIN) for _ in range(2))


def test_a_value_that_is_taken_while_the_one_before_is_held() -> None:
    memory = Memory()
    value = marked(memory, MAPPED_MIN)
    value = marked(memory, MAPPED_MIN)  # the first one is free only now
    again = memory.take(MAPPED_MIN)
    assert bytes(again[: len(MARK)]) == MARK
    again[:1] = b"?"
    assert bytes(value[: len(MARK)]) == MARK


@pytest.mark.parametrize("other", [MAPPED_MIN + 1, MAPPED_MIN * 5])
def test_what_is_too_small_or_much_too_large_is_not_used(other: int) -> None:
    memory = Memory()
    marked(memory, MAPPED_MIN if other < MAPPED_MIN * 2 else other * 3)
    assert not is_used_again(memory, other)


def test_what_is_small_is_not_kept() -> None:
    memory = Memory()
    marked(memory, 100)
    assert not is_used_again(memory, 100)


def test_no_more_is_kept_than_the_limit() -> None:
    memory = Memory()
    held = [marked(memory, KEPT_MAX // 2) for _ in range(3)]
    del held
    views = [memory.take(KEPT_MAX // 2) for _ in range(3)]
    assert sum(bytes(view[: len(MARK)]) == MARK for view in views) == 2
    assert not is_used_again(Memory(), KEPT_MAX + 1)


def test_what_is_not_used_is_given_back() -> None:
    memory = Memory()
    marked(memory, MAPPED_MIN)
    memory.tidy(10.0)
    memory.tidy(10.0 + KEPT_SECONDS / 2)
    assert is_used_again(memory, MAPPED_MIN)
    memory.tidy(20.0)
    memory.tidy(20.0 + KEPT_SECONDS)
    assert not is_used_again(memory, MAPPED_MIN)
