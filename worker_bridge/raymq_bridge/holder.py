"""The holder: the detached actor that keeps what is published when its publisher has gone.

In Ray an object dies with the process that made it, whoever else refers to it; so the holder makes a copy of its own
(see ``copying``). A detached actor outlives its maker by itself; the holder knows its name, and ends it in time.

``Holder`` runs on a worker that need not have raymq: it is sent there by value.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import ray
import ray._private.state
import ray._private.worker
import ray._raylet
from ray.core.generated import gcs_pb2
from ray.experimental import internal_kv
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raymq_bridge import copying, publications
from raymq_bridge.copying import copied, stored
from raymq_bridge.publications import Publication, Publications, Refused

INTERNALS = (
    "CoreWorker.get_all_reference_counts()",
    "ray._private.state.actors(actor_id)",
    "ray.cloudpickle.register_pickle_by_value(module)",
    "ray.experimental.internal_kv._internal_kv_put(key, value, overwrite, namespace)",
    "ray.experimental.internal_kv._internal_kv_del(key, namespace)",
    "ray._raylet.GcsClientOptions.create(gcs_address, cluster_id_hex, allow_cluster_id_nil, fetch_cluster_id_if_nil)",
    "ray._raylet.GlobalStateAccessor.connect()",
    "ray._raylet.InnerGcsClient.internal_kv_get(key, namespace, timeout)",
    "ray._raylet.GlobalStateAccessor.get_actor_info(actor_id)",
    "ray.core.generated.gcs_pb2.ActorTableData.FromString",
)

NAME = "publications/1"
NAMESPACE = "raymq"
"""Where the actor is found. The number in its name changes with its methods: it outlives an upgrade of the bridges."""

IDLE = 300.0
"""Seconds without any publication after which it ends."""

COPIES = 4
"""Objects that are copied at a time, beside the calls that take no time."""

KV_NAMESPACE = b"raymq"
KV_KEY = b"publications"
"""Where the holder leaves its list in the cluster's key-value store, for those who have no Ray job to ask it with."""

LISTED_MAX = 1_000
"""Publications in that list."""

WRITE_INTERVAL = 0.2
"""Seconds between two writings of that list."""

READ_TIME = 5.0
"""Seconds that the cluster has to give that list."""

LOOK_AGAIN = 10.0
"""Seconds between two looks whether somebody still uses what was unpublished."""

Outcome = tuple[str, Any]
"""What the holder's methods return: "" and a value, or the name of an error and its message."""

CLOSING = "closing"
"""An outcome: this holder ends, having nothing to hold; the next one is to be asked."""


def find(*, create: bool) -> Any:
    """The actor that holds what is published; None if there is none and none is to be made."""
    try:
        return ray.get_actor(NAME, NAMESPACE)
    except ValueError:
        return make(NAME, IDLE) if create else None


def make(name: str, idle: float) -> Any:
    """Start a holder on the head node, or take the one of that name that somebody else has just started.

    It has the runtime environment of the job that starts it, as every actor has; it uses nothing of it but Ray.
    """
    # Not soft: for an actor that needs no resources, Ray 2.60 then takes any node.
    heads = [node["NodeID"] for node in ray.nodes() if "node:__internal_head__" in node["Resources"]]
    kind = ray.remote(num_cpus=0, max_concurrency=8, concurrency_groups={"copies": COPIES})(by_value())
    return kind.options(
        name=name,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        scheduling_strategy=NodeAffinitySchedulingStrategy(heads[0], soft=False) if heads else "DEFAULT",
    ).remote(idle)


def by_value() -> type[Holder]:
    """The class, such that Ray pickles all that it needs of raymq along with it."""
    for module in (copying, publications, sys.modules[__name__]):
        ray.cloudpickle.register_pickle_by_value(module)
    return Holder


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
        internal_kv._internal_kv_del(KV_KEY, namespace=KV_NAMESPACE)
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
    internal_kv._internal_kv_put(KV_KEY, json.dumps(written).encode(), overwrite=True, namespace=KV_NAMESPACE)


def read_list(address: str) -> dict[str, Any]:
    """What is published on a cluster, as its holder has written it down; asked without being a driver of it.

    Args:
        address: the GCS, ``HOST:PORT``.

    Returns:
        ``count``, and ``publications``: the first ``LISTED_MAX`` of them as of ``Publications.listing``.
    """
    listed = ray._raylet.GcsClient(address=address).internal_kv_get(KV_KEY, KV_NAMESPACE, timeout=READ_TIME)
    written = json.loads(listed or b"null")
    if written is None or not _is_alive(address, written["holder"]):
        return {"count": 0, "publications": []}
    passed = max(0.0, time.time() - written["at"])
    for entry in written["publications"]:
        entry["age"] += passed
        if entry["expires_in"] is not None:
            entry["expires_in"] = max(0.0, entry["expires_in"] - passed)
    return {"count": written["count"], "publications": written["publications"]}


def _is_alive(address: str, actor: str) -> bool:
    """Whether an actor is alive: one that was killed has left its list behind."""
    options = ray._raylet.GcsClientOptions.create(
        address, None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=True
    )
    accessor = ray._raylet.GlobalStateAccessor(options)
    if not accessor.connect():
        raise ConnectionError(f"the cluster's GCS at {address} lets nobody ask")
    told = accessor.get_actor_info(ray.ActorID(bytes.fromhex(actor)))
    return told is not None and gcs_pb2.ActorTableData.FromString(told).state == gcs_pb2.ActorTableData.ALIVE
