"""The cases. Where the ways have to differ, the case says how, and why."""

from __future__ import annotations

import asyncio
import time
import warnings
from importlib import metadata

import pytest

from tests.three_ways.decorated import Counter, both, double
from tests.three_ways.runner import run_all
from tests.three_ways.ways import WAY, part, ray

NEW = tuple(map(int, metadata.version("ray").split(".")[:2])) >= (2, 60)

exceptions = part("exceptions")


@ray.remote
def add(a, b=1):
    return a + b


@ray.remote
def fail(text):
    raise ValueError(text)


@ray.remote
def count(n):
    for number in range(n):
        yield number


class Custom(Exception):
    def __init__(self, code, text):
        super().__init__(code, text)
        self.code = code


@ray.remote(num_cpus=0)
class Echo:
    def say(self, value):
        return value

    async def later(self, value):
        await asyncio.sleep(0.01)
        return value


# --- tasks


def case_a_task_and_its_value():
    assert ray.get(add.remote(1)) == 2
    assert ray.get(add.remote(1, b=5)) == 6
    assert ray.get([add.remote(n) for n in range(5)]) == [1, 2, 3, 4, 5]


def case_arguments_are_checked_at_once():
    with pytest.raises(TypeError):
        add.remote()
    with pytest.raises(TypeError):
        add.remote(1, c=2)


def case_functions_are_not_called_directly():
    with pytest.raises(TypeError):
        add(1)


def case_options():
    assert ray.get(add.options(num_cpus=0, name="named").remote(1)) == 2
    one, two = add.options(num_returns=2).remote((1,), (2,))
    assert ray.get([one, two]) == [1, 2]
    with pytest.raises(ValueError):
        add.options(nonsense=1).remote(1)
    for callee in (add, Counter):
        with pytest.raises(ValueError, match="Invalid scheduling_strategy value NEAR"):
            callee.options(scheduling_strategy="NEAR").remote(1)
    assert ray.get(add.options(scheduling_strategy="SPREAD").remote(1)) == 2


def case_num_returns():
    one, two = both.remote(3)
    assert ray.get([two, one]) == [-3, 3]


def case_what_was_decorated_before_the_connection():
    assert ray.get(double.remote(4)) == 8
    counter = Counter.remote(5)
    assert ray.get(counter.add.remote(2)) == 7


def case_references_as_arguments_and_in_containers():
    @ray.remote
    def inside(held):
        assert isinstance(held[0], ray.ObjectRef)
        return ray.get(held[0])

    ref = ray.put(41)
    assert ray.get(add.remote(ref)) == 42
    assert ray.get(inside.remote([ref])) == 41


def case_references_in_values_that_come_back():
    @ray.remote
    def make():
        return {"ref": ray.put("deep")}

    ref = ray.get(make.remote())["ref"]
    assert isinstance(ref, ray.ObjectRef)
    assert ray.get(ref) == "deep"


def case_tasks_call_tasks():
    @ray.remote
    def outer(x):
        return ray.get(add.remote(x)) + ray.get(double.remote(x))

    assert ray.get(outer.remote(10)) == 31


def case_a_function_that_calls_itself():
    @ray.remote(num_cpus=0)
    def factorial(n):
        return 1 if n == 0 else n * ray.get(factorial.remote(n - 1))

    assert ray.get(factorial.remote(4)) == 24


def case_functions_and_classes_as_arguments():
    @ray.remote(num_cpus=0)
    def call(function, kind):
        actor = kind.remote(3)
        return ray.get(function.remote(1)), ray.get(actor.add.remote())

    assert ray.get(call.remote(add, Counter)) == (2, 4)


def case_functions_and_classes_as_values():
    @ray.remote(num_cpus=0)
    def make(base):
        @ray.remote(num_cpus=0)
        def plus(n):
            return n if n > 10 * base else ray.get(plus.remote(n + base))

        return {"function": plus, "class": Counter}

    made = ray.get(make.remote(2))
    assert isinstance(made["function"], part("remote_function").RemoteFunction)
    assert isinstance(made["class"], part("actor").ActorClass)
    assert ray.get(made["function"].options(num_cpus=0.5).remote(1)) == 21
    actor = made["class"].remote(3)
    assert ray.get(actor.add.remote()) == 4
    assert ray.get(ray.get(ray.put(add)).remote(1)) == 2


def case_captured_references_and_actors():
    ref, counter = ray.put(5), Counter.remote()

    @ray.remote(num_cpus=0)
    def use():
        return ray.get(counter.add.remote(ray.get(ref)))

    assert ray.get(use.remote()) == 5


# --- errors


def case_a_task_s_error_is_of_its_own_class_and_of_ray_s():
    ref = fail.remote("so it is")
    with pytest.raises(ValueError, match="so it is") as caught:
        ray.get(ref)
    assert isinstance(caught.value, exceptions.RayTaskError)
    assert isinstance(caught.value.cause, ValueError)
    assert "in fail" in str(caught.value)
    assert str(caught.value).count("ray::fail()") == 1


def case_an_error_of_a_class_of_the_program():
    @ray.remote
    def failing():
        raise Custom(7, "seven")

    with pytest.raises(Custom) as caught:
        ray.get(failing.remote())
    assert caught.value.code == 7
    assert caught.value.cause.args == (7, "seven")


def case_an_error_of_an_argument():
    with pytest.raises(ValueError, match="the first"):
        ray.get(add.remote(fail.remote("the first")))


def case_an_actor_s_error():
    counter = Counter.remote()
    with pytest.raises(KeyError):
        ray.get(counter.fail.remote())
    assert ray.get(counter.add.remote()) == 1


def case_errors_as_values():
    @ray.remote
    def give():
        return exceptions.GetTimeoutError("given"), exceptions.RayActorError

    error, kind = ray.get(give.remote())
    assert isinstance(error, exceptions.GetTimeoutError)
    assert kind is exceptions.RayActorError


def case_a_get_that_takes_too_long():
    @ray.remote(num_cpus=0)
    def sleep():
        time.sleep(60)

    ref = sleep.remote()
    with pytest.raises(exceptions.GetTimeoutError):
        ray.get(ref, timeout=0.1)
    with pytest.raises(TimeoutError):
        ray.get(ref, timeout=0)
    ray.cancel(ref, force=True)
    with pytest.raises((exceptions.TaskCancelledError, exceptions.WorkerCrashedError)):
        ray.get(ref)


def case_cancel():
    @ray.remote(num_cpus=0)
    def forever():
        while True:
            time.sleep(0.05)

    ref = forever.remote()
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError) as caught:
        ray.get(ref)
    assert isinstance(caught.value, exceptions.RayError)


def case_what_is_no_reference():
    one = ray.put(1)
    for wrong in (1, (one, one), {one}, iter([one])):
        with pytest.raises(ValueError, match="Invalid type of object refs, .+ a list of ObjectRefs"):
            ray.get(wrong)
        with pytest.raises(TypeError, match="Attempting to call `get` on the value .+, which is not an ray.ObjectRef"):
            ray.get([one, wrong])
        with pytest.raises(TypeError, match="wait.. expected a list of ray.ObjectRef or ray.ObjectRefGenerator, got <"):
            ray.wait(wrong)
        with pytest.raises(TypeError, match="ray.ObjectRefGenerator, got list containing <"):
            ray.wait([one, wrong])
    with pytest.raises(TypeError, match="got a single ray.ObjectRef or ray.ObjectRefGenerator ObjectRef"):
        ray.wait(one)
    with pytest.raises(ValueError, match="unique"):
        ray.wait([one, one], num_returns=3)
    with pytest.raises(ValueError, match="Invalid number of objects to return 0"):
        ray.wait([one], num_returns=0)
    with pytest.raises(ValueError, match="num_returns cannot be greater than the number of ray_waitables provided"):
        ray.wait([one], num_returns=2)
    with pytest.raises(ValueError, match="argument must be nonnegative. Received -1"):
        ray.wait([1], timeout=-1)
    assert ray.wait([], num_returns=5) == ([], [])
    with pytest.raises(TypeError):
        ray.put(one)
    with pytest.raises(ValueError):
        ray.kill(1)
    with pytest.raises(TypeError):
        ray.cancel(1)


# --- objects


def case_put_and_get():
    value = {"text": "x" * 200_000, "list": list(range(100)), "none": None}
    assert ray.get(ray.put(value)) == value
    assert ray.get([]) == []


def case_arguments_by_name():
    ref = ray.put(value=3)
    assert ray.get(object_refs=ref, timeout=60) == 3
    assert ray.wait(ray_waitables=[ref], num_returns=1, timeout=60, fetch_local=True) == ([ref], [])
    ray.cancel(ray_waitable=add.remote(1), force=False, recursive=True)


def case_arrays():
    import numpy

    array = numpy.arange(1_000_000, dtype="float32")

    @ray.remote
    def twice(values):
        return values * 2

    assert (ray.get(twice.remote(ray.put(array))) == array * 2).all()


def case_wait():
    @ray.remote(num_cpus=0)
    def after(seconds):
        time.sleep(seconds)
        return seconds

    fast, slow = after.remote(0), after.remote(60)
    assert ray.wait([slow, fast], timeout=30) == ([fast], [slow])
    assert ray.wait([slow], timeout=0) == ([], [slow])
    with pytest.raises(ValueError):
        ray.wait([fast, fast])
    ray.cancel(slow, force=True)


def case_no_limit_by_number():
    @ray.remote(num_cpus=0)
    def late():
        time.sleep(0.5)
        return 1

    assert ray.get(late.remote(), timeout=-1) == 1
    assert ray.get([late.remote(), ray.put(2)], timeout=-1) == [1, 2]


def case_references_are_known_again():
    ref = ray.put(1)
    assert isinstance(ref, ray.ObjectRef)
    assert len(ref.binary()) == 28
    assert ref.hex() == ref.binary().hex()
    assert ref == ref
    assert len({ref, ray.put(1)}) == 2
    assert not ref.is_nil()
    assert len(ref.task_id().hex()) == 48
    assert ref.job_id().hex() == ray.get_runtime_context().get_job_id()


def case_await():
    async def main():
        one, two = await asyncio.gather(add.remote(1), add.remote(2))
        with pytest.raises(ValueError):
            await fail.remote("awaited")
        return one, two

    assert asyncio.run(main()) == (2, 3)


def case_futures():
    assert add.remote(1).future().result(timeout=60) == 2
    with pytest.raises(ValueError):
        fail.remote("in a future").future().result(timeout=60)


# --- generators


def case_a_generator():
    generator = count.remote(3)
    assert isinstance(generator, ray.ObjectRefGenerator)
    assert [ray.get(ref) for ref in generator] == [0, 1, 2]
    with pytest.raises(StopIteration):
        next(generator)
    assert generator.is_finished()


def case_a_generator_that_fails():
    @ray.remote
    def failing():
        yield 1
        raise ValueError("midway")

    generator = failing.remote()
    assert ray.get(next(generator)) == 1
    with pytest.raises(ValueError, match="midway"):
        ray.get(next(generator))
    with pytest.raises(StopIteration):
        next(generator)


def case_generators_of_actors_and_in_coroutines():
    async def main():
        return [await ref async for ref in counter.up_to.remote(3)]

    counter = Counter.remote()
    assert asyncio.run(main()) == [0, 1, 2]


def case_a_generator_whose_references_come_at_its_end():
    # An older Ray does not warn.
    with pytest.warns(Warning, match="'dynamic' is deprecated") if NEW else warnings.catch_warnings(record=True):
        values = ray.get(count.options(num_returns="dynamic").remote(3))
    assert isinstance(values, ray.DynamicObjectRefGenerator)
    assert [ray.get(ref) for ref in values] == [0, 1, 2]


def case_waiting_for_a_generator():
    generator = count.remote(2)
    assert ray.wait([generator], timeout=60)[0] == [generator]
    ray.get(generator.completed())


# --- actors


def case_actors():
    counter = Counter.remote(start=10)
    assert [ray.get(counter.add.remote()) for _ in range(3)] == [11, 12, 13]
    one, two = counter.pair.remote()
    assert ray.get([one, two]) == [13, -13]
    assert ray.get(counter.add.options(num_returns=1).remote(7)) == 20


def case_methods_are_checked():
    counter = Counter.remote()
    with pytest.raises(AttributeError):
        counter.nothing.remote()
    with pytest.raises(TypeError):
        counter.add()
    with pytest.raises(TypeError):
        Counter()
    with pytest.raises(TypeError):
        counter.add.remote(1, 2, 3)


def case_a_call_s_options_are_checked():
    counter = Counter.remote()
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        counter.add.options(nonsense=1).remote()
    if WAY == "native" and not NEW:
        return  # an older Ray does not look at them
    with pytest.raises(ValueError, match="num_returns must be >= 0"):
        counter.add.options(num_returns=-1).remote()
    with pytest.raises(ValueError, match="not a generator function"):
        counter.add.options(num_returns="streaming").remote()
    assert ray.get(counter.add.options(name="named", num_returns=1).remote()) == 1


def case_handles_are_known_again():
    counter = Counter.remote()
    handle = part("actor").ActorHandle
    assert isinstance(counter, handle)
    echo = Echo.remote()
    other = ray.get(echo.say.remote([counter]))[0]
    assert isinstance(other, handle)
    assert other == counter
    assert len({other, counter}) == 1
    assert ray.get(other.add.remote()) == 1
    assert other._actor_id.hex() == counter._actor_id.hex()


def case_async_actors():
    echo = Echo.remote()
    assert ray.get([echo.later.remote(n) for n in range(20)]) == list(range(20))


def case_named_actors():
    name = f"named-{WAY}"
    first = Counter.options(name=name).remote()
    ray.get(first.add.remote())
    found = ray.get_actor(name)
    assert ray.get(found.add.remote()) == 2
    again = Counter.options(name=name, get_if_exists=True).remote()
    assert ray.get(again.add.remote()) == 3
    assert name in part("util").list_named_actors()
    with pytest.raises(ValueError):
        ray.get_actor("nobody")
    ray.kill(first)


def case_a_name_that_is_taken():
    name = f"taken-{WAY}"
    first = Counter.options(name=name).remote()
    ray.get(first.add.remote())
    with pytest.raises(ValueError, match="already"):
        Counter.options(name=name).remote()
    with pytest.raises(exceptions.ActorAlreadyExistsError, match=f"The name {name} .namespace=None. is already taken"):
        Counter.options(name=name).remote()
    assert ray.get(first.add.remote()) == 2


def case_kill():
    counter = Counter.remote()
    ray.get(counter.add.remote())
    ray.kill(counter)
    with pytest.raises(exceptions.ActorDiedError) as caught:
        while True:  # a call may be quicker than the signal
            ray.get(counter.add.remote())
    assert isinstance(caught.value, exceptions.RayActorError)


def case_an_actor_that_cannot_be_made():
    @ray.remote(num_cpus=0)
    class Broken:
        def __init__(self):
            raise RuntimeError("broken from the beginning")

        def call(self):
            pass

    with pytest.raises(exceptions.RayActorError, match="broken from the beginning"):
        broken = Broken.remote()
        ray.get(broken.call.remote())


def case_every_actor_can_be_waited_for_and_ended():
    counter = Counter.remote()
    assert ray.get(counter.__ray_ready__.remote())
    assert ray.get(counter.__ray_call__.remote(lambda self: self.value)) == 0
    counter.__ray_terminate__.remote()
    with pytest.raises(exceptions.RayActorError):
        while True:
            ray.get(counter.add.remote())


# --- the cluster


def case_the_cluster():
    assert ray.is_initialized()
    assert ray.cluster_resources()["CPU"] >= 1
    assert "CPU" in ray.available_resources() or ray.available_resources() is not None
    (node,) = [node for node in ray.nodes() if node["Alive"]]
    assert node["NodeID"] == ray.get_runtime_context().get_node_id()


def case_the_runtime_context():
    context = ray.get_runtime_context()

    @ray.remote
    def where():
        told = ray.get_runtime_context()
        return told.get_job_id(), told.get_node_id(), told.get_task_id() is not None

    assert ray.get(where.remote()) == (context.get_job_id(), context.get_node_id(), True)
    assert context.namespace
    assert len(context.get_worker_id()) == 56
    assert context.get_actor_id() is None
    assert context.get_task_id() is None
    assert ":" in context.gcs_address
    assert context.get_accelerator_ids()["GPU"] == []
    if NEW:  # older Rays have neither
        assert context.get_node_labels()["ray.io/node-id"] == context.get_node_id()
        with pytest.raises(RuntimeError):
            context.is_canceled()


# --- ray.util


def case_actor_pool():
    pool = part("util").ActorPool([Counter.remote(10) for _ in range(2)])
    assert (
        sorted(pool.map_unordered(lambda actor, n: actor.pair.options(num_returns=1).remote(), [1, 2, 3]))
        == [(10, -10)] * 3
    )


def case_queues():
    module = part("util.queue")
    queue = module.Queue(maxsize=2)

    @ray.remote(num_cpus=0)
    def fill(queue):
        queue.put("from a task")

    ray.get(fill.remote(queue))
    assert queue.get(timeout=30) == "from a task"
    with pytest.raises(module.Empty):
        queue.get_nowait()
    queue.put_nowait(1)
    assert queue.qsize() == 1
    queue.shutdown()


def case_placement_groups():
    util, strategies = part("util"), part("util.scheduling_strategies")
    group = util.placement_group([{"CPU": 0.5}], strategy="PACK", name=f"group-{WAY}")
    assert group.wait(60)
    assert ray.get(group.ready()).id == group.id
    assert group.bundle_specs == [{"CPU": 0.5}]

    @ray.remote(num_cpus=0.5)
    def where():
        return part_of(ray.get_runtime_context().get_placement_group_id())

    def part_of(text):
        return text

    strategy = strategies.PlacementGroupSchedulingStrategy(group)
    assert ray.get(where.options(scheduling_strategy=strategy).remote()) == group.id.hex()
    assert util.get_placement_group(f"group-{WAY}").id == group.id
    assert util.placement_group_table(group)["state"] == "CREATED"
    util.remove_placement_group(group)


def case_node_affinity():
    strategies = part("util.scheduling_strategies")
    here = ray.get_runtime_context().get_node_id()

    @ray.remote(num_cpus=0)
    def where():
        return ray.get_runtime_context().get_node_id()

    strategy = strategies.NodeAffinitySchedulingStrategy(here, soft=False)
    assert ray.get(where.options(scheduling_strategy=strategy).remote()) == here


def case_helpers():
    util = part("util")
    if not hasattr(util, "as_completed"):
        return  # a Ray before 2.50, which has no such functions; the thin client has its own
    assert sorted(util.as_completed([add.remote(n) for n in range(5)])) == [1, 2, 3, 4, 5]
    assert sorted(util.map_unordered(add, range(5))) == [1, 2, 3, 4, 5]


def case_pools():
    with part("util.multiprocessing").Pool(2, ray_remote_args={"num_cpus": 0}) as pool:
        assert pool.map(abs, [-1, 2, -3]) == [1, 2, 3]
        assert pool.apply_async(divmod, (7, 2)).get(timeout=60) == (3, 1)
        assert list(pool.imap(abs, [-1, -2])) == [1, 2]
        assert sorted(pool.imap_unordered(abs, [-1, -2])) == [1, 2]
        assert pool.starmap(divmod, [(7, 2), (9, 3)]) == [(3, 1), (3, 0)]
        with pytest.raises(ZeroDivisionError):
            pool.apply(divmod, (1, 0))


def case_the_key_value_store():
    store, space = part("experimental.internal_kv"), f"test-{WAY}"
    assert store._internal_kv_initialized()
    assert store._internal_kv_put("key", "value", namespace=space) is False
    assert store._internal_kv_put(b"key", b"other", overwrite=False, namespace=space) is True
    assert store._internal_kv_get("key", namespace=space) == b"value"
    assert store._internal_kv_exists("key", namespace=space)
    assert store._internal_kv_list("k", namespace=space) == [b"key"]
    assert store._internal_kv_del("key", namespace=space) == 1
    assert store._internal_kv_get("key", namespace=space) is None


# --- what only Ray has, and a thin client not


def case_ray_has_graphs_of_functions():
    with part("dag").InputNode() as given:
        graph = add.bind(double.bind(given), b=10)
    assert ray.get(graph.execute(4)) == 18
    assert ray.get(add.options(num_cpus=0).bind(1).execute()) == 2


def case_ray_has_graphs_of_actors():
    with part("dag").InputNode() as given:
        made = Counter.bind(100).add.bind(given)
    assert ray.get(made.execute(5)) == 105
    actor = Counter.remote(10)
    with part("dag").InputNode() as given:
        graph = actor.add.bind(given)
    assert [ray.get(graph.execute(1)), ray.get(graph.execute(2))] == [11, 13]


def case_ray_has_its_own_classes():
    assert type(part("exceptions").GetTimeoutError("x")).__module__ == "ray.exceptions"
    assert isinstance(ray.get_runtime_context(), part("runtime_context").RuntimeContext)
    counter = Counter.remote()
    assert isinstance(counter.add, part("actor").ActorMethod)
    with pytest.raises(ValueError) as caught:
        ray.get(fail.remote("x"))
    assert part("exceptions").RayTaskError in type(caught.value).__mro__


def case_ray_has_errors_with_all_that_they_carry():
    errors = part("exceptions")
    counter = Counter.remote()
    ray.get(counter.add.remote())
    ray.kill(counter)
    with pytest.raises(errors.ActorDiedError) as caught:
        while True:
            ray.get(counter.add.remote())
    assert type(caught.value) is errors.ActorDiedError
    assert caught.value.actor_id == counter._actor_id.hex()
    assert not caught.value.preempted
    assert "ray.kill" in str(caught.value)


def case_ray_has_generators_with_time_limits():
    @ray.remote(num_cpus=0)
    def slowly():
        yield 1
        time.sleep(60)

    generator = slowly.remote()
    assert ray.get(generator._next_sync(timeout_s=60)) == 1
    assert generator._next_sync(timeout_s=0).is_nil()
    assert not generator.next_ready()

    async def later():
        return (await generator._next_async(timeout_s=0.05)).is_nil()

    assert asyncio.run(later())
    ray.cancel(generator, force=True)


CASES = [name for name in globals() if name.startswith("case_")]


if __name__ == "__main__":
    run_all(globals(), CASES)
