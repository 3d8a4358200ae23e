"""The supervisor's shell: starts and ends real processes, reads their pipes, and carries out what the core says.

One thread. Children are spawned, never forked off a running interpreter (Ray's threads do not survive that), each in a
session of its own: Ctrl-C in the terminal then reaches the supervisor alone, and what a child leaves behind when it is
killed can be found and ended. Each child's stdin is a pipe that we hold open: its end tells the child that we are gone.
What the core has to tell a child goes the same way.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import FrameType
from typing import IO, Any, ClassVar

from raymq_cli import oom
from raymq_cli.child_process import ChildProcess
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
    Tell,
)
from raymq_cli.pipes import Lines, Writer
from raymq_cli.supervisor import Supervisor

_LEFTOVERS_POLL = 0.1
_READ_SIZE = 65536


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
        self._oom_kills = oom.Recent()

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
        now = time.monotonic()
        if now >= self._oom_kills.next_look():
            self._oom_kills.look(oom.kills(), now)
        deadline = self._core.next_deadline()
        timeout = max(0.0, min(self._oom_kills.next_look(), float("inf") if deadline is None else deadline) - now)
        if any(child.ended_at is not None for child in self._children.values()):
            timeout = min(timeout, _LEFTOVERS_POLL)
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
            died = child.has_just_died(time.monotonic())
            gone = child.is_gone(time.monotonic())  # before its pipes are read for the last time
            self._events += child.events()
            if died:
                killed = child.popen.returncode == -signal.SIGKILL
                self._events.append(child.death(out_of_memory=killed and self._oom_kills.has_risen_to(oom.kills())))
            if gone:
                self._forget(child)
                self._events.append(Exited(child.number, child.popen.returncode, child.last_words.last))

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

    def _tell(self, action: Tell) -> None:
        if action.child in self._children:
            child = self._children[action.child]
            child.tell(action)
            if child.stdin.is_waiting and child.stdin.pipe not in self._selector.get_map():
                self._selector.register(child.stdin.pipe, selectors.EVENT_WRITE, partial(self._flush, child.stdin))

    def _flush(self, writer: Writer) -> None:
        writer.flush()
        if not writer.is_waiting:
            self._selector.unregister(writer.pipe)

    def _end(self, action: Finish) -> None:
        self._finish = action

    def _forget(self, child: ChildProcess) -> None:
        for end in (child.stdin, child.stdout, child.stderr):
            with contextlib.suppress(KeyError):  # it was read to its end, and left, or nothing waits for it
                self._selector.unregister(end.pipe)
        child.close()
        del self._children[child.number]

    _HANDLERS: ClassVar[Mapping[type[Action], Callable[[Runner, Any], None]]] = {
        Spawn: _spawn,
        Send: _send,
        Tell: _tell,
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
