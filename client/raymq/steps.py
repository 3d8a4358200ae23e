"""What waits, apart from how it waits: in a thread, or in an event loop. There is one code for both.

An operation that waits is a generator. It yields a waiter with a limit in seconds (None: no limit), and is sent whether
the wait came to its end within that. Whoever runs it chooses the kind of its waiters, and waits for them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar, Union

from raymq.waiting import Waiter

T = TypeVar("T")

Kind = Callable[[int], Waiter]
"""Makes a waiter for so many things."""

Steps = Generator[tuple[Any, Union[float, None]], bool, T]
"""An operation, of which T is the result. It must not raise what a remote function may have raised, nor return by an
error: a StopIteration cannot leave a generator."""


def in_thread(steps: Steps[T]) -> T:
    """Carry an operation out whose waiters are plain ones, and wait in this thread."""
    try:
        waiter, limit = next(steps)
        while True:
            waiter, limit = steps.send(waiter.wait(limit))
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()  # an interrupt comes while it waits: it has to undo what it began
