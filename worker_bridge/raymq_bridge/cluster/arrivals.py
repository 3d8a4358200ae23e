"""When something is there: a value, an object."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable, Sequence
from typing import Any

import ray

from raymq.protocol.codec import unpack_foreign
from raymq_bridge import copying
from raymq_bridge.cluster.copies import COPIES
from raymq_bridge.cluster.errors import is_error

_THREAD = threading.local()


def _keep_state() -> None:
    """Have Python keep what it needs for this thread, which Ray has made and from which it calls back.

    Else Python sets that up for each callback and takes it down again, with memory that is mapped and given back, which
    interrupts all processors: 20 us, in which nobody else can run Python code (CPython 3.11).
    """
    if not hasattr(_THREAD, "state"):
        _THREAD.state = ctypes.pythonapi.PyGILState_Ensure()  # there is no release to it


def on_value(reference: Any, callback: Callable[[Any], None]) -> None:
    """Call back with the value, or with Ray's exception object, when it is there; from a thread of Ray's."""

    def completed(value: Any, held: Any = reference) -> None:
        # Ray ends the process with a failed check where the last reference to an object dies that is being fetched
        # from the object store: the callback holds one until it is called.
        _keep_state()
        callback(value)

    reference._on_completed(completed)


NOT_AT_HAND = object()
"""Says that a value has to be waited for, or is not known to be small."""


def value_at_hand(reference: Any) -> Any:
    """A value that a task has returned, and that is in this process already, which small ones are; or NOT_AT_HAND.

    To ask is 0.5 us and to get it 3 to 10, where a callback takes 100 (Ray 2.60). Errors are left to ``on_value``.
    """
    with contextlib.suppress(BaseException):  # user code may run in there, when the value is unpickled
        if is_at_hand(reference):
            [value] = _values([reference])
            return NOT_AT_HAND if value is FAILED else value
    return NOT_AT_HAND


FAILED = object()
"""Says that a value is an error, or cannot be unpickled: ``on_value`` tells which."""


def values_at_hand(references: Sequence[Any]) -> list[Any]:
    """For each reference its value, NOT_AT_HAND or FAILED; to get many at once takes half of the time for each."""
    here = [is_at_hand(reference) for reference in references]
    wanted = [reference for reference, there in zip(references, here, strict=True) if there]
    try:
        values = _values(wanted)
    except BaseException:  # of a user's code, which leads to its own value's failure only
        values = [FAILED if value is NOT_AT_HAND else value for value in map(value_at_hand, wanted)]
    each = iter(values)
    return [next(each) if there else NOT_AT_HAND for there in here]


def _values(references: list[Any]) -> list[Any]:
    """For each of these references, whose objects are in this process, its value or FAILED."""
    entries = copying.entries(references, 0)
    values = [_unpacked(*entry) for entry in entries]
    others = [place for place, value in enumerate(values) if value is NOT_AT_HAND]
    if others:
        stored, whose = [entries[place] for place in others], [references[place] for place in others]
        made = ray._private.worker.global_worker.deserialize_objects(stored, whose)
        for place, value in zip(others, made, strict=True):
            values[place] = FAILED if is_error(value) else value
    return values


def _unpacked(data: Any, metadata: bytes, *transport: Any) -> Any:
    """What msgpack has, as numbers, strings and lists: Ray's own way to it takes three times as long."""
    if metadata == b"XLANG" and not any(transport):
        plain, _, _ = copying.split(data, metadata)
        with contextlib.suppress(ValueError):
            return unpack_foreign(plain, _no_extension)
    return NOT_AT_HAND


def _no_extension(code: int, _data: bytes) -> Any:
    raise ValueError(f"of extensions, such as {code}, Ray knows what they are")


def is_at_hand(reference: Any) -> bool:
    """Whether this is a small value, or an error, that is in this process already."""
    return bool(ray._private.worker.global_worker.core_worker.object_exists(reference, memory_store_only=True))


def on_ready(reference: Any, callback: Callable[[], None]) -> None:
    """Call back when the object exists, or its error; its value is not fetched."""

    def completed(outcome: Any, held: Any = reference) -> None:
        _keep_state()
        if COPIES.has_ray:  # at its end Ray calls for all that it has not made, and whoever asks it then ends with it
            callback()

    if hasattr(reference, "_on_ready"):
        reference._on_ready(completed)
    else:  # Ray before 2.60 has no such thing, and the value comes along for nothing
        reference._on_completed(completed)
