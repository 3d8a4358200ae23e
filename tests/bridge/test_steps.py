"""Operations in steps: who goes on when, and who is answered with what."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from raymq_bridge.steps import Steps, Wait, go_on, pause


class Desk:
    """Takes steps when it is told to, as the thread of calls does when it comes to them."""

    def __init__(self) -> None:
        self.steps: list[Callable[[], None]] = []
        self.answers: list[Any] = []
        self.resume: Callable[[Any], None] = lambda came: None

    def begin(self, steps: Steps) -> None:
        go_on(steps, None, self.steps.append, self.answer)

    def answer(self, call: Callable[[], Any]) -> None:
        try:
            self.answers.append(call())
        except BaseException as error:
            self.answers.append(error)

    def wait(self) -> Wait:
        def begin(resume: Callable[[Any], None]) -> None:
            self.resume = resume

        return begin

    def take(self) -> None:
        while self.steps:
            self.steps.pop(0)()


def test_it_goes_on_in_the_thread_of_calls_with_what_came() -> None:
    desk, seen = Desk(), []

    def operation() -> Steps:
        seen.append((yield desk.wait()))
        seen.append((yield desk.wait()))
        return "done"

    desk.begin(operation())
    assert (seen, desk.steps) == ([], [])
    desk.resume("first")
    assert seen == [], "the thread that has it does not go on by itself"
    desk.take()
    desk.resume("second")
    assert (seen, desk.answers) == (["first"], [])
    desk.take()
    assert (seen, desk.answers) == (["first", "second"], ["done"])


def test_one_that_need_not_wait_is_answered_at_once() -> None:
    def operation(desk: Desk) -> Steps:
        return "done"
        yield desk.wait()

    desk = Desk()
    desk.begin(operation(desk))
    assert desk.answers == ["done"]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), StopIteration(3)])
def test_what_goes_wrong_is_the_answer(error: BaseException) -> None:
    def operation(desk: Desk) -> Steps:
        yield desk.wait()
        raise error

    desk = Desk()
    desk.begin(operation(desk))
    desk.resume(None)
    desk.take()
    [answer] = desk.answers
    assert answer is error or answer.__cause__ is error  # Python makes a RuntimeError of a StopIteration in here


def test_what_cannot_be_waited_for_is_the_answer() -> None:
    def operation() -> Steps:
        def impossible(resume: Callable[[Any], None]) -> None:
            raise OSError("no more threads")

        yield impossible

    desk = Desk()
    desk.begin(operation())
    assert [str(answer) for answer in desk.answers] == ["no more threads"]


def test_a_pause_resumes() -> None:
    resumed = threading.Event()
    pause(0.01)(lambda came: resumed.set())
    assert resumed.wait(30)
