"""The storm: several clients, each through a proxy of its own, while connections break and processes are stopped or killed.

Everything is the real thing: ``raymq start`` on a Ray cluster, and clients in processes of their own.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from tests.integration.conftest import Head, running_head
from tests.integration.proxy import Fault, Proxy, Weather

LEASE = 2.0
"""Seconds. Suspended clients sleep longer than this; the grace is as long as a busy machine may need."""

HEAD_OPTIONS = ("--heartbeat-interval", "0.5", "--lease", str(LEASE), "--grace", "60")


@dataclass(frozen=True)
class Plan:
    """What to do.

    Attributes:
        faults: at least so many, of all kinds together.
        calls: at least so many, of all clients together.
        clients: side by side.
        seed: of everything that is drawn; it fixes which faults come in which order, not which packet they hit.
        kills: how often the broker is killed.
        suspends: how often a client is stopped for longer than the lease.
        freezes: how often a broker or a bridge is stopped for a moment.
        pause: seconds between two faults of one client's connections, from and to.
        patience: seconds that one step of a client may take before it counts as a hang.
        limit: seconds after which the whole is given up.
        large: bytes of the largest values.
        memory: how much the memory of a process may grow, as a ratio; None: it is not judged.
        blocks: the same for the blocks that Python has allocated, which no fragmentation blurs.
    """

    faults: int = 1000
    calls: int = 100_000
    clients: int = 3
    seed: int = 1
    kills: int = 6
    suspends: int = 6
    freezes: int = 10
    pause: tuple[float, float] = (0.05, 1.6)
    patience: float = 120.0
    limit: float = 900.0
    large: int = 4_000_000
    memory: float | None = 1.3
    blocks: float = 1.1


@dataclass
class Memory:
    """What one process used in its life: bytes of its own, without what it shares with others; or Python's blocks."""

    name: str
    limit: float | None
    is_bytes: bool = True
    samples: list[int] = field(default_factory=list)

    def quarter(self, number: int) -> float:
        """Its median in one quarter of its life, 0 to 3; the first one is for warming up."""
        size = len(self.samples) // 4
        return median(self.samples[number * size : (number + 1) * size])

    @property
    def growth(self) -> float | None:
        """From the second quarter of its life to the last; None for a life too short to tell."""
        return self.quarter(3) / self.quarter(1) if len(self.samples) >= 80 else None


@dataclass
class Outcome:
    """What happened."""

    plan: Plan
    faults: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    hangs: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    memories: list[Memory] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    slowest: tuple[float, str] = (0.0, "")
    seconds: float = 0.0

    @property
    def wrong(self) -> list[str]:
        """Everything that is not as it should be, in words; empty if all is right."""
        texts = [f"{self.lost} calls were lost"] if self.lost else []
        texts += [f"{self.doubled} calls ran more than once"] if self.doubled else []
        texts += [f"a hang: {hang}" for hang in self.hangs] + self.problems
        if self.faults.total() < self.plan.faults:
            texts.append(f"only {self.faults.total()} of {self.plan.faults} faults")
        if self.done["calls"] < self.plan.calls:
            texts.append(f"only {self.done['calls']} of {self.plan.calls} calls")
        for memory in self.memories:
            if self.plan.memory and memory.limit and memory.growth and memory.growth > memory.limit:
                texts.append(f"{memory.name} grew to {memory.growth:.2f} times its size; at most {memory.limit}")
        for counter in ("malformed", "foreign", "expired"):
            if self.counters.get(counter):
                texts.append(f"the broker counted {self.counters[counter]} {counter}")
        return texts


class Client:
    """A client's process, and what it has told of itself."""

    def __init__(self, number: int, plan: Plan, address: str, directory: Path) -> None:
        self.number = number
        self.directory = directory
        directory.mkdir()
        self.last: dict[str, Any] = {}
        self._read = 0
        command = [
            sys.executable, "-m", "tests.soak.client", address, str(plan.seed * 1000 + number), str(directory),
            str(plan.patience), str(plan.large),
        ]  # fmt: skip
        with (directory / "stdout").open("w") as stdout, (directory / "stderr").open("w") as stderr:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr)

    def look(self) -> dict[str, Any]:
        """The last thing that it told."""
        path = self.directory / "progress"
        if path.exists():
            with path.open("rb") as file:
                file.seek(self._read)
                *whole, _ = file.read().split(b"\n")
            if whole:
                self._read += sum(len(line) + 1 for line in whole)
                self.last = json.loads(whole[-1])
        return self.last

    @property
    def is_over(self) -> bool:
        return self.process.poll() is not None

    def finish(self) -> None:
        """Let it come to its end."""
        assert self.process.stdin is not None
        self.process.stdin.close()


class Storm:
    """One run of a plan.

    Args:
        plan: what to do.
        head: a head of its own, with ``HEAD_OPTIONS``.
        say: called with a line for people, now and then.
    """

    def __init__(self, plan: Plan, head: Head, say: Callable[[str], None]) -> None:
        self._plan, self._head, self._say = plan, head, say
        self._draw = random.Random(plan.seed)
        self._outcome = Outcome(plan)
        self._memories: dict[Any, Memory] = {}
        self._directory = Path(tempfile.mkdtemp(prefix="raymq-soak"))
        self._thawing: list[tuple[float, int]] = []
        self._own: Counter[str] = Counter()
        self._history: list[tuple[float, Fault, int, str]] = []
        self._clients: list[Client] = []
        self._proxies: list[Proxy] = []

    def run(self) -> Outcome:
        """Everything, from the first connection to the last goodbye."""
        started = time.monotonic()
        try:
            with ExitStack() as stack:
                self._start(stack)
                self._rage(started + self._plan.limit)
                self._finish()
        finally:
            for client in self._clients:
                client.process.send_signal(signal.SIGCONT)
                client.process.kill()
                client.process.wait()
        self._outcome.seconds = time.monotonic() - started
        if not self._outcome.wrong:
            shutil.rmtree(self._directory)
        else:
            self._outcome.problems.append(f"what the clients told is in {self._directory}")
        return self._outcome

    def _start(self, stack: ExitStack) -> None:
        plan = self._plan
        self._inside = stack.enter_context(Proxy(self._socket))
        for number in range(plan.clients):
            proxy = stack.enter_context(Proxy(self._head.port))
            self._proxies.append(proxy)
            self._clients.append(Client(number, plan, proxy.address, self._directory / str(number)))
        deadline = time.monotonic() + 120
        while not all(client.look() or client.is_over for client in self._clients):
            if time.monotonic() > deadline:
                texts = [(client.directory / "stderr").read_text() for client in self._clients]
                raise RuntimeError("the clients did not come up:\n" + "\n".join(texts))
            time.sleep(0.1)
        kinds = ("cut", "cut", "reset", "reset", "stall", "delay", "swallow", "refuse")
        for number, proxy in enumerate(self._proxies):
            seed = plan.seed * 1000 + number
            proxy.begin(Weather(seed, kinds=kinds, pause=plan.pause, long=(0.5, 1.5 * LEASE)))
        # A bridge is on the broker's machine, and is taken for dead after two heartbeats without a connection.
        inside = Weather(plan.seed * 1000 + 999, kinds=("cut", "reset", "delay"), pause=(1.0, 4.0), lasting=(0.01, 0.3))
        self._inside.begin(inside)

    @property
    def _socket(self) -> Path:
        return Path(str(self._head.state["bridges"]).removeprefix("ipc://"))

    # --- the storm itself

    def _rage(self, give_up: float) -> None:
        plan = self._plan
        # Kills come in the first half, so that the last broker lives long enough to tell whether its memory grows.
        due = [
            *self._spread(plan.kills, 0.5, "broker killed", self._kill_broker),
            *self._spread(plan.suspends, 1.0, "client suspended", self._suspend_client),
            *self._spread(plan.freezes, 1.0, "broker or bridge frozen", self._freeze),
        ]
        due.sort(key=lambda one: one[0])
        told = sampled = 0.0
        while time.monotonic() < give_up:
            now = time.monotonic()
            faults, calls = self._count_faults().total(), self._count_calls()
            share = min(1.0, faults / plan.faults)
            if faults >= plan.faults and calls >= plan.calls and not due:
                break
            if due and share >= due[0][0] and not self._thawing:
                _, name, act = due.pop(0)
                self._history.append((now, Fault(name, True, 0.0), 1, "processes"))
                act()
                self._own[name] += 1
            self._thaw(now)
            if now - sampled >= 0.5:
                sampled = now
                self._sample()
            if now - told >= 10:
                told = now
                self._say(f"{faults:6,} faults  {calls:9,} calls  {self._doing()}")
            if any(client.is_over for client in self._clients):
                break
            time.sleep(0.05)
        self._thaw(float("inf"))
        for proxy in (*self._proxies, self._inside):
            proxy.calm()

    def _spread(self, times: int, until: float, name: str, act: Callable[[], None]) -> list[Any]:
        """So many times, somewhere in each part of the way."""
        return [((number + self._draw.random()) / times * until, name, act) for number in range(times)]

    def _doing(self) -> str:
        return ", ".join(f"{client.number}: {client.last.get('step', '-')}" for client in self._clients)

    def _count_faults(self) -> Counter[str]:
        total: Counter[str] = Counter(self._own)
        for proxy in self._proxies:
            total.update(proxy.faults)
        total.update({f"{kind}, bridge": count for kind, count in self._inside.faults.items()})
        return total

    def _count_calls(self) -> int:
        return sum(client.look().get("done", {}).get("calls", 0) for client in self._clients)

    def _processes(self, module: str) -> list[psutil.Process]:
        found = []
        for process in psutil.Process(self._head.process.pid).children():
            try:
                if module in process.cmdline():
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def _kill_broker(self) -> None:
        for broker in self._processes("raymq_broker"):
            self._socket.unlink(missing_ok=True)
            broker.kill()
        deadline = time.monotonic() + 30
        while not self._socket.exists():
            if time.monotonic() > deadline:
                raise TimeoutError("the broker does not come back")
            time.sleep(0.001)  # the bridges come back soon, and are to come through our proxy
        self._inside.interpose()

    def _suspend_client(self) -> None:
        self._stop(self._draw.choice(self._clients).process.pid, self._draw.uniform(1.2, 2.0) * LEASE)

    def _freeze(self) -> None:
        process = self._draw.choice([*self._processes("raymq_broker"), *self._processes("raymq_bridge")])
        self._stop(process.pid, self._draw.uniform(0.1, 0.8))

    def _stop(self, pid: int, seconds: float) -> None:
        os.kill(pid, signal.SIGSTOP)
        self._thawing.append((time.monotonic() + seconds, pid))

    def _thaw(self, now: float) -> None:
        for at, pid in list(self._thawing):
            if now >= at:
                self._thawing.remove((at, pid))
                os.kill(pid, signal.SIGCONT)

    def _sample(self) -> None:
        named = [(f"client {client.number}", psutil.Process(client.process.pid)) for client in self._clients]
        named += [("broker", process) for process in self._processes("raymq_broker")]
        named += [("bridge", process) for process in self._processes("raymq_bridge")]
        for name, process in named:
            try:
                memory = process.memory_info()
            except psutil.Error:
                continue
            name = f"{name} (pid {process.pid})"
            entry = self._memories.setdefault(process.pid, Memory(name, self._plan.memory))
            entry.samples.append(memory.rss - memory.shared)
        for client in self._clients:
            name = f"client {client.number}, Python's blocks"
            entry = self._memories.setdefault(name, Memory(name, self._plan.blocks, is_bytes=False))
            entry.samples.append(client.last["blocks"])

    # --- the end

    def _finish(self) -> None:
        outcome = self._outcome
        for client in self._clients:
            client.finish()
        deadline = time.monotonic() + self._plan.patience + 60
        while not all(client.is_over for client in self._clients) and time.monotonic() < deadline:
            time.sleep(0.1)
        for client in self._clients:
            self._judge(client)
        outcome.faults = self._count_faults()
        outcome.memories = [memory for memory in self._memories.values() if memory.growth is not None]
        outcome.counters = self._head.status()["counters"]
        names = [*(f"client {client.number}" for client in self._clients), "bridges"]
        history = [
            (*event, name)
            for name, proxy in zip(names, (*self._proxies, self._inside), strict=True)
            for event in proxy.history
        ]
        with (self._directory / "faults").open("w") as file:
            for at, fault, hit, name in sorted([*history, *self._history], key=lambda one: one[0]):
                file.write(f"{at:.2f} {name}: {fault}, {hit} connections\n")

    def _judge(self, client: Client) -> None:
        outcome, told = self._outcome, client.look()
        outcome.done.update(told.get("done", {}))
        outcome.lost += told.get("lost", 0)
        outcome.doubled += told.get("doubled", 0)
        outcome.slowest = max(outcome.slowest, tuple(told.get("slowest", outcome.slowest)))
        outcome.problems += [f"client {client.number}: {problem}" for problem in told.get("problems", ())]
        if "hang" in told:
            stacks = (client.directory / "stacks").read_text()
            outcome.hangs.append(f"client {client.number} in {told['hang']}\n{stacks}")
        elif not client.is_over:
            outcome.hangs.append(f"client {client.number} does not end; its last step was {told.get('step')}")
        elif client.process.returncode != 0:
            outcome.problems.append(f"client {client.number} ended with code {client.process.returncode}")
        errors = (client.directory / "stderr").read_text().splitlines()
        # Ray's workers say things there, too.
        errors = [line for line in errors if not line.startswith("connect() is waiting") and "pid=" not in line]
        if errors:
            outcome.problems.append(f"client {client.number} wrote to standard error: " + "\n".join(errors[-30:]))


def storm(plan: Plan, cluster: Head | None, say: Callable[[str], None]) -> Outcome:
    """Run a plan on a head of its own; on a cluster of its own, too, if none is given."""
    environ = dict(cluster.state["cluster_env"]) if cluster else {}
    address = cluster.state["cluster"] if cluster else "local"
    options = (*HEAD_OPTIONS, "--max-sessions", str(plan.clients + 2))
    with running_head("--address", address, *options, environ=environ) as head:
        return Storm(plan, head, say).run()
