"""Somebody goes missing: clients, brokers, bridges, networks. What is left is seen in Ray's own tables."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import psutil
import pytest

import raymq as ray
from tests.integration.conftest import Head, there_and_back, wait_until
from tests.integration.proxy import Proxy

pytestmark = pytest.mark.cluster

HOLDER = """
import sys, time
import raymq as ray
ray.connect({address!r}, namespace={namespace!r}, timeout=60)

@ray.remote(num_cpus=0)
class Passing:
    def ping(self): return "pong"

@ray.remote(num_cpus=0, name="lasting", lifetime="detached")
class Lasting:
    def ping(self): return "pong"

@ray.remote(num_cpus=0)
def endless(name):
    import time
    while True:
        time.sleep(0.05)

passing, lasting = Passing.remote(), Lasting.remote()
ray.get([passing.ping.remote(), lasting.ping.remote()])
kept = [ray.put(bytes(200_000)) for _ in range(5)]
task = endless.remote("x")
ray.get(kept)
print(ray.api.current_session().info.job_id, flush=True)
{then}
"""


def hold(address: str, namespace: str, then: str = "time.sleep(600)") -> tuple[subprocess.Popen[str], str]:
    """A client in a process of its own that holds objects, actors and a running task; and its Ray job's id."""
    program = HOLDER.format(address=address, namespace=namespace, then=then)
    client = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    return client, client.stdout.readline().strip()


def end(client: subprocess.Popen[str]) -> None:
    client.kill()
    client.wait()
    assert client.stdout is not None
    client.stdout.close()


def in_ray(view: Any, job: str) -> dict[str, Any]:
    """What Ray itself says that a job has: actors that are alive, tasks that run, and whether it runs itself."""
    mine = ("job_id", "=", job)
    actors = view.list_actors(filters=[mine, ("state", "=", "ALIVE")])
    tasks = view.list_tasks(filters=[mine, ("state", "=", "RUNNING")], detail=False)
    driver = next(entry for entry in view.list_jobs() if entry.job_id == job)
    return {
        "actors": sorted(actor.class_name for actor in actors),
        "tasks": sorted(task.name for task in tasks if task.name == "endless"),
        "driver": driver.status,
    }


ALL = {"actors": ["Lasting", "Passing"], "tasks": ["endless"], "driver": "RUNNING"}


def released(view: Any, job: str) -> bool:
    """Nothing of the job is left but its detached actor."""
    now = in_ray(view, job)
    return now["actors"] == ["Lasting"] and not now["tasks"] and now["driver"] != "RUNNING"


def workers_of(job: str) -> list[int]:
    """Processes that run the job's endless task."""
    return [
        p.pid for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [""])[0].startswith("ray::endless")
    ]


def state_of(head: Head, pid: int) -> str | None:
    """What the broker says of the session of a client process; None if it has none."""
    sessions = [entry for entry in head.status()["sessions"] if entry["client"]["pid"] == pid]
    return str(sessions[0]["state"]) if sessions else None


def kill_detached(head: Head, namespace: str) -> None:
    with head.connect(namespace=namespace) as session:
        session.kill(session.get_actor("lasting"))


def test_goodbye_releases_at_once(cluster: Head, view: Any) -> None:
    """On a head with a grace of 30 s, which plays no part here."""
    client, job = hold(cluster.address, "goodbye-1", then="")
    assert client.wait(60) == 0
    end(client)
    wait_until(lambda: released(view, job), "Ray has dropped all but the detached actor", timeout=25)
    kill_detached(cluster, "goodbye-1")


def test_kill_9_of_a_client(brisk: Head, view: Any) -> None:
    """Noticed at the next heartbeat; released when the grace is over, not before; the detached actor stays."""
    client, job = hold(brisk.address, "killed")
    wait_until(lambda: in_ray(view, job) == ALL, "everything is there")
    client.kill()
    killed = time.monotonic()
    wait_until(lambda: state_of(brisk, client.pid) in ("detached", None), "the broker has noticed")
    held = in_ray(view, job)
    if time.monotonic() - killed < 1.5:  # the looks themselves take their time
        assert held == ALL
    wait_until(lambda: released(view, job), "Ray has dropped all but the detached actor")
    assert time.monotonic() - killed > 2.0
    wait_until(lambda: not workers_of(job), "the task's worker is gone")
    assert state_of(brisk, client.pid) is None
    end(client)
    kill_detached(brisk, "killed")


def test_silent_cut(brisk: Head, view: Any) -> None:
    """Traffic is swallowed: noticed when the lease is over, released a grace later; the client learns it, too."""
    with Proxy(brisk.port) as proxy:
        with brisk_session(proxy, "cut") as session:
            keep = make_things(session)
            job = session.info.job_id
            wait_until(lambda: in_ray(view, job)["actors"] == ["Passing"], "everything is there")
            proxy.swallow()
            wait_until(lambda: released_all(view, job), "Ray has dropped everything")
            proxy.heal()
            with pytest.raises(ray.SessionLost, match=r"expired|unreachable"):
                while True:
                    session.get(keep["value"], timeout=30)
                    time.sleep(0.1)


def brisk_session(proxy: Proxy, namespace: str) -> ray.Session:
    return ray.connect(proxy.address, namespace=namespace, timeout=60)


def make_things(session: ray.Session) -> dict[str, Any]:
    @session.remote(num_cpus=0)
    class Passing:
        def __init__(self) -> None:
            self.count = 0

        def increment(self) -> int:
            self.count += 1
            return self.count

    actor = Passing.remote()
    session.get(actor.increment.remote())
    return {"actor": actor, "value": session.put("value")}


def released_all(view: Any, job: str) -> bool:
    now = in_ray(view, job)
    return not now["actors"] and now["driver"] != "RUNNING"


def test_a_cut_that_heals_is_invisible(brisk: Head) -> None:
    """Each call runs once, in order, although the connections break again and again under them."""
    with Proxy(brisk.port) as proxy, brisk_session(proxy, "healed") as session:
        things = make_things(session)
        refs = []
        for round_ in range(8):
            refs += [things["actor"].increment.remote() for _ in range(100)]
            big = session.put(bytes([round_]) * 5_000_000)
            proxy.cut()
            assert session.get(big) == bytes([round_]) * 5_000_000
            time.sleep(0.05 * (round_ % 3))
        assert session.get(refs) == list(range(2, 802))


def test_a_broker_that_is_killed_comes_back(brisk: Head) -> None:
    """Its state is soft: clients and bridges come back to the new one, and calls in flight run once."""
    with brisk.connect() as session:
        things = make_things(session)
        refs = []
        for _ in range(2):
            refs += [things["actor"].increment.remote() for _ in range(200)]
            brisk.child("raymq_broker").kill()
            refs += [things["actor"].increment.remote() for _ in range(200)]
            assert session.get(refs[-1], timeout=60)
        assert session.get(refs) == list(range(2, 802))
        assert session.get(things["value"]) == "value"


def test_kill_9_of_a_bridge(brisk: Head, view: Any) -> None:
    """Whoever waits gets an error that says so; a new session works at once."""
    session = brisk.connect(namespace="bridge killed")
    things = make_things(session)

    @session.remote(num_cpus=0)
    def endless() -> None:
        while True:
            time.sleep(0.05)

    waiting = endless.remote()
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            session.get(waiting)
        except ray.SessionLost as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    pid = brisk.bridge_pid(session)
    os.kill(pid, signal.SIGKILL)
    thread.join(60)
    assert len(errors) == 1
    assert f"pid {pid}" in str(errors[0])
    with pytest.raises(ray.SessionLost, match="connect\\(\\) again"):
        session.get(things["value"])
    with pytest.raises(ray.SessionLost):
        things["actor"].increment.remote()
    wait_until(lambda: released_all(view, session.info.job_id), "Ray has dropped everything")
    session.close()
    with brisk.connect() as again:
        assert there_and_back(again)


def test_a_suspended_client_resumes(brisk: Head) -> None:
    """SIGSTOP for longer than the lease, within the grace."""
    then = """
sys.stdin.readline()
print(ray.get(kept[0]) == bytes(200_000), ray.get(passing.ping.remote()), flush=True)
"""
    program = HOLDER.format(address=brisk.address, namespace="suspended", then=then)
    client = subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True)
    assert client.stdout is not None
    assert client.stdin is not None
    client.stdout.readline()
    client.send_signal(signal.SIGSTOP)
    wait_until(lambda: state_of(brisk, client.pid) == "detached", "the broker has noticed")
    client.send_signal(signal.SIGCONT)
    wait_until(lambda: state_of(brisk, client.pid) == "attached", "the client is back")
    client.stdin.write("\n")
    client.stdin.flush()
    assert client.stdout.readline() == "True pong\n"
    assert client.wait(60) == 0
    client.stdin.close()
    end(client)
    kill_detached(brisk, "suspended")


def test_a_client_that_holds_the_gil_is_not_dead(brisk: Head) -> None:
    """For twice the lease and grace: libzmq's own thread answers for it."""
    then = """
import ctypes
ctypes.PyDLL(None).sleep(9)
print(ray.get(kept[0]) == bytes(200_000), ray.get(passing.ping.remote()), flush=True)
"""
    client, _ = hold(brisk.address, "gil", then)
    assert client.stdout is not None
    assert client.stdout.readline() == "True pong\n"
    assert client.wait(60) == 0
    end(client)
    kill_detached(brisk, "gil")


def test_resumed_sessions_are_counted(brisk: Head) -> None:
    """The broker's counters tell of the tests above."""
    assert brisk.status()["counters"]["opened"] > 0
    assert brisk.status()["counters"].get("malformed", 0) == 0
