"""What it takes to have a contender: seconds to import it, bytes to install it, bytes of memory."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

IMPORTS = {
    "nothing": "pass",
    "requirements": "import zmq, msgpack, cloudpickle",
    "raymq": "import raymq",
    "raymq, to connect": "import raymq; raymq.connect",
    "Ray Client": "import ray",
}
INSTALLS = {"raymq": ["raymq"], "Ray Client": ["ray[default]"]}


def import_seconds(rounds: int) -> dict[str, float]:
    """Medians, in turn, of a fresh interpreter with an import less one without."""
    taken: dict[str, list[float]] = {name: [] for name in IMPORTS}
    # As installed by pip, which compiles: an editable installation would be compiled here, or each time.
    with tempfile.TemporaryDirectory() as compiled:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = compiled
        for _ in range(1 + rounds):
            for name, statement in IMPORTS.items():
                begin = time.perf_counter()
                subprocess.run([sys.executable, "-c", statement], check=True, env=environment)
                taken[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(times[1:]) for name, times in taken.items()}
    nothing = medians.pop("nothing")
    return {name: seconds - nothing for name, seconds in medians.items()}


def peak(pid: int, *, reset: bool = False) -> float:
    """Most bytes of a process that were resident since the last reset (proc(5), ``clear_refs`` and ``VmHWM``)."""
    if reset:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return float(line.split()[1]) * 1024


def install_bytes() -> dict[str, float]:
    """Of the files that pip has installed here for a contender and all that it requires."""
    return {name: float(sum(_own_bytes(one) for one in _closure(wanted))) for name, wanted in INSTALLS.items()}


def _closure(wanted: list[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(wanted)
    while waiting:
        name, extras = _split(waiting.pop())
        if name in found and not extras:
            continue
        found.add(name)
        for requirement in metadata.requires(name) or ():
            needed, _, condition = requirement.partition(";")
            if _applies(condition, extras) and _split(needed)[0] not in found and _is_installed(_split(needed)[0]):
                waiting.append(needed.strip())
    return found


def _split(requirement: str) -> tuple[str, set[str]]:
    match = re.match(r"\s*([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?", requirement)
    assert match is not None
    extras = {extra.strip() for extra in (match[2] or "").split(",") if extra.strip()}
    return re.sub(r"[-_.]+", "-", match[1]).lower(), extras


def _applies(condition: str, extras: set[str]) -> bool:
    wanted = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", condition)
    return wanted is None or wanted[1] in extras


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _own_bytes(name: str) -> int:
    files = metadata.files(name) or []
    total = 0
    for file in files:
        path = file.locate()
        if path.is_file() and path.suffix != ".pyc":  # type: ignore[attr-defined]
            total += path.stat().st_size  # type: ignore[attr-defined]
    return total
