"""Sharing between clients: what is published outlives its publisher's session."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

import raymq as ray
from tests.integration.conftest import HEAD_PYTHON, Head, wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture(autouse=True)
def nothing_stays(cluster: Head) -> Iterator[None]:
    """Each test ends with an empty board."""
    yield
    with cluster.connect() as session:
        for publication in session.published():
            session.unpublish(publication.name)


def names(session: ray.Session) -> list[str]:
    return [publication.name for publication in session.published()]


def make_counter(session: ray.Session, **options: Any) -> Any:
    @session.remote(num_cpus=0)
    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def increment(self) -> int:
            self.count += 1
            return self.count

    return Counter.options(**options).remote()


PUBLISHER = """
import raymq as ray, os, sys
session = ray.connect({address!r}, timeout=60, namespace="publisher")

class Own:  # of a module that nobody else has
    def __init__(self, x): self.x = x
    def __eq__(self, other): return self.x == other.x

@ray.remote(num_cpus=0)
class Counter:
    def __init__(self): self.count = 0
    def increment(self):
        self.count += 1
        return self.count

@ray.remote(num_cpus=0)
def compute(n):
    return list(range(n))

counter = Counter.options(lifetime="detached").remote()
ray.get(counter.increment.remote())
ray.publish("own", ray.put(Own(7)))
ray.publish("big", ray.put(bytes(20_000_000)))
ray.publish("computed", compute.remote(1000))
ray.publish("counter", counter)
ray.publish("error free text", ray.put("text"), ttl="10m")
if {kill}:
    print("published", flush=True)
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("kill", [False, True])
def test_it_outlives_its_publisher(cluster: Head, brisk: Head, kill: bool, view: Any) -> None:
    """Said goodbye, or killed; looked up from another namespace, another head and another job."""
    program = PUBLISHER.format(address=brisk.address, kill=kill)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == (-9 if kill else 0), done.stderr
    assert done.stderr == ""
    wait_until(lambda: not brisk.status()["sessions"], "the publisher's session has ended")
    with cluster.connect(namespace="reader") as session:
        assert names(session) == ["big", "computed", "counter", "error free text", "own"]
        assert session.get(session.lookup("big")) == bytes(20_000_000)
        assert session.get(session.lookup("computed")) == list(range(1000))
        counter = session.lookup("counter")
        assert session.get([counter.increment.remote() for _ in range(3)]) == [2, 3, 4]
        own = session.lookup("own")

        @session.remote(num_cpus=0)
        def read(value: Any) -> int:
            return int(value.x)

        assert session.get(read.remote(own)) == 7
        told = {publication.name: publication for publication in session.published()}
        assert told["big"].size is not None
        assert told["big"].size >= 20_000_000
        assert (told["counter"].kind, told["counter"].size) == ("actor", None)
        assert told["own"].expires_in is None
        assert told["error free text"].expires_in is not None
        assert 0 < told["error free text"].expires_in <= 600
        assert told["own"].owner["user"]


def test_an_array(own_session: ray.Session, brisk: Head) -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(12_500_000, dtype="f8")
    own_session.publish("array", own_session.put(array))
    with brisk.connect() as other:
        numpy.testing.assert_array_equal(other.get(other.lookup("array")), array)


def test_unpublish(own_session: ray.Session, brisk: Head, view: Any) -> None:
    """A reference that was looked up stays good; an actor is terminated."""
    counter = make_counter(own_session, lifetime="detached")
    own_session.get(counter.increment.remote())
    own_session.publish("object", own_session.put(b"x" * 1_000_000))
    own_session.publish("actor", counter)
    with brisk.connect() as other:
        held = other.lookup("object")
        other.unpublish("object")
        other.unpublish("actor")
        assert names(other) == []
        with pytest.raises(ray.NotPublished, match="'object' any more: .* unpublished it"):
            other.lookup("object")
        with pytest.raises(ray.NotPublished):
            other.unpublish("object")
        assert other.get(held) == b"x" * 1_000_000
    with pytest.raises(ray.exceptions.RayActorError):  # noqa: PT012 - the kill takes its time
        while True:
            own_session.get(counter.increment.remote())
            time.sleep(0.05)


def test_the_time_to_live_ends(own_session: ray.Session) -> None:
    counter = make_counter(own_session, lifetime="detached")
    own_session.publish("soon gone", own_session.put(1), ttl="2s")
    own_session.publish("actor, too", counter, ttl=2)
    own_session.publish("stays", own_session.put(2))
    assert own_session.get(own_session.lookup("soon gone")) == 1
    wait_until(lambda: names(own_session) == ["stays"], "both have ended")
    with pytest.raises(KeyError, match=r"time to live ended .* ago. There is: 'stays'\."):
        own_session.lookup("soon gone")
    with pytest.raises(ray.exceptions.RayActorError):  # noqa: PT012 - it ends by a timer, nobody has to look
        while True:
            own_session.get(counter.increment.remote())
            time.sleep(0.05)


def test_replace(own_session: ray.Session) -> None:
    own_session.publish("name", own_session.put(1))
    with pytest.raises(ray.AlreadyPublished, match="replace=True"):
        own_session.publish("name", own_session.put(2))
    own_session.publish("name", own_session.put(2), replace=True)
    assert own_session.get(own_session.lookup("name")) == 2
    assert names(own_session) == ["name"]


def test_what_cannot_be_published(own_session: ray.Session) -> None:
    with pytest.raises(TypeError, match=r"put\(\) makes a reference"):
        own_session.publish("x", 1)  # type: ignore[arg-type]
    with pytest.raises(ray.NotPublishable, match='lifetime="detached"'):
        own_session.publish("x", make_counter(own_session))
    with pytest.raises(ray.NotPublishable, match="references to other objects"):
        own_session.publish("x", own_session.put([own_session.put(1)]))
    with pytest.raises(ray.NotPublishable, match="actor's handle"):
        own_session.publish("x", own_session.put({"a": make_counter(own_session)}))
    for name in ("", "x" * 201, "a\nb"):
        with pytest.raises(ValueError, match="1 to 200"):
            own_session.publish(name, own_session.put(1))
    with pytest.raises(TypeError, match="int"):
        own_session.publish(7, own_session.put(1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="24h"):
        own_session.publish("x", own_session.put(1), ttl="soon")

    @own_session.remote(num_cpus=0)
    def fail() -> None:
        raise ValueError("no result")

    with pytest.raises(ValueError, match="no result"):
        own_session.publish("x", fail.remote())
    assert names(own_session) == []


def test_publish_waits_and_calls_go_on_meanwhile(own_session: ray.Session) -> None:
    @own_session.remote(num_cpus=0)
    def slow() -> str:
        time.sleep(3)
        return "late"

    import threading

    thread = threading.Thread(target=own_session.publish, args=("late", slow.remote()))
    thread.start()
    for number in range(20):
        assert own_session.get(own_session.put(number)) == number
    assert names(own_session) == []
    thread.join(60)
    assert own_session.get(own_session.lookup("late")) == "late"


def test_many_at_once(cluster: Head, brisk: Head) -> None:
    """Two heads, two sessions, the same holder."""
    with cluster.connect() as one, brisk.connect() as two:
        for number in range(20):
            (one, two)[number % 2].publish(f"n{number:02}", one.put(number) if number % 2 == 0 else two.put(number))
        assert names(one) == names(two) == [f"n{number:02}" for number in range(20)]
        for number in range(20):
            assert two.get(two.lookup(f"n{number:02}")) == number


def test_listed_by_status(own_session: ray.Session, cluster: Head) -> None:
    own_session.publish("features", own_session.put(bytes(1_000_000)), ttl="1h")
    command = [HEAD_PYTHON, "-m", "raymq_cli", "status", "--port", str(cluster.port)]

    def listed() -> list[Any]:
        done = subprocess.run([*command, "--json"], env=cluster.environ, capture_output=True, timeout=60, check=True)
        return list(json.loads(done.stdout)["instances"][0]["publications"])

    [told] = wait_until(listed, "status lists it")
    assert (told["name"], told["kind"]) == ("features", "object")
    assert told["size"] >= 1_000_000
    assert 3000 < told["expires_in"] <= 3600
    shown = subprocess.run(command, env=cluster.environ, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "1 publication" in shown
    assert "features" in shown
    own_session.unpublish("features")
    wait_until(lambda: listed() == [], "it is gone from there")
