"""What ``raymq demo`` computes: words and imports of many Python files, and an array that goes there and back.

Written as any user of Ray would write it: the argument ``ray`` is the module ``raymq`` (``import raymq as ray``), or
``ray`` itself. Files are read here and sent along, since the cluster may be on another machine.
"""

from __future__ import annotations

import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BATCH_BYTES = 512 * 1024
"""Source text in one task: about a tenth of a second of work."""

ARRAY_BYTES = 100_000_000


@dataclass
class Counts:
    """What was found in some source files."""

    files: int = 0
    nbytes: int = 0
    unparsable: int = 0
    words: Counter[str] = field(default_factory=Counter)
    imports: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class ArrayTrip:
    """How a large array travelled; times in seconds."""

    nbytes: int
    there: float
    back: float
    equal: bool


def source_files() -> list[Path]:
    """The Python sources of the interpreter that this runs on."""
    library = Path(sysconfig.get_path("stdlib"))
    return sorted(path for path in library.rglob("*.py") if "site-packages" not in path.parts)


def batches(files: Iterable[Path]) -> Iterator[list[bytes]]:
    """The contents of the files, in lists of about ``BATCH_BYTES``."""
    batch: list[bytes] = []
    for path in files:
        batch.append(path.read_bytes())
        if sum(map(len, batch)) >= BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def count_sources(ray: Any, files: list[Path], progress: Callable[[int], None]) -> Counts:
    """Count words and imports of all files, with one task for each batch and an actor that adds up.

    Args:
        ray: the module, or a session.
        files: what to read.
        progress: told how many files were done since it was last told.
    """
    # Defined in here, these travel by value: the workers need to have neither raymq nor this module.

    def count(sources: list[bytes]) -> dict[str, Any]:
        """Runs on a worker: words with three letters or more, and top-level modules that are imported."""
        import ast
        import keyword
        import re
        import warnings

        keywords = {word.lower() for word in keyword.kwlist}
        words: Counter[str] = Counter()
        imports: Counter[str] = Counter()
        unparsable = 0
        for source in sources:
            found = re.findall(r"[a-z]{3,}", source.decode(errors="ignore").lower())
            words.update(word for word in found if word not in keywords)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    tree = ast.parse(source)
            except (SyntaxError, ValueError):  # there are some on purpose, to test parsers with
                unparsable += 1
                continue
            statements = list(tree.body)
            for node in statements:  # grows while it is walked; ast.walk() would visit every expression too
                if isinstance(node, ast.Import):
                    imports.update(alias.name.partition(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    imports[node.module.partition(".")[0]] += 1
                for block in ("body", "orelse", "finalbody", "handlers", "cases"):
                    statements += getattr(node, block, ())
        nbytes = sum(map(len, sources))
        return {"files": len(sources), "nbytes": nbytes, "unparsable": unparsable, "words": words, "imports": imports}

    class Tally:
        """An actor: adds up what the tasks found."""

        def __init__(self) -> None:
            self.files = self.nbytes = self.unparsable = 0
            self.words: Counter[str] = Counter()
            self.imports: Counter[str] = Counter()

        def add(self, found: dict[str, Any]) -> int:
            self.files += found["files"]
            self.nbytes += found["nbytes"]
            self.unparsable += found["unparsable"]
            self.words.update(found["words"])
            self.imports.update(found["imports"])
            return int(found["files"])

        def result(self) -> dict[str, Any]:
            return vars(self)

    count_task = ray.remote(count)
    tally = ray.remote(Tally).remote()
    # No call waits, and what a task returns goes from its worker to the actor without coming by here.
    pending = [tally.add.remote(count_task.remote(batch)) for batch in batches(files)]
    while pending:
        done, pending = ray.wait(pending, num_returns=1, timeout=60)
        progress(sum(ray.get(done)))
    return Counts(**ray.get(tally.result.remote()))


def send_array(ray: Any) -> tuple[Any, Any, float]:
    """Put a large array into the cluster.

    Returns:
        The array, the reference to the cluster's copy, and the seconds until a task had read all of that.
    """
    import numpy

    array = numpy.random.default_rng(0).random(ARRAY_BYTES // 8)

    def add_up(values: Any) -> float:
        return float(values.sum())

    add_up_task = ray.remote(add_up)
    ray.get(add_up_task.remote(array[:10]))  # so that a worker is there and has numpy
    begin = time.monotonic()
    reference = ray.put(array)
    total = ray.get(add_up_task.remote(reference))
    there = time.monotonic() - begin
    if abs(total - float(array.sum())) > 1e-3:
        raise RuntimeError("the cluster adds up other numbers than were sent")
    return array, reference, there


def fetch_array(ray: Any, array: Any, reference: Any, there: float) -> ArrayTrip:
    """Get the cluster's copy back and compare it with ours."""
    import numpy

    begin = time.monotonic()
    back = ray.get(reference)
    seconds = time.monotonic() - begin
    return ArrayTrip(array.nbytes, there, seconds, bool(numpy.array_equal(array, back)))
