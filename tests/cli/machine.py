"""A machine as its user sees it: what runs on it, what lies around on it, and ``raymq start`` on it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

PATIENCE = 90.0
"""Seconds for what takes ten on an idle machine."""


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain until {what}"
        time.sleep(0.1)
    return found


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "raymq_cli", *arguments]


class Machine:
    """A user's view of a machine: an environment with a home of its own, and what runs and lies around in there."""

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="rq-", dir="/tmp"))  # short: sockets' paths begin with it
        self.home = self.base / "home"
        self.temporary = self.base / "tmp"
        for path in (self.home, self.temporary):
            path.mkdir()
        ours = {"HOME": str(self.home), "TMPDIR": str(self.temporary), "RAYMQ_RUNTIME_DIR": str(self.base / "run")}
        self.environ = {key: value for key, value in os.environ.items() if not key.startswith("RAY")} | ours
        self.shared_memory = self._in_shared_memory()

    @staticmethod
    def _in_shared_memory() -> set[str]:
        return set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = command(*arguments)
        return subprocess.run(done, env=self.environ, capture_output=True, text=True, timeout=240, check=False)

    def processes(self) -> list[psutil.Process]:
        """All that were started here, whoever is their parent by now."""
        mark = str(self.base)
        return [
            process
            for process in psutil.process_iter()
            if _environ(process).get("RAYMQ_RUNTIME_DIR", "").startswith(mark)
        ]

    def assert_nothing_left(self) -> None:
        until(lambda: not self.processes(), f"{self.processes()} are gone", seconds=10)
        left = [str(path.relative_to(self.base)) for path in self.base.rglob("*") if not path.is_dir()]
        assert left in ([], ["run/lock"]), f"no file is left, neither in the home nor elsewhere, but {left}"
        assert self._in_shared_memory() <= self.shared_memory

    def remove(self) -> None:
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        shutil.rmtree(self.base, ignore_errors=True)


def _environ(process: psutil.Process) -> Mapping[str, str]:
    try:
        return process.environ() if process.status() != psutil.STATUS_ZOMBIE else {}
    except (psutil.Error, OSError):
        return {}


class Started:
    """A ``raymq start`` that is ready."""

    def __init__(self, machine: Machine, *options: str, **environ: str) -> None:
        self.machine = machine
        self.log = machine.base / f"log-{time.monotonic_ns()}"
        with self.log.open("w") as stderr:
            self.process = subprocess.Popen(
                command("start", "--port=0", *options),
                env=machine.environ | environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        found = re.fullmatch(r'raymq is ready: raymq\.connect\("(127\.0\.0\.1:(\d+))"\)\n', self.line)
        assert found, self.line + self.log.read_text()
        self.address, self.port = found[1], found[2]

    def status(self) -> dict[str, Any]:
        (instance,) = json.loads(self.machine.run("status", "--json", "--port", self.port).stdout)["instances"]
        return dict(instance)

    def child(self, module: str) -> psutil.Process | None:
        for process in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if module in process.cmdline():
                    return process
        return None

    def end(self) -> str:
        """Wait until it ended well; returns what more it said on stdout."""
        said, _ = self.process.communicate(timeout=PATIENCE)
        log = self.log.read_text()
        assert self.process.returncode == 0, log
        assert "Traceback" not in log
        self.log.unlink()
        return said
