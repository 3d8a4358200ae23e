"""Operations that take a while, done in steps between which the thread of calls does other things.

Such an operation is a generator. It yields what it waits for, and goes on with what came.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Generator
from typing import Any

from raymq_bridge import cluster

Resume = Callable[[Any], None]
"""Called with what came, once, from any thread."""

Wait = Callable[[Resume], None]
"""Begins to wait for something."""

Steps = Generator[Wait, Any, Any]

Later = Callable[[Callable[[], None]], None]
"""Has a function called in the thread of calls; callable from any thread."""

Answer = Callable[[Callable[[], Any]], None]
"""Answers with what a function returns or raises."""


def go_on(steps: Steps, came: Any, later: Later, answer: Answer) -> None:
    """Take the next step of an operation, and see to it that those after it are taken, in the thread of calls.

    Args:
        steps: the operation.
        came: what it waited for; None at its beginning.
        later: brings each step into the thread of calls.
        answer: called once, at its end.
    """
    try:
        wait = steps.send(came)
        wait(lambda came: later(functools.partial(go_on, steps, came, later, answer)))
    except StopIteration as done:
        answer(functools.partial(_return, done.value))
    except BaseException as error:  # of a user's value, too: it is the caller's
        answer(functools.partial(_raise, error))


def _return(value: Any) -> Any:
    return value


def _raise(error: BaseException) -> Any:
    raise error


# --- what there is to wait for


def value_of(reference: Any) -> Wait:
    """The value of a reference, or Ray's error."""
    return functools.partial(cluster.on_value, reference)


def ready(reference: Any) -> Wait:
    """That an object is there, or its error; its value does not come."""

    def wait(resume: Resume) -> None:
        cluster.on_ready(reference, functools.partial(resume, None))

    return wait


def pause(seconds: float) -> Wait:
    """That some time passes."""

    def wait(resume: Resume) -> None:
        timer = threading.Timer(seconds, resume, (None,))
        timer.daemon = True
        timer.start()

    return wait
