"""What one client does all the time while faults hit it: a mix of everything, each part of which is checked.

A call that is lost, doubled or out of order shows in the counter actor: it counts its calls, each call carries its
number, and both must be equal, from 1 to the last. Whatever else is wrong is a problem, in words.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import raymq
from raymq.exceptions import GetTimeoutError

PROBLEMS_MAX = 50
"""Problems that are kept; one fault may cause thousands."""

UNCHECKED_MAX = 2_000
"""Calls whose results are not looked at yet; some always are on their way while something else is done."""


def make_remotes(session: raymq.Session) -> SimpleNamespace:
    """The remote functions and classes. Local ones: they travel by value."""

    @session.remote(num_cpus=0)
    class Count:
        """Exposes calls that are lost, doubled or reordered."""

        def __init__(self) -> None:
            self.count = self.last = 0
            self.times = bytearray()
            self.reordered = 0

        def note(self, number: int) -> tuple[int, int]:
            self.count += 1
            self.reordered += number != self.last + 1
            self.last = number
            if number >= len(self.times):
                self.times.extend(bytes(2 * number + 1000))
            self.times[number] = min(255, self.times[number] + 1)
            return self.count, number

        def fail(self, number: int) -> None:
            self.note(number)
            raise LookupError(number)

        def tell(self, last: int) -> dict[str, int]:
            seen = self.times[1 : last + 1].ljust(last, b"\0")
            return {
                "lost": seen.count(0),
                "doubled": sum(value - 1 for value in seen if value > 1),
                "reordered": self.reordered,
            }

    @session.remote(num_cpus=0)
    class Speaker:
        """Prints numbered lines; one process, so that their order is known."""

        def say(self, first: int, count: int) -> int:
            for number in range(first, first + count):
                print(f"said {number} said", flush=True)
            return first + count

    @session.remote(num_cpus=0)
    def double(number: int) -> int:
        return 2 * number

    @session.remote(num_cpus=0)
    def late(seconds: float, value: Any) -> Any:
        time.sleep(seconds)
        return value

    @session.remote(num_cpus=0, max_retries=0)
    def through(count: Any, numbers: list[int]) -> list[tuple[int, int]]:
        import ray

        return ray.get([count.note.remote(number) for number in numbers])

    @session.remote(num_cpus=0, max_retries=0)
    def fail(number: int) -> None:
        raise ValueError(number)

    @session.remote(num_cpus=0)
    def size_of(data: bytes) -> int:
        return len(data)

    captured = session.put(list(range(100)))

    @session.remote(num_cpus=0)
    def with_captured(number: int) -> int:
        return raymq.get(captured)[number]

    return SimpleNamespace(
        Count=Count, Speaker=Speaker, double=double, late=late, through=through, fail=fail, size_of=size_of,
        with_captured=with_captured, captured=captured,
    )  # fmt: skip


class Workload:
    """The mix, on one session.

    Args:
        session: where.
        seed: of the choices.
        printed: the file into which this process prints.
        large: bytes of the largest values that are put and fetched.

    Attributes:
        done: how often each kind of step was done; ``calls`` and ``transfers`` (large values that crossed) beside them.
        problems: what was wrong.
        step: what is being done, and since when; for the watchdog.
        slowest: the step that took longest so far, and its seconds.
    """

    def __init__(self, session: raymq.Session, seed: int, printed: Path, large: int = 4_000_000) -> None:
        self.done: Counter[str] = Counter()
        self.problems: list[str] = []
        self.lost = self.doubled = 0
        self.step = ("start", time.monotonic())
        self.slowest = (0.0, "")
        self._session = session
        self._draw = random.Random(seed)
        self._printed = printed
        self._large = large
        self._noise = random.Random(seed).randbytes(large)
        self._remote = make_remotes(session)
        self._count = self._remote.Count.remote()
        self._other = self._remote.Count.remote()
        self._speaker = self._remote.Speaker.remote()
        self._calls = self._others = self._said = 0
        self._unchecked: deque[tuple[int, Any]] = deque()
        self._pool = ThreadPoolExecutor(4, "workload")
        self._steps: list[tuple[int, Callable[[], None]]] = [
            (20, self.calls), (4, self.tasks), (2, self.waits), (3, self.transfers), (2, self.arguments),
            (2, self.nested), (2, self.futures), (2, self.errors), (2, self.patience), (1, self.through),
            (1, self.threads), (1, self.speaks), (1, self.asks), (1, self.forgets),
        ]  # fmt: skip

    def warm_up(self) -> None:
        """Have Ray start its workers, which takes seconds and says nothing."""
        refs = [self._count.tell.remote(0), self._other.tell.remote(0)]
        self._session.get([*refs, *(self._remote.double.remote(number) for number in range(4))])

    def run(self, stop: threading.Event) -> None:
        """Go on until told to stop, then see that everything is right."""
        weights = [weight for weight, _ in self._steps]
        while not stop.is_set():
            (_, step) = self._draw.choices(self._steps, weights)[0]
            with self._at(step.__name__):
                step()
            self.done[step.__name__] += 1
        with self._at("finish"):
            self.finish()

    @contextmanager
    def _at(self, name: str) -> Iterator[None]:
        self.step = (name, time.monotonic())
        try:
            yield
        except raymq.SessionLost:
            raise
        except Exception as error:
            self.problem(f"{name} raised {type(error).__name__}: {error}")
        self.slowest = max(self.slowest, (time.monotonic() - self.step[1], name))

    def problem(self, text: str) -> None:
        """Something is wrong."""
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(text)

    def expect(self, what: str, found: Any, right: Any) -> None:
        """Something is wrong if these differ; of lists, what is said is where they begin to."""
        if found != right:
            if isinstance(found, list) and isinstance(right, list) and len(found) == len(right):
                at = next(at for at, pair in enumerate(zip(found, right, strict=True)) if pair[0] != pair[1])
                what, found, right = f"{what}, item {at} of {len(right)}", found[at:], right[at:]
            self.problem(f"{what}: {str(found)[:200]} instead of {str(right)[:200]}")

    def _called(self, calls: int) -> int:
        self.done["calls"] += calls
        return calls

    # --- the steps

    def calls(self) -> None:
        """Calls of the counter, pipelined; their results are looked at later, in their order."""
        for _ in range(self._called(self._draw.randint(1, 600))):
            self._calls += 1
            self._unchecked.append((self._calls, self._count.note.remote(self._calls)))
        if len(self._unchecked) > UNCHECKED_MAX or self._draw.random() < 0.3:
            self.check(self._draw.randint(1, len(self._unchecked)))

    def check(self, amount: int) -> None:
        """Fetch results of earlier calls: call n was the n-th."""
        part = [self._unchecked.popleft() for _ in range(amount)]
        found = self._session.get([ref for _, ref in part])
        self.expect("counter", found, [(number, number) for number, _ in part])

    def tasks(self) -> None:
        """Tasks, and all of their values."""
        numbers = [self._draw.randrange(1 << 40) for _ in range(self._called(self._draw.randint(1, 30)))]
        refs = [self._remote.double.remote(number) for number in numbers]
        self.expect("tasks", self._session.get(refs), [2 * number for number in numbers])

    def waits(self) -> None:
        """``wait`` for some of many that take their time."""
        refs = [
            self._remote.late.remote(self._draw.uniform(0, 0.3), number)
            for number in range(self._called(self._draw.randint(2, 6)))
        ]
        wanted = self._draw.randint(1, len(refs))
        ready, rest = self._session.wait(refs, num_returns=wanted)
        self.expect("wait", (len(ready), len(ready) + len(rest)), (wanted, len(refs)))
        self.expect("wait's values", self._session.get(ready), [refs.index(ref) for ref in ready])
        self.expect("all values", self._session.get(refs), list(range(len(refs))))

    def _some_bytes(self) -> bytes:
        size = int(self._large * self._draw.random() ** 2)
        start = self._draw.randrange(self._large - size + 1)
        return self._noise[start : start + size]

    def transfers(self) -> None:
        """Large values to the cluster and back."""
        values = [self._some_bytes() for _ in range(self._draw.randint(1, 3))]
        refs = [self._session.put(value) for value in values]
        self.done["transfers"] += 2 * len(values)
        for value, back in zip(values, self._session.get(refs), strict=True):
            self.expect("a large value", (len(back), back == value), (len(value), True))

    def arguments(self) -> None:
        """Large arguments overtake nothing that depends on them."""
        value = bytearray(self._some_bytes())
        ref = self._session.put(value)
        self.done["transfers"] += 2
        self._called(2)
        sizes = self._session.get([self._remote.size_of.remote(ref), self._remote.size_of.remote(value)])
        self.expect("sizes", sizes, [len(value)] * 2)

    def nested(self) -> None:
        """References in values, captured ones, and one in an argument."""
        inner = [self._remote.double.remote(number) for number in range(3)]
        outer = self._session.put({"refs": inner, "actor": self._count})
        index = self._draw.randrange(100)
        self._called(5)
        captured = self._remote.with_captured.remote(index)
        late = self._remote.late.remote(0.01, inner)
        del inner
        back = self._session.get(outer)
        self.expect("nested", self._session.get(back["refs"]), [0, 2, 4])
        self.expect("captured", self._session.get(captured), index)
        self.expect("handed on", self._session.get(self._session.get(late)), [0, 2, 4])

    def futures(self) -> None:
        """Futures and ``await``."""
        self._called(5)
        futures = [self._remote.double.remote(number).future() for number in range(3)]

        async def both() -> list[int]:
            return list(await asyncio.gather(*(self._remote.double.remote(n).as_future() for n in (3, 4))))

        self.expect("await", asyncio.run(both()), [6, 8])
        self.expect("futures", [future.result() for future in futures], [0, 2, 4])

    def errors(self) -> None:
        """Errors arrive as what was raised, of tasks and of actors."""
        number = self._draw.randrange(1 << 40)
        self._calls += 1
        self._called(2)
        calls = [(self._remote.fail.remote(number), ValueError, number)]
        calls.append((self._count.fail.remote(self._calls), LookupError, self._calls))
        for ref, kind, argument in calls:
            try:
                self._session.get(ref)
            except kind as error:
                self.expect("an error", str(argument) in str(error), True)
            else:
                self.problem(f"no {kind.__name__} from a call that raises one")

    def patience(self) -> None:
        """A ``get`` that gives up in time, and one that does not."""
        self._called(1)
        ref = self._remote.late.remote(0.5, self._noise[:100_000])
        started = time.monotonic()
        try:
            self._session.get(ref, timeout=0.05)
        except GetTimeoutError:
            pass
        else:
            if time.monotonic() - started < 0.4:
                self.problem("a value that was there before its time")
        self.expect("late value", self._session.get(ref) == self._noise[:100_000], True)

    def through(self) -> None:
        """A task that calls an actor whose handle it was given."""
        numbers = list(range(self._others + 1, self._others + self._draw.randint(2, 10)))
        self._others += self._called(len(numbers))
        self._called(1)
        found = self._session.get(self._remote.through.remote(self._other, numbers))
        self.expect("called by a task", found, [(number, number) for number in numbers])

    def threads(self) -> None:
        """Several threads at once."""

        def work(start: int) -> bool:
            refs = [self._remote.double.remote(number) for number in range(start, start + 5)]
            return bool(self._session.get(refs) == [2 * number for number in range(start, start + 5)])

        self._called(4 * 5)
        self.expect("threads", list(self._pool.map(work, range(4))), [True] * 4)

    def speaks(self) -> None:
        """A worker prints."""
        count = self._called(1) + self._draw.randint(0, 20)
        self._speaker.say.remote(self._said + 1, count)
        self._said += count

    def asks(self) -> None:
        """Requests that are answered at once."""
        self.expect("resources", self._session.cluster_resources().get("CPU", 0) > 0, True)

    def forgets(self) -> None:
        """References that die at once, with their values wanted or not, and an actor that lives a moment."""
        refs = [self._remote.late.remote(0.1, self._noise[:70_000]) for _ in range(self._called(3))]
        try:
            self._session.get(refs[0], timeout=0.001)
        except GetTimeoutError:
            pass
        future = self._session.put(self._noise[:200_000]).future()
        self._session.wait([self._session.put(self._noise[:100_000])], timeout=0)
        self.expect("a future without a reference", future.result() == self._noise[:200_000], True)

    # --- the end

    def finish(self) -> None:
        """See that every call ran once and every line was printed once."""
        with self._at("finish: the last calls"):
            while self._unchecked:
                self.check(len(self._unchecked))
        for name, actor, last in (("counter", self._count, self._calls), ("other", self._other, self._others)):
            told = self._session.get(actor.tell.remote(last))
            self.lost += told["lost"]
            self.doubled += told["doubled"]
            self.expect(f"{name} reordered", told["reordered"], 0)
        self.expect("said", self._session.get(self._speaker.say.remote(self._said + 1, 1)), self._said + 2)
        self._said += 1
        right = list(range(1, self._said + 1))
        deadline = time.monotonic() + 30
        while (found := self._lines()) != right and len(found) < self._said and time.monotonic() < deadline:
            time.sleep(0.1)
        if found != right:
            wrong = next(
                (at for at, pair in enumerate(zip(found, right, strict=False)) if pair[0] != pair[1]), len(found)
            )
            self.problem(
                f"{len(found)} lines printed instead of {len(right)}; the first wrong one is number {wrong + 1}: "
                f"{found[wrong : wrong + 3]}"
            )
        self.done["lines"] = len(found)
        self._pool.shutdown()

    def _lines(self) -> list[int]:
        words = (line.split() for line in self._printed.read_text().splitlines() if " said " in line)
        return [int(line[-2]) for line in words]
