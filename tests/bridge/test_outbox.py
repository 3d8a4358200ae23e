"""What is handed over for the client: counted until it is sent, and whoever has more waits in time."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from raymq.protocol.channel import MESSAGE_COST
from raymq.protocol.limits import INLINE_MAX, REFS_PER_MESSAGE, TEXT_MAX
from raymq.protocol.messages import Failure, Log, Message, Pickled, Ready, Refusal, Reply, Value
from raymq_bridge import outbox as module
from raymq_bridge.outbox import NEWS_PAUSE, Consumed, Outbox, Taken, weigh

SMALL = Value(1, Pickled(b"x" * 1000))


@pytest.fixture
def outbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outbox]:
    monkeypatch.setattr(module, "BACKLOG_MAX", 10_000)
    monkeypatch.setattr(module, "HELD_MAX", 200_000)
    outbox = Outbox(lambda: None)
    yield outbox
    outbox.stop()


def waiting(outbox: Outbox) -> threading.Thread:
    """A thread that waits for room."""
    thread = threading.Thread(target=outbox.wait_for_room, daemon=True)
    thread.start()
    return thread


def fill(outbox: Outbox) -> int:
    count = 0
    while outbox.has_room:
        outbox.put(SMALL)
        count += 1
    return count


def test_what_is_handed_over_comes_out_in_order() -> None:
    woken = []
    outbox = Outbox(lambda: woken.append(True))
    items = [SMALL, Consumed(), Taken(5), Ready(3, [1], False)]
    for item in items:
        outbox.put(item)
    assert list(outbox.take()) == items
    assert list(outbox.take()) == []
    assert len(woken) == 3, "word of what was dealt with can wait"


def test_word_of_what_was_dealt_with_does_not_wait_for_long() -> None:
    woken: list[bool] = []
    outbox = Outbox(lambda: woken.append(True))
    for _ in range(module.UNTOLD_MAX - 1):
        outbox.put(Consumed())
    assert not woken
    outbox.put(Consumed())
    assert woken, "the client's credit may be at an end"
    assert len(list(outbox.take())) == module.UNTOLD_MAX


@pytest.mark.parametrize(
    ("message", "nbytes", "large"),
    [
        (SMALL, 1000, 0),
        (Value(1, Pickled(b"x" * INLINE_MAX)), INLINE_MAX, 0),
        (Value(1, Pickled(b"x" * INLINE_MAX, [b"y"])), 0, INLINE_MAX + 1),
        (Reply(1, Pickled(bytes(1 << 20))), 0, 1 << 20),
        (Failure(1, {"type": "E", "message": "m" * 500, "pid": 7}, Pickled(b"")), 501, 0),
        (Refusal(1, {"traceback": "t" * 500}, Pickled(bytes(1 << 20))), 500, 1 << 20),
        (Ready(1, [1, 3, 5], False), 27, 0),
        (Log({}, ["a line"]), 0, 0),
    ],
)
def test_weights(message: Message, nbytes: int, large: int) -> None:
    assert weigh(message) == (MESSAGE_COST + nbytes, large)


def test_word_of_what_was_dealt_with_weighs_nothing() -> None:
    assert weigh(Consumed()) == weigh(Taken(1 << 30)) == (0, 0)


def test_whoever_has_more_waits_until_the_client_reads(outbox: Outbox) -> None:
    outbox.wait_for_room()
    assert fill(outbox) == 9
    thread = waiting(outbox)
    taken = list(outbox.take())
    assert len(taken) == 9
    assert not outbox.has_room, "taken, but not sent"
    outbox.left(10_000)
    outbox.left(10_000)
    assert thread.is_alive()
    outbox.left(9_999)
    thread.join(30.0)
    assert not thread.is_alive()
    assert outbox._posted == 0


def test_nobody_waits_for_a_client_that_is_gone(outbox: Outbox) -> None:
    fill(outbox)
    outbox.put(Value(1, Pickled(bytes(300_000))))
    thread = waiting(outbox)
    assert not outbox.holds_little
    outbox.stop()
    thread.join(30.0)
    assert not thread.is_alive()
    assert outbox.holds_little
    before = len(outbox._messages)
    outbox.put(SMALL)
    assert len(outbox._messages) == before, "nothing is kept for it"


def test_large_payloads_are_held_until_they_are_delivered(outbox: Outbox) -> None:
    assert outbox.holds_little
    for _ in range(2):
        outbox.put(Value(1, Pickled(bytes(100_000))))
    list(outbox.take())
    outbox.left(0)
    assert not outbox.holds_little
    outbox.wait_for_room()
    outbox.delivered(100_000)
    assert outbox.holds_little


def test_news_of_references(outbox: Outbox) -> None:
    for number in range(REFS_PER_MESSAGE + 5):
        outbox.became_ready(number, local=False)
    outbox.became_ready(3, local=True)
    assert list(outbox.take_news(0.0)) == [
        Ready(0, list(range(REFS_PER_MESSAGE)), False),
        Ready(0, list(range(REFS_PER_MESSAGE, REFS_PER_MESSAGE + 5)), False),
        Ready(0, [3], True),
    ]


def test_news_gather_after_news_and_nobody_has_to_wake_the_loop_for_them() -> None:
    woken: list[bool] = []
    outbox = Outbox(lambda: woken.append(True))
    outbox.became_ready(1, local=True)
    assert (len(woken), outbox.next_look) == (1, float("inf"))
    assert list(outbox.take_news(5.0)) == [Ready(0, [1], True)]
    for number in (2, 3):
        outbox.became_ready(number, local=True)
    assert (len(woken), outbox.next_look) == (1, 5.0 + NEWS_PAUSE)
    assert list(outbox.take_news(5.0 + NEWS_PAUSE / 2)) == []
    assert list(outbox.take_news(5.0 + NEWS_PAUSE)) == [Ready(0, [2, 3], True)]
    assert list(outbox.take_news(6.0)) == []
    outbox.became_ready(4, local=False)
    assert (len(woken), outbox.next_look) == (2, float("inf")), "there were none for a while"
    assert list(outbox.take_news(6.0)) == [Ready(0, [4], False)]


def test_news_that_were_not_taken_are_still_there(outbox: Outbox) -> None:
    for number in range(2 * REFS_PER_MESSAGE):
        outbox.became_ready(number, local=False)
    next(outbox.take_news(0.0))
    assert list(outbox.take_news(NEWS_PAUSE)) == [Ready(0, list(range(REFS_PER_MESSAGE, 2 * REFS_PER_MESSAGE)), False)]


def test_lines(outbox: Outbox) -> None:
    outbox.add_lines("stdout", ["a", "b" * (TEXT_MAX + 1000)])
    lines = []
    while (log := outbox.take_lines()) is not None:
        lines += log.lines
    assert lines[0] == "a"
    assert len(lines[1]) < TEXT_MAX + 100
    assert "characters" in lines[1]
    assert len(lines) == 2
