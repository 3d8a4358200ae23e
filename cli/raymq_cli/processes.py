"""The supervisor's shell: starts and ends real processes, reads their pipes, and carries out what the core says.

One thread. Children are spawned, never forked off a running interpreter (Ray's threads do not survive that), each in a
session of its own: Ctrl-C in the terminal then reaches the supervisor alone, and what a child leaves behind when it is
killed can be found and ended. Each child's stdin is a pipe that we hold open: its end tells the child that we are gone.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import FrameType
from typing import IO, Any, ClassVar

import psutil

from raymq_cli.children import parse_line
from raymq_cli.events import (
    Action,
    Announce,
    Event,
    Exited,
    Finish,
    Note,
    Send,
    Spawn,
    Spawned,
    StopRequested,
)
from raymq_cli.supervisor import Supervisor

_LEFTOVERS_POLL = 0.1
_LEFTOVERS_PATIENCE = 3.0
"""Seconds that the processes which a dead child leaves behind have to end by themselves."""

_READ_SIZE = 65536
_READS = 64


class Lines:
    """A pipe that is read without waiting, cut into lines."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        if pipe is None:
            raise ValueError("the process was started without this pipe")
        self.pipe = pipe
        self.ended = False
        self._rest = b""
        os.set_blocking(pipe.fileno(), False)

    def read(self) -> list[bytes]:
        """The lines that have come, up to a few MiB; at the end of the pipe also a last one without a newline."""
        data = self._rest
        for _ in range(_READS):
            try:
                piece = os.read(self.pipe.fileno(), _READ_SIZE)
            except BlockingIOError:
                break
            data += piece
            if not piece:
                self.ended = True
                break
        *lines, self._rest = data.split(b"\n")
        if self.ended and self._rest:
            lines.append(self._rest)
            self._rest = b""
        return lines


class ChildProcess:
    """One child: its process, its pipes, and what is left in its session once it ended."""

    def __init__(self, number: int, arguments: list[str], env: Mapping[str, str]) -> None:
        self.number = number
        self.popen = subprocess.Popen(
            arguments,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.stdout, self.stderr = Lines(self.popen.stdout), Lines(self.popen.stderr)
        self.last_line = ""
        self.ended_at: float | None = None

    def events(self) -> list[Event]:
        """Read what the child wrote: events from stdout; the rest is copied to our stderr."""
        events: list[Event] = []
        for line in self.stdout.read():
            event = parse_line(self.number, line)
            if event is not None:
                events.append(event)
            else:
                _copy(line)
        for line in self.stderr.read():
            _copy(line)
            if line.strip():
                self.last_line = line.decode(errors="replace").strip()
        return events

    def is_gone(self, now: float) -> bool:
        """Whether the child ended and nothing of it is left; what won't end by itself is killed."""
        if self.popen.poll() is None:
            return False
        if self.ended_at is None:
            self.ended_at = now
        left = session_members(self.popen.pid)
        if left and now - self.ended_at > _LEFTOVERS_PATIENCE:
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        return not left

    def close(self) -> None:
        """Close our ends of the pipes."""
        for pipe in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if pipe is not None:
                pipe.close()


def session_members(session: int) -> list[psutil.Process]:
    """The processes of a session (as in setsid) that still run."""
    return [process for process in psutil.process_iter() if _is_member(process, session)]


def _is_member(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, psutil.Error):  # gone, or of another user
        return False


def _copy(line: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody reads our stderr any more
        sys.stderr.buffer.write(line + b"\n")
        sys.stderr.buffer.flush()


class Runner:
    """Runs a ``Supervisor`` until it finishes."""

    def __init__(
        self,
        core: Supervisor,
        launch: Callable[[Spawn], tuple[list[str], Mapping[str, str]]],
        note: Callable[[Note], None],
        announce: Callable[[Announce], None],
        watch: Callable[[Event], Event] = lambda event: event,
        stop_at_end_of: IO[Any] | None = None,
    ) -> None:
        """Take the core, and what the shell is for beside processes.

        Args:
            core: decides.
            launch: gives the command line and the environment of a child.
            note: logs.
            announce: tells the user that clients can connect.
            watch: sees each event before the core does, and may add to it.
            stop_at_end_of: a pipe whose end means that whoever started us is gone.
        """
        self._core = core
        self._launch = launch
        self._note = note
        self._announce = announce
        self._watch = watch
        self._children: dict[int, ChildProcess] = {}
        self._events: deque[Event] = deque()
        self._selector = selectors.DefaultSelector()
        if stop_at_end_of is not None:
            self._selector.register(stop_at_end_of, selectors.EVENT_READ, partial(self._input_came, stop_at_end_of))
        self._stop_requests = 0
        self._finish: Finish | None = None

    def run(self) -> Finish:
        """Block until the core finishes; SIGINT, SIGTERM and SIGHUP ask it to."""
        with self._selector, self._signals():
            try:
                self._advance()
                while self._finish is None:
                    self._wait()
                    self._look()
                    self._advance()
            finally:  # none is left, unless there is a bug in here
                for child in self._children.values():
                    child.popen.kill()
        return self._finish

    def _wait(self) -> None:
        deadline = self._core.next_deadline()
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        if any(child.ended_at is not None for child in self._children.values()):
            timeout = _LEFTOVERS_POLL
        for key, _ in self._selector.select(timeout):
            key.data()

    def _leave_ended(self, lines: Lines) -> None:
        """Let go of a pipe that was read to its end: it would be ready to be read for ever."""
        if lines.ended:
            self._selector.unregister(lines.pipe)

    def _input_came(self, stdin: IO[Any]) -> None:
        if not os.read(stdin.fileno(), _READ_SIZE):
            self._selector.unregister(stdin)
            self._stop_requests += 1

    def _look(self) -> None:
        """Take note of all that happened."""
        while self._stop_requests:
            self._stop_requests -= 1
            self._events.append(StopRequested())
        for child in list(self._children.values()):
            ended = child.is_gone(time.monotonic())  # before its pipes are read for the last time
            self._events += child.events()
            if ended:
                self._forget(child)
                self._events.append(Exited(child.number, child.popen.returncode, child.last_line))

    def _advance(self) -> None:
        """Hand the core what happened, each event after the actions that the one before it led to."""
        self._carry_out(self._core.poll(time.monotonic()))
        while self._events:
            event = self._watch(self._events.popleft())
            self._carry_out(self._core.handle(event, time.monotonic()))

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            self._HANDLERS[type(action)](self, action)

    def _spawn(self, action: Spawn) -> None:
        arguments, env = self._launch(action)
        try:
            child = ChildProcess(action.child, arguments, env)
        except OSError as error:  # the machine has no process or no file left to give
            self._events.append(Exited(action.child, 1, f"it could not be started: {error}"))
            return
        self._children[action.child] = child
        for lines in (child.stdout, child.stderr):
            self._selector.register(lines.pipe, selectors.EVENT_READ, partial(self._leave_ended, lines))
        self._events.append(Spawned(action.child, child.popen.pid))

    def _send(self, action: Send) -> None:
        if action.child in self._children:  # or it ended already, and the core is about to hear of it
            self._children[action.child].popen.send_signal(action.signal)

    def _end(self, action: Finish) -> None:
        self._finish = action

    def _forget(self, child: ChildProcess) -> None:
        for lines in (child.stdout, child.stderr):
            with contextlib.suppress(KeyError):  # it was read to its end, and left
                self._selector.unregister(lines.pipe)
        child.close()
        del self._children[child.number]

    _HANDLERS: ClassVar[Mapping[type[Action], Callable[[Runner, Any], None]]] = {
        Spawn: _spawn,
        Send: _send,
        Note: lambda self, action: self._note(action),
        Announce: lambda self, action: self._announce(action),
        Finish: _end,
    }

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Let signals wake the loop: those that ask us to stop, and SIGCHLD."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        self._selector.register(reader, selectors.EVENT_READ, partial(os.read, reader, _READ_SIZE))
        asked = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup raymq start
            asked.discard(signal.SIGHUP)
        before = {number: signal.signal(number, self._asked_to_stop) for number in asked}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(reader)
            os.close(writer)

    def _asked_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop_requests += 1
