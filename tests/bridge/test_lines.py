"""Lines of the workers, towards a client that may not read: the newest are kept, and nothing is missing in silence."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from raymq.protocol.limits import TEXT_MAX
from raymq_bridge.lines import LINE_COST, Lines


def take_all(lines: Lines) -> list[tuple[str, list[str]]]:
    taken = []
    while (log := lines.take()) is not None:
        taken.append((log.source["stream"], log.lines))
    return taken


def test_lines_come_out_in_order_and_by_stream() -> None:
    lines = Lines()
    assert not lines
    lines.add("stdout", ["a", "b"])
    lines.add("stdout", ["c"])
    lines.add("stderr", ["d"])
    lines.add("stdout", ["e"])
    assert lines
    assert take_all(lines) == [("stdout", ["a", "b", "c"]), ("stderr", ["d"]), ("stdout", ["e"])]
    assert not lines


def test_a_message_has_no_more_text_than_it_may() -> None:
    lines = Lines()
    half = "x" * (TEXT_MAX // 2)
    lines.add("stdout", [half, half, "y", "z" * TEXT_MAX])
    assert [texts for _, texts in take_all(lines)] == [[half, half], ["y"], ["z" * TEXT_MAX]]


def test_the_oldest_lines_are_dropped_and_counted() -> None:
    lines = Lines(kept=10 * (LINE_COST + 5))
    lines.add("stdout", [f"{number:05}" for number in range(12_355)])
    (stream, [note]), (_, texts) = take_all(lines)
    assert (stream, note) == ("stderr", "... 12,345 lines dropped: the client did not read them in time")
    assert texts == [f"{number:05}" for number in range(12_345, 12_355)]
    lines.add("stdout", ["on it goes"])
    assert take_all(lines) == [("stdout", ["on it goes"])]


def test_the_last_line_is_kept_however_long_it_is() -> None:
    lines = Lines(kept=10)
    lines.add("stdout", ["short", "x" * 1000])
    assert [texts for _, texts in take_all(lines)][1] == ["x" * 1000]


actions = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["stdout", "stderr"]), st.lists(st.integers(0, 50), max_size=8)),
        st.tuples(st.just("take"), st.integers(1, 3)),
    ),
    max_size=40,
)


@given(actions, st.integers(1, 1500))
def test_what_is_not_told_is_counted(steps: list[tuple[str, Any]], kept: int) -> None:
    lines = Lines(kept)
    added = 0
    told: list[tuple[str, str]] = []
    expected: list[tuple[str, str]] = []
    dropped = 0

    def take() -> bool:
        nonlocal dropped
        log = lines.take()
        if log is None:
            return False
        if log.lines[0].startswith("..."):
            dropped += int(log.lines[0].split()[1].replace(",", ""))
        else:
            told.extend((log.source["stream"], line) for line in log.lines)
        return True

    for what, argument in steps:
        if what == "take":
            for _ in range(argument):
                take()
        else:
            texts = [f"{added + at}:{'x' * length}" for at, length in enumerate(argument)]
            added += len(texts)
            expected += [(what, text) for text in texts]
            lines.add(what, texts)
            assert lines._size == sum(len(text) + LINE_COST for _, text in lines._lines)
            assert lines._size <= kept or len(lines._lines) == 1
    while take():
        pass
    assert len(told) + dropped == added
    assert [line for line in expected if line in told] == told, "in order, each once"
