"""Which lines of a log tell of a death."""

from __future__ import annotations

from raymq_cli.last_words import LINE_MAX, TOLD, LastWords


def heard(*lines: str) -> LastWords:
    words = LastWords()
    for line in lines:
        words.hear(line)
    return words


def test_the_last_lines_without_the_empty_ones_and_not_too_long() -> None:
    words = heard(*(f"line {number}" for number in range(1000)), "", "  ", "x" * 1000 + "\n")
    assert words.telling() == (*(f"line {number}" for number in range(991, 1000)), "x" * LINE_MAX)
    assert len(words.telling()) == TOLD


def test_an_indented_last_line_is_quoted_without_its_indent() -> None:
    words = heard("Traceback", "    raise")
    assert words.telling() == ("Traceback", "    raise")
    assert words.last == "raise"


def test_nothing_was_said() -> None:
    assert heard().telling() == ()
    assert heard().last == ""


def test_the_dump_of_a_crash_has_its_best_lines_first() -> None:
    """As faulthandler writes it: the innermost call first, and the loaded modules last."""
    dump = ["Fatal Python error: Aborted", "", "Stack (most recent call first):"]
    stack = [f'  File "user.py", line {number} in call' for number in range(30)]
    told = heard("before", *dump, *stack, "Extension modules: many").telling()
    assert told == (dump[0], dump[2], *stack[: TOLD - 2])
