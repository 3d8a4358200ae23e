"""The cluster face: what a bridge does with Ray. Beside it only the holder of publications knows of Ray's internals.

Each internal that is touched has one name here, in ``INTERNALS``, and a test that says so by that name when a new
Ray moves it. Everything else is Ray's public API.
"""

from __future__ import annotations

import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # else a call that comes after the cluster's death starts one of its own

from raymq_bridge.cluster.arrivals import (
    NOT_AT_HAND,
    is_at_hand,
    on_ready,
    on_value,
    value_at_hand,
    values_at_hand,
)
from raymq_bridge.cluster.calls import create, method, put, remote, submit
from raymq_bridge.cluster.copies import on_local, ready_now
from raymq_bridge.cluster.driver import VERSION, NoCluster, check_reachable, connect, disconnect, listen_to_workers
from raymq_bridge.cluster.errors import is_actor_gone, is_error, is_error_class, is_own_error, raised, task_error
from raymq_bridge.cluster.generators import is_generator, next_item, on_item
from raymq_bridge.cluster.names import named, shared_class
from raymq_bridge.cluster.operations import OPERATIONS
from raymq_bridge.cluster.references import actor_shape, definition, identity, is_actor, is_reference
from raymq_bridge.cluster.serialized import Serialized, on_arrival

__all__ = [
    "INTERNALS", "NOT_AT_HAND", "OPERATIONS", "VERSION", "NoCluster", "Serialized", "actor_shape",
    "check_reachable", "connect", "create", "definition", "disconnect", "identity", "is_actor", "is_actor_gone",
    "is_at_hand", "is_error", "is_error_class", "is_generator", "is_own_error", "is_reference", "listen_to_workers",
    "method", "named", "next_item", "on_arrival", "on_item", "on_local", "on_ready", "on_value", "put", "raised",
    "ready_now", "remote", "shared_class", "submit", "task_error", "value_at_hand", "values_at_hand",
]  # fmt: skip

INTERNALS = (
    "RAY_ENABLE_AUTO_CONNECT",
    "ObjectRef._on_completed(callback)",
    "ObjectRef._on_ready(callback)",
    "ray._private.worker.global_worker.core_worker.object_exists(reference, memory_store_only=True)",
    "ray._private.worker.global_worker.deserialize_objects(serialized_objects, object_refs)",
    "ActorHandle._ray_method_signatures",
    "ActorHandle._ray_method_num_returns",
    "ActorHandle._ray_method_is_generator",
    "ActorHandle._ray_method_generator_backpressure_num_objects",
    "ObjectRefGenerator._next_sync(timeout_s)",
    "ObjectRefGenerator._generator_ref",
    "ObjectRefGenerator.worker.core_worker.peek_object_ref_stream(generator_ref)",
    "ActorHandle._ray_actor_creation_function_descriptor.class_name",
    "RemoteFunction: _function, _default_options, _is_cross_language",
    "ActorClass: __ray_metadata__.modified_class.__ray_actor_class__, _default_options",
    "ActorHandle._actor_id",
    "ray._private.ray_logging.global_worker_stdstream_dispatcher",
    "ray._private.worker.print_worker_logs",
    "RayContext.address_info['raylet_socket_name']",
    "Queue.__dict__: maxsize, actor",
    "DynamicObjectRefGenerator.__dict__: _refs",
    "ActorHandle._ray_method_signatures: without self, with _ray_trace_ctx",
    "PlacementGroup.__dict__: id, bundle_cache",
    "NodeAffinitySchedulingStrategy.__dict__: node_id, soft, _spill_on_unavailable, _fail_on_unavailable",
    "PlacementGroupSchedulingStrategy.__dict__: as its constructor's arguments",
    "In.__dict__: values",
    "ray.experimental.internal_kv._internal_kv_get('extra_usage_tag_gcs_storage', namespace='usage_stats')",
)
