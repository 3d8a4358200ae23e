"""The wall clock jumps by hours, forth and back, in the client, the broker, the bridge and the supervisor."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import Head, running_head

pytestmark = pytest.mark.cluster

JUMPS = """
import threading, time

_real = {name: getattr(time, name) for name in ("time", "time_ns", "localtime", "gmtime")}
_ahead = 0.0

def _wander():
    global _ahead
    while True:
        for _ahead in (7200.0, -7200.0, 86400.0, 0.0, -1e9):
            time.sleep(0.2)

def _seconds(seconds):
    return time.time() if seconds is None else seconds

time.time = lambda: _real["time"]() + _ahead
time.time_ns = lambda: _real["time_ns"]() + int(_ahead * 1e9)
time.localtime = lambda seconds=None: _real["localtime"](_seconds(seconds))
time.gmtime = lambda seconds=None: _real["gmtime"](_seconds(seconds))
"""
"""The clock of a process, as Python sees it, under a program that has been told nothing of this."""

SITE = (
    JUMPS
    + """
import os, sys
program = sys.orig_argv[sys.orig_argv.index("-m") + 1] if "-m" in sys.orig_argv else ""
if program in ("raymq_broker", "raymq_bridge", "raymq_cli"):
    threading.Thread(target=_wander, daemon=True).start()
    open(os.path.join(os.path.dirname(__file__), program), "w").close()
"""
)

CLIENT = (
    JUMPS
    + """
threading.Thread(target=_wander, daemon=True).start()

import sys
import raymq as ray
from raymq.exceptions import GetTimeoutError
session = ray.connect(sys.argv[1], timeout=60)

@ray.remote(num_cpus=0)
class Counter:
    count = 0
    def increment(self):
        self.count += 1
        return self.count

@ray.remote(num_cpus=0)
def late(seconds):
    import time
    time.sleep(seconds)
    return seconds

counter, numbers = Counter.remote(), []
slow = late.remote(30)
started = time.monotonic()
rounds = 0
while time.monotonic() - started < float(sys.argv[2]):
    numbers += ray.get([counter.increment.remote() for _ in range(20)], timeout=60)
    before = time.monotonic()
    try:
        ray.get(slow, timeout=0.5)
        sys.exit("a value before its time")
    except GetTimeoutError:
        took = time.monotonic() - before
    assert 0.49 < took < 30, took
    before = time.monotonic()
    assert ray.wait([slow], timeout=0.3) == ([], [slow])
    took = time.monotonic() - before
    assert 0.29 < took < 30, took
    ready, rest = ray.wait([slow, late.remote(0.1)], timeout=60)
    assert len(ready) == 1 and rest == [slow]
    assert late.remote(0.1).future().result(timeout=60) == 0.1
    rounds += 1
assert numbers == list(range(1, 20 * rounds + 1)), numbers
session.close(timeout=60)
print("unmoved", flush=True)
"""
)


@pytest.fixture(scope="module")
def dizzy(cluster: Head, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head whose processes, the supervisor too, have such a clock; the Ray cluster has a steady one."""
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(SITE)
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    environ = {**cluster.state["cluster_env"], "PYTHONPATH": path}
    options = ("--heartbeat-interval", "0.3", "--lease", "2", "--grace", "2")
    with running_head("--address", cluster.state["cluster"], *options, environ=environ) as head:
        yield head
    assert {path.name for path in site.iterdir()} >= {"raymq_broker", "raymq_bridge", "raymq_cli"}, "it had no effect"


def test_nobody_is_declared_dead_and_no_timeout_is_wrong(dizzy: Head, tmp_path: Path) -> None:
    """For several times lease and grace."""
    program = tmp_path / "client.py"
    program.write_text(CLIENT)
    done = subprocess.run(
        [sys.executable, str(program), dizzy.address, "12"], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stdout) == (0, "unmoved\n"), done.stderr
    log = dizzy.log.read_text()
    assert "code=goodbye" in log
    for bad in ("session_detached", "expired", "bridge-lost", "died", "orphaned"):
        assert bad not in log, log
