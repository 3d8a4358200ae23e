"""Remote generators: items come as the task yields them, in order, each once, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from typing import Any

import pytest

import raymq as ray
from tests.integration.conftest import Head, wait_until
from tests.integration.proxy import Proxy

pytestmark = pytest.mark.cluster


@pytest.fixture
def numbers(session: ray.Session) -> Any:
    @ray.remote(num_cpus=0)
    def numbers(count: int, fails: bool = False) -> Any:
        for number in range(count):  # Ray 2.60 sends values into generators, which "yield from range()" does not take
            yield number
        if fails:
            raise ValueError("no more of that")

    return numbers


@pytest.fixture
def tally(session: ray.Session) -> Any:
    """Counts how far a generator has come."""

    @ray.remote(num_cpus=0)
    class Tally:
        def __init__(self) -> None:
            self.count = 0

        def add(self) -> None:
            self.count += 1

        def read(self) -> int:
            return self.count

    return Tally.remote()


def still(read: Any) -> int:
    """Wait until a count has stopped to grow."""
    seen = [-2, -1]
    while len(seen) < 5 or len(set(seen[-3:])) > 1:
        time.sleep(0.3)
        seen.append(read())
    return int(seen[-1])


def test_items_in_order(numbers: Any) -> None:
    generator = numbers.remote(100)
    assert isinstance(generator, ray.ObjectRefGenerator)
    assert [ray.get(item) for item in generator] == list(range(100))
    assert generator.is_finished()
    with pytest.raises(StopIteration):
        next(generator)


def test_none_at_all(numbers: Any) -> None:
    assert list(numbers.remote(0)) == []


def test_items_come_while_the_task_still_runs(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    class Gate:
        def __init__(self) -> None:
            import asyncio

            self.open = asyncio.Event()

        async def release(self) -> None:
            self.open.set()

        async def wait(self) -> None:
            await self.open.wait()

    @ray.remote(num_cpus=0)
    def halves(gate: Any) -> Any:
        yield "first"
        ray.get(gate.wait.remote())
        yield "second"

    gate = Gate.remote()
    generator = halves.remote(gate)
    assert ray.get(next(generator)) == "first"
    assert not generator.next_ready()
    assert ray.wait([generator], timeout=0.2) == ([], [generator])
    done = generator.completed()
    assert ray.wait([done], timeout=0.2) == ([], [done])
    gate.release.remote()
    assert ray.wait([generator], timeout=60) == ([generator], [])
    wait_until(generator.next_ready, "the second item is there")
    assert not generator.is_finished()
    assert ray.get(next(generator)) == "second"
    assert ray.get(done) is None
    assert ray.wait([generator], timeout=60)[0] == [generator], "next would not wait: there are no more"
    assert list(generator) == []
    assert not generator.next_ready()


def test_an_error_is_the_last_item(numbers: Any) -> None:
    items = list(numbers.remote(2, fails=True))
    assert ray.get(items[:2]) == [0, 1]
    with pytest.raises(ValueError, match="no more of that"):
        ray.get(items[2])
    assert len(items) == 3


def test_an_argument_that_failed(numbers: Any) -> None:
    @ray.remote(num_cpus=0)
    def fail() -> None:
        raise KeyError("k")

    (item,) = numbers.remote(fail.remote())
    with pytest.raises(KeyError):
        ray.get(item)


def test_a_call_that_cannot_be_made(session: ray.Session) -> None:
    """Its one item is the error, and the session goes on."""

    class Trap:
        def __reduce__(self) -> Any:
            def spring() -> None:
                raise RuntimeError("unpickled")

            return spring, ()

    @ray.remote(num_cpus=0)
    def once(value: Any) -> Any:
        yield value

    generator = once.remote(Trap())
    (item,) = generator
    with pytest.raises(RuntimeError, match="unpickled"):
        ray.get(item)
    once.remote(Trap()).close()
    assert [ray.get(item) for item in once.remote(1)] == [1]


def test_methods(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    class Source:
        def count(self, to: int) -> Any:
            for number in range(to):
                yield number

        @ray.method(num_returns="streaming")
        def marked(self, to: int) -> Any:
            for number in range(to):
                yield number

        def plain(self) -> int:
            return 7

    @ray.remote(num_cpus=0)
    class Coroutines:
        async def count(self, to: int) -> Any:
            for number in range(to):
                yield number

    source, coroutines = Source.remote(), Coroutines.remote()
    assert [ray.get(item) for item in source.count.remote(3)] == [0, 1, 2]
    assert [ray.get(item) for item in coroutines.count.remote(3)] == [0, 1, 2]
    assert [ray.get(item) for item in source.marked.remote(3)] == [0, 1, 2]
    assert ray.get(source.plain.remote()) == 7

    @ray.remote(num_cpus=0)
    def give(handle: Any) -> Any:
        return [handle]

    (handle,) = ray.get(give.remote(source))
    assert [ray.get(item) for item in handle.count.remote(2)] == [0, 1], "a handle that came back knows it, too"


def test_the_option(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def listed(to: int) -> Any:
        for number in range(to):
            yield number

    assert [ray.get(item) for item in listed.options(num_returns="streaming").remote(3)] == [0, 1, 2]
    assert ray.get(listed.options(num_returns=2).remote(2)) == [0, 1]
    with pytest.raises(TypeError, match="'>=' not supported between instances of 'str' and 'int'"):
        listed.options(num_returns="some")  # as Ray says it


def test_large_items_and_references(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def mixed() -> Any:
        for number in range(4):
            yield [bytes([number]) * 2_000_000, ray.put(number)]

    for number, item in enumerate(mixed.remote()):
        data, reference = ray.get(item)
        assert data == bytes([number]) * 2_000_000
        assert ray.get(reference) == number


def test_small_values_come_along_with_their_items(own_session: ray.Session, cluster: Head) -> None:
    @own_session.remote(num_cpus=0)
    def mixed(refs: list[Any]) -> Any:
        yield [1]
        yield "two"
        yield b"x" * 20_000
        # One of the task's own may be lost when the task has ended, to native drivers too (Ray 2.60).
        yield refs[0]
        raise ValueError("four")

    three = own_session.put(3)
    one, two, large, inner, failed = mixed.remote([three])
    bridge = cluster.bridge_pid(own_session)
    os.kill(bridge, signal.SIGSTOP)
    try:
        assert own_session.get([one, two]) == [[1], "two"]
        for ref in (large, inner, failed):
            with pytest.raises(ray.exceptions.GetTimeoutError):
                own_session.get(ref, timeout=0.1)
    finally:
        os.kill(bridge, signal.SIGCONT)
    assert own_session.get(large) == b"x" * 20_000
    assert own_session.get(own_session.get(inner)) == 3
    with pytest.raises(ValueError, match="four"):
        own_session.get(failed)


def test_items_are_references_like_others(numbers: Any) -> None:
    @ray.remote(num_cpus=0)
    def double(x: int) -> int:
        return 2 * x

    assert ray.get([double.remote(item) for item in numbers.remote(5)]) == [0, 2, 4, 6, 8]


def test_many_at_once(numbers: Any) -> None:
    """Read in turn, and by ``wait``."""
    generators = [numbers.remote(20) for _ in range(20)]
    read: dict[Any, list[int]] = {generator: [] for generator in generators}
    waiting = list(generators)
    while waiting:
        ready, _ = ray.wait(waiting, num_returns=1, timeout=60)
        for generator in ready:
            try:
                read[generator].append(ray.get(next(generator)))
            except StopIteration:
                waiting.remove(generator)
    assert list(read.values()) == [list(range(20))] * 20


def test_async_for(numbers: Any) -> None:
    async def read(count: int) -> list[int]:
        return [await item async for item in numbers.remote(count)]

    async def read_all() -> list[list[int]]:
        return await asyncio.gather(*(read(count) for count in range(10)))

    assert asyncio.run(read_all()) == [list(range(count)) for count in range(10)]


def test_an_await_that_is_cancelled_loses_no_item(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def slow() -> Any:
        import time

        time.sleep(1.0)
        yield "it came"

    async def read() -> Any:
        generator = slow.remote()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(generator.__anext__(), 0.1)
        return [await item async for item in generator]

    assert asyncio.run(read()) == ["it came"]


def test_two_threads_share_one(numbers: Any) -> None:
    generator = numbers.remote(200)
    items: list[int] = []
    threads = [threading.Thread(target=lambda: items.extend(ray.get(item) for item in generator)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(items) == list(range(200))


@pytest.fixture
def endless(session: ray.Session) -> Any:
    @ray.remote(num_cpus=0)
    def endless(tally: Any) -> Any:
        while True:
            ray.get(tally.add.remote())
            yield 0

    return endless


def test_close_stops_the_task(endless: Any, tally: Any) -> None:
    generator = endless.remote(tally)
    assert ray.get(next(generator)) == 0
    generator.close()
    assert list(generator) == []
    still(lambda: ray.get(tally.read.remote()))
    generator.close()


def test_cancel(endless: Any, tally: Any) -> None:
    generator = endless.remote(tally)
    next(generator)
    ray.cancel(generator)
    *_, last = generator
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(last)


def test_backpressure(endless: Any, tally: Any) -> None:
    """The task stays as far ahead of its reader as the option says, and the client does not read ahead."""
    generator = endless.options(_generator_backpressure_num_objects=2).remote(tally)
    for read in range(1, 4):
        next(generator)
        wait_until(lambda read=read: ray.get(tally.read.remote()) > read, "the task is ahead")
        assert still(lambda: ray.get(tally.read.remote())) <= read + 2
    generator.close()


def test_it_cannot_be_passed_on(numbers: Any) -> None:
    generator = numbers.remote(1)
    assert ray.get(generator) is generator
    with pytest.raises(ray.NotPicklable, match="pass the references that it yields"):
        ray.put([generator])
    with pytest.raises(TypeError, match="ObjectRef"):
        ray.get([generator])  # type: ignore[list-item]


def test_what_is_dropped_is_released(cluster: Head, own_session: ray.Session, view: Any) -> None:
    """The generator, the items that were read, and those that were on their way."""

    @ray.remote(num_cpus=0)
    def arrays() -> Any:
        import numpy as np

        for _ in range(40):
            yield np.zeros(50_000)

    pid = cluster.bridge_pid(own_session)

    def held() -> int:
        return sum(entry.object_size > 100_000 for entry in view.list_objects(filters=[("pid", "=", pid)]))

    generator = arrays.remote()
    items = [next(generator) for _ in range(3)]
    own_session.get(items)
    wait_until(lambda: held() >= 3, "Ray holds items")
    ray.wait([generator.completed()], timeout=60)
    del generator, items
    wait_until(lambda: held() == 0, "Ray has dropped all of them")


# --- faults


def slow_numbers(session: ray.Session, count: int) -> Any:
    @session.remote(num_cpus=0)
    def slowly() -> Any:
        import time

        for number in range(count):
            time.sleep(0.01)
            yield number

    return slowly.remote()


@pytest.mark.parametrize("kind", ["cut", "reset", "swallow"])
def test_a_generator_half_read_survives_a_cut(cluster: Head, kind: str) -> None:
    """Each item comes once, in order."""
    with Proxy(cluster.port) as proxy, ray.connect(proxy.address, timeout=60) as session:
        generator = slow_numbers(session, 300)
        read = []
        for item in generator:
            read.append(session.get(item))
            if len(read) % 75 == 0:
                proxy.strike(kind)
        assert read == list(range(300))
        assert proxy.faults[kind] >= 3


def test_a_generator_half_read_survives_the_broker(brisk: Head) -> None:
    with brisk.connect() as session:
        generator = slow_numbers(session, 300)
        read = [session.get(next(generator)) for _ in range(100)]
        os.kill(brisk.child("raymq_broker").pid, signal.SIGKILL)
        read += [session.get(item) for item in generator]
        assert read == list(range(300))


def test_a_generator_whose_bridge_dies(brisk: Head) -> None:
    """Whoever waits for an item is told at once."""
    session = brisk.connect()

    @session.remote(num_cpus=0)
    def never() -> Any:
        import time

        yield 1
        time.sleep(600)

    generator = never.remote()
    next(generator)
    killer = threading.Timer(0.5, os.kill, (brisk.bridge_pid(session), signal.SIGKILL))
    killer.start()
    with pytest.raises(ray.ObjectLost, match="ObjectRefGenerator.* is gone"):
        next(generator)
    killer.join()
    with pytest.raises(ray.ObjectLost):
        generator.is_finished()
    session.close()
