"""Objects: put, get, wait, references, and what they hold in the cluster."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import raymq as ray
from tests.integration.conftest import Head, counted, wait_until

pytestmark = pytest.mark.cluster


@ray.remote(num_cpus=0)
def after(seconds: float, value: Any = None) -> Any:
    time.sleep(seconds)
    return value


@dataclass
class Point:
    x: int
    y: int


@pytest.mark.parametrize(
    "value",
    [None, 0, "text", b"bytes", [1, [2, (3,)]], {"a": {1, 2}}, b"x" * 3_000_000, "é" * 100_000, 1 << 200],
    ids=lambda value: f"{type(value).__name__}-{len(pickle.dumps(value))}",
)
def test_round_trip(session: ray.Session, value: Any) -> None:
    """Of what was put, which may be at hand, and by way of a worker."""
    assert ray.get(ray.put(value)) == value
    assert ray.get(after.remote(0, value)) == value
    assert ray.get(after.remote(0, ray.put(value))) == value


def test_classes_of_the_program_come_back_as_themselves(session: ray.Session) -> None:
    @dataclass
    class Local:
        x: int

    (value,) = ray.get(after.remote(0, [Local(3)]))
    assert type(value) is Local
    assert value == Local(3)


def test_classes_are_known_again_after_the_bridge_has_collected_its_garbage(session: ray.Session) -> None:
    """cloudpickle remembers a class only as long as it lives; the bridge keeps those of its session."""

    class Collect:
        def __reduce__(self) -> Any:
            return gc.collect, ()

    class Local:
        pass

    reference = after.remote(0, Local())
    assert type(ray.get(after.remote(0, Collect()))) is int
    assert type(ray.get(reference)) is Local
    assert type(ray.get(after.remote(0, Local()))) is Local


@pytest.mark.parametrize("shape", [(10,), (100_000,), (1000, 1000, 3)])
def test_arrays(session: ray.Session, shape: tuple[int, ...]) -> None:
    """There and back without harm; read-only when they come back, as in Ray."""
    array = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    for back in ray.get([ray.put(array), after.remote(0, array)]):
        assert np.array_equal(array, back)
        assert not back.flags.writeable


@pytest.mark.parametrize("size", [100, 5_000_000])
def test_put_takes_a_snapshot(session: ray.Session, size: int) -> None:
    """What is changed after put() has returned does not change what was put."""
    array = np.zeros(size, dtype=np.uint8)
    reference = ray.put(array)
    array[:] = 1
    assert not ray.get(reference).any()


def test_non_contiguous_arrays(session: ray.Session) -> None:
    array = np.arange(4_000_000).reshape(2000, 2000)[::2, ::3]
    assert np.array_equal(ray.get(ray.put(array)), array)
    assert np.array_equal(ray.get(after.remote(0, array[:10, :10])), array[:10, :10])


def test_get_of_lists(session: ray.Session) -> None:
    reference = ray.put(1)
    assert ray.get([]) == []
    assert ray.get([reference, reference, ray.put(2)]) == [1, 1, 2]


def test_get_from_many_threads(session: ray.Session) -> None:
    reference, slow = ray.put(b"x" * 500_000), after.remote(0.3, "late")
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(ray.get([reference, slow]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[b"x" * 500_000, "late"]] * 8


def test_get_with_a_timeout(session: ray.Session) -> None:
    slow = after.remote(600)
    with pytest.raises(ray.exceptions.GetTimeoutError):
        ray.get(slow, timeout=0.1)
    with pytest.raises(TimeoutError):
        ray.get([ray.put(1), slow], timeout=0)
    done = after.remote(0, "done")
    ray.wait([done])
    assert ray.get(done, timeout=0) == "done"
    assert ray.get(after.remote(0.3, "for ever"), timeout=-1) == "for ever"
    for call in (ray.get, lambda refs, timeout: ray.get([refs], timeout=timeout)):
        with pytest.raises(ValueError, match="or -1 for no limit"):
            call(done, timeout=-0.5)
    ray.cancel(slow, force=True)


@pytest.mark.parametrize("wrong", [1, "text", None, (), set(), iter([])])
def test_get_refuses_what_is_no_list_of_references(session: ray.Session, wrong: Any) -> None:
    with pytest.raises(ValueError, match="must either be an ObjectRef or a list of ObjectRefs"):
        ray.get(wrong)
    with pytest.raises(TypeError, match="which is not an ray.ObjectRef"):
        ray.get([ray.put(1), wrong])


def test_put_refuses_references(session: ray.Session) -> None:
    with pytest.raises(TypeError, match="stands for a stored value already"):
        ray.put(ray.put(1))


def test_wait(session: ray.Session) -> None:
    slow, quick, quicker = after.remote(600), after.remote(0.2), ray.put(1)
    assert ray.wait([slow, quick, quicker], timeout=0.0)[0] in ([quicker], [quick])
    ready, waiting = ray.wait([slow, quick, quicker], num_returns=2)
    assert (ready, waiting) == ([quick, quicker], [slow])
    assert ray.wait([slow, quick, quicker], num_returns=3, timeout=0.1) == ([quick, quicker], [slow])
    assert ray.wait([slow], timeout=0, fetch_local=False) == ([], [slow])
    assert ray.wait([quick, quicker], num_returns=1) == ([quick], [quicker])
    ray.cancel(slow, force=True)
    assert ray.wait([slow]) == ([slow], [])


def test_wait_in_a_loop(session: ray.Session) -> None:
    pending = [after.remote(0.001 * i, i) for i in range(100)]
    seen = []
    while pending:
        (ready,), pending = ray.wait(pending)
        seen.append(ray.get(ready))
    assert sorted(seen) == list(range(100))


def test_wait_refuses_bad_arguments(session: ray.Session) -> None:
    one = ray.put(1)
    with pytest.raises(TypeError, match="got a single"):
        ray.wait(one)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="got <class 'tuple'>"):
        ray.wait((one,))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="containing <class 'int'>"):
        ray.wait([one, 1])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="unique"):
        ray.wait([one, one])
    with pytest.raises(ValueError, match="num_returns"):
        ray.wait([one], num_returns=2)
    with pytest.raises(ValueError, match="Invalid number of objects to return 0"):
        ray.wait([one], num_returns=0)
    with pytest.raises(ValueError, match="must be nonnegative"):
        ray.wait([one], timeout=-1)


def test_references_are_values(session: ray.Session) -> None:
    one, other = ray.put(1), ray.put(1)
    assert one != other
    assert one == copy.copy(one) == copy.deepcopy(one)
    assert len({one, other, copy.copy(one)}) == 2
    assert len(one.hex()) == 56
    assert bytes.fromhex(one.hex()) == one.binary()
    assert one.hex() in repr(one)
    assert one.size() == ray.ObjectRef.size() == len(one.binary())
    assert not one.is_nil()


def test_references_tell_of_their_object(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def told(refs: list[Any]) -> tuple[Any, ...]:
        (ref,) = refs
        return ref.task_id(), ref.job_id(), ref.owner_address(), ref.call_site()

    ref = told.remote([ray.put(0)])
    assert (ref.task_id(), ref.job_id(), ref.owner_address(), ref.call_site()) == ray.get(told.remote([ref]))


def test_references_tell_of_the_actor_that_makes_their_object(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    class Maker:
        def make(self) -> list[Any]:
            return [ray.get_runtime_context().get_actor_id(), ray.put(0)]

    @ray.remote(num_cpus=0)
    def told(refs: list[Any]) -> list[Any]:
        return [ref.task_id().actor_id() for ref in refs]

    maker = Maker.remote()
    made = maker.make.remote()
    actor, inner = ray.get(made)
    of_none = [told.remote([]), ray.put(bytes(200_000))]
    assert made.actor_id() == inner.actor_id() == maker._actor_id == ray.ActorID.from_hex(actor)
    assert [ref.actor_id() for ref in [made, inner, *of_none]] == ray.get(told.remote([made, inner, *of_none]))
    assert maker._actor_id not in [ref.actor_id() for ref in of_none]
    assert of_none[0].actor_id().hex() == "ff" * 12 + session.info.job_id, "of a task it only names the job"
    assert {ref.actor_id().job_id for ref in of_none} == {ray.JobID.from_hex(session.info.job_id)}


def test_references_cannot_be_pickled_by_others(session: ray.Session) -> None:
    with pytest.raises(TypeError, match="within its own session"):
        pickle.dumps(ray.put(1))


def test_await(session: ray.Session) -> None:
    async def main() -> list[Any]:
        return await asyncio.gather(*[after.remote(0.05, i) for i in range(20)])

    async def failing() -> None:
        await ray.remote(lambda: 1 / 0).remote()

    assert asyncio.run(main()) == list(range(20))
    with pytest.raises(ZeroDivisionError):
        asyncio.run(failing())


def test_futures(session: ray.Session) -> None:
    future = after.remote(0.1, "value").future()
    assert future.result(timeout=60) == "value"
    with pytest.raises(ZeroDivisionError):
        ray.remote(lambda: 1 / 0).remote().future().result(timeout=60)
    cancelled = after.remote(0.5).future()
    assert cancelled.cancel()


def test_a_cancelled_await_leaves_the_session_sound(session: ray.Session) -> None:
    async def main() -> Any:
        slow = after.remote(0.5, "late")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(slow.as_future(), 0.05)
        return await slow

    assert asyncio.run(main()) == "late"


def held(view: Any, pid: int) -> int:
    """How many objects Ray says that a process holds."""
    return len(view.list_objects(filters=[("pid", "=", pid)], limit=10_000, raise_on_missing_output=False))


def test_objects_are_released_with_their_last_reference(own_session: ray.Session, cluster: Head, view: Any) -> None:
    """Seen by Ray's own table of references, not by ours."""
    pid = cluster.bridge_pid(own_session)
    refs = [own_session.put(np.zeros(50_000)) for _ in range(20)]
    own_session.get(refs)
    nested = own_session.get(own_session.put([refs[0], refs[1]]))
    wait_until(lambda: held(view, pid) >= 20, "Ray holds the objects")
    del refs[2:]
    wait_until(lambda: held(view, pid) <= 2, "Ray has dropped all but those that are still referred to")
    kept = nested[0]
    del refs, nested
    gc.collect()
    wait_until(lambda: held(view, pid) == 1, "only the one that a value had brought along is held")
    assert not own_session.get(kept).any()


def test_values_that_nobody_took_release_what_they_brought(own_session: ray.Session, cluster: Head, view: Any) -> None:
    pid = cluster.bridge_pid(own_session)

    @own_session.remote
    def make() -> list[Any]:
        time.sleep(0.5)
        return [ray.put(np.zeros(50_000)) for _ in range(5)]

    reference = make.remote()
    with pytest.raises(ray.exceptions.GetTimeoutError):
        own_session.get(reference, timeout=0.05)
    own_session.wait([reference])
    del reference
    wait_until(lambda: held(view, pid) == 0, "nothing is held")


def test_a_small_value_is_gotten_again_without_the_cluster(own_session: ray.Session, cluster: Head) -> None:
    """What was put or fetched lately; each get makes an object of its own; nothing else is any different."""
    import os
    import signal

    @ray.remote(num_cpus=0)
    def make() -> list[int]:
        return [1, 2]

    put, made, large = ray.put({"a": 1}), make.remote(), ray.put(np.zeros(100_000))
    assert ray.get([put, made]) == [{"a": 1}, [1, 2]]
    ray.get(large)
    bridge = cluster.bridge_pid(own_session)
    os.kill(bridge, signal.SIGSTOP)
    try:
        first, again = ray.get(made), ray.get(made, timeout=0)
        first.append(3)
        assert again == [1, 2]
        assert ray.get([made, put, made]) == [[1, 2], {"a": 1}, [1, 2]]
        with pytest.raises(ray.exceptions.GetTimeoutError):
            ray.get([made, large], timeout=0.2)
    finally:
        os.kill(bridge, signal.SIGCONT)
    assert ray.get(large).shape == (100_000,)
    own_session.close()
    with pytest.raises(ray.SessionClosed):
        ray.get(put)


def test_what_is_put_is_as_it_was_at_that_time(session: ray.Session) -> None:
    """Whatever becomes of the value's own memory."""
    array = np.zeros(2000)
    kept = [1]
    first, second = ray.put(array), ray.put(kept)
    array += 1
    kept.append(2)
    assert not ray.get(first).any()
    assert ray.get(second) == [1]


def test_values_that_are_gotten_one_after_the_other_come_along(cluster: Head, session: ray.Session) -> None:
    """The loop over ``get`` that beginners write pays for few ways to the cluster."""

    @ray.remote(num_returns=600)
    def numbers() -> list[int]:
        return list(range(600))

    refs = numbers.remote()
    ray.wait(refs, num_returns=600)
    before = counted(cluster, "to_bridges")
    assert [ray.get(ref) for ref in refs] == list(range(600))
    assert counted(cluster, "to_bridges") - before < 100
    kept = refs[:10]
    del refs
    assert ray.get(kept) == list(range(10))
