"""The thin client as it is installed: the wheel, and what it needs, and no Ray. Run by ``tox -e thin``."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is not None, reason="a Ray is installed here; tox -e thin runs this without one"
)

NEEDED = {"raymq", "pyzmq", "msgpack", "cloudpickle"}


def required(name: str) -> set[str]:
    """What a distribution requires without any extra, by name."""
    entries = [entry for entry in metadata.requires(name) or [] if "extra ==" not in entry]
    return {match[0].lower() for entry in entries if (match := re.match(r"[A-Za-z0-9._-]+", entry))}


def test_nothing_else_is_needed() -> None:
    """What raymq requires is exactly those three; nothing of Ray, of the head or of the command line is here."""
    assert required("raymq") == NEEDED - {"raymq"}
    for absent in ("ray", "grpc", "structlog", "click", "rich", "numpy"):
        assert importlib.util.find_spec(absent) is None, absent


def test_size_on_disk() -> None:
    """7 MB, not 240: in whole megabytes, what the wheel and its requirements take up without compiled caches."""
    site = Path(sysconfig.get_path("purelib"))
    size = 0
    for name in NEEDED:
        for file in metadata.files(name) or ():
            path = Path(str(site / file))
            if path.suffix != ".pyc" and path.is_file():
                size += path.stat().st_size
    assert size < 15e6, f"{size / 1e6:.1f} MB"


def test_import_brings_nothing_that_is_not_used_yet() -> None:
    program = "import raymq, sys; print({'zmq', 'cloudpickle', 'msgpack'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "set()\n"


def test_the_command_line_says_what_it_needs() -> None:
    done = subprocess.run([sys.executable, "-m", "raymq_cli"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert 'pip install "raymq[head]"' in done.stderr


def test_a_program_that_imports_ray_gets_raymq() -> None:
    """With the wheel itself; what else there is to it is in tests/client/test_standing_in.py."""
    program = """
import raymq
raymq.install_as_ray()
import ray, ray.exceptions
from ray.util import ActorPool
from ray.util.queue import Queue
print(ray is raymq, ActorPool.__module__, Queue.__module__, hasattr(ray, "data"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True raymq.util.actor_pool raymq.util.queue False\n", done.stderr
