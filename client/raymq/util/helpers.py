"""Results as they come: ``as_completed`` and ``map_unordered``."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from raymq.api import current_session
from raymq.refs import ObjectRef

CHUNK_SIZE = 10
"""Results that are waited for at a time, unless told otherwise."""

BACKPRESSURE_SIZE = 100
"""Calls that are under way at a time, unless told otherwise."""


def as_completed(
    refs: Sequence[ObjectRef[Any]], *, chunk_size: int = CHUNK_SIZE, yield_obj_refs: bool = False, **kwargs: Any
) -> Iterator[Any]:
    """The values of references, those that are ready first.

    Args:
        refs: the references.
        chunk_size: how many to wait for at a time. With 1, each value comes as soon as it is there.
        yield_obj_refs: yield the references instead of their values.
        kwargs: further arguments of ``wait``: ``timeout``, ``fetch_local``.

    Raises:
        ValueError: the ``chunk_size`` is below 1, or ``num_returns`` is given, which it stands for.
        RayTaskError: a task failed.
    """
    _check_chunk(chunk_size, kwargs)
    left = list(refs)
    while left:
        came, left = _wait(left, chunk_size, yield_obj_refs, kwargs)
        yield from came


def map_unordered(
    fn: Any,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = BACKPRESSURE_SIZE,
    chunk_size: int = CHUNK_SIZE,
    yield_obj_refs: bool = False,
    **kwargs: Any,
) -> Iterator[Any]:
    """Call a remote function for each of many items; its values, those that are ready first.

    Args:
        fn: the remote function, or an actor's method.
        items: each is the argument of one call.
        backpressure_size: how many calls may be under way; None for any number.
        chunk_size: how many values to wait for at a time.
        yield_obj_refs: yield references instead of their values.
        kwargs: further arguments of ``wait``: ``timeout``, ``fetch_local``.

    Raises:
        ValueError: the ``chunk_size`` or ``backpressure_size`` is below 1, or ``num_returns`` is given.
        RayTaskError: a call failed.
    """
    _check_chunk(chunk_size, kwargs)
    if backpressure_size is not None and backpressure_size < 1:
        raise ValueError(f"backpressure_size is 1 or more, or None, not {backpressure_size}")
    calls = (fn.remote(item) for item in items)
    left = list(itertools.islice(calls, backpressure_size))
    while left:
        came, left = _wait(left, chunk_size, yield_obj_refs, kwargs)
        left.extend(itertools.islice(calls, None if backpressure_size is None else len(came)))
        yield from came


def _check_chunk(chunk_size: int, kwargs: dict[str, Any]) -> None:
    if chunk_size < 1:
        raise ValueError(f"chunk_size is 1 or more, not {chunk_size}")
    if "num_returns" in kwargs:
        raise ValueError("num_returns is called chunk_size here")


def _wait(
    refs: list[ObjectRef[Any]], chunk_size: int, yield_obj_refs: bool, kwargs: dict[str, Any]
) -> tuple[list[Any], list[ObjectRef[Any]]]:
    session = refs[0]._life.session if isinstance(refs[0], ObjectRef) else current_session()
    ready, left = session.wait(refs, num_returns=min(chunk_size, len(refs)), **kwargs)
    return (ready if yield_obj_refs else session.get(ready)), left
