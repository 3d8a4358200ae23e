"""What type checkers make of programs that use raymq. Never run: mypy and pyright read it.

``assert_type`` says what must be found. Each ``type: ignore`` is an error that must be found; one that is not makes both
checkers complain of a comment that nobody needs.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncGenerator, Generator, Iterator
from typing import Any

from typing_extensions import assert_type

import raymq as ray
from raymq import ActorClass, ActorHandle, AsyncSession, ObjectRef, ObjectRefGenerator, Session


@ray.remote
def length(text: str) -> int:
    return len(text)


@ray.remote(num_cpus=2)
def repeat(text: str, times: int = 2) -> list[str]:
    return [text] * times


@ray.remote(num_returns=2)
def both(text: str) -> tuple[int, str]:
    return len(text), text


@ray.remote
def count(end: int) -> Generator[int, None, None]:
    yield from range(end)


@ray.remote
def iterate(end: int) -> Iterator[int]:
    yield from range(end)


@ray.remote
def anything(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


async def produce(end: int) -> AsyncGenerator[str, None]:
    for number in range(end):
        yield str(number)


class PlainCounter:
    def __init__(self, start: int) -> None:
        self.value = start

    def add(self, number: int) -> int:
        self.value += number
        return self.value


# --- objects

text, number = ray.put("text"), ray.put(1)
assert_type(text, ObjectRef[str])
assert_type(ray.get(text), str)
assert_type(ray.get([text, text], timeout=1), list[str])
assert_type(ray.get((number,)), list[int])
assert_type(ray.wait([text], num_returns=1), tuple[list[ObjectRef[str]], list[ObjectRef[str]]])
assert_type(text.future(), concurrent.futures.Future[str])
ray.get("text")  # type: ignore[arg-type]
ray.get(["text"])  # type: ignore[arg-type]
ray.wait(text)  # type: ignore[arg-type]

# --- tasks

assert_type(length.remote("text"), ObjectRef[int])
assert_type(length.remote(text=ray.get(text)), ObjectRef[int])
assert_type(length.remote(text), ObjectRef[int])
assert_type(length.options(num_cpus=1).remote(text), ObjectRef[int])
assert_type(ray.get([length.remote("a"), length.remote(text)]), list[int])
length.remote()  # type: ignore[call-overload]
length.remote(1)  # type: ignore[call-overload]
length.remote(number)  # type: ignore[arg-type]
length.remote("a", "b")  # type: ignore[call-overload]
length.remote(txt="a")  # type: ignore[call-overload]
length.options(num_cpus=1).remote(1)  # type: ignore[call-overload]
length.no_such_thing  # type: ignore[attr-defined]

assert_type(repeat.remote("a"), ObjectRef[list[str]])
assert_type(repeat.remote("a", 3), ObjectRef[list[str]])
assert_type(repeat.remote("a", times=3), ObjectRef[list[str]])
assert_type(repeat.remote(text), ObjectRef[list[str]])
assert_type(repeat.remote(text, number), ObjectRef[list[str]])
assert_type(repeat.remote("a", length.remote("a")), ObjectRef[list[str]])
repeat.remote(text, text)  # type: ignore[arg-type]
repeat.remote("a", times="a")  # type: ignore[call-overload]

# With num_returns a call may return anything: nothing is claimed.
assert_type(both.remote("a"), Any)
assert_type(length.options(num_returns=0).remote("a"), Any)
both.remote(1)  # type: ignore[call-overload]
assert_type(iterate.remote(3), Any)
anything.remote(1, text, key=number)
ray.get(anything.remote())

# --- generators

assert_type(count.remote(3), ObjectRefGenerator[int])
for item in count.remote(number):
    assert_type(item, ObjectRef[int])
    assert_type(ray.get(item), int)
assert_type(ray.remote(produce).remote(3), ObjectRefGenerator[str])
count.remote("a")  # type: ignore[call-overload]

# --- actors: a handle does not know its class, since no type can say "each method, with remote() behind its name";
# mypy takes no notice of what decorates a class (pyright does), so this one is made remote by a call

Counter = ray.remote(PlainCounter)
assert_type(ray.remote(num_cpus=0)(PlainCounter), ActorClass)
assert_type(Counter, ActorClass)
counter = Counter.options(name="counter").remote(1)
assert_type(counter, ActorHandle)
assert_type(counter.add.remote(1), Any)
assert_type(ray.get_actor("counter"), ActorHandle)
counter.add.remot(1)  # type: ignore[attr-defined]


def sessions() -> None:
    with ray.connect("head") as session:
        assert_type(session, Session)
        assert_type(session.get(session.put(1)), int)
        assert_type(session.remote(len).remote("abc"), ObjectRef[int])
        assert_type(session.get([length.remote("a")]), list[int])
        session.get(1)  # type: ignore[call-overload]


# --- event loops


async def loops() -> None:
    assert_type(await text, str)
    assert_type(await length.remote("a"), int)
    assert_type(text.as_future(), asyncio.Future[str])
    assert_type(await asyncio.gather(text, number), tuple[str, int])
    async for item in count.remote(3):
        assert_type(await item, int)
    assert_type(await ray.aconnect("head"), AsyncSession)
    async with ray.aconnect("head", timeout=1) as session:
        assert_type(session, AsyncSession)
        assert_type(await session.get(text), str)
        assert_type(await session.get([text]), list[str])
        assert_type(await session.put(1), ObjectRef[int])
        assert_type(await session.wait([text]), tuple[list[ObjectRef[str]], list[ObjectRef[str]]])
        assert_type(await session.nodes(), list[dict[str, Any]])
        assert_type(await session.get_actor("counter"), ActorHandle)
        assert_type(session.remote(num_cpus=1)(len).remote("abc"), ObjectRef[int])
        await session.get("text")  # type: ignore[arg-type]
        await session.get_actor(1)  # type: ignore[arg-type]
        session.get_actor("counter").add  # type: ignore[attr-defined]
    ray.aconnect("head", tiemout=1)  # type: ignore[call-arg]
