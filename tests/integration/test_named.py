"""Sessions with a name: detached from, attached to again by another process, taken over, ended from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

import raymq as ray
from tests.integration.conftest import HEAD_PYTHON, Head, there_and_back, wait_until
from tests.integration.proxy import Proxy

pytestmark = pytest.mark.cluster


def make_counter(session: ray.Session) -> Any:
    @session.remote(num_cpus=0)
    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def increment(self) -> int:
            self.count += 1
            return self.count

    return Counter.remote()


def of_name(head: Head, name: str) -> dict[str, Any] | None:
    """What the broker says of a session."""
    return next((session for session in head.status()["sessions"] if session["name"] == name), None)


FIRST = """
import raymq as ray
session = ray.connect({address!r}, timeout=60, session={name!r})
assert not session.info.resumed

@ray.remote(num_cpus=0)
class Counter:
    def __init__(self): self.count = 0
    def increment(self):
        self.count += 1
        return self.count

@ray.remote(num_cpus=0)
def slow(path):
    import time
    time.sleep(2)
    with open(path, "w") as file:
        file.write("done")
    return "slow result"

counter = Counter.remote()
session.keep("counter", counter)
session.keep("big", ray.put(bytes(5_000_000)))
session.keep("slow", slow.remote({path!r}))
unkept = [counter.increment.remote() for _ in range(1000)]
session.kept["nested"] = ray.put([ray.put("inside")])
{then}
"""


def run_first(head: Head, name: str, path: str, then: str) -> subprocess.CompletedProcess[str]:
    program = FIRST.format(address=head.address, name=name, path=path, then=then)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)


def test_detached_and_attached_again_from_another_process(cluster: Head, tmp_path: Any) -> None:
    """All that was called before runs; tasks go on while nobody is there; what was kept is there for the next."""
    path = tmp_path / "done"
    done = run_first(cluster, "night-run", str(path), 'session.detach(ttl="10m")')
    assert done.returncode == 0, done.stderr
    told = of_name(cluster, "night-run")
    assert told is not None
    assert told["state"] == "detached"
    assert 500 < told["expires_in"] <= 600
    wait_until(path.exists, "the task has gone on without its client")
    with cluster.connect(session="night-run") as session:
        assert (session.info.resumed, session.name) == (True, "night-run")
        assert sorted(session.kept) == ["big", "counter", "nested", "slow"]
        assert session.get(session.kept("slow")) == "slow result"
        assert session.get(session.kept["big"]) == bytes(5_000_000)
        assert session.get(session.get(session.kept["nested"])[0]) == "inside"
        counter = session.kept["counter"]
        assert session.get(counter.increment.remote()) == 1001
        assert session.kept["counter"] == counter
    assert of_name(cluster, "night-run") is None, "close() ends it"


def test_kept_is_a_mapping(own_session: ray.Session) -> None:
    kept = own_session.kept
    assert len(kept) == 0
    own_session.keep("one", own_session.put(1))
    kept["two"] = own_session.put(2)
    kept["two"] = own_session.put(3)
    assert list(kept) == ["one", "two"]
    assert repr(kept) == "<Kept: one, two>"
    assert {name: own_session.get(ref) for name, ref in kept.items()} == {"one": 1, "two": 3}
    assert "one" in kept
    assert kept.get("three") is None
    with pytest.raises(KeyError, match="three"):
        kept["three"]
    assert own_session.get(kept.pop("one")) == 1
    del kept["two"]
    with pytest.raises(KeyError, match="'two'; it has no names at all"):
        del kept["two"]
    with pytest.raises(TypeError, match=r"put\(\) it first"):
        own_session.keep("value", 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 to 200"):
        own_session.keep("", own_session.put(1))


def test_kept_outlives_the_last_reference(own_session: ray.Session) -> None:
    own_session.keep("value", own_session.put("kept"))
    actor = make_counter(own_session)
    own_session.get(actor.increment.remote())
    own_session.keep("actor", actor)
    del actor
    for _ in range(100):
        there_and_back(own_session)
    assert own_session.get(own_session.kept["value"]) == "kept"
    assert own_session.get(own_session.kept["actor"].increment.remote()) == 2


def test_what_was_not_kept_is_dropped_when_the_next_client_comes(brisk: Head, view: Any) -> None:
    session = brisk.connect(session="dropping", ttl="1m")
    counter = make_counter(session)
    session.get(counter.increment.remote())
    job = session.info.job_id

    def alive() -> list[Any]:
        return list(view.list_actors(filters=[("job_id", "=", job), ("state", "=", "ALIVE")]))

    session.detach()
    wait_until(lambda: len(alive()) == 1, "it stays while nobody is there")
    with brisk.connect(session="dropping") as again:
        assert again.info.job_id == job
        wait_until(lambda: not alive(), "the actor that nobody can reach is gone")
        assert there_and_back(again)


def test_who_has_detached_has_no_session(brisk: Head) -> None:
    session = brisk.connect(session="left")
    ref = session.put(1)
    session.detach(ttl=60)
    assert not session.is_open
    for use in (lambda: session.put(1), lambda: session.get(ref), lambda: session.kept["x"], session.detach):
        with pytest.raises(ray.SessionClosed, match="detached"):
            use()
    session.close()
    assert of_name(brisk, "left") is not None, "close() after detach() ends nothing"
    brisk.connect(session="left").close()


def test_the_ttl_of_a_detached_session(brisk: Head, view: Any) -> None:
    session = brisk.connect(session="short")
    job = session.info.job_id
    make_counter(session)
    session.detach(ttl="3s")
    began = time.monotonic()
    wait_until(lambda: of_name(brisk, "short") is None, "the session has expired")
    assert time.monotonic() - began > 2.0
    wait_until(
        lambda: next(entry for entry in view.list_jobs() if entry.job_id == job).status != "RUNNING", "its job ended"
    )


def test_a_killed_client_of_a_named_session(brisk: Head, tmp_path: Any) -> None:
    """It waits beyond lease and grace; the next client need not say takeover."""
    then = "ray.get(unkept[-1]); print('here', flush=True); import time; time.sleep(600)"
    program = FIRST.format(address=brisk.address, name="killed", path=str(tmp_path / "done"), then=then)
    client = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    assert client.stdout.readline() == "here\n"
    os.kill(client.pid, signal.SIGKILL)
    client.wait()
    client.stdout.close()
    with brisk.connect(session="killed") as session:
        assert session.info.resumed
        assert session.get(session.kept["counter"].increment.remote()) == 1001


def test_a_named_session_outlives_a_long_cut(brisk: Head) -> None:
    """Beyond lease and grace, which are 2 s each here: closing the laptop. The same process goes on where it was."""
    with Proxy(brisk.port) as proxy:
        session = ray.connect(proxy.address, timeout=60, session="laptop", ttl="1m")
        counter = make_counter(session)
        refs = [counter.increment.remote() for _ in range(100)]
        proxy.cut(refuse=True)
        refs += [counter.increment.remote() for _ in range(100)]
        wait_until(lambda: (of_name(brisk, "laptop") or {})["state"] == "detached", "the broker has noticed")
        cut = time.monotonic()
        wait_until(lambda: time.monotonic() > cut + 7.0, "lease and grace are long over")
        proxy.heal()
        assert session.get(refs) == list(range(1, 201))
        session.close()


def test_attached_is_refused_and_taken_over(brisk: Head) -> None:
    first = brisk.connect(session="wanted")
    counter = make_counter(first)
    first.keep("counter", counter)
    with pytest.raises(ray.SessionAttached, match=rf"pid {os.getpid()}.*takeover=True"):
        brisk.connect(session="wanted")
    assert first.get(counter.increment.remote()) == 1
    second = brisk.connect(session="wanted", takeover=True)
    with pytest.raises(ray.SessionLost, match="taken-over"):
        while True:
            there_and_back(first)
            time.sleep(0.05)
    assert second.get(second.kept["counter"].increment.remote()) == 2
    second.close()


def test_takeovers_in_turn_under_load(brisk: Head) -> None:
    """Each client floods it while the next one takes it: nothing of one ever reaches the other."""
    session = brisk.connect(session="relay")
    session.keep("counter", make_counter(session))
    for turn in range(5):
        counter = session.kept["counter"]
        pending = [counter.increment.remote() for _ in range(200)] + [session.put(bytes(3_000_000))]
        before = session
        session = brisk.connect(session="relay", takeover=True)
        assert there_and_back(session)
        with pytest.raises(ray.SessionLost):
            while True:
                there_and_back(before)
        del pending
    counts = session.get([session.kept["counter"].increment.remote() for _ in range(10)])
    # Calls that the last client but one had made may still be under way, between these.
    assert counts == sorted(set(counts)), "each counted once, in order"
    session.close()


def test_broker_restart_keeps_names(brisk: Head) -> None:
    session = brisk.connect(session="through restarts", ttl="1m")
    session.keep("value", session.put("value"))
    session.detach()
    broker = brisk.status()["broker"]["pid"]
    os.kill(broker, signal.SIGKILL)
    with brisk.connect(session="through restarts") as again:
        assert again.info.resumed
        assert again.get(again.kept["value"]) == "value"
    assert brisk.status()["broker"]["pid"] != broker


def test_arguments_that_make_no_sense(brisk: Head) -> None:
    for options in ({"takeover": True}, {"ttl": "1h"}):
        with pytest.raises(ValueError, match="session="):
            brisk.connect(**options)
    with pytest.raises(ValueError, match="1 to 200"):
        brisk.connect(session="x" * 201)
    with pytest.raises(ValueError, match="24h"):
        brisk.connect(session="x", ttl="tomorrow")
    with brisk.connect() as session, pytest.raises(ValueError, match="session="):
        session.detach()
    with brisk.connect(session="job", namespace="one") as session:
        assert session.info.namespace == "one"
        with pytest.raises(ray.Refused, match="another namespace"):
            brisk.connect(session="job", namespace="two", takeover=True)


def command(head: Head, *arguments: str) -> subprocess.CompletedProcess[str]:
    whole = [HEAD_PYTHON, "-m", "raymq_cli", *arguments]
    return subprocess.run(whole, env=head.environ, capture_output=True, text=True, timeout=60, check=False)


def test_listed_and_killed_from_the_command_line(brisk: Head, view: Any) -> None:
    session = brisk.connect(session="unwanted")
    counter = make_counter(session)
    refs = [session.put(number) for number in range(10)]
    session.get([counter.increment.remote(), *refs])

    def told() -> dict[str, Any]:
        port = str(brisk.port)
        listed = json.loads(command(brisk, "sessions", "--port", port, "--json").stdout)["sessions"]
        return next(dict(entry) for entry in listed if entry["name"] == "unwanted")

    wait_until(lambda: told()["objects"] == 11, "the bridge has told what it holds")
    assert told()["memory"] > 10_000_000
    assert told()["client"]["pid"] == os.getpid()
    table = command(brisk, "sessions", "--port", str(brisk.port))
    assert "unwanted" in table.stdout
    assert command(brisk, "sessions", "--port", str(brisk.port), "kill", "nobody").returncode == 1
    killed = command(brisk, "sessions", "--port", str(brisk.port), "kill", "unwanted")
    assert (killed.returncode, killed.stdout) == (0, "Ended the session unwanted.\n")
    with pytest.raises(ray.SessionLost, match="killed.*administrator"):
        while True:
            session.get(refs[0])
    assert command(brisk, "sessions", "--port", "1").returncode == 3
