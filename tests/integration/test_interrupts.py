"""Ctrl-C: whatever waits is interrupted at once, and the session goes on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.integration.conftest import Head

pytestmark = pytest.mark.cluster

PROGRAM = """
import asyncio, os, signal, sys, threading, time
import numpy as np
import raymq as ray

session = ray.connect(sys.argv[1], timeout=60)

@ray.remote(num_cpus=0)
def sleep(seconds):
    import time
    time.sleep(seconds)
    return "awake"

@ray.remote(num_cpus=0)
def items():
    import time
    yield 1
    time.sleep(600)

slow, array, generator = sleep.remote(600), np.ones(20 << 20), items.remote()
next(generator)
known = ray.put("known")
print(session.id.hex(), flush=True)
sys.stdin.readline()

async def awaiting():
    try:
        await asyncio.gather(*[slow] * 1000)
    finally:
        print("cancelled")

async def in_a_session():
    async with ray.aconnect(sys.argv[1], timeout=60) as other:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        await other.get(sleep.remote(600))  # it is the default session now

async def connecting():
    await ray.aconnect("127.0.0.1:" + sys.argv[2], timeout=600)

def wait(what):
    if what == "AsyncSession":
        asyncio.run(in_a_session())
        return
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    if what == "get":
        ray.get(slow)
    elif what == "get of many":
        ray.get([known] + [slow] * 1000)
    elif what == "wait":
        ray.wait([slow], timeout=600)
    elif what == "put":
        ray.put(array)
    elif what == "next":
        next(generator)
    elif what == "future":
        slow.future().result()
    elif what == "await":
        asyncio.run(awaiting())
    elif what == "aconnect":
        asyncio.run(connecting())

started = time.monotonic()
try:
    wait(sys.argv[3])
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - started < 20, flush=True)
sys.stdin.readline()
ray.api.make_default(session)
assert not session._life.ledger._values or sys.argv[3] == "future"
print(ray.get([sleep.remote(0), known]), ray.get(ray.put(array)).sum() == array.size)
if sys.argv[3] == "aconnect":
    print(*(thread.name for thread in threading.enumerate() if thread.name.startswith("raymq-apart")))
"""

SHOWN = ["interrupted True", "['awake', 'known'] True"]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Where something listens that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("what", "shown"),
    [
        ("get", SHOWN),
        ("get of many", SHOWN),
        ("wait", SHOWN),
        ("put", SHOWN),
        ("next", SHOWN),
        ("future", SHOWN),
        ("await", ["cancelled", *SHOWN]),
        ("AsyncSession", SHOWN),
        ("aconnect", [*SHOWN, ""]),
    ],
)
def test_ctrl_c(cluster: Head, what: str, shown: list[str], silent_port: int) -> None:
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM]
    arguments = [cluster.address, str(silent_port), what]
    process = subprocess.Popen(
        [*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        session = process.stdout.readline().strip()
        bridges = {bridge["session"]: bridge["pid"] for bridge in cluster.status()["bridges"]}
        if what == "put":  # so that it has to wait
            os.kill(bridges[session], signal.SIGSTOP)
        try:
            process.stdin.write("go\n")
            process.stdin.flush()
            lines = [process.stdout.readline().strip() for _ in shown[: shown.index(SHOWN[0]) + 1]]
        finally:
            os.kill(bridges[session], signal.SIGCONT)
        out, errors = process.communicate("go\n", timeout=90)
        assert ([*lines, *out.splitlines()], errors, process.returncode) == (shown, "", 0)
    finally:
        process.kill()
        process.communicate()
