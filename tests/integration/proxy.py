"""A proxy that a test can cut, stall, or turn into a black hole: by hand, or at random points from a fixed seed.

One thread serves all connections with selectors and never waits for one of them: a sink that is full only stops its
own source. Everything that is changed from outside is a command that this thread carries out.
"""

from __future__ import annotations

import contextlib
import queue
import random
import selectors
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

UP, DOWN = "up", "down"
"""From the client, and to the client."""

ROOM = 1 << 18
"""Bytes that one direction of a connection may hold; with more its source has to wait, as on any network."""

PIECE = 1 << 16
"""Bytes read at once."""

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER: on, 0 seconds. ``close`` sends RST."""

KINDS = ("cut", "reset", "stall", "delay", "swallow", "refuse")
"""What can befall a connection: an end (FIN), a reset (RST), bytes held back for a while, every piece of bytes late for
a while, bytes taken and thrown away for a while and then an end, an end and no new connection for a while."""


@dataclass(frozen=True)
class Fault:
    """What happens, to which connections, for how long.

    Attributes:
        kind: one of ``KINDS``.
        all: all connections that there are, or just one.
        seconds: how long a stall, a delay, a black hole or a refusal lasts.
    """

    kind: str
    all: bool
    seconds: float


@dataclass(frozen=True)
class Point:
    """When a fault happens: after so many bytes in one direction, but after so many seconds at the latest."""

    direction: str
    nbytes: int
    seconds: float


class Weather:
    """Faults at random points. The same seed gives the same faults and points.

    Args:
        seed: of the random numbers.
        kinds: what may happen; a kind that is listed twice happens twice as often.
        pause: seconds between a fault and the next, from and to.
        nbytes: bytes after which every other fault happens, from and to; the others wait for the time alone.
        lasting: seconds that a stall, a delay, a black hole or a refusal lasts, from and to.
        long: the same for every tenth of them; beyond the lease, say. None: no longer than the others.
    """

    def __init__(
        self,
        seed: int,
        *,
        kinds: tuple[str, ...] = KINDS,
        pause: tuple[float, float] = (0.1, 1.0),
        nbytes: tuple[int, int] = (1, 300_000),
        lasting: tuple[float, float] = (0.05, 0.5),
        long: tuple[float, float] | None = None,
    ) -> None:
        self._random = random.Random(seed)
        self._long = long or lasting
        self._kinds, self._pause, self._nbytes, self._lasting = kinds, pause, nbytes, lasting

    def next(self) -> tuple[Point, Fault]:
        """The next fault, and when it happens."""
        draw = self._random
        counted = draw.random() < 0.5
        point = Point(
            draw.choice((UP, DOWN)),
            draw.randint(*self._nbytes) if counted else 1 << 62,
            draw.uniform(*self._pause),
        )
        seconds = self._long if draw.random() < 0.1 else self._lasting
        return point, Fault(draw.choice(self._kinds), draw.random() < 0.5, draw.uniform(*seconds))

    def pick(self, links: list[_Link]) -> _Link:
        return self._random.choice(links)


class _Flow:
    """One direction of one connection: what was read from its source and waits to be written to its sink."""

    __slots__ = ("direction", "ended", "pieces", "sink", "size", "source")

    def __init__(self, direction: str, source: socket.socket, sink: socket.socket) -> None:
        self.direction, self.source, self.sink = direction, source, sink
        self.pieces: deque[tuple[float, memoryview]] = deque()
        self.size = 0
        self.ended = False


class _Link:
    """One connection: a client's end, ours to the target, and what ails it."""

    __slots__ = ("connected", "cut_at", "far", "flows", "held_until", "late", "late_until", "near", "swallow")

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near, self.far = near, far
        self.flows = (_Flow(UP, near, far), _Flow(DOWN, far, near))
        self.connected = False
        self.held_until = self.late_until = self.late = 0.0
        self.swallow = False
        self.cut_at = float("inf")


class Proxy:
    """Passes bytes between clients and one target, until it is told to do otherwise. Use as a context manager.

    Args:
        target: a port on this machine, or the path of a unix socket. At that path the proxy itself listens from now
            on; the socket that was there is moved aside, see ``interpose``.

    Attributes:
        address: where it listens, ``HOST:PORT``; empty with a unix socket.
        faults: faults that hit a connection, by kind.
        passed: bytes handed on, ``up`` and ``down``.
        history: each fault with its time and the connections that it hit, for whoever looks for what went wrong.
    """

    def __init__(self, target: int | Path) -> None:
        self.address = ""
        self.faults: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()
        self.history: list[tuple[float, Fault, int]] = []
        self._target = target
        self._links: list[_Link] = []
        self._swallow = self._refuse = False
        self._refuse_until = 0.0
        self._weather: Weather | None = None
        self._next: tuple[Point, Fault] | None = None
        self._left, self._due = 0, float("inf")
        self._commands: queue.SimpleQueue[tuple[Callable[[], Any], threading.Event]] = queue.SimpleQueue()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._running = True
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._listener: socket.socket | None = None
        if isinstance(target, int):
            self._listen(socket.create_server(("127.0.0.1", 0)))
            self.address = "127.0.0.1:{1}".format(*self._listener.getsockname())
        else:
            self.interpose()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: Any) -> None:
        self._do(lambda: setattr(self, "_running", False))
        self._thread.join()
        self._wake_reader.close()
        self._wake_writer.close()

    # --- called from any thread

    def cut(self, *, refuse: bool = False) -> None:
        """Break every connection; with ``refuse``, also those that come from now on, until ``heal``."""

        def now() -> None:
            self._refuse = refuse
            self._end(list(self._links))

        self._do(now)

    def strike(self, kind: str, seconds: float = 0.3) -> None:
        """One fault, now, on all connections."""
        self._do(lambda: self._strike(Fault(kind, True, seconds), None))

    def swallow(self) -> None:
        """From now on take everything and pass nothing on: a silent cut."""
        self._do(lambda: setattr(self, "_swallow", True))

    def heal(self) -> None:
        """Pass everything on again; what a black hole took stays lost, so its connections are no good any longer."""

        def now() -> None:
            if self._swallow:
                self._end(list(self._links))
            self._swallow = self._refuse = False

        self._do(now)

    def begin(self, weather: Weather) -> None:
        """Let faults happen, from now on until ``calm``."""

        def now() -> None:
            self._weather = weather
            self._draw()

        self._do(now)

    def calm(self) -> None:
        """No more faults; those that last come to their end."""

        def now() -> None:
            self._weather, self._next, self._left, self._due = None, None, 0, float("inf")

        self._do(now)

    def interpose(self) -> None:
        """Take the place of a unix socket; again, when whoever owns it has made a new one there."""
        path = Path(str(self._target))
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        ours = path.with_suffix(".ours")
        server.bind(str(ours))
        server.listen(16)
        path.rename(path.with_suffix(".real"))
        ours.rename(path)
        if self._listener is None:
            self._listen(server)
        else:
            self._do(lambda: self._listen(server))

    def _do(self, command: Callable[[], Any]) -> None:
        """Have the proxy's thread carry this out, and wait until it has."""
        done = threading.Event()
        self._commands.put((command, done))
        self._wake_writer.send(b"\0")
        if not done.wait(30):
            raise TimeoutError("the proxy's thread does not answer")

    # --- the proxy's thread

    def _listen(self, server: socket.socket) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
        self._listener = server
        server.setblocking(False)
        self._selector.register(server, selectors.EVENT_READ)

    def _run(self) -> None:
        while self._running:
            wait = self._advance(time.monotonic())
            for key, events in self._selector.select(wait):
                if key.fileobj is self._wake_reader:
                    self._wake_reader.recv(64)
                elif key.fileobj is self._listener:
                    self._accept()
                elif key.data in self._links:  # or closed since, in this very round
                    self._ready(key.data, key.fileobj, events)
            while not self._commands.empty():
                command, done = self._commands.get()
                command()
                done.set()
        self._end(list(self._links))
        self._selector.close()
        if self._listener is not None:
            self._listener.close()

    def _advance(self, now: float) -> float:
        """What is due by time; returns the seconds until the next such thing, and asks the selector what matters."""
        if now >= self._due and self._next is not None and self._links and self._weather is not None:
            self._strike(self._next[1], self._weather.pick(self._links))
            self._draw()
        self._end([link for link in self._links if now >= link.cut_at])
        times = [now + 1.0, self._due if self._links else now + 1.0]
        for link in self._links:
            times.append(link.cut_at)
            for end in (link.near, link.far):
                self._ask(link, end, now)
            if now < link.held_until:
                times.append(link.held_until)
            else:
                times += [flow.pieces[0][0] for flow in link.flows if flow.pieces and flow.pieces[0][0] > now]
        return max(0.0, min(times) - now)

    def _ask(self, link: _Link, end: socket.socket, now: float) -> None:
        into = link.flows[0] if end is link.near else link.flows[1]
        out = link.flows[1] if end is link.near else link.flows[0]
        events = 0
        if end is link.far and not link.connected:
            events = selectors.EVENT_WRITE
        else:
            if into.size < ROOM and not into.ended:
                events |= selectors.EVENT_READ
            if out.pieces and link.connected and now >= link.held_until and now >= out.pieces[0][0]:
                events |= selectors.EVENT_WRITE
        known = self._selector.get_map().get(end)
        if known is None and events:
            self._selector.register(end, events, link)
        elif known is not None and not events:
            self._selector.unregister(end)
        elif known is not None and known.events != events:
            self._selector.modify(end, events, link)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            near, _ = self._listener.accept()
        except OSError:
            return  # gone again
        if self._refuse or time.monotonic() < self._refuse_until:
            near.close()
            return
        unix = not isinstance(self._target, int)
        far = socket.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_STREAM)
        for end in (near, far):
            end.setblocking(False)
            if not unix:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        target: Any = ("127.0.0.1", self._target)
        far.connect_ex(str(Path(str(self._target)).with_suffix(".real")) if unix else target)
        self._links.append(_Link(near, far))

    def _ready(self, link: _Link, end: Any, events: int) -> None:
        if end is link.far and not link.connected:
            link.connected = not end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            try:
                end.getpeername()
            except OSError:
                self._end([link])  # nobody listens there
            return
        try:
            if events & selectors.EVENT_READ:
                self._read(link, link.flows[0] if end is link.near else link.flows[1])
            if events & selectors.EVENT_WRITE and link in self._links:
                self._write(link, link.flows[1] if end is link.near else link.flows[0])
        except BlockingIOError:
            pass
        except OSError:
            self._end([link])  # one of its ends is gone

    def _read(self, link: _Link, flow: _Flow) -> None:
        data = flow.source.recv(PIECE)
        if not data:
            flow.ended = True
            if not flow.pieces:
                self._end([link])
        elif not (self._swallow or link.swallow):
            now = time.monotonic()
            flow.pieces.append((now + link.late if now < link.late_until else 0.0, memoryview(data)))
            flow.size += len(data)

    def _write(self, link: _Link, flow: _Flow) -> None:
        now = time.monotonic()
        while flow.pieces and flow.pieces[0][0] <= now:
            due, data = flow.pieces.popleft()
            counts = self._next is not None and self._next[0].direction == flow.direction
            size = min(len(data), self._left) if counts else len(data)
            try:
                sent = flow.sink.send(data[:size])
            except BlockingIOError:
                flow.pieces.appendleft((due, data))
                return
            self.passed[flow.direction] += sent
            flow.size -= sent
            if sent < len(data):
                flow.pieces.appendleft((due, data[sent:]))
            if counts and self._next is not None:
                self._left -= sent
                if not self._left:
                    fault = self._next[1]
                    self._draw()
                    self._strike(fault, link)
                    return
        if flow.ended and not flow.pieces:
            self._end([link])

    # --- faults

    def _draw(self) -> None:
        """The next fault is drawn when the one before it has struck: the order of the seed's faults is fixed."""
        if self._weather is not None:
            self._next = self._weather.next()
            point = self._next[0]
            self._left, self._due = point.nbytes, time.monotonic() + point.seconds

    def _strike(self, fault: Fault, link: _Link | None) -> None:
        links = list(self._links) if fault.all or link is None else [link]
        if not links:
            return
        self.faults[fault.kind] += 1
        self.history.append((time.monotonic(), fault, len(links)))
        until = time.monotonic() + fault.seconds
        if fault.kind in ("cut", "reset", "refuse"):
            self._end(links, reset=fault.kind == "reset")
        if fault.kind == "refuse":
            self._refuse_until = until
        for hit in links:
            if fault.kind == "stall":
                hit.held_until = until
            elif fault.kind == "delay":
                hit.late, hit.late_until = fault.seconds / 10, until
            elif fault.kind == "swallow":
                hit.swallow, hit.cut_at = True, until
                for flow in hit.flows:
                    flow.pieces.clear()
                    flow.size = 0

    def _end(self, links: list[_Link], *, reset: bool = False) -> None:
        for link in links:
            if link not in self._links:
                continue
            self._links.remove(link)
            for end in (link.near, link.far):
                if end in self._selector.get_map():
                    self._selector.unregister(end)
                with contextlib.suppress(OSError):  # closed by its peer in this moment
                    if reset:
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                    else:
                        _drain(end)
                end.close()


def _drain(end: socket.socket) -> None:
    """What has come and was not read would make an RST of the FIN that ``close`` sends."""
    end.shutdown(socket.SHUT_WR)
    with contextlib.suppress(BlockingIOError):
        for _ in range(64):
            if not end.recv(PIECE):
                return
