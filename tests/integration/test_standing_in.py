"""A program that says ``import ray`` runs unmodified on a machine that has none; and names that cross the wire."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest

import raymq as ray
from raymq.absent import ABSENT
from tests.integration.conftest import Head
from tests.without_ray import PythonWithoutRay

pytestmark = pytest.mark.cluster

README = Path(__file__).parents[2] / "README.md"

PROGRAM = '''
import ray
import ray.actor
import ray.exceptions
from ray.util import ActorPool
from ray.util.metrics import Counter as Metric
from ray.util.multiprocessing import Pool
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from ray.util.state import list_actors

CALLS = Metric("standing_in_calls")
ray.init(ignore_reinit_error=True)


@ray.remote(num_cpus=0)
def square(x):
    CALLS.inc()
    return x * x


@ray.remote(num_cpus=0)
def nested(x):
    """Mentions the module, a remote function, and modules in it."""
    assert ray.is_initialized() and ray.__file__ and "raymq" not in ray.__name__
    try:
        ray.get(ray.put(1), timeout=60)
        raise ray.exceptions.OutOfDiskError(type(ray.util.ActorPool([])).__module__)
    except ray.exceptions.RayError as error:
        return ray.get(square.remote(x)), str(error).strip()


@ray.remote(num_cpus=0)
class Counter:
    def __init__(self, queue: Queue):
        self.queue = queue

    def add(self, x):
        self.queue.put(x)
        return x


@ray.remote(num_cpus=0)
def fails():
    raise LookupError("not here")


value, module = ray.get(nested.remote(7))
assert value == 49, value
assert "ray.util.actor_pool" in module, module

queue = Queue()
actor = Counter.remote(queue)
assert isinstance(actor, ray.actor.ActorHandle)
assert list(ActorPool([actor]).map(lambda a, x: a.add.remote(x), [1, 2, 3])) == [1, 2, 3]
assert [queue.get() for _ in range(3)] == [1, 2, 3]

here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
assert ray.get(square.options(scheduling_strategy=here).remote(3)) == 9
assert list_actors(filters=[("class_name", "=", "Counter")])
with Pool(1) as pool:
    assert pool.map(lambda x: x * x, [2, 3]) == [4, 9]
try:
    ray.get(fails.remote())
except LookupError as error:
    assert isinstance(error, ray.exceptions.RayTaskError)
ray.shutdown()
print("went well")
'''


def test_a_program_for_ray_runs_unmodified(cluster: Head, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    started = re.findall(r'^python -c "(.*install_as_ray.*)"$', README.read_text(), re.MULTILINE)[0]
    patient = started.replace("install_as_ray();", "install_as_ray(); raymq.connect(timeout=60);")
    there = patient.replace("'program.py'", repr(str(program)))
    assert there != patient != started
    assert PythonWithoutRay(site).output(there, RAYMQ_ADDRESS=cluster.address).endswith("went well\n")


def test_exceptions_of_ray_s_that_a_task_raises_keep_their_class(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def fail(kind: Any) -> None:
        raise kind("it is said")

    for kind in (ray.exceptions.OutOfMemoryError, ray.exceptions.AuthenticationError, ray.exceptions.RayChannelError):
        with pytest.raises(kind, match="it is said") as caught:
            ray.get(fail.remote(kind))
        assert isinstance(caught.value, ray.exceptions.RayTaskError)


def test_a_class_that_says_how_it_is_pickled_travels(session: ray.Session) -> None:
    """The way round for ``ray.util.register_serializer``."""

    class Locked:
        def __init__(self, number: int) -> None:
            self.number = number
            self.lock = threading.Lock()  # which cannot be pickled

        def __reduce__(self) -> Any:
            return Locked, (self.number,)

    @ray.remote(num_cpus=0)
    def more(locked: Any) -> Any:
        return type(locked)(locked.number + int(not locked.lock.locked()))

    assert ray.get(more.remote(Locked(7))).number == 8
    assert ray.get(more.remote(ray.put(Locked(8)))).number == 9


def test_what_is_not_on_a_client_is_there_in_remote_functions(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def missing(names: list[str]) -> dict[str, str]:
        from importlib import import_module

        def look(name: str) -> str:
            module, _, last = f"ray.{name}".rpartition(".")
            if hasattr(import_module(module), last):
                return ""
            try:
                import_module(f"ray.{name}")
            except Exception as error:
                return repr(error)
            return ""

        return {name: told for name in names if (told := look(name))}

    gone = {name for name, tells in ABSENT.items() if "there is nothing to be had from it" in tells}
    needs_more = {
        "data",
        "llm",
        "rllib",
        "serve",
        "train",
        "tune",
        "air",
        "util.dask",
        "experimental.collective",
    }  # of what pip installs with Ray
    listed_only = {"cpp_function"}
    told = ray.get(missing.remote(sorted(set(ABSENT) - gone - needs_more - listed_only)))
    assert told == {}


def test_ways_round_that_are_told(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def state() -> list[str]:
        from ray.util.state import list_nodes

        return [node.node_id for node in list_nodes(address=ray.get_runtime_context().gcs_address)]

    @ray.remote(num_cpus=0)
    def count() -> None:
        from ray.util.metrics import Counter

        Counter("counted").inc()

    @ray.remote(num_cpus=0)
    def ask() -> tuple[int, str]:
        import ray.autoscaler.sdk

        ray.autoscaler.sdk.request_resources(num_cpus=0)
        return ray.WORKER_MODE, ray.util.get_node_instance_id()

    assert ray.get(state.remote()) == [node["NodeID"] for node in ray.nodes()]
    assert ray.get(count.remote()) is None
    assert ray.get(ask.remote())[0] == 1
