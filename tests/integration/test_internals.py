"""Ray's internals that the cluster face touches: each is asked for by its name, on the Ray that is installed."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.integration.conftest import HEAD_PYTHON, Head

pytestmark = pytest.mark.cluster

ASK = """
import json, os, sys, threading, time
from raymq_bridge import cluster, copying, packages, services
from raymq_bridge.cluster import arrivals, driver, references
import ray
import ray.util.queue
from ray.util import scheduling_strategies as strategies
placement_group = sys.modules["ray.util.placement_group"]
from ray._private.ray_logging import global_worker_stdstream_dispatcher as dispatcher

context = ray.init(address=sys.argv[1], log_to_driver=False, configure_logging=False)


@ray.remote(num_cpus=0)
class Actor:
    def one(self):
        return 1

    @ray.method(num_returns=2)
    def two(self):
        return 1, 2

    def add(self, one, *, other=1):
        return one + other

    def some(self):
        yield 1

    @ray.method(_generator_backpressure_num_objects=1)
    def few(self):
        yield 1


@ray.remote(num_cpus=0)
def fails():
    raise ValueError


@ray.remote(num_cpus=0)
def gives(value):
    return value


@ray.remote(num_cpus=0)
def gives_a(kind):
    return kind()


actor = Actor.remote()
reference = actor.one.remote()


def calls_back(name):
    got, done = [], threading.Event()
    getattr(reference, name)(lambda *values: (got.extend(values), done.set()))
    assert done.wait(60)
    return got


def functions_are_told():
    function = lambda: 1
    return cluster.definition(ray.remote(num_cpus=0)(function)) == (function, {"num_cpus": 0})


def small_values_are_at_hand():
    ray.wait([reference])
    large, failing = ray.put(1), fails.remote()
    ray.wait([failing])
    one, other, error = [cluster.value_at_hand(each) for each in (reference, large, failing)]
    assert (one, other) == (1, cluster.NOT_AT_HAND) and cluster.is_error(error), (one, other, error)
    other, one, error, same = cluster.values_at_hand([large, reference, failing, reference])
    return (one, same, other) == (1, 1, cluster.NOT_AT_HAND) and isinstance(error.cause, ValueError)


def values_are_what_ray_says():
    values = [[reference], None, True, -5, 2**63, 1.5, "text", [1, [2]], {"a": {1: 2}}, (1,), b"bytes", b"", {1}, 2**70, [None, {"b": (2,)}]]
    refs = [gives.remote(value) for value in values]
    ray.wait(refs, num_returns=len(refs))
    plain = [arrivals._plain(*entry) for entry in copying.entries(refs, 0)]
    assert plain[1:3] == [None, True] and b"bytes" in plain and b"" in plain, "not by Ray's way"
    alone = [cluster.value_at_hand(each) for each in refs]
    return repr(values) == repr(ray.get(refs)) == repr(alone) == repr(cluster.values_at_hand(refs))


def what_unpickling_raises_is_an_error():
    class Bomb:
        def __reduce__(self):
            return sys.exit, ("boom",)

    bomb, several = gives_a.remote(Bomb), [gives.remote((place,)) for place in range(3)]
    ray.wait([bomb, *several], num_returns=4)
    one, *others = cluster.values_at_hand([bomb, *several])
    assert others == [(0,), (1,), (2,)], others
    return all(cluster.is_error(each) and "boom" in str(each) for each in (one, cluster.value_at_hand(bomb)))


def threads_keep_their_state():
    local, kept = threading.local(), []
    for _ in range(2):
        done = threading.Event()

        def came():
            kept.append(hasattr(local, "here"))
            local.here = True
            done.set()

        cluster.on_ready(actor.one.remote(), came)
        assert done.wait(60)
    return kept == [False, True]


def items_come():
    generator, came = actor.some.remote(), threading.Event()
    cluster.on_item(generator, came.set)
    assert came.wait(60)
    return ray.get(cluster.next_item(generator)) == 1 and cluster.is_generator(generator)


def generators_end():
    generator = actor.some.remote()
    next(generator)
    ray.get(generator._generator_ref)
    try:
        cluster.next_item(generator)
    except StopIteration:
        return True


def socket_is_the_raylets():
    pid = driver.peer_of(context.address_info["raylet_socket_name"])
    with open(f"/proc/{pid}/comm") as comm:
        return comm.read().strip() == "raylet"


def dispatches():
    got = []
    dispatcher.add_handler("test", got.append)
    dispatcher.emit({"lines": []})
    dispatcher.remove_handler("test")
    return got == [{"lines": []}]


def prints():
    import io
    from ray._private.worker import print_worker_logs
    text = io.StringIO()
    print_worker_logs({"lines": ["hello"], "pid": 1, "ip": "1.2.3.4", "job": "", "is_err": False}, text)
    return "hello" in text.getvalue()


def stores():
    here = {"namespace": "raymq_internals"}
    put = [services.kv("put", "key", b"value", True, **here), services.kv("put", "key", b"other", False, **here)]
    told = {"put": put, "got": services.kv("get", "key", **here), "exists": services.kv("exists", b"key", **here)}
    told["list"] = services.kv("list", "k", **here)
    return {**told, "del": services.kv("del", "key", del_by_prefix=False, **here)}


def describes():
    node, = services._ask_state("list_nodes", (), {"limit": 1})
    job, = services._ask_state("list_jobs", (), {"limit": 1, "raise_on_missing_output": False})
    kinds = services.described(node), services.described(job)
    json.dumps(kinds)
    return [kind[0] for kind in kinds] == ["NodeState", "JobState"] and kinds[0][1]["node_id"] == node.node_id


def packages_stay_that_are_pinned_again():
    packages.PIN = 5
    kept, dropped = "gcs://_ray_pkg_kept.zip", "gcs://_ray_pkg_dropped.zip"
    keeper = packages.Packages()
    assert not keeper._package(dropped, None)
    assert keeper._package(kept, b"kept")
    packages.packaging.pin_runtime_env_uri(dropped, expiration_s=packages.PIN)
    packages.packaging.upload_package_to_gcs(dropped, b"dropped")
    while packages.packaging.package_exists(dropped):
        time.sleep(0.1)
    return keeper._package(kept, None) and not keeper._package(dropped, None)


def starts_nothing_when_it_has_ended():
    ray.shutdown()
    try:
        ray.put(1)
    except Exception:
        return not ray.is_initialized()
    ray.shutdown()


shape = cluster.actor_shape(actor)[1]
group = placement_group.PlacementGroup.empty()
CHECKS = {
    "ObjectRef._on_completed(callback)": lambda: calls_back("_on_completed") == [1],
    "ObjectRef._on_ready(callback)": lambda: len(calls_back("_on_ready")) == 1,
    "ActorHandle._ray_method_signatures": lambda: {"one", "two", "some"} <= set(actor._ray_method_signatures),
    "ActorHandle._ray_method_num_returns": lambda: shape["one"] == 1 and shape["two"] == 2,
    "ActorHandle._ray_method_is_generator": lambda: shape["some"] == -1,
    "ActorHandle._ray_method_generator_backpressure_num_objects": lambda: shape["few"] == -2,
    "ObjectRefGenerator._next_sync(timeout_s)": items_come,
    "ObjectRefGenerator._generator_ref": generators_end,
    "ObjectRefGenerator.worker.core_worker.peek_object_ref_stream(generator_ref)": items_come,
    "ray._private.worker.global_worker.core_worker.object_exists(reference, memory_store_only=True)":
        small_values_are_at_hand,
    "ray._private.worker.global_worker.deserialize_objects(serialized_objects, object_refs)":
        lambda: values_are_what_ray_says() and what_unpickling_raises_is_an_error(),
    "ActorHandle._ray_actor_creation_function_descriptor.class_name": lambda: cluster.actor_shape(actor)[0] == "Actor",
    "RemoteFunction: _function, _default_options, _is_cross_language": functions_are_told,
    "ActorClass: __ray_metadata__.modified_class.__ray_actor_class__, _default_options":
        lambda: cluster.definition(Actor)[0].__name__ == "Actor" and cluster.definition(Actor)[1] == {"num_cpus": 0},
    "ActorHandle._actor_id": lambda: len(cluster.identity(actor)) == 16,
    "ray._private.ray_logging.global_worker_stdstream_dispatcher": dispatches,
    "ray._private.worker.print_worker_logs": prints,
    "RayContext.address_info['raylet_socket_name']": socket_is_the_raylets,
    "ray.experimental.internal_kv._internal_kv_get('extra_usage_tag_gcs_storage', namespace='usage_stats')":
        lambda: driver._storage() == "memory",
    "ray._private.worker.global_worker.core_worker.get_local_actor_state(actor_id)":
        lambda: ray.get(reference) == 1 and isinstance(services.core("get_local_actor_state", actor._actor_id), int),
    "ray._private.worker.global_worker.core_worker.get_local_ongoing_lineage_reconstruction_tasks()":
        lambda: list(services.core("get_local_ongoing_lineage_reconstruction_tasks")) == [],
    "ray._private.state.state: _global_state_accessor.get_draining_nodes()":
        lambda: services.tables("get_draining_nodes") == {},
    "Queue.__dict__: maxsize, actor": lambda: set(vars(ray.util.queue.Queue(3))) == {"maxsize", "actor"},
    "DynamicObjectRefGenerator.__dict__: _refs": lambda: [list(refs) for refs in vars(ray.DynamicObjectRefGenerator([1])).values()] == [[1]],
    "ActorHandle._ray_method_signatures: without self, with _ray_trace_ctx":
        lambda: references.signatures(actor)["add"] == [("one", 1, False), ("other", 3, True)]
        and [one.name for one in actor._ray_method_signatures["one"]] == ["_ray_trace_ctx"],
    "PlacementGroup.__dict__: id, bundle_cache": lambda: set(vars(group)) == {"id", "bundle_cache"},
    "NodeAffinitySchedulingStrategy.__dict__: node_id, soft, _spill_on_unavailable, _fail_on_unavailable":
        lambda: vars(strategies.NodeAffinitySchedulingStrategy("1" * 56, True)) == {
            "node_id": "1" * 56, "soft": True, "_spill_on_unavailable": False, "_fail_on_unavailable": False
        },
    "PlacementGroupSchedulingStrategy.__dict__: as its constructor's arguments":
        lambda: vars(strategies.PlacementGroupSchedulingStrategy(group, 1)) == {
            "placement_group": group, "placement_group_bundle_index": 1, "placement_group_capture_child_tasks": None
        },
    "In.__dict__: values":
        lambda: [vars(strategies.In("a")), vars(strategies.NotIn("a", "b"))] == [{"values": ["a"]}, {"values": ["a", "b"]}],
    "ray.experimental.internal_kv._internal_kv_get(key, namespace)": lambda: stores()["got"] == b"value",
    "ray.experimental.internal_kv._internal_kv_put(key, value, overwrite, namespace)": lambda: stores()["put"] == [False, True],
    "ray.experimental.internal_kv._internal_kv_exists(key, namespace)": lambda: stores()["exists"],
    "ray.experimental.internal_kv._internal_kv_list(prefix, namespace)": lambda: stores()["list"] == [b"key"],
    "ray.experimental.internal_kv._internal_kv_del(key, del_by_prefix, namespace)": lambda: stores()["del"] == 1,
    "ray.experimental.internal_kv._internal_kv_get('webui:url', namespace='dashboard')": services._has_dashboard,
    "ray.util.state.common: StateSchema.asdict(), JobState.model_dump_json()": describes,
    "ray._private.runtime_env.packaging.GCS_STORAGE_MAX_SIZE": lambda: packages.limit() > 1 << 20,
    "ray._private.runtime_env.packaging.pin_runtime_env_uri(uri, expiration_s)": packages_stay_that_are_pinned_again,
    "ray._private.runtime_env.packaging.package_exists(uri)":
        lambda: packages.packaging.package_exists("gcs://_ray_pkg_kept.zip")
        and not packages.packaging.package_exists("gcs://_ray_pkg_other.zip"),
    "ray._private.runtime_env.packaging.upload_package_to_gcs(uri, data)":
        lambda: services.kv("get", "gcs://_ray_pkg_kept.zip") == b"kept",
    "RAY_ENABLE_AUTO_CONNECT": starts_nothing_when_it_has_ended,  # the last one
}
assert threads_keep_their_state()
told = {}
for name, check in CHECKS.items():
    try:
        told[name] = bool(check())
    except Exception as error:
        told[name] = repr(error)
print(json.dumps([[*cluster.INTERNALS, *services.INTERNALS, *packages.INTERNALS], told]))
sys.stdout.flush()
os._exit(0)
"""


def test_each_internal_is_there_and_does_what_it_did(cluster: Head) -> None:
    environ = {**os.environ, **cluster.state["cluster_env"]}
    command = [HEAD_PYTHON, "-c", ASK, cluster.state["cluster"]]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100, check=True)
    internals, told = json.loads(done.stdout.splitlines()[-1])
    older = "ObjectRef._on_ready(callback)"  # Ray before 2.60 has no such thing, and there is another way
    told[older] = told[older] is True or "AttributeError" in str(told[older])
    assert {name: result for name, result in told.items() if result is not True} == {}
    assert sorted(told) == sorted(internals)
