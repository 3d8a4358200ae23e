"""``reconnect="new"``: a session whose bridge is killed starts over, empty, with the next call."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

import raymq as ray
from raymq import api
from tests.integration.conftest import Head, wait_until
from tests.integration.proxy import Proxy

pytestmark = pytest.mark.cluster

OBJECT_LOST = (ray.SessionLost, ray.exceptions.ObjectLostError)
ACTOR_LOST = (ray.SessionLost, ray.exceptions.ActorDiedError)


@ray.remote(num_cpus=0)
def double(x: Any) -> Any:
    return x * 2


@ray.remote(num_cpus=0)
def sleep() -> None:
    import time

    time.sleep(600)


@ray.remote(num_cpus=0)
class Counter:
    def __init__(self) -> None:
        self.count = 0

    def up(self) -> int:
        self.count += 1
        return self.count


@pytest.fixture
def session(brisk: Head, monkeypatch: pytest.MonkeyPatch) -> Iterator[ray.Session]:
    """The default session; it starts over when it is lost."""
    monkeypatch.setattr(api, "_default", None)
    with brisk.connect(reconnect="new", namespace="reconnect") as session:
        yield session


def kill_bridge(head: Head, session: ray.Session) -> int:
    """Kill the session's bridge, and wait until the client knows."""
    life, pid = session._life, head.bridge_pid(session)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: life.ended is not None, "the client has been told")
    return pid


def raised(call: Callable[[], Any]) -> BaseException:
    with pytest.raises(ray.SessionLost) as caught:
        call()
    return caught.value


def test_everything_works_again(brisk: Head, session: ray.Session, caplog: pytest.LogCaptureFixture) -> None:
    """On the module's functions: what waits fails at once, what is old says so, what is new works."""
    old = {"value": ray.put("old"), "waiting": sleep.remote(), "actor": Counter.remote()}
    assert ray.get([double.remote(21), old["actor"].up.remote()]) == [42, 1]
    first, job = session.id, session.info.job_id
    failures: list[BaseException] = []

    async def awaiting() -> None:
        await old["waiting"]

    waiting = [
        threading.Thread(target=lambda call=call: failures.append(raised(call)))
        for call in (
            lambda: ray.get(old["waiting"]),
            lambda: ray.wait([old["waiting"]]),
            lambda: old["waiting"].future().result(),
            lambda: asyncio.run(awaiting()),
        )
    ]
    for thread in waiting:
        thread.start()
    wait_until(
        lambda: session._life.ledger._values and session._life.ledger._local._watched.get(old["waiting"]._hold.number),
        "the get and the wait are waiting",
    )
    pid = kill_bridge(brisk, session)
    for thread in waiting:
        thread.join(60)
    assert len(failures) == 4
    for error in failures:
        assert all(isinstance(error, kind) for kind in OBJECT_LOST)
        assert f"session {first.hex()} was lost at" in str(error)
        assert f"pid {pid}" in str(error)
    assert session.id == first, "nothing begins before it is needed"
    assert ray.is_initialized()

    with caplog.at_level(logging.WARNING, "raymq"):
        new = ray.put("new")
        assert ray.get(new) == "new"
    (record,) = caplog.records
    assert f"pid {pid}" in record.getMessage()
    assert "starts over, empty" in record.getMessage()
    assert session.id != first
    assert session.info.session_id == session.id.hex()
    assert session.info.job_id != job
    assert ray.get(double.remote(new)) == "newnew"
    counter = Counter.remote()
    assert ray.get([counter.up.remote() for _ in range(3)]) == [1, 2, 3]
    assert ray.nodes()
    assert ray.wait([new]) == ([new], [])

    for use in (
        lambda: ray.get(old["value"]),
        lambda: ray.wait([new, old["value"]], num_returns=2),
        lambda: double.remote(old["value"]),
        lambda: double.remote([old["value"]]),
        lambda: ray.put([old["value"]]),
        lambda: old["value"].future().result(),
        lambda: ray.cancel(old["waiting"]),
    ):
        error = raised(use)
        assert all(isinstance(error, kind) for kind in OBJECT_LOST)
        assert f"pid {pid}" in str(error)
    for use in (
        lambda: old["actor"].up.remote(),
        lambda: ray.kill(old["actor"]),
        lambda: double.remote(old["actor"]),
    ):
        error = raised(use)
        assert all(isinstance(error, kind) for kind in ACTOR_LOST)
        assert f"pid {pid}" in str(error)


def test_numbers_that_come_again(brisk: Head, session: ray.Session) -> None:
    """Both sides count anew in each life; what has an old number is not what has it now. Each keeps its own reason."""
    made: list[list[Any]] = []
    pids: list[int] = []
    for round_ in range(3):
        mine = [ray.put(("mine", round_))]
        (theirs,) = ray.get(double.remote([ray.put(("theirs", round_))]))[:1]
        made.append([*mine, theirs])
        assert ray.get(made[-1]) == [("mine", round_), ("theirs", round_)]
        for refs, pid in zip(made, pids, strict=False):
            for ref in refs:
                assert ref not in made[-1]
                assert f"pid {pid}" in str(raised(lambda ref=ref: ray.get(ref)))
        if round_ < 2:
            pids.append(kill_bridge(brisk, session))
    numbers = [[ref._hold.number for ref in refs] for refs in made]
    assert numbers[0] == numbers[1] == numbers[2]
    assert numbers[0][1] % 2 == 0, "one of the bridge's own numbers is among them"
    # What an old reference held is not released under the number that another has now.
    for refs in made[:2]:
        refs.clear()
    assert ray.get(made[2]) == [("mine", 2), ("theirs", 2)]
    assert ray.get(double.remote(made[2][0])) == ("mine", 2) * 2


def test_threads_that_call_at_once_start_one_session(brisk: Head, session: ray.Session) -> None:
    before = brisk.status()["counters"]["opened"]
    kill_bridge(brisk, session)
    ready = threading.Barrier(8)
    results: list[Any] = []

    def call(number: int) -> None:
        ready.wait()
        reference = double.remote(number) if number % 2 else session.put(number * 2)
        results.append((ray.get(reference), reference._life))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert sorted(value for value, _ in results) == [number * 2 for number in range(8)]
    assert {life for _, life in results} == {session._life}
    assert brisk.status()["counters"]["opened"] == before + 1


def test_detached_actors_are_found_again(brisk: Head, session: ray.Session) -> None:
    lasting = Counter.options(name="lasting", lifetime="detached").remote()
    passing = Counter.options(name="passing").remote()
    assert ray.get([lasting.up.remote(), passing.up.remote()]) == [1, 1]
    kill_bridge(brisk, session)
    assert isinstance(raised(lambda: lasting.up.remote()), ray.ActorLost)
    again = ray.get_actor("lasting")
    try:
        assert again != lasting
        assert ray.get(again.up.remote()) == 2
        wait_until(lambda: session.list_named_actors() == ["lasting"], "the other one is gone with its session")
    finally:
        ray.kill(again)


def test_close_after_the_loss_is_final(brisk: Head, session: ray.Session) -> None:
    reference = session.put(1)
    kill_bridge(brisk, session)
    before = brisk.status()["counters"]["opened"]
    session.close()
    for call in (lambda: session.put(1), lambda: double.remote(1), lambda: session.nodes()):
        with pytest.raises(ray.SessionClosed):
            call()
    assert isinstance(raised(lambda: session.get(reference)), ray.ObjectLost)
    assert not ray.is_initialized()
    assert brisk.status()["counters"]["opened"] == before


def test_closed_is_not_lost(brisk: Head, session: ray.Session) -> None:
    session.close()
    with pytest.raises(ray.SessionClosed):
        ray.put(1)


def test_without_it_a_lost_session_fails_for_good(brisk: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_default", None)
    with brisk.connect() as session:
        reference, actor = ray.put(1), Counter.remote()
        ray.get(actor.up.remote())
        pid = kill_bridge(brisk, session)
        assert not ray.is_initialized()
        for _ in range(2):
            for call, kinds in (
                (lambda: ray.put(1), (ray.SessionLost,)),
                (lambda: double.remote(1), (ray.SessionLost,)),
                (ray.nodes, (ray.SessionLost,)),
                (lambda: ray.get(reference), OBJECT_LOST),
                (lambda: double.remote(reference), OBJECT_LOST),
                (lambda: actor.up.remote(), ACTOR_LOST),
            ):
                error = raised(call)
                assert all(isinstance(error, kind) for kind in kinds)
                assert f"pid {pid}" in str(error)
                assert "connect() again" in str(error)


def test_a_session_of_ones_own(brisk: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the default one: functions and classes that belong to it work on, too."""
    monkeypatch.setattr(api, "_default", None)
    with brisk.connect(reconnect="new") as session:
        monkeypatch.setattr(api, "_default", None)
        function = session.remote(num_cpus=0)(double._definition.target)
        kind = session.remote(num_cpus=0)(Counter._definition.target)
        for _ in range(2):
            assert session.get(function.remote(4)) == 8
            assert session.get(kind.remote().up.remote()) == 1
            kill_bridge(brisk, session)
        assert session.get(function.options(name="once more").remote(4)) == 8


def test_init_and_the_builder(brisk: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_default", None)
    for begin in (
        lambda: ray.init(brisk.address, reconnect="new"),
        lambda: ray.client(brisk.address).reconnect("new").connect(),
    ):
        session = begin()
        try:
            kill_bridge(brisk, session)
            assert ray.get(double.remote(4)) == 8
        finally:
            ray.shutdown()


def test_a_broker_that_is_gone_and_comes_back(brisk: Head) -> None:
    """Out of reach for longer than lease and grace, and so lost; it starts over when it can, not before."""
    with Proxy(brisk.port) as proxy, ray.connect(proxy.address, timeout=5, reconnect="new") as session:
        reference = session.put(1)
        assert session.get(reference) == 1
        life = session._life
        proxy.cut(refuse=True)
        wait_until(lambda: life.ended is not None, "the client has given up")
        with pytest.raises(ray.ConnectError, match="waited 5 s"):
            session.put(2)
        proxy.heal()
        assert wait_until(lambda: again(session), "the session has started over") == 2
        assert "unreachable" in str(raised(lambda: session.get(reference)))


def again(session: ray.Session) -> Any:
    try:
        return session.get(session.put(2))
    except ray.ConnectError:
        return None  # on a busy machine 5 s may be too short; the next call tries again


SCRIPT = """
import os, signal, sys
import raymq as ray

session = ray.connect({address!r}, timeout=60, reconnect="new")

@ray.remote(num_cpus=0)
def double(x):
    return x * 2

for round_ in range(3):
    reference = ray.put(round_)
    print(ray.get(double.remote(reference)), flush=True)
    sys.stdin.readline()
    try:
        while True:
            ray.get(reference)
    except ray.exceptions.ObjectLostError as error:
        print(type(error).__name__, flush=True)
"""


def test_a_script_that_goes_on(brisk: Head) -> None:
    """A plain program, killed under three times; its exit is silent."""
    program = SCRIPT.format(address=brisk.address)
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, stderr=-1, text=True) as script:
        assert script.stdin is not None
        assert script.stdout is not None
        for round_ in range(3):
            assert script.stdout.readline() == f"{round_ * 2}\n"
            bridges = brisk.status()["bridges"]
            sessions = {entry["id"] for entry in brisk.status()["sessions"] if entry["client"]["pid"] == script.pid}
            (pid,) = [bridge["pid"] for bridge in bridges if bridge["session"] in sessions]
            psutil.Process(pid).kill()
            script.stdin.write("\n")
            script.stdin.flush()
            assert script.stdout.readline() == "ObjectLost\n"
        out, err = script.communicate(timeout=60)
    assert (out, script.returncode) == ("", 0)
    assert err.count("starts over, empty") == 2
    assert "Traceback" not in err
