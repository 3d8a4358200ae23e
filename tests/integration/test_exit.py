"""A program ends, in whatever way: its session says goodbye at once, and nothing is said on standard error."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.integration.conftest import Head, wait_until

pytestmark = pytest.mark.cluster

START = """
import asyncio, concurrent.futures, gc, os, signal, sys, threading, time
import raymq as ray
session = ray.connect(sys.argv[1], timeout=60)
print(session.id.hex(), flush=True)

@ray.remote(num_cpus=0)
class Counter:
    def __init__(self):
        self.count = 0
    def increment(self):
        self.count += 1
        return self.count

@ray.remote(num_cpus=0)
def late(seconds, value=None):
    time.sleep(seconds)
    return value

counter = Counter.remote()
refs = [ray.put(bytes(size)) for size in (10, 200_000, 3_000_000)]
refs += [late.remote(600), counter.increment.remote()]
ray.get(refs[-1])
"""

WAITING = """
for _ in range(10):
    threading.Thread(target=ray.get, args=(refs[3],), daemon=True).start()
    threading.Thread(target=ray.wait, args=(refs[3:4],), daemon=True).start()

def work():
    main = threading.main_thread()
    while main.is_alive():
        assert ray.get(ray.put(1)) == 1
        ray.get(counter.increment.remote())
    assert ray.get(ray.put(b"x" * 100_000))  # the session lives as long as they do

for _ in range(10):
    threading.Thread(target=work).start()
time.sleep(0.5)
"""

CALLING = """
def work():
    try:
        while True:
            ray.get([ray.put(bytes(100_000)), counter.increment.remote()])
    except ray.SessionClosed:
        pass

for _ in range(10):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.5)
"""

POOL = """
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    futures = [pool.submit(ray.get, refs[3], timeout=0.1) for _ in range(20)]
futures[0].result()
"""

ASYNC = """
async def main():
    waiting = asyncio.ensure_future(asyncio.wait_for(refs[3].as_future(), 60))
    await asyncio.sleep(0.1)
    sys.exit(4)

asyncio.run(main())
"""

INTERRUPTED = """
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
ray.get(refs[3])
"""

TIMEOUT = r"Traceback .*GetTimeoutError: .*\n"

ENDS: dict[str, tuple[str, int, str]] = {
    "the last line": ("", 0, ""),
    "sys.exit": ("sys.exit(3)", 3, ""),
    "sys.exit with a text": ("sys.exit('that is all')", 1, "that is all\n"),
    "an exception": ("raise LookupError('mine')", 1, r"Traceback .*\nLookupError: mine\n"),
    "an exception in a get": ("ray.get(refs[3], timeout=0.1)", 1, TIMEOUT),
    "ctrl-c": (INTERRUPTED, -2, r"Traceback .*\nKeyboardInterrupt\n"),
    "an exit inside of asyncio": (ASYNC, 4, ""),
    "close, and then the end": ("session.close()", 0, ""),
    "shutdown, and then the end": ("ray.shutdown()", 0, ""),
    "a block that ends": ("with session:\n    raise SystemExit(5)", 5, ""),
    "an exception in a pool of threads": (POOL, 1, TIMEOUT),
    "threads that wait, and threads that work": (WAITING, 0, ""),
    "daemon threads in the middle of calls": (CALLING, 0, ""),
}
"""How it ends; the exit code; what a person sees of it, as a pattern of the whole standard error."""


def run(program: str, address: str, *options: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run a program to its end; also returns its session's id, which it prints first."""
    command = [sys.executable, *options, "-c", program, address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    return done, done.stdout.partition("\n")[0]


@pytest.mark.parametrize("how", list(ENDS))
def test_it_says_goodbye(cluster: Head, how: str) -> None:
    """On a head with a lease of 10 s and a grace of 30 s: that the broker has its word is seen in its log."""
    end, code, stderr = ENDS[how]
    done, session = run(START + end, cluster.address)
    assert re.fullmatch(stderr, done.stderr, re.DOTALL), done.stderr
    assert done.returncode == code
    # The broker knew of it before the process was gone, or is about to read it.
    wait_until(lambda: ended(cluster, session), "the broker has heard of the end", timeout=5)
    assert ended(cluster, session) == "goodbye"
    assert session not in {entry["id"] for entry in cluster.status()["sessions"]}


def ended(head: Head, session: str) -> str | None:
    """The code with which the session ended, in the broker's log."""
    for line in head.log.read_text().splitlines():
        if "session_ended" in line and f"session={session}" in line:
            return next(word.removeprefix("code=") for word in line.split() if word.startswith("code="))
    return None


HOLDING = (
    START
    + """
class Keeper:
    "Holds references at class level, in instances, in a cycle, and lets go of them in a destructor of its own."
    everything = {"refs": refs, "counter": counter, "function": late, "class": Counter, "session": session}

    def __init__(self):
        self.me = self
        self.refs = [ray.put([ref]) for ref in refs[:3]]
        self.method = counter.increment
        self.future = late.remote(0.01, 1).future()

    def __del__(self):
        self.refs.clear()

def generator():
    held = ray.put("held")
    try:
        yield late.remote(0, held)
        yield held
    finally:
        del held

async def coroutine():
    asyncio.get_running_loop().slow_callback_duration = 60  # of a machine that has much to do, dev mode tells as well
    for _ in range(2):
        await ray.put("awaited")

cycles = [Keeper() for _ in range(20)]
for keeper in cycles:
    keeper.others = cycles
unfinished = generator()
next(unfinished)
thread_local = threading.local()
thread_local.refs = [ray.put(1)]
futures = [late.remote(0.01, n).future() for n in range(5)] + [late.remote(600).future()]
asyncio.run(coroutine())
sys.modules["kept"] = type(sys)("kept")
sys.modules["kept"].refs = list(refs)
late_again = late.options(num_cpus=0.5)
bound = counter.increment.remote
Keeper().refs.append(Keeper())
"""
)


@pytest.mark.parametrize(
    "closing", ["", "session.close()\n", "session.close()\ndel refs, counter, cycles\ngc.collect()\n"]
)
def test_destructors_are_silent_at_the_end(cluster: Head, closing: str) -> None:
    done, session = run(HOLDING + closing, cluster.address, "-X", "dev", "-W", "error")
    assert (done.stderr, done.returncode) == ("", 0)
    assert ended(cluster, session) == "goodbye"


def test_destructors_are_silent_after_a_session_that_was_lost(brisk: Head) -> None:
    program = (
        HOLDING
        + "import os, signal\nos.kill(int(sys.stdin.readline()), signal.SIGKILL)\n"
        + ("try:\n    ray.get(refs[3], timeout=60)\nexcept ray.SessionLost:\n    print('lost')\n")
    )
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program, brisk.address]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True) as client:
        assert client.stdout is not None
        session = client.stdout.readline().strip()
        pid = next(bridge["pid"] for bridge in brisk.status()["bridges"] if bridge["session"] == session)
        stdout, stderr = client.communicate(f"{pid}\n", timeout=100)
    assert (stderr, client.returncode, stdout) == ("", 0, "lost\n")


def test_what_was_called_last_is_carried_out(cluster: Head) -> None:
    """Large values that are on their way are waited for, and so is what comes after them."""
    program = (
        START
        + """
late.remote(0, ray.put(bytes(30_000_000)))
late.remote(0, bytes(5_000_000))
Counter.options(name="lasting", lifetime="detached", namespace="exit").remote()
"""
    )
    done, session = run(program, cluster.address)
    assert (done.stderr, done.returncode) == ("", 0)
    assert ended(cluster, session) == "goodbye"
    with cluster.connect(namespace="exit") as again:
        lasting = again.get_actor("lasting")
        assert again.get(lasting.increment.remote()) == 1
        again.kill(lasting)


def test_much_that_is_on_its_way_at_the_end_does_not_break_the_goodbye(cluster: Head) -> None:
    """More than can be sent in the time that an exit has."""
    done, session = run(START + "values = [ray.put(os.urandom(60_000_000)) for _ in range(10)]\n", cluster.address)
    assert (done.stderr, done.returncode) == ("", 0)
    wait_until(lambda: ended(cluster, session) == "goodbye", "the broker has heard of the end", timeout=5)
