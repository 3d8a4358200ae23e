"""When something is there: a value, an object."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import ray
import ray.exceptions

from raymq.protocol.codec import unpack_foreign
from raymq_bridge import copying
from raymq_bridge.cluster.copies import COPIES

# Ray writes down what cannot be unpickled: that is the client's to know, who is told, and not the head's.
logging.getLogger("ray._private.serialization").setLevel(logging.CRITICAL)

_THREAD = threading.local()

_TENSORS = (
    "a value with tensors that travel outside of the object store (a tensor transport) cannot be fetched by a client: "
    "use it in a task, which returns what is wanted of it"
)


def _keep_state() -> None:
    """Have Python keep what it needs for this thread, which Ray has made and from which it calls back.

    Else Python sets that up for each callback and takes it down again, with memory that is mapped and given back, which
    interrupts all processors: 20 us, in which nobody else can run Python code (CPython 3.11).
    """
    if not hasattr(_THREAD, "state"):
        _THREAD.state = ctypes.pythonapi.PyGILState_Ensure()  # there is no release to it, until the process ends


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

    An error comes as Ray's exception object. To ask is 0.5 us and to get it 3 to 10, where a callback takes 100 (Ray
    2.60). User code may run in here, when the value is unpickled.
    """
    return value_here(reference) if is_at_hand(reference) else NOT_AT_HAND


def values_at_hand(references: Sequence[Any]) -> list[Any]:
    """For each reference the same; to get many at once takes half of the time for each."""
    here = [is_at_hand(reference) for reference in references]
    wanted = [reference for reference, there in zip(references, here, strict=True) if there]
    try:
        values = _values(wanted)
    except Exception:  # at least one of them is gone
        values = list(map(value_here, wanted))
    each = iter(values)
    return [next(each) if there else NOT_AT_HAND for there in here]


def value_here(reference: Any) -> Any:
    """A value, or Ray's exception object, that is on this node; NOT_AT_HAND if it is not there any longer."""
    try:
        [value] = _values([reference])
    except Exception:  # whoever waits for it is told why
        return NOT_AT_HAND
    return value


def _values(references: list[Any]) -> list[Any]:
    entries = copying.entries(references, 0)
    # What does not say what it is, is not here: Ray would put a class of its own in its place.
    values = [_plain(*entry) if entry[1] else NOT_AT_HAND for entry in entries]
    others = [place for place, value in enumerate(values) if value is NOT_AT_HAND and entries[place][1]]
    if others:
        made = _unpickled([entries[place] for place in others], [references[place] for place in others])
        for place, value in zip(others, made, strict=True):
            values[place] = value
    return values


def _unpickled(entries: list[Any], references: list[Any]) -> list[Any]:
    """What Ray makes of these, each by itself if something is raised that Ray lets through, such as a SystemExit."""
    try:
        return list(ray._private.worker.global_worker.deserialize_objects(entries, references))
    except BaseException as error:
        if len(entries) == 1:
            return [ray.exceptions.RaySystemError(error, traceback.format_exc())]
        return [_unpickled([entry], [ref])[0] for entry, ref in zip(entries, references, strict=True)]


def _plain(data: Any, metadata: bytes, *transport: Any) -> Any:
    """Bytes, and what msgpack has, as numbers, strings and lists: Ray's own way to it takes three times as long."""
    if metadata == b"RAW":
        return b"" if data is None else bytes(data)
    if metadata == b"XLANG":
        plain, _, _ = copying.split(data, metadata)
        with contextlib.suppress(ValueError):
            return unpack_foreign(plain, _no_extension)
    if copying.travels_apart(metadata, *transport):  # Ray would wait a minute for somebody else to fetch it
        return ray.exceptions.RaySystemError(ValueError(_TENSORS))
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
