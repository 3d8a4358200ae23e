"""Values as Ray stores them, which need not be unpickled here to be understood by a client."""

from __future__ import annotations

import functools
import re
import traceback
from collections.abc import Callable
from typing import Any

import ray.exceptions

from raymq.pickling import PickleBuffer
from raymq.protocol.limits import INLINE_MAX
from raymq_bridge import copying
from raymq_bridge.cluster.arrivals import NOT_AT_HAND, on_ready, on_value, value_at_hand, value_here
from raymq_bridge.cluster.copies import on_local
from raymq_bridge.publications import Refused

_NAMES = re.compile(rb"\x8c.ray(?:mq)?[.\x94]", re.DOTALL)
"""In a pickle: the name of a module of Ray's, which a client need not have, or of raymq's, which is not what it seems.

Strings are written in this way from protocol 4 on: SHORT_BINUNICODE, the length, the text, MEMOIZE. What a class has
pickled in an older protocol for itself is not looked into.
"""


class Serialized:
    """A value, in the parts in which it lies in the object store.

    Args:
        kind: ``bytes``, or ``msgpack``.
        parts: for bytes these; else the msgpack data, the pickle of the list of those objects in it that msgpack does
            not have, and a list with that pickle's buffers.
    """

    __slots__ = ("kind", "parts")

    def __init__(self, kind: str, *parts: Any) -> None:
        self.kind = kind
        self.parts = parts

    @property
    def nbytes(self) -> int:
        """Bytes of all parts."""
        return sum(memoryview(part).nbytes for part in self._flat())

    def _flat(self) -> list[Any]:
        *parts, last = self.parts
        return [*parts, *last] if isinstance(last, list) else [*parts, last]

    def fields(self) -> tuple[Any, ...]:
        """What stands for the value in a pickle: kind and parts; the large ones stay where they are."""
        *parts, last = self.parts
        rest = [PickleBuffer(each) for each in last] if isinstance(last, list) else PickleBuffer(last)
        return self.kind, *map(PickleBuffer, parts), rest


def serialized_here(reference: Any) -> Any:
    """A value that is on this node, as it is stored; NOT_AT_HAND if it has to be unpickled, is an error or not here."""
    try:
        data, metadata = copying.stored(reference, 0)
    except (Refused, ray.exceptions.RayError):
        return NOT_AT_HAND
    if metadata.startswith(b"RAW"):
        return Serialized("bytes", data if data is not None else b"")
    if not metadata.startswith((b"PYTHON", b"XLANG")):
        return NOT_AT_HAND
    plain, inband, buffers = copying.split(data, metadata)
    return NOT_AT_HAND if copying.find(_NAMES, inband) else Serialized("msgpack", plain, inband, buffers)


def on_arrival(reference: Any, callback: Callable[[Any], None]) -> None:
    """Call back with the value, or with Ray's exception object; with a ``Serialized`` where that is large and will do.

    From a thread of Ray's, or from one that tells of copies; what is in the object store is copied to this node.
    """
    if hasattr(reference, "_on_ready"):
        on_ready(reference, functools.partial(_go_on, _exists, reference, callback))
    else:  # Ray before 2.60 tells of an object only with its value
        on_value(reference, callback)


def _go_on(step: Callable[..., None], reference: Any, callback: Callable[[Any], None]) -> None:
    """For threads where an exception would be lost, and somebody wait for ever."""
    try:
        step(reference, callback)
    except Exception as error:
        callback(ray.exceptions.RaySystemError(error, traceback.format_exc()))


def _exists(reference: Any, callback: Callable[[Any], None]) -> None:
    value = value_at_hand(reference)
    if value is not NOT_AT_HAND:
        callback(value)
    else:
        on_local(reference, functools.partial(_go_on, _is_here, reference, callback))


def _is_here(reference: Any, callback: Callable[[Any], None]) -> None:
    value = serialized_here(reference)
    if value is NOT_AT_HAND or value.nbytes <= INLINE_MAX:  # clients keep small values, if they are pickled for them
        value = value_here(reference)
    if value is NOT_AT_HAND:  # it is gone, and has to be fetched again
        on_value(reference, callback)
    else:
        callback(value)
