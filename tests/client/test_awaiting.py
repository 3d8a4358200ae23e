"""References that are awaited, without a cluster: how the values come into event loops, and what is left of a wait."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import raymq
from raymq import pickling
from raymq.async_session import AsyncSession, aconnect
from raymq.awaiting import AT_ONCE
from raymq.life import Life
from raymq.protocol.channel import Received
from raymq.protocol.messages import Failure, Fetch, Unfetch, Value
from raymq.refs import ObjectRef
from raymq.session import Session
from tests.client.test_lives import Cluster


class CountingLoop(asyncio.SelectorEventLoop):
    """Knows how often other threads have called it."""

    calls = 0

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return super().call_soon_threadsafe(*args, **kwargs)


@pytest.fixture
def loop() -> Iterator[CountingLoop]:
    loop = CountingLoop()
    yield loop
    loop.close()


@pytest.fixture
def life() -> Life:
    return Cluster().session()._life


def posted(life: Life, kind: type) -> list[int]:
    tape: Any = life._wire
    return [number for message in tape.posted if isinstance(message, kind) for number in message.refs]


def payload(value: Any) -> Any:
    return pickling.dumps(value, lambda part: None)


def bring(life: Life, *refs: ObjectRef[Any]) -> None:
    """Have the values come, each the reference's own number."""
    numbers = [ref._hold.number for ref in refs]
    life.receiver.handle(Received([Value(number, payload(number)) for number in numbers]))


def is_all_given_up(life: Life) -> bool:
    """Whether nothing is wanted or held, when the references have been released; no collector has to help."""
    dropped = [life.dropped.popleft() for _ in range(len(life.dropped))]
    life.forget(dropped)
    return not life.ledger._values and not life.arrivals


def test_many_values_come_by_one_call_of_the_loop(life: Life, loop: CountingLoop) -> None:
    async def main() -> None:
        refs = life.calls._new_refs(10_000)
        gathered = asyncio.gather(*refs)
        await asyncio.sleep(0)  # each of them is awaited in a task of its own, which begins now
        assert len(posted(life, Fetch)) == len(refs)
        bring(life, *refs)
        assert await gathered == [ref._hold.number for ref in refs]

    loop.run_until_complete(main())
    assert loop.calls == 1
    gc.collect()
    assert is_all_given_up(life)


def test_other_coroutines_get_their_turn_while_many_values_come(life: Life, loop: CountingLoop) -> None:
    turns: list[int] = []

    async def main() -> None:
        futures = [ref.as_future() for ref in life.calls._new_refs(10 * AT_ONCE)]
        life.receiver.handle(Received([Value(n, payload(n)) for n in posted(life, Fetch)]))
        while not all(future.done() for future in futures):
            turns.append(sum(future.done() for future in futures))
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert turns == [AT_ONCE * turn for turn in range(10)]


def test_a_cancelled_wait_is_given_up_and_the_reference_stays_good(life: Life, loop: CountingLoop) -> None:
    async def main() -> None:
        (ref,) = life.calls._new_refs(1)
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ref, 0.01)
        assert posted(life, Unfetch) == [ref._hold.number] * 3
        assert not life.ledger._values
        again = asyncio.ensure_future(ref)
        await asyncio.sleep(0)
        bring(life, ref)
        assert await again == ref._hold.number

    gc.disable()
    try:
        loop.run_until_complete(main())
        assert len(life.dropped) == 1
        assert is_all_given_up(life)
    finally:
        gc.enable()


def test_one_of_two_who_await_is_cancelled(life: Life, loop: CountingLoop) -> None:
    async def main() -> None:
        (ref,) = life.calls._new_refs(1)
        one, other = ref.as_future(), ref.as_future()
        one.cancel()
        await asyncio.sleep(0)
        assert posted(life, Unfetch) == []
        (entry,) = life.ledger._values.values()
        assert len(entry.waiters) == 1
        bring(life, ref)
        assert await other == ref._hold.number

    loop.run_until_complete(main())
    assert is_all_given_up(life)


def test_a_future_that_is_cancelled_is_given_up_at_once(life: Life) -> None:
    (ref,) = life.calls._new_refs(1)
    future = ref.future()
    assert future.cancel()
    assert posted(life, Unfetch) == [ref._hold.number]
    assert not life.ledger._values
    again = ref.future()
    bring(life, ref)
    assert again.result(30) == ref._hold.number
    assert future.cancelled()


@pytest.mark.parametrize("how", ["before it comes", "before it is taken"])
def test_a_loop_that_is_closed_harms_nobody(
    life: Life, loop: CountingLoop, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The future is never done; nothing is said, and nothing is held of it; whoever else waits is told."""
    refs = life.calls._new_refs(3)

    async def main(refs: list[ObjectRef[Any]]) -> list[asyncio.Future[Any]]:
        return [ref.as_future() for ref in refs]

    futures = loop.run_until_complete(main(refs))
    other = refs[0].future()
    if how == "before it is taken":
        bring(life, *refs)
    loop.close()
    bring(life, *refs)
    assert other.result(30) == refs[0]._hold.number
    assert not any(future.done() for future in futures)
    assert not caplog.get_records("call")
    gone = weakref.ref(futures[0])
    del futures, other, refs
    gc.collect()
    assert gone() is None
    assert is_all_given_up(life)
    assert not caplog.get_records("call")


def test_the_end_of_the_session_ends_all_waits(loop: CountingLoop) -> None:
    cluster = Cluster()
    session = cluster.session()

    async def main() -> list[Any]:
        refs = session._life.calls._new_refs(100)
        gathered = asyncio.gather(*refs, return_exceptions=True)
        await asyncio.sleep(0)
        cluster.lose()
        return await gathered

    assert {type(outcome) for outcome in loop.run_until_complete(main())} == {raymq.ObjectLost}


def test_a_stop_iteration_does_not_end_the_coroutine(life: Life, loop: CountingLoop) -> None:
    """In the way of Python's own coroutines (PEP 479): raised as it is, it would be taken for a return."""
    from raymq_bridge import failures

    description, extra = failures.describe(StopIteration("enough")), payload(StopIteration("enough"))

    async def main() -> None:
        (ref,) = life.calls._new_refs(1)
        future = ref.as_future()
        life.receiver.handle(Received([Failure(ref._hold.number, description, extra)]))
        with pytest.raises(RuntimeError, match="StopIteration") as caught:
            await future
        assert isinstance(caught.value.__cause__, StopIteration)

    loop.run_until_complete(main())


def test_what_was_put_lately_is_there_at_once(life: Life, loop: CountingLoop) -> None:
    async def main() -> None:
        future = life.calls.put({"a": 1}).as_future()
        assert future.done()
        assert await future == {"a": 1}

    loop.run_until_complete(main())
    assert posted(life, Fetch) == []


# --- the session


def test_connect_and_its_counterpart_take_the_same() -> None:
    assert inspect.signature(aconnect).parameters == inspect.signature(raymq.connect).parameters


NO_COUNTERPART = {"get_runtime_context"}
"""Its object has methods of its own; ``session.session`` has it."""


def test_a_session_for_loops_has_all_that_a_session_has() -> None:
    names = {name for name in dir(Session) if not name.startswith("_")}
    assert names - NO_COUNTERPART <= {name for name in dir(AsyncSession) if not name.startswith("_")}
    for name in names - NO_COUNTERPART - {"kept"}:
        theirs, ours = getattr(Session, name), getattr(AsyncSession, name)
        if callable(theirs):
            assert inspect.signature(ours).parameters.keys() == inspect.signature(theirs).parameters.keys(), name
            assert inspect.iscoroutinefunction(ours) or name == "remote", name


def test_connecting_says_what_is_wrong(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)

    async def main() -> None:
        with pytest.raises(ValueError, match="ttl"):
            raymq.aconnect("head", ttl="1h")
        with pytest.raises(raymq.AddressError):
            await raymq.aconnect("ray://head:10001")

    asyncio.run(main())
    assert not caplog.records
