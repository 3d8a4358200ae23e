"""Actors: objects that live in the cluster."""

from __future__ import annotations

import os
from typing import Any

import pytest

import raymq as ray
from tests.integration.conftest import wait_until

pytestmark = pytest.mark.cluster


@ray.remote(num_cpus=0)
class Counter:
    """Counts."""

    def __init__(self, start: int = 0) -> None:
        self.count = start

    def increment(self, by: int = 1) -> int:
        self.count += by
        return self.count

    @ray.method(num_returns=2)
    def pair(self) -> tuple[int, int]:
        return self.count, -self.count

    def fail(self) -> None:
        raise LookupError("not here")

    def die(self) -> None:
        os._exit(1)


def test_state_and_order(session: ray.Session) -> None:
    counter = Counter.remote(10)
    assert ray.get([counter.increment.remote() for _ in range(500)]) == list(range(11, 511))


def test_large_arguments_do_not_overtake(session: ray.Session) -> None:
    """A payload on the bulk lane keeps its place among the calls of its actor."""

    @ray.remote(num_cpus=0)
    class Log:
        def __init__(self) -> None:
            self.sizes: list[int] = []

        def add(self, data: bytes) -> None:
            self.sizes.append(len(data))

        def read(self) -> list[int]:
            return self.sizes

    log = Log.remote()
    sizes = [3_000_000, 1, 2, 1_000_000, 3, 200_000, 4]
    for size in sizes:
        log.add.remote(bytes(size))
    assert ray.get(log.read.remote()) == sizes


def test_methods_with_several_values(session: ray.Session) -> None:
    counter = Counter.remote(5)
    assert ray.get(counter.pair.remote()) == [5, -5]
    assert ray.get(counter.pair.options(num_returns=1).remote()) == (5, -5)


def test_an_error_keeps_its_type(session: ray.Session) -> None:
    with pytest.raises(LookupError, match="not here"):
        ray.get(Counter.remote().fail.remote())


def test_an_error_in_the_constructor(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    class Broken:
        def __init__(self) -> None:
            raise ValueError("never born")

        def method(self) -> None: ...

    with pytest.raises(ray.exceptions.ActorDiedError, match="never born"):
        ray.get(Broken.remote().method.remote())


def test_handles_travel(session: ray.Session) -> None:
    counter = Counter.remote()

    @ray.remote
    def use(handle: Any, boxed: list[Any]) -> tuple[Any, int]:
        ray.get(boxed[0].increment.remote(10))
        return handle, ray.get(handle.increment.remote())

    @ray.remote
    def captured() -> int:
        return int(ray.get(counter.increment.remote(100)))

    returned, count = ray.get(use.remote(counter, [counter]))
    assert (returned, count) == (counter, 11)
    assert ray.get(captured.remote()) == 111
    assert ray.get(returned.increment.remote()) == 112


def test_actors_made_by_tasks(session: ray.Session) -> None:
    @ray.remote
    def make() -> Any:
        return Counter.remote(7)

    counter = ray.get(make.remote())
    assert ray.get(counter.increment.remote()) == 8
    assert "increment" in dir(counter)
    assert ray.get(counter.pair.remote()) == [8, -8]


def test_actors_make_actors_of_their_own_class(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    class Node:
        def __init__(self, depth: int) -> None:
            self.child = Node.remote(depth - 1) if depth else None

        def depth(self) -> int:
            return 1 + ray.get(self.child.depth.remote()) if self.child else 0

    assert ray.get(Node.remote(2).depth.remote()) == 2


def test_names(session: ray.Session) -> None:
    counter = Counter.options(name="named").remote(1)
    assert ray.get(counter.increment.remote()) == 2
    assert ray.get_actor("named") == counter
    assert ray.get(ray.get_actor("named").increment.remote()) == 3
    with pytest.raises(ValueError, match="nobody"):
        ray.get_actor("nobody")


def test_kill(session: ray.Session) -> None:
    counter = Counter.remote()
    assert ray.get(counter.increment.remote()) == 1
    ray.kill(counter)

    def dead() -> bool:
        try:
            ray.get(counter.increment.remote())
        except ray.exceptions.ActorDiedError:
            return True
        return False

    wait_until(dead, "the actor is dead: Ray does not wait for that")
    with pytest.raises(ValueError, match="takes an actor's handle"):
        ray.kill(ray.put(1))  # type: ignore[arg-type]


def test_an_actor_that_dies(session: ray.Session) -> None:
    counter = Counter.remote()
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(counter.die.remote())


def test_the_last_handle_takes_the_actor_with_it(session: ray.Session, view: Any) -> None:
    @ray.remote(num_cpus=0)
    class Passing:
        def ready(self) -> bool:
            return True

    def alive() -> bool:
        return bool(view.list_actors(filters=[("class_name", "=", "Passing"), ("state", "=", "ALIVE")]))

    actor = Passing.remote()
    assert ray.get(actor.ready.remote())
    assert alive()
    del actor
    wait_until(lambda: not alive(), "the actor is gone")


def test_async_actor(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    class Asynchronous:
        async def work(self, x: int) -> int:
            return x + 1

    actor = Asynchronous.remote()
    assert ray.get([actor.work.remote(i) for i in range(5)]) == [1, 2, 3, 4, 5]


def test_misuse() -> None:
    with pytest.raises(TypeError, match=r"Counter\.remote"):
        Counter()
    with pytest.raises(TypeError, match="too many positional arguments"):
        Counter.remote(1, 2, 3)
    with pytest.raises(ValueError, match="Invalid option keyword colour for actors"):
        Counter.options(colour="red")


def test_misuse_of_handles(session: ray.Session) -> None:
    counter = Counter.remote()
    with pytest.raises(AttributeError, match="no method 'decrement'"):
        counter.decrement  # noqa: B018
    with pytest.raises(TypeError, match=r"increment\.remote"):
        counter.increment()
    with pytest.raises(ValueError, match="must either be an ObjectRef"):
        ray.get(counter)
