"""Programs that live in event loops: references that are awaited, and sessions for loops."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import raymq as ray
from tests.integration.conftest import BEYOND_RECENT, CI_PATIENCE, Head, wait_until

pytestmark = pytest.mark.cluster


@ray.remote(num_cpus=0)
class Gate:
    """Lets nobody through until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def open(self) -> None:
        self.opened.set()

    async def through(self, value: Any) -> Any:
        await self.opened.wait()
        return value


@ray.remote(num_cpus=0)
class Echo:
    def say(self, value: Any) -> Any:
        return value


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


# --- references


def test_ten_thousand_references_are_awaited_without_a_thread_more(session: ray.Session) -> None:
    echo = Echo.remote()
    ray.get(echo.say.remote(0))
    most = before = threading.active_count()

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, threading.active_count())
            await asyncio.sleep(0.01)

    async def main() -> None:
        watching = asyncio.ensure_future(watch())
        assert await asyncio.gather(*[echo.say.remote(n) for n in range(10_000)]) == list(range(10_000))
        done, pending = await asyncio.wait([echo.say.remote(n).as_future() for n in range(1_000)])
        assert sorted(future.result() for future in done) == list(range(1_000))
        assert not pending
        watching.cancel()

    asyncio.run(main())
    assert most == before


def test_as_they_are_completed(session: ray.Session) -> None:
    gates = [Gate.remote() for _ in range(3)]

    async def main() -> list[int]:
        refs = [gate.through.remote(place) for place, gate in enumerate(gates)]
        found = []
        order = [2, 0, 1]
        coming = iter(asyncio.as_completed([ref.as_future() for ref in refs]))
        for place in order:
            await gates[place].open.remote()
            found.append(await next(coming))
        return found

    assert asyncio.run(main()) == [2, 0, 1]


def test_loops_in_several_threads_await_the_same_references(session: ray.Session) -> None:
    gate = Gate.remote()
    refs = [gate.through.remote(n) for n in range(100)]
    large = gate.through.remote(BEYOND_RECENT)
    waiting = threading.Barrier(5)

    async def main() -> Any:
        gathered = asyncio.gather(*refs, large)
        await asyncio.sleep(0)
        await asyncio.to_thread(waiting.wait, 60)
        return await gathered

    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(asyncio.run, main()) for _ in range(4)]
        waiting.wait(60)
        gate.open.remote()
        assert [result.result(60) for result in results] == [[*range(100), BEYOND_RECENT]] * 4


def test_cancelled_coroutines_leave_the_session_sound(session: ray.Session) -> None:
    gate = Gate.options(max_concurrency=2_000).remote()

    async def main() -> None:
        refs = [gate.through.remote(n) for n in range(1_000)]
        tasks = [asyncio.ensure_future(ref.as_future()) for ref in refs]
        await asyncio.sleep(0.1)
        for task in tasks[::2]:
            task.cancel()
        outcomes = asyncio.gather(*tasks, return_exceptions=True)
        await gate.open.remote()
        assert [outcome for outcome in await outcomes if isinstance(outcome, int)] == list(range(1, 1_000, 2))
        assert await asyncio.gather(*refs) == list(range(1_000))

    asyncio.run(main())
    assert not session._life.ledger._values


def test_a_program_that_ends_while_it_awaits(session: ray.Session, caplog: pytest.LogCaptureFixture) -> None:
    """The loop is closed before the value comes."""
    gate = Gate.remote()
    ref, abandoned = gate.through.remote("late"), gate.through.remote("later")

    async def main() -> None:
        abandoned.as_future()
        asyncio.ensure_future(ref.as_future())
        await asyncio.sleep(0.05)

    asyncio.run(main())
    gate.open.remote()
    assert ray.get([ref, abandoned]) == ["late", "later"]
    assert not caplog.records


def test_a_get_in_a_coroutine_blocks_its_loop_and_works(session: ray.Session) -> None:
    """As in Ray's drivers, and as the cells of a notebook need it, which run in a loop."""

    async def main() -> Any:
        ref = Echo.remote().say.remote("said")
        awaited = ref.as_future()
        return ray.get(ref), ray.wait([ref])[0] == [ref], await awaited

    assert asyncio.run(main()) == ("said", True, "said")


def test_generators_in_several_loops_and_cancelled(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def count(gate: Any) -> Any:
        yield 0
        ray.get(gate.through.remote(None))
        yield 1

    async def main() -> list[int]:
        gate = Gate.remote()
        generator = count.remote(gate)
        found = [await (await generator.__anext__())]
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(generator.__anext__(), 0.05)
        await gate.open.remote()
        return found + [await ref async for ref in generator]

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda _: asyncio.run(main()), range(3))) == [[0, 1]] * 3


# --- sessions


@pytest.fixture
def _no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymq.api._default", None)


def open_sessions(head: Head) -> set[str]:
    """The sessions on a broker, by their ids."""
    return {session["id"] for session in head.status()["sessions"]}


async def ticking(ticks: list[float]) -> None:
    while True:
        ticks.append(time.monotonic())
        await asyncio.sleep(0.01)


@pytest.mark.usefixtures("_no_default")
def test_a_session_in_a_loop(cluster: Head) -> None:
    async def main() -> None:
        async with ray.aconnect(cluster.address, timeout=CI_PATIENCE) as session:
            assert isinstance(session, ray.AsyncSession)
            refs = [Echo.remote().say.remote(n) for n in range(2)]
            assert await session.get(refs) == [0, 1]
            assert await session.get(refs[0], timeout=60) == 0
            assert await session.get(await session.put(BEYOND_RECENT)) == BEYOND_RECENT
            assert await asyncio.gather(*await asyncio.gather(*map(session.put, range(100)))) == list(range(100))
            gate = Gate.options(name="gate").remote()
            assert await session.list_named_actors() == ["gate"]
            closed, open_ = gate.through.remote("through"), refs[1]
            assert await session.wait([closed, open_]) == ([open_], [closed])
            assert await session.wait([closed], timeout=0.05) == ([], [closed])
            for timeout in (0, 0.05):
                with pytest.raises(ray.exceptions.GetTimeoutError):
                    await session.get(closed, timeout=timeout)
            waiting = asyncio.ensure_future(session.wait([closed, open_], num_returns=2))
            await (await session.get_actor("gate")).open.remote()
            assert (await waiting)[1] == []
            with pytest.raises(ZeroDivisionError):
                await session.get(session.remote(num_cpus=0)(lambda: 1 / 0).remote())
            assert [node["Alive"] for node in await session.nodes()] == [True]
            assert (await session.cluster_resources())["CPU"] > 0
            with pytest.raises(ValueError, match="nobody"):
                await session.get_actor("nobody")
        assert not session.is_open
        for call in (session.nodes, lambda: session.put(1), lambda: session.get(refs)):
            with pytest.raises(ray.SessionClosed):
                await call()
        await session.close()

    before = threads()
    asyncio.run(main())
    wait_until(lambda: threads() <= before, "the threads have ended")


@pytest.mark.usefixtures("_no_default")
def test_a_session_with_a_name_in_a_loop(cluster: Head) -> None:
    async def main() -> None:
        session = await ray.aconnect(cluster.address, timeout=CI_PATIENCE, session="in-a-loop", ttl="1h")
        await session.keep("kept", await session.put("what was kept"))
        await session.detach()
        assert not session.is_open
        async with ray.aconnect(cluster.address, timeout=CI_PATIENCE, session="in-a-loop") as again:
            assert again.info.resumed
            assert await (await again.kept("kept")) == "what was kept"

    asyncio.run(main())


@pytest.mark.usefixtures("_no_default")
def test_an_error_closes_the_session(cluster: Head) -> None:
    ids: list[str] = []

    async def main() -> None:
        async with ray.aconnect(cluster.address, timeout=CI_PATIENCE) as session:
            ids.append(session.id.hex())
            assert ids[-1] in await asyncio.to_thread(open_sessions, cluster)
            opened.set()
            await Gate.remote().through.remote(1 / len(ids[1:]))

    async def cancelled() -> None:
        task = asyncio.ensure_future(main())
        await opened.wait()
        task.cancel()
        await task

    opened = asyncio.Event()
    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())
    opened = asyncio.Event()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert len(ids) == 2
    assert not open_sessions(cluster) & set(ids)


@pytest.mark.usefixtures("_no_default")
def test_a_put_that_has_to_wait_holds_nothing_up(cluster: Head) -> None:
    """The bridge is stopped, so the cluster takes nothing: the loop goes on, and so do a cancellation and the others."""
    value = np.ones(20 << 20)

    async def main() -> None:
        ticks: list[float] = []
        async with ray.aconnect(cluster.address, timeout=CI_PATIENCE) as session:
            known = await session.put("known")
            bridge = cluster.bridge_pid(session.session)
            os.kill(bridge, signal.SIGSTOP)
            try:
                tick = asyncio.ensure_future(ticking(ticks))
                putting = [asyncio.ensure_future(session.put(value)) for _ in range(3)]
                putting[0].cancel()
                _, waiting = await asyncio.wait(putting, timeout=1)
                assert waiting == set(putting[1:])
                assert await session.get(known) == "known"
                tick.cancel()
            finally:
                os.kill(bridge, signal.SIGCONT)
            refs = await asyncio.gather(*putting[1:])
            assert (await session.get(refs[1]) == value).all()
        assert len(ticks) > 3

    asyncio.run(main())


@pytest.mark.usefixtures("_no_default")
def test_connecting_holds_nothing_up_and_can_be_cancelled() -> None:
    """Where something listens that never answers."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            ticks: list[float] = []
            tick = asyncio.ensure_future(ticking(ticks))
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            connecting = asyncio.ensure_future(_awaited(ray.aconnect(address, timeout=600)))
            await asyncio.sleep(0.5)
            assert not connecting.done()
            connecting.cancel()
            await asyncio.wait([connecting], timeout=60)
            assert connecting.cancelled()
            assert len(ticks) > 3
            tick.cancel()

    before = threads()
    asyncio.run(main())
    wait_until(lambda: threads() <= before, "the threads have ended")


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


@pytest.mark.usefixtures("_no_default")
def test_a_cancelled_connect_leaves_no_session(cluster: Head) -> None:
    """Wherever in the handshake it is cancelled."""

    async def main() -> list[bool]:
        opened = []
        for delay in (0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3):
            connecting = asyncio.ensure_future(_awaited(ray.aconnect(cluster.address, timeout=CI_PATIENCE)))
            await asyncio.wait([connecting], timeout=delay)
            if not connecting.cancel():
                await connecting.result().close()
            await asyncio.wait([connecting])
            opened.append(not connecting.cancelled())
        return opened

    before, known = threads(), open_sessions(cluster)
    opened = asyncio.run(main())
    assert not opened[0]
    wait_until(lambda: threads() <= before, "the threads have ended")
    wait_until(lambda: open_sessions(cluster) <= known, "the sessions have ended")
