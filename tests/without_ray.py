"""A Python that has raymq and what it requires, and no Ray: for tests that run where there is one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NEEDED = ("raymq", "zmq", "msgpack", "cloudpickle")


class PythonWithoutRay:
    """Runs programs in a process of their own.

    Args:
        site: an empty folder, for the few packages that the programs find.
    """

    def __init__(self, site: Path) -> None:
        self.site = site
        for name in NEEDED:
            spec = importlib.util.find_spec(name)
            assert spec is not None
            assert spec.origin is not None
            package = Path(spec.origin).parent
            (site / name).symlink_to(package)
            libraries = package.parent / f"py{name}.libs"  # those that pyzmq's wheel brings along
            if libraries.exists():
                (site / libraries.name).symlink_to(libraries)

    def run(self, program: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a program; a failure of it is the result's ``returncode``."""
        full: dict[str, Any] = {**os.environ, **environ, "PYTHONPATH": str(self.site)}
        # -S: the site-packages of this Python are not looked at, and so its Ray is not there.
        command = [sys.executable, "-S", "-c", program]
        return subprocess.run(command, env=full, capture_output=True, text=True, timeout=100)

    def output(self, program: str, **environ: str) -> str:
        """What a program prints that has to succeed."""
        done = self.run(program, **environ)
        if done.returncode:
            pytest.fail(done.stderr)
        return done.stdout
