"""Values as Ray stores them, which the bridge has handed on without a look at what they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raymq.pickling import load_plain, without_collector
from raymq.protocol.codec import unpack_foreign

PYTHON_OBJECT = 101
"""The type of extension that stands in Ray's msgpack data for an object which msgpack does not have: its place in the
list of them (Ray's ``kMessagePackPythonType``)."""


def value_of(plain: Any, pickled: Any, buffers: Sequence[Any]) -> Any:
    """The value that is stored as msgpack data.

    Args:
        plain: the data.
        pickled: the pickle of a list with the objects that the data mentions; empty if it mentions none.
        buffers: the buffers of this pickle.

    Raises:
        ValueError: the data mentions something that is not Python's.
    """
    with without_collector(len(plain) + len(pickled)):
        objects = load_plain(pickled, buffers) if pickled else []

        def mentioned(kind: int, place: bytes) -> Any:
            if kind != PYTHON_OBJECT:
                raise ValueError(f"the value holds something of a type that Python does not have (extension {kind})")
            return objects[place[0] if len(place) == 1 else unpack_foreign(place)]

        return unpack_foreign(plain, mentioned)
