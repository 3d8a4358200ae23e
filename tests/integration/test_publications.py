"""Sharing between sessions: what is published outlives its publisher, and is there for every other session."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import raymq as ray
from tests.integration.conftest import HEAD_PYTHON, Head, View, wait_until

pytestmark = pytest.mark.cluster

HOLDER = ("publications/1", "raymq")


@pytest.fixture(autouse=True)
def _nothing_is_left(session: ray.Session) -> Iterator[None]:
    yield
    for publication in session.published():
        with contextlib.suppress(ray.NotPublished):  # its time may end at the same time
            session.unpublish(publication.name)


@pytest.fixture(scope="module", autouse=True)
def _no_holder_is_left(_shared: ray.Session) -> Iterator[None]:
    yield
    with contextlib.suppress(ValueError):
        _shared.kill(_shared.get_actor(*HOLDER))


@pytest.fixture
def other(cluster: Head, session: ray.Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[ray.Session]:
    """A second session, in a namespace of its own; not the default one."""
    with cluster.connect(namespace="elsewhere") as other:
        monkeypatch.setattr("raymq.api._default", session)
        yield other


@ray.remote(num_cpus=0)
def double(x: Any) -> Any:
    return x * 2


def counter(session: ray.Session, **options: Any) -> Any:
    """An actor class; made in here, since the cluster does not have this module."""

    class Counter:
        def __init__(self, start: int) -> None:
            self.count = start

        def add(self, n: int) -> int:
            self.count += n
            return self.count

    return session.remote(num_cpus=0, **options)(Counter)


def detached(session: ray.Session, **options: Any) -> ray.ActorHandle:
    handle: ray.ActorHandle = counter(session, lifetime="detached", **options).remote(10)
    assert session.get(handle.add.remote(1)) == 11
    return handle


def names(session: ray.Session) -> list[str]:
    return [publication.name for publication in session.published()]


def fails_with(error: type[Exception], session: ray.Session, reference: ray.ObjectRef[Any]) -> bool:
    try:
        session.get(reference)
    except error:
        return True
    return False


def why_not(session: ray.Session, name: str) -> str:
    try:
        session.lookup(name)
    except ray.NotPublished as error:
        return str(error)
    return ""


def is_dead(session: ray.Session, actor: ray.ActorHandle) -> bool:
    return fails_with(ray.exceptions.ActorDiedError, session, actor.add.remote(0))


# --- objects


def test_outlives_a_session_that_says_goodbye(cluster: Head, session: ray.Session, other: ray.Session) -> None:
    with cluster.connect(namespace="publisher") as publisher:
        publisher.publish("features", publisher.put({"a": [1, 2, 3]}))
        own = publisher.lookup("features")
        assert publisher.get(own) == {"a": [1, 2, 3]}
    found = other.lookup("features")
    assert other.get(found) == {"a": [1, 2, 3]}
    assert other.wait([found]) == ([found], [])
    assert other.get(other.remote(num_cpus=0)(lambda x: x["a"]).remote(found)) == [1, 2, 3]
    assert other.get(other.get(other.remote(num_cpus=0)(lambda box: box).remote([found]))) == [{"a": [1, 2, 3]}]
    assert other.lookup("features") == found, "one object, one reference"


PUBLISHER = """
import os, signal, sys
import raymq as ray

class Mine:
    def __init__(self, x):
        self.x = x
    def __eq__(self, other):
        return type(other) is type(self) and other.x == self.x

ray.connect(sys.argv[1], timeout=60)
ray.publish("from a program", ray.put([Mine(1), b"x" * 200_000]))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_outlives_a_program_that_is_killed(brisk: Head, session: ray.Session, tmp_path: Path) -> None:
    """Its classes are its own: nobody else has the module, and the holder never unpickled them."""
    program = tmp_path / "publisher.py"
    program.write_text(PUBLISHER)
    done = subprocess.run([sys.executable, str(program), brisk.address], capture_output=True, text=True, timeout=100)
    assert done.returncode == -signal.SIGKILL, done.stderr
    wait_until(lambda: not brisk.status()["sessions"], "the publisher's session has expired")
    mine, data = session.get(session.lookup("from a program"))
    assert (type(mine).__name__, mine.x) == ("Mine", 1)
    assert data == b"x" * 200_000


def test_a_large_array_is_equal(session: ray.Session, other: ray.Session) -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.random.default_rng(7).integers(0, 1 << 62, size=100 * (1 << 20) // 8)
    ray.publish("large", session.put({"array": array, "name": "large"}))
    [publication] = session.published()
    assert array.nbytes < publication.size < array.nbytes + 10_000
    found = other.get(other.lookup("large"))
    assert found["name"] == "large"
    assert numpy.array_equal(found["array"], array)


@pytest.mark.parametrize(
    "value",
    [None, 1, "text", b"", b"bytes", b"b" * 300_000, [1, [2, {"a": 3}]], {"x": ("y", {1, 2})}, "t" * 300_000, 1 << 100],
    ids=lambda value: f"{type(value).__name__}-{len(repr(value))}",
)
def test_values_of_all_kinds(session: ray.Session, other: ray.Session, value: Any) -> None:
    session.publish("value", session.put(value))
    found = other.get(other.lookup("value"))
    assert (type(found), found) == (type(value), value)


def test_an_object_is_waited_for_and_holds_nobody_up(session: ray.Session, other: ray.Session, tmp_path: Path) -> None:
    """Lookups and this session's own calls go on while a publish waits for its task."""
    gate = tmp_path / "gate"

    @ray.remote(num_cpus=0)
    def computed(path: str) -> str:
        while not os.path.exists(path):
            time.sleep(0.05)
        return "done"

    session.publish("early", session.put("early"))
    reference = computed.remote(str(gate))
    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(session.publish, "late", reference)
        assert other.get(other.lookup("early")) == "early"
        assert session.get(double.remote(2)) == 4
        assert names(session) == ["early"]
        assert not publishing.done()
        with pytest.raises(ray.AlreadyPublished, match="'early' is taken"):
            session.publish("early", reference)  # it does not wait for the object to find that out
        gate.touch()
        publishing.result(60)
    assert other.get(other.lookup("late")) == "done"


INTERRUPTED = """
import os, signal, sys, threading, time
import raymq as ray

session = ray.connect(sys.argv[1], timeout=60)

@ray.remote(num_cpus=0)
def forever():
    time.sleep(600)

never = forever.remote()
threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    ray.publish("never", never)
except KeyboardInterrupt:
    print("interrupted", [p.name for p in ray.published()])
"""


def test_ctrl_c(cluster: Head, tmp_path: Path) -> None:
    program = tmp_path / "interrupted.py"
    program.write_text(INTERRUPTED)
    done = subprocess.run([sys.executable, str(program), cluster.address], capture_output=True, text=True, timeout=100)
    assert (done.stdout, done.stderr) == ("interrupted []\n", "")


def test_a_task_that_fails_is_not_published(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def fail() -> None:
        raise KeyError("no such feature")

    @ray.remote(num_cpus=0, max_retries=0)
    def die() -> None:
        os._exit(1)

    with pytest.raises(KeyError, match="no such feature"):
        session.publish("failed", fail.remote())
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        session.publish("failed", die.remote())
    assert names(session) == []


# --- names and times


def test_a_name_that_is_taken(session: ray.Session, other: ray.Session) -> None:
    session.publish("taken", session.put(1))
    with pytest.raises(ray.AlreadyPublished, match=r"'taken' is taken: .+ published an object as that .+ ago. Take"):
        other.publish("taken", other.put(2))
    before = session.lookup("taken")
    other.publish("taken", other.put(2), replace=True)
    assert session.get(session.lookup("taken")) == 2
    assert session.get(before) == 1, "who has it keeps it"


def test_unpublished(session: ray.Session, other: ray.Session) -> None:
    """The object stays with who holds it, also when its publisher has gone; the name is gone for all."""
    value = {"large": "x" * 300_000}
    session.publish("one", session.put(value))
    session.publish("two", session.put(2))
    held = other.lookup("one")
    session.unpublish("one")
    for asking in (session, other):
        with pytest.raises(ray.NotPublished, match=r"'one' any more: .+ unpublished it .+ ago\. There is: 'two'\.$"):
            asking.lookup("one")
    with pytest.raises(KeyError, match="nothing is published as 'one'"):
        session.unpublish("one")
    assert other.get(held) == value
    other.publish("again", held)
    assert session.get(session.lookup("again")) == value


def test_time_to_live(session: ray.Session, other: ray.Session) -> None:
    session.publish("short", session.put("short"), ttl="1s")
    session.publish("long", session.put("long"), ttl="2h")
    held = other.lookup("short")
    wait_until(lambda: names(other) == ["long"], "the short one is over")
    with pytest.raises(
        ray.NotPublished, match=r"'short' any more: its time to live ended .+ ago\. There is: 'long'\.$"
    ):
        other.lookup("short")
    assert other.get(held) == "short"
    session.publish("short", session.put("new"))
    assert other.get(other.lookup("short")) == "new"


def test_what_is_told(session: ray.Session, other: ray.Session) -> None:
    session.publish("b", session.put("x" * 1_000_000), ttl="1h")
    session.publish("a", detached(session))
    first, second = other.published()
    assert (first.name, first.kind, first.size, first.expires_in) == ("a", "actor", None, None)
    assert (second.name, second.kind) == ("b", "object")
    assert 1_000_000 < second.size < 1_001_000
    assert first.age <= second.age < 60
    assert 3500 < second.expires_in <= 3600
    assert second.owner["pid"] == os.getpid()
    assert second.owner["user"]
    assert second.owner["host"]


# --- actors


def test_an_actor_keeps_its_state(cluster: Head, session: ray.Session, other: ray.Session) -> None:
    with cluster.connect() as publisher:
        publisher.publish("counter", detached(publisher))
    actor = other.lookup("counter")
    assert other.get(actor.add.remote(1)) == 12
    assert session.get(session.lookup("counter").add.remote(1)) == 13
    passed = other.remote(num_cpus=0)(lambda box: ray.get(box[0].add.remote(1)))
    assert other.get(passed.remote([actor])) == 14
    other.unpublish("counter")
    wait_until(lambda: is_dead(other, actor), "the actor is terminated")


def test_the_end_of_its_time_terminates_an_actor(session: ray.Session, view: View) -> None:
    """Also when nobody has it, and nobody asks."""
    session.publish("counter", detached(session, name="mortal"), ttl=1)
    wait_until(
        lambda: [actor.state for actor in view.list_actors(filters=[("name", "=", "mortal")])] == ["DEAD"],
        "the actor is terminated",
    )


def test_an_actor_ends_with_its_last_publication(session: ray.Session) -> None:
    actor = detached(session)
    session.publish("one", actor, ttl="1h")
    session.publish("two", actor)
    session.publish("one", actor, replace=True)  # with another time to live
    assert [publication.expires_in for publication in session.published()] == [None, None]
    session.unpublish("two")
    assert session.get(actor.add.remote(0)) == 11
    session.publish("one", session.put(1), replace=True)
    wait_until(lambda: is_dead(session, actor), "the actor is terminated")


def test_a_named_actor_that_another_session_made(session: ray.Session, other: ray.Session) -> None:
    """Whether it is detached is the cluster's knowledge, not the publisher's."""
    detached(other, name="made elsewhere")
    session.publish("by name", session.get_actor("made elsewhere", namespace="elsewhere"))
    assert other.get(other.lookup("by name").add.remote(0)) == 11
    mortal = counter(other, name="mortal, too").remote(0)
    assert other.get(mortal.add.remote(1)) == 1
    with pytest.raises(ray.NotPublishable, match="ends with the session that created it"):
        session.publish("mortal", session.get_actor("mortal, too", namespace="elsewhere"))
    assert other.get(mortal.add.remote(1)) == 2


# --- what cannot be published


def test_what_would_not_outlive_its_session(session: ray.Session) -> None:
    actor = counter(session).remote(0)
    with pytest.raises(ray.NotPublishable, match=r'lifetime="detached"'):
        session.publish("no", actor)
    for value in ([session.put(1)], {"deep": {"down": (session.put(1),)}}, session.put([session.put(1)])):
        reference = value if isinstance(value, ray.ObjectRef) else session.put(value)
        with pytest.raises(ray.NotPublishable, match="holds references to other objects"):
            session.publish("no", reference)
    with pytest.raises(ray.NotPublishable, match="holds an actor's handle"):
        session.publish("no", session.put({"actor": actor}))
    with pytest.raises(ray.NotPublishable, match="publish the actor itself"):
        session.publish("no", session.put(actor))
    session.kill(actor)
    wait_until(lambda: is_dead(session, actor), "the actor is dead")
    with pytest.raises(ray.NotPublishable, match="the actor is dead"):
        session.publish("no", actor)
    assert names(session) == []


def test_a_value_that_talks_of_references_has_none(session: ray.Session, other: ray.Session) -> None:
    value = ["ray._private.serialization", "_object_ref_deserializer", "_actor_handle_deserializer", {"a"}]
    session.publish("text", session.put(value))
    assert other.get(other.lookup("text")) == value


@pytest.mark.parametrize("value", [1, None, [1], "features", dict])
def test_plain_values(session: ray.Session, value: Any) -> None:
    with pytest.raises(TypeError, match=r"publish\(\) takes an ObjectRef or an actor's handle, not .*put\(value\)"):
        session.publish("plain", value)


def test_names_and_times_that_cannot_be(session: ray.Session, own_session: ray.Session) -> None:
    reference = session.put(1)
    for name in ("", "x" * 201, "new\nline", "\x1b[2J"):
        for call in (lambda: session.publish(name, reference), lambda: session.lookup(name)):
            with pytest.raises(ValueError, match="printable text of 1 to 200 characters"):
                call()
    for odd in (1, None, b"name"):
        with pytest.raises(TypeError, match="a publication's name is a str"):
            session.publish(odd, reference)  # type: ignore[arg-type]
    for ttl in (0, -1, "1 week", float("inf")):
        with pytest.raises(ValueError, match="ttl"):
            session.publish("x", reference, ttl=ttl)
    with pytest.raises(ray.WrongSession):
        own_session.publish("x", reference)
    for arguments in ({"ttl": "1h"}, {"ttl": -1}, {"when": 1}):  # what a client written by others may send
        with pytest.raises((TypeError, ValueError), match="time to live|when"):
            session.request("publish", "x", reference, **arguments)
    assert names(session) == []


# --- many, and the end of the holder


def test_many_sessions_at_once(cluster: Head, session: ray.Session) -> None:
    session.publish("shared", session.put(list(range(50_000))))
    with contextlib.ExitStack() as stack:
        with ThreadPoolExecutor(4) as pool:
            sessions = list(pool.map(lambda _: cluster.connect(), range(4)))
        for one in sessions:
            stack.enter_context(one)

        def use(number: int) -> int:
            mine = sessions[number % 4]
            mine.publish(f"by {number}", mine.put(number))
            total: int = mine.get(mine.remote(num_cpus=0)(lambda numbers: sum(numbers)).remote(mine.lookup("shared")))
            return total

        with ThreadPoolExecutor(16) as pool:
            assert set(pool.map(use, range(40))) == {sum(range(50_000))}
    assert [session.get(session.lookup(f"by {number}")) for number in range(40)] == list(range(40))


def test_one_of_many_gets_a_name(session: ray.Session, other: ray.Session) -> None:
    def publish(number: int) -> int | None:
        mine = (session, other)[number % 2]
        try:
            mine.publish("contended", mine.put(number))
        except ray.AlreadyPublished:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        [winner] = [number for number in pool.map(publish, range(8)) if number is not None]
    assert session.get(session.lookup("contended")) == winner


def test_the_holder_dies(session: ray.Session, other: ray.Session) -> None:
    """What it held is lost, which is said; the next publish makes a new one."""
    session.publish("lost", session.put("x" * 200_000))
    lost = other.lookup("lost")
    session.kill(session.get_actor(*HOLDER))
    said = wait_until(lambda: why_not(session, "lost"), "the holder is dead")
    assert "There are no publications. The actor that held publications has died, and they with it: " in said
    assert names(other) == []
    wait_until(lambda: fails_with(ray.exceptions.OwnerDiedError, other, lost), "the object is known to be lost")
    session.publish("new", session.put("new"))
    assert other.get(other.lookup("new")) == "new"


def test_two_heads_share_them(cluster: Head, brisk: Head, session: ray.Session) -> None:
    """They are the cluster's, not the broker's."""
    with brisk.connect() as elsewhere:
        elsewhere.publish("from there", elsewhere.put(1))
        session.publish("from here", session.put(2))
        assert names(session) == names(elsewhere) == ["from here", "from there"]
        assert session.get(session.lookup("from there")) == 1
        assert elsewhere.get(elsewhere.lookup("from here")) == 2


# --- raymq status


def status(head: Head, *options: str) -> str:
    command = [HEAD_PYTHON, "-m", "raymq_cli", "status", "--port", str(head.port), *options]
    environ = {**head.environ, "COLUMNS": "100"}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True).stdout


def listed(head: Head) -> Any:
    return json.loads(status(head, "--json"))["instances"][0]["publications"]


def test_listed_by_status(cluster: Head, brisk: Head, session: ray.Session) -> None:
    """By each head on the cluster, whoever published; and no longer when the holder has died."""
    session.publish("features", session.put(bytes(1_000_000)), ttl="1h")
    session.publish("forever", session.put(1))
    first, second = wait_until(lambda: len(found := listed(brisk)) == 2 and found, "status lists both")
    assert (first["name"], first["kind"], second["name"], second["expires_in"]) == (
        "features", "object", "forever", None,
    )  # fmt: skip
    assert 1_000_000 <= first["size"] < 1_001_000
    assert 3400 < first["expires_in"] <= 3600
    assert first["owner"]["pid"] == os.getpid()
    shown = status(cluster)
    assert "2 publications" in shown
    assert "features" in shown
    assert "1.0 MB" in shown
    session.unpublish("forever")
    wait_until(lambda: [entry["name"] for entry in listed(cluster)] == ["features"], "it is gone from there")
    session.kill(session.get_actor(*HOLDER))
    wait_until(lambda: listed(cluster) == [], "nothing is listed that is not there")


HELD_AND_LEFT = """
import sys, time
import ray
from raymq_bridge import holder

def is_there():
    try:
        return ray.get_actor("held and left", holder.NAMESPACE) is not None
    except ValueError:
        return False

ray.init(address=sys.argv[1], log_to_driver=False, configure_logging=False)
actor = holder.make("held and left", idle=0.5)
value = ray.put("x" * 200_000)
print(ray.get(actor.publish.remote("name", [value], None, False, {})))
_, [found] = ray.get(actor.lookup.remote("name"))
time.sleep(2)
print("published, so it stays:", is_there())
ray.get(actor.unpublish.remote("name", {}))
time.sleep(2)
print("still in use, so it stays:", is_there(), len(ray.get(found)))
del found
deadline = time.monotonic() + 60
while is_there() and time.monotonic() < deadline:
    time.sleep(0.05)
print("not in use any more:", is_there())
ray.shutdown()
"""


def test_a_holder_without_publications_ends(cluster: Head) -> None:
    """Not before the last one who has looked something up has let go of it, though: it owns the object."""
    environ = {**cluster.environ, **cluster.state["cluster_env"]}
    command = [HEAD_PYTHON, "-c", HELD_AND_LEFT, cluster.state["cluster"]]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=110)
    assert done.stdout.splitlines() == [
        "('', None)",
        "published, so it stays: True",
        "still in use, so it stays: True 200000",
        "not in use any more: False",
    ], done.stderr


TWO_NODES = """
import ray
from ray.cluster_utils import Cluster
from raymq_bridge import holder

ROOM = 100 << 20
head = {"num_cpus": 1, "object_store_memory": ROOM, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
try:
    other = cluster.add_node(num_cpus=1, resources={"other": 1}, object_store_memory=ROOM)
    ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
    heads = [node["NodeID"] for node in ray.nodes() if "node:__internal_head__" in node["Resources"]]
    actors = [holder.make(f"holder {number}", 300.0) for number in range(4)]
    where = [actor.__ray_call__.remote(lambda self: ray.get_runtime_context().get_node_id()) for actor in actors]
    print("on the head node:", {node in heads for node in ray.get(where)})

    @ray.remote(resources={"other": 0.1})
    def make():
        return b"x" * (20 << 20)

    made = make.remote()
    ray.wait([made], fetch_local=False)
    print(ray.get(actors[0].publish.remote("made elsewhere", [made], None, False, {})))
    del made
    cluster.remove_node(other)
    _, [found] = ray.get(actors[0].lookup.remote("made elsewhere"))
    print("still there:", len(ray.get(found)))
    more = [actors[0].publish.remote(f"{n}", [ray.put(bytes([n]) * (20 << 20))], None, False, {}) for n in range(8)]
    ray.get(more)
    found = [ray.get(actors[0].lookup.remote(f"{n}"))[1][0] for n in range(8)]
    print("more than there is room for:", [ray.get(reference)[-1] for reference in found])
finally:
    ray.shutdown()
    cluster.shutdown()
"""


def test_on_the_head_node_wherever_it_was_made() -> None:
    """So it is there when the nodes that worked for the publisher are not; and Ray moves it to disk if it must."""
    with tempfile.TemporaryDirectory(prefix="rmq", dir="/tmp", ignore_cleanup_errors=True) as directory:
        environ = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": directory}
        (Path(directory) / "ray").mkdir()  # Ray makes it too late for the file in which it notes its address
        command = [HEAD_PYTHON, "-c", TWO_NODES]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=115)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("on the", "(", "still", "more"))]
    assert lines == [
        "on the head node: {True}",
        "('', None)",
        f"still there: {20 << 20}",
        "more than there is room for: [0, 1, 2, 3, 4, 5, 6, 7]",
    ], done.stdout + done.stderr
