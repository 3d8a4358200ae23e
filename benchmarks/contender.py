"""One contender, in a process of its own: connects in its way, and times the rows that it is told to.

Reads ``ROW SECONDS`` lines from standard input, answers each with a JSON line: the rate per second, 0 if the contender
cannot do that at all.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from benchmarks.rows import ROWS


def connect(kind: str, address: str) -> Any:
    """The module whose API is timed, connected."""
    if kind == "raymq":
        import raymq

        raymq.connect(address, timeout=60)
        return raymq
    import ray

    ray.init(address=address, log_to_driver=False, configure_logging=False)
    return ray


def rate(function: Any, count: float, seconds: float) -> float:
    """How many things a second, over at least so many seconds and one call, or as many as there are."""
    calls = 0
    begin = time.perf_counter()
    while True:
        try:
            function()
        except StopIteration:  # it has nothing more to do
            seconds = 0.0
        else:
            calls += 1
        elapsed = time.perf_counter() - begin
        if elapsed >= seconds:
            return calls * count / elapsed


def main() -> None:
    """Serve the orchestrator until its pipe ends."""
    kind, address = sys.argv[1:]
    # Ray prints warnings on standard output, too: these go elsewhere.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**figures: float) -> None:
        print(json.dumps(figures), file=answers, flush=True)

    begin = time.perf_counter()
    ray = connect(kind, address)
    answer(connect=time.perf_counter() - begin)
    for line in sys.stdin:
        row, seconds = line.split()
        chosen = ROWS[int(row)]
        try:
            measured = rate(chosen.make(ray), chosen.count, float(seconds))
        except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
            print(f"{kind} cannot do {chosen.name!r}: {error!r}", file=sys.stderr)
            measured = 0.0
        ray.get(ray.put(0))  # what did not wait is waited for, so that the next contender has the machine for itself
        answer(rate=measured)
    ray.shutdown()


if __name__ == "__main__":
    main()
