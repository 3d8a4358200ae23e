"""The holder: the detached actor that keeps what is published when its publisher has gone.

In Ray an object dies with the process that made it, whoever else refers to it. So the holder makes a copy of its own:
from shared memory to shared memory, byte for byte, in the form in which Ray stores it. It unpickles nothing, so it
needs none of the publisher's modules and runs none of its code.

``Holder`` runs on a worker that need not have raymq: it is sent there by value. Beside ``cluster`` this is the only
module of a bridge that imports ray; the internals that it touches are named in ``INTERNALS``.
"""

from __future__ import annotations

import json
import pickle
import re
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import ray
import ray._private.state
import ray._private.worker
import ray._raylet
import ray.experimental.internal_kv as kv

from raymq_bridge.publications import Publication, Publications, Refused

INTERNALS = (
    "CoreWorker.get_objects(object_refs)",
    "CoreWorker.put_object(serialized_object, pin_object, inline_small_object, _is_experimental_channel)",
    "CoreWorker.get_all_reference_counts()",
    "ray._raylet.split_buffer(buf)",
    "ray._raylet.unpack_pickle5_buffers(bufferview)",
    "ray._raylet.Pickle5Writer.buffer_callback(pickle_buffer)",
    "ray._raylet.Pickle5SerializedObject(metadata, inband, writer, contained_object_refs)",
    "ray._raylet.MessagePackSerializedObject(metadata, msgpack_data, contained_object_refs, nest_serialized_object)",
    "ray._private.serialization._object_ref_deserializer",
    "ray._private.serialization._actor_handle_deserializer",
    "ray._private.state.actors(actor_id)",
    "ray.experimental.internal_kv._internal_kv_put(key, value, overwrite, namespace)",
    "ray.experimental.internal_kv._internal_kv_del(key, namespace)",
)

KV_NAMESPACE = b"raymq"
KV_KEY = b"publications"
"""Where the holder leaves its list in the cluster's key-value store, for those who have no Ray job to ask it with."""

LISTED_MAX = 1_000
"""Publications in that list."""

WRITE_INTERVAL = 0.2
"""Seconds between two writings of that list."""

LOOK_AGAIN = 10.0
"""Seconds between two looks whether somebody still uses what was unpublished."""

_REFERENCE = re.compile(rb"(_(?:object|rdt)_ref|_actor_handle)_deserializer\x94\x93")
"""In a pickle: a global of this name. Ray puts one where a value mentions a reference or an actor."""

_LONGEST = 32
"""Bytes that this may have; a bit more."""

SCANNED = 16 << 20
"""Bytes of a pickle that are searched before another thread gets its turn."""

Outcome = tuple[str, Any]
"""What the holder's methods return: "" and a value, or the name of an error and its message."""

CLOSING = "closing"
"""An outcome: this holder ends, having nothing to hold; the next one is to be asked."""

FAILED = "failed"
"""An outcome: what was to be published is an error."""


class Holder:
    """Owns what is published. Its methods run in several threads; a publication's copy holds nobody else up.

    Args:
        idle: seconds without any publication after which it ends, unless somebody still uses what was one.
    """

    def __init__(self, idle: float) -> None:
        self._idle = idle
        self._table = Publications(time.monotonic())
        self._made: set[bytes] = set()
        self._copying = 0
        self._closing = False
        self._dirty = True
        self._changed = threading.Condition()
        threading.Thread(target=self._keep_time, name="raymq-publications", daemon=True).start()

    def publish(self, name: str, box: list[Any], ttl: float | None, replace: bool, owner: dict[str, Any]) -> Outcome:
        """Publish the object or the actor that is in the box. The object is there, so this takes a copy's time.

        Args:
            name: under which it can be looked up.
            box: a list of one reference, which Ray hands over as such, or of one actor's handle.
            ttl: seconds until it ends by itself.
            replace: take the name over if there is one already.
            owner: who publishes.
        """

        def publish() -> None:
            with self._changed:
                self._table.check(name, replace=replace, now=time.monotonic())  # before there is a copy for nothing
            kind, content, identity, size = self._keep(box[0])
            now = time.monotonic()
            until = None if ttl is None else now + ttl
            with self._changed:
                publication = Publication(name, kind, content, identity, size, owner, now, until)
                self._table.add(publication, replace=replace, now=now)
                self._tell()

        with self._changed:
            if self._closing:
                return CLOSING, ""
            self._copying += 1
        try:
            return _outcome(publish)
        finally:
            with self._changed:
                self._copying -= 1

    def lookup(self, name: str) -> Outcome:
        """The object or the actor of that name, in a box."""

        def look_up() -> list[Any]:
            with self._changed:
                return [self._table.find(name, time.monotonic()).content]

        return _outcome(look_up)

    def unpublish(self, name: str, by: dict[str, Any]) -> Outcome:
        """End a publication."""

        def unpublish() -> None:
            with self._changed:
                self._table.remove(name, by, time.monotonic())
                self._tell()

        return _outcome(unpublish)

    def published(self) -> Outcome:
        """All publications, as plain data."""
        with self._changed:
            return "", self._table.listing(time.monotonic())

    # --- what is published

    def _keep(self, content: Any) -> tuple[str, Any, str, int | None]:
        """Something that this process keeps alive: kind, content, identity, size."""
        if not isinstance(content, ray.ObjectRef):
            actor = content._actor_id.hex()
            check_detached(ray._private.state.actors(actor))
            return "actor", content, actor, None
        data, metadata = stored(content)
        if content.hex().encode() not in self._made:
            content = copied(data, metadata)
            with self._changed:
                self._made.add(content.hex().encode())
        return "object", content, content.hex(), 0 if data is None else len(data)

    # --- time

    def _tell(self) -> None:
        self._dirty = True
        self._changed.notify_all()

    def _keep_time(self) -> None:
        while not self._closing:
            with self._changed:
                self._changed.wait_for(lambda: self._dirty or self._table.has_ended, self._pause(time.monotonic()))
                self._table.expire(time.monotonic())
                ended = self._table.take_ended()
                listing = self._table.listing(time.monotonic()) if self._dirty or ended else None
                self._dirty = False
                self._forget_released()
                self._closing = self._is_unused(time.monotonic())
            terminate(publication.content for publication in ended if publication.kind == "actor")
            del ended  # nothing here keeps their objects
            if listing is not None:
                write_list(listing)
                time.sleep(WRITE_INTERVAL)
        kv._internal_kv_del(KV_KEY, namespace=KV_NAMESPACE)
        ray.kill(ray.get_runtime_context().current_actor)

    def _pause(self, now: float) -> float:
        deadline = self._table.next_deadline()
        if deadline is not None:
            return max(0.0, deadline - now)
        if self._table.empty_since is None:
            return threading.TIMEOUT_MAX
        return max(self._table.empty_since + self._idle - now, min(self._idle, LOOK_AGAIN) if self._made else 0.0)

    def _is_unused(self, now: float) -> bool:
        since = self._table.empty_since
        if since is None or now < since + self._idle or self._copying:
            return False
        return not self._made

    def _forget_released(self) -> None:
        """Leave out of ``_made`` what nobody refers to any more, here or elsewhere."""
        self._made &= ray._private.worker.global_worker.core_worker.get_all_reference_counts().keys()


def _outcome(call: Callable[[], Any]) -> Outcome:
    """What a call returns or refuses; an exception of ours would be of a class that nobody else has."""
    try:
        return "", call()
    except Refused as refused:
        return refused.kind, refused.message


def check_detached(actor: dict[str, Any]) -> None:
    """See that an actor outlives its session.

    Args:
        actor: what the cluster knows of it.

    Raises:
        Refused: it does not.
    """
    if actor.get("State", "DEAD") == "DEAD":
        raise Refused("NotPublishable", "the actor is dead")
    if not actor.get("IsDetached"):
        raise Refused(
            "NotPublishable",
            "the actor ends with the session that created it. One that is created by "
            '.options(lifetime="detached").remote(...) outlives it and can be published.',
        )


def stored(reference: Any) -> tuple[Any, bytes]:
    """An object as Ray stores it: its bytes, where they lie (None if there are none), and what they are.

    Raises:
        Refused: it cannot be published.
    """
    [(data, metadata, *transport)] = ray._private.worker.global_worker.core_worker.get_objects([reference])
    kind = metadata.partition(b",")[0]
    if kind.isdigit():
        raise Refused(FAILED, kind.decode())
    if any(transport):
        raise Refused("NotPublishable", "the object is on its way outside of the object store (a tensor transport)")
    if kind == b"ACTOR_HANDLE":
        raise Refused("NotPublishable", "the object is an actor's handle: publish the actor itself, not a put() of it")
    return data, metadata


def copied(data: Any, metadata: bytes) -> Any:
    """A reference to a copy of a stored object, owned by this process.

    Raises:
        Refused: it mentions references or actors, which would not outlive their session.
    """
    if metadata.startswith(b"RAW"):
        return ray.put(b"" if data is None else _Bytes(data))
    pickled = None
    plain, rest = ray._raylet.split_buffer(data)
    if metadata.startswith(b"PYTHON"):
        inband, buffers = ray._raylet.unpack_pickle5_buffers(rest)
        check_alone(inband)
        writer = ray._raylet.Pickle5Writer()
        for buffer in buffers:
            writer.buffer_callback(pickle.PickleBuffer(buffer))
        pickled = ray._raylet.Pickle5SerializedObject(metadata, inband, writer, [])
    serialized = ray._raylet.MessagePackSerializedObject(metadata, bytes(plain), [], pickled)
    return ray._private.worker.global_worker.core_worker.put_object(
        serialized, pin_object=True, inline_small_object=True, _is_experimental_channel=False
    )


def check_alone(inband: Any) -> None:
    """See that a value mentions neither references nor actors.

    Raises:
        Refused: it does.
    """
    view = memoryview(inband)
    parts = (view[start : start + SCANNED + _LONGEST] for start in range(0, len(view), SCANNED))
    found = next(filter(None, map(_REFERENCE.search, parts)), None)
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


class _Bytes:
    """Bytes where they lie: put() copies them from there, and who gets the object has ``bytes``."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return bytes, (pickle.PickleBuffer(self._data),)


def terminate(actors: Iterable[Any]) -> None:
    """End actors whose publications have ended."""
    for actor in actors:
        ray.kill(actor)


def write_list(listing: list[dict[str, Any]]) -> None:
    """Leave the list where it can be read without a Ray job."""
    written = {
        "holder": ray.get_runtime_context().get_actor_id(),
        "at": time.time(),
        "count": len(listing),
        "publications": listing[:LISTED_MAX],
    }
    kv._internal_kv_put(KV_KEY, json.dumps(written).encode(), overwrite=True, namespace=KV_NAMESPACE)
