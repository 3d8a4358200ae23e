"""A process of a pool: an actor. What stands here travels to the cluster as it is, where raymq need not be."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from typing import Any


class Worker:
    """Calls functions.

    Args:
        initializer: called first, or None.
        initargs: its arguments.
    """

    def __init__(self, initializer: Callable[..., object] | None, initargs: Iterable[Any]) -> None:
        if initializer is not None:
            initializer(*initargs)

    def run(self, function: Callable[..., Any], chunk: Iterable[Any]) -> list[Any]:
        """Call a function several times, and go on where one of the calls fails.

        Args:
            function: what to call.
            chunk: for each call its arguments and keyword arguments.

        Returns:
            For each call whether it went well, what it returned or raised, and the traceback of the latter.
        """
        outcomes: list[tuple[bool, Any, str]] = []
        for args, kwargs in chunk:
            try:
                outcomes.append((True, function(*args, **kwargs), ""))
            except Exception as error:
                outcomes.append((False, error, traceback.format_exc()))
        return outcomes

    def after(self, outcomes: object) -> None:
        """Wait until what was done before has arrived where it is wanted."""
