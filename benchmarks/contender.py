"""One contender, in a process of its own: connects in its way, and measures what it is told to.

Reads questions as lines of JSON from standard input and answers each with one: ``{"row": NAME, "seconds": S}`` with the
rate per second, 0 if the contender cannot do that at all, and with ``"pipe": ENDPOINT`` that of each call with a round
trip through a bare pipe after it; ``{"latency": SECONDS}`` with percentiles in milliseconds;
``{"growth": "get" or "put"}`` with bytes.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import pipe
from benchmarks.footprint import peak
from benchmarks.rows import BY_NAME, GB, MB, Row, small_actor


def connect(kind: str, address: str) -> tuple[Any, float]:
    """The module whose API is timed, connected; and the seconds that it took to connect, without the imports."""
    if kind == "raymq":
        import raymq

        connect = raymq.connect  # which imports what `import raymq` leaves for later
        begin = time.perf_counter()
        connect(address, timeout=60)
        return raymq, time.perf_counter() - begin
    import ray

    begin = time.perf_counter()
    ray.init(address=address, log_to_driver=False, configure_logging=False)
    return ray, time.perf_counter() - begin


def rate(row: Row, function: Any, ray: Any, seconds: float) -> float:
    """How many things a second, over at least so many seconds and one call, or as many as there are."""
    calls, elapsed = 0, 0.0
    until = time.perf_counter() + seconds
    while not calls or time.perf_counter() < until:
        arguments = [row.prepare(ray)] if row.prepare else []
        begin = time.perf_counter()
        try:
            function(*arguments)
        except StopIteration:  # it has nothing more to do
            break
        elapsed += time.perf_counter() - begin
        calls += 1
    return calls * row.count / elapsed


def latency(ray: Any, seconds: float) -> dict[str, float]:
    """Of an actor call with its get, in ms: alone, and while another thread puts 2 GB, or as much of it as it can."""
    actor = small_actor(ray)
    array = np.zeros(100 * MB, dtype=np.uint8)

    def percentiles(go_on: Any) -> tuple[float, float]:
        taken = []
        while go_on() or len(taken) < 100:
            begin = time.perf_counter()
            ray.get(actor.small_value.remote())
            taken.append((time.perf_counter() - begin) * 1e3)
        return statistics.median(taken), statistics.quantiles(taken, n=100)[98]

    def put() -> None:
        for _ in range(2 * GB // array.nbytes):
            ray.put(array)
            if time.perf_counter() > end + 10 * seconds:
                return

    end = time.perf_counter() + seconds
    idle = percentiles(lambda: time.perf_counter() < end)
    end = time.perf_counter() + seconds
    putting = threading.Thread(target=put)
    putting.start()
    busy = percentiles(putting.is_alive)
    putting.join()
    return {"idle p50": idle[0], "idle p99": idle[1], "busy p50": busy[0], "busy p99": busy[1]}


def growth(ray: Any, what: str) -> dict[str, float]:
    """By how many bytes this process grows at most for an array of 1 GB."""

    @ray.remote
    def make() -> Any:
        return np.zeros(GB, dtype=np.uint8)

    if what == "get":
        reference = make.remote()
        ray.wait([reference])
        before = peak(os.getpid(), reset=True)
        value = ray.get(reference)
        assert value.nbytes == GB
    else:
        array = np.ones(GB, dtype=np.uint8)
        before = peak(os.getpid(), reset=True)
        reference = ray.put(array)
        ray.wait([reference])
    return {"growth": peak(os.getpid()) - before}


def limit(row: Row, function: Callable[[], Any], ray: Any, endpoint: str, seconds: float) -> float:
    """The rate of a row whose function is followed by a round trip through a bare pipe."""
    with pipe.client(endpoint) as dealer:

        def both() -> None:
            function()
            pipe.round_trip(dealer)

        both()
        return rate(row, both, ray, seconds)


_made: dict[str, Any] = {}
"""The function of the row that was measured last."""


def answer_to(question: dict[str, Any], ray: Any, kind: str) -> dict[str, float]:
    """Measure what is asked for."""
    if "latency" in question:
        return latency(ray, question["latency"])
    if "growth" in question:
        return growth(ray, question["growth"])
    row = BY_NAME[question["row"]]
    try:
        if row.used_up or row.name not in _made:
            _made.clear()  # what it holds may be large
            _made[row.name] = row.make(ray)
            if row.count <= 1 and not row.used_up and not row.slow:
                _made[row.name]()  # the first of many is the slowest
        if "pipe" in question:
            return {"rate": limit(row, _made[row.name], ray, question["pipe"], question["seconds"])}
        return {"rate": rate(row, _made[row.name], ray, question["seconds"])}
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        print(f"{kind} cannot do {row.name!r}: {error!r}", file=sys.stderr)
        return {"rate": 0.0}


def main() -> None:
    """Serve the orchestrator until its pipe ends."""
    kind, address = sys.argv[1:]
    # Ray prints warnings on standard output, too: these go elsewhere.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(figures: dict[str, float]) -> None:
        print(json.dumps(figures), file=answers, flush=True)

    ray, seconds = connect(kind, address)
    tell({"connect": seconds})
    for line in sys.stdin:
        figures = answer_to(json.loads(line), ray, kind)
        ray.get(ray.put(0))  # what did not wait is waited for, so that the next contender has the machine for itself
        tell(figures)
    ray.shutdown()


if __name__ == "__main__":
    main()
