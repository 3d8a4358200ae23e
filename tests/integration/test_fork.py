"""Children of a process with a session: forked ones are told so, spawned ones connect on their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Head

pytestmark = pytest.mark.cluster

COMMON = """
import asyncio, gc, json, multiprocessing, os, pickle, signal, sys, threading, time, traceback, warnings
warnings.filterwarnings("ignore", message=".*use of fork.*", category=DeprecationWarning)
import raymq as ray

@ray.remote(num_cpus=0)
class Counter:
    count = 0
    def increment(self):
        self.count += 1
        return self.count

@ray.remote(num_cpus=0)
def double(number):
    return 2 * number
"""

PARENT = (
    COMMON
    + """
session = ray.connect(sys.argv[1], timeout=60)
counter = Counter.remote()
assert ray.get(counter.increment.remote()) == 1
ref, large = ray.put([1, 2, 3]), ray.put(bytes(300_000))
nested = ray.put([ref, counter])
waiting = ray.put("wanted").future()
waiting.result(60)

@ray.remote(num_cpus=0)
def never_defined_before_the_fork():
    return ref

async def wait_for(ref):
    return await ref

uses = {
    "get": lambda: ray.get(ref),
    "get of many": lambda: ray.get([ref, large]),
    "get without waiting": lambda: ray.get(ref, timeout=0),
    "get with a timeout": lambda: ray.get(ref, timeout=5),
    "put": lambda: ray.put(1),
    "put of much": lambda: ray.put(bytearray(300_000)),
    "put of a reference": lambda: ray.put([ref]),
    "put of a function": lambda: ray.put([double]),
    "a task": lambda: double.remote(1),
    "a task with options": lambda: double.options(num_cpus=1).remote(1),
    "a new task": lambda: never_defined_before_the_fork.remote(),
    "an actor": lambda: Counter.remote(),
    "a method": lambda: counter.increment.remote(),
    "wait": lambda: ray.wait([ref, large], timeout=5),
    "kill": lambda: ray.kill(counter),
    "cancel": lambda: ray.cancel(ref),
    "get_actor": lambda: ray.get_actor("nobody"),
    "nodes": lambda: ray.nodes(),
    "available_resources": lambda: ray.available_resources(),
    "future": lambda: ref.future(),
    "await": lambda: asyncio.run(wait_for(ref)),
    "its session": lambda: session.get(ref),
}

def try_all():
    answers = {}
    for name, use in uses.items():
        signal.alarm(30)  # whoever hangs dies of it
        try:
            answers[name] = f"no error but {use()!r}"
        except BaseException as error:
            answers[name] = f"{type(error).__name__}: {error}"
    signal.alarm(0)
    return answers

def in_child(work):
    "Run in a forked child; returns what it returned, and how the child ended."
    reader, writer = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.close(reader)
        code = 1
        try:
            os.write(writer, json.dumps(work()).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        os.close(writer)
        sys.exit(code)  # an ordinary end, with everything that runs at one
    os.close(writer)
    with open(reader) as file:
        told = file.read()
    return json.loads(told or "null"), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def parent_is_unharmed(count):
    assert ray.get(counter.increment.remote(), timeout=60) == count
    assert ray.get(ref) == [1, 2, 3] and ray.get(large) == bytes(300_000)
    assert ray.get(ray.get(nested)[0]) == [1, 2, 3]
    assert ray.get(double.remote(4), timeout=60) == 8
"""
)

ENDS: dict[str, str] = {
    "every use": """
for _ in range(3):
    answers, code = in_child(try_all)
    assert code == 0, code
    parent_is_unharmed(_ + 2)
print(json.dumps(answers))
""",
    "multiprocessing": """
def child(queue):
    queue.put(try_all())

context = multiprocessing.get_context("fork")
queue = context.Queue()
process = context.Process(target=child, args=(queue,))
process.start()
answers = queue.get(timeout=100)
process.join()
assert process.exitcode == 0, process.exitcode
parent_is_unharmed(2)

def use(number):
    try:
        return ray.get(double.remote(number))
    except Exception as error:
        return f"{type(error).__name__}: {error}"

with context.Pool(2) as pool:
    answers |= {f"pool {n}": answer for n, answer in enumerate(pool.map(use, range(4)))}
    try:
        pool.map(use, [ref])
    except TypeError as error:
        assert "within its own session" in str(error), error
    else:
        raise AssertionError("a reference was pickled")
parent_is_unharmed(3)
print(json.dumps(answers))
""",
    "while others work": """
stop, done, failed = threading.Event(), [0], []
def work():
    mine = ray.put("mine")
    while not stop.is_set():
        try:
            assert ray.get([mine, double.remote(2)], timeout=60) == ["mine", 4]
            ray.put(bytes(100_000))
            ray.wait([double.remote(1)], timeout=60)
            done[0] += 1
        except BaseException as error:
            failed.append(repr(error))
            return
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in range(30):  # whatever lock was held at some fork is held in the child for ever
    answers, code = in_child(try_all)
    assert code == 0, code
before, deadline = done[0], time.monotonic() + 60
while done[0] < before + 20 and not failed and time.monotonic() < deadline:
    time.sleep(0.01)
stop.set()
for thread in threads:
    thread.join(60)
assert not failed and done[0] >= before + 20, (failed, before, done)
parent_is_unharmed(2)
print(json.dumps(answers))
""",
    "references that die": """
def drop():
    global ref, large, nested, counter, session, uses
    uses.clear()
    ref = large = nested = counter = None
    gc.collect()
    return "dropped"

def close():
    state = [session.is_open, ray.is_initialized(), repr(session).endswith("closed>")]
    session.close()
    ray.shutdown()
    return state + [ray.is_initialized()]

assert in_child(drop) == ("dropped", 0)
assert in_child(close) == ([False, False, True, False], 0)
time.sleep(1)  # a release would have come by now
parent_is_unharmed(2)
print(json.dumps({}))
""",
    "a session of its own": """
def connect():
    with ray.connect(sys.argv[1], timeout=60) as mine:
        assert mine.id != session.id
        try:
            mine.get(ref)
        except ray.WrongSession:
            pass
        else:
            return "it got another session's value"
        return ray.get(double.remote(21))

assert in_child(connect) == (42, 0)
parent_is_unharmed(2)
print(json.dumps({}))
""",
}


def run(tmp_path: Path, program: str, address: str) -> Any:
    path = tmp_path / "program.py"
    path.write_text(program)
    done = subprocess.run([sys.executable, str(path), address], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("what", list(ENDS))
def test_a_fork(cluster: Head, tmp_path: Path, what: str) -> None:
    answers = run(tmp_path, PARENT + ENDS[what], cluster.address)
    wrong = {use: answer for use, answer in answers.items() if not answer.startswith("ForkedSession: ")}
    assert wrong == {}
    assert all("connect() in the child" in answer for answer in answers.values())


SPAWN = (
    COMMON
    + """
def child(address, start):
    with ray.connect(address, timeout=90):
        counter = Counter.remote()
        ray.get([counter.increment.remote() for _ in range(start)])
        return ray.get([counter.increment.remote(), double.remote(start)])

if __name__ == "__main__":
    ray.connect(sys.argv[1], timeout=60)
    counter = Counter.remote()
    ray.get(counter.increment.remote())
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.starmap(child, [(sys.argv[1], 3), (sys.argv[1], 5)]) == [[4, 6], [6, 10]]
    assert ray.get(counter.increment.remote()) == 2
    print("{}")
"""
)


def test_spawned_children_connect_on_their_own(cluster: Head, tmp_path: Path) -> None:
    run(tmp_path, SPAWN, cluster.address)


HELD = """
import json, os, signal, sys
import raymq as ray
session = ray.connect(sys.argv[1], timeout=60)
ref = ray.put(1)
ray.wait([ref], timeout=60)
child = os.fork()
if not child:
    session._life.ledger._lock.acquire()  # as if another thread had held it at the fork
    signal.alarm(20)
    try:
        ray.wait([ref])
    except ray.ForkedSession:
        os._exit(0)
    os._exit(1)
print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
session.close()
"""


def test_a_wait_in_a_child_takes_no_lock_that_its_parent_held(cluster: Head, tmp_path: Path) -> None:
    assert run(tmp_path, HELD, cluster.address) == 0
