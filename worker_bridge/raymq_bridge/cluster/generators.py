"""Generators of references, and their items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray

from raymq_bridge.cluster.arrivals import on_ready


def is_generator(value: Any) -> bool:
    """Whether this is a generator of references."""
    return isinstance(value, ray.ObjectRefGenerator)


def next_item(generator: Any) -> Any:
    """The reference to the next item; None if there is none yet. A task that failed yields its error at last.

    Raises:
        StopIteration: there are no more.
    """
    reference = generator._next_sync(0)
    return None if reference.is_nil() else reference


def on_item(generator: Any, callback: Callable[[], None]) -> None:
    """Call back when there is a next item, or none will come; from a thread of Ray's."""
    awaited, _ = generator.worker.core_worker.peek_object_ref_stream(generator._generator_ref)
    on_ready(awaited, callback)


def completed(generator: Any) -> Any:
    """A reference that is ready when the generator's task has ended."""
    return generator.completed()
