"""Copies of objects as Ray stores them, from shared memory to shared memory, byte for byte.

Nothing is unpickled: who copies needs none of the modules of a value's classes and runs none of their code. It runs in
the holder, on a worker that need not have raymq: it is sent there by value. The bridge reads objects by the same means.
"""

from __future__ import annotations

import re
from pickle import PickleBuffer
from typing import Any

import ray
import ray._private.worker
import ray._raylet

from raymq_bridge.publications import Refused

INTERNALS = (
    "CoreWorker.get_objects(object_refs, timeout_ms)",
    "CoreWorker.put_object(serialized_object, pin_object, inline_small_object, _is_experimental_channel)",
    "ray._raylet.split_buffer(buf)",
    "ray._raylet.unpack_pickle5_buffers(bufferview)",
    "ray._raylet.Pickle5Writer.buffer_callback(pickle_buffer)",
    "ray._raylet.Pickle5SerializedObject(metadata, inband, writer, contained_object_refs)",
    "ray._raylet.MessagePackSerializedObject(metadata, msgpack_data, contained_object_refs, nest_serialized_object)",
    "ray._private.serialization._object_ref_deserializer",
    "ray._private.serialization._actor_handle_deserializer",
)

_REFERENCE = re.compile(rb"(_(?:object|rdt)_ref|_actor_handle)_deserializer\x94\x93")
"""In a pickle: a global of this name. Ray puts one where a value mentions a reference or an actor."""

_LONGEST = 32
"""Bytes that this may have; a bit more."""

SCANNED = 16 << 20
"""Bytes of a pickle that are searched before another thread gets its turn."""

FAILED = "failed"
"""Refused, because what was to be copied is an error."""


def stored(reference: Any, timeout_ms: int = -1) -> tuple[Any, bytes]:
    """An object as Ray stores it: its bytes, where they lie (None if there are none), and what they are.

    Args:
        reference: to the object.
        timeout_ms: milliseconds to wait for it at most; -1 for ever.

    Raises:
        GetTimeoutError: it is not here.
        Refused: it cannot be published.
    """
    [(data, metadata, *transport)] = entries([reference], timeout_ms)
    kind = metadata.partition(b",")[0]
    if kind.isdigit():
        raise Refused(FAILED, kind.decode())
    if travels_apart(metadata, *transport):
        raise Refused("NotPublishable", "the object is on its way outside of the object store (a tensor transport)")
    if kind == b"ACTOR_HANDLE":
        raise Refused("NotPublishable", "the object is an actor's handle: publish the actor itself, not a put() of it")
    return data, metadata


def entries(references: list[Any], timeout_ms: int) -> Any:
    """Objects and errors as Ray stores them: data, what it is, and in newer Rays how else it travels.

    Raises:
        GetTimeoutError: one is not here.
    """
    worker = ray._private.worker.global_worker
    try:
        return worker.core_worker.get_objects(references, timeout_ms)
    except TypeError:  # an older Ray wants to be told on whose behalf
        return worker.core_worker.get_objects(references, worker.current_task_id, timeout_ms)


def travels_apart(metadata: bytes, *transport: Any) -> bool:
    """Whether an object has tensors that are on their way outside of the object store."""
    ordinary = None, "OBJECT_STORE"  # the latter in Ray 2.50, where it is an enumeration's
    return metadata.startswith(b"PYTHON") and any(getattr(each, "name", each) not in ordinary for each in transport)


def copied(data: Any, metadata: bytes) -> Any:
    """A reference to a copy of a stored object, owned by this process.

    Raises:
        Refused: it mentions references or actors, which would not outlive their session.
    """
    if metadata.startswith(b"RAW"):
        return ray.put(b"" if data is None else _Bytes(data))
    pickled = None
    plain, inband, buffers = split(data, metadata)
    if inband:
        check_alone(inband)
        writer = ray._raylet.Pickle5Writer()
        for buffer in buffers:
            writer.buffer_callback(PickleBuffer(buffer))
        pickled = ray._raylet.Pickle5SerializedObject(metadata, inband, writer, [])
    serialized = ray._raylet.MessagePackSerializedObject(metadata, bytes(plain), [], pickled)
    return _put(serialized, pin_object=True, inline_small_object=True, _is_experimental_channel=False)


def split(data: Any, metadata: bytes) -> tuple[Any, Any, list[Any]]:
    """The parts of a stored value: msgpack data; the pickle of a list of what msgpack does not have; its buffers."""
    plain, rest = ray._raylet.split_buffer(data)
    if not metadata.startswith(b"PYTHON"):
        return plain, b"", []
    inband, buffers = ray._raylet.unpack_pickle5_buffers(rest)
    return plain, inband, list(buffers)


def _put(serialized: Any, **options: bool) -> Any:
    core = ray._private.worker.global_worker.core_worker
    if hasattr(core, "put_object"):
        try:
            return core.put_object(serialized, **options)
        except TypeError:  # Ray 2.50 wants to be told of another owner
            return core.put_object(serialized, owner_address=None, **options)
    # An older Ray has another name for it, and counts the reference that we are about to make.
    made = core.put_serialized_object_and_increment_local_ref(serialized, **options)
    return ray.ObjectRef(made, skip_adding_local_ref=True)


def check_alone(inband: Any) -> None:
    """See that a value mentions neither references nor actors.

    Raises:
        Refused: it does.
    """
    found = find(_REFERENCE, inband)
    if found is None:
        return
    if found[1] == b"_actor_handle":
        raise Refused(
            "NotPublishable",
            "the value holds an actor's handle, which need not outlive its session: publish the actor by a name of "
            "its own, and look it up where it is used",
        )
    raise Refused(
        "NotPublishable",
        "the value holds references to other objects, which end with the session that made them. Publish each of them "
        "by a name of its own, or one object that holds their values",
    )


def find(pattern: re.Pattern[bytes], inband: Any) -> re.Match[bytes] | None:
    """The first place in a pickle that matches a pattern, of no more than _LONGEST bytes; other threads get turns."""
    view = memoryview(inband)
    parts = (view[start : start + SCANNED + _LONGEST] for start in range(0, len(view), SCANNED))
    return next(filter(None, map(pattern.search, parts)), None)


class _Bytes:
    """Bytes where they lie: put() copies them from there, and who gets the object has ``bytes``."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return bytes, (PickleBuffer(self._data),)
