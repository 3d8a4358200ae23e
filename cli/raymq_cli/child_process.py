"""One child of the supervisor: its process, its pipes, and what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping

import psutil

from raymq_cli.children import parse_line
from raymq_cli.events import Died, Event, Joined, Tell
from raymq_cli.last_words import LastWords
from raymq_cli.pipes import Lines, Writer

LEFTOVERS_PATIENCE = 3.0
"""Seconds that the processes which a dead child leaves behind have to end by themselves."""


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
        self.stdin = Writer(self.popen.stdin)
        self.stdout, self.stderr = Lines(self.popen.stdout), Lines(self.popen.stderr)
        self.last_words = LastWords()
        self.ended_at: float | None = None
        self._raylet: psutil.Process | None = None

    def tell(self, action: Tell) -> None:
        """Write a line to the child's stdin."""
        self.stdin.put(json.dumps({"event": action.event, **action.fields}).encode())

    def events(self) -> list[Event]:
        """Read what the child wrote: events from stdout; the rest is copied to our stderr."""
        events: list[Event] = []
        for line in self.stdout.read():
            event = parse_line(self.number, line)
            if event is None:
                _copy(line)
            elif isinstance(event, Joined):
                self._raylet = _process(event.raylet)
            else:
                events.append(event)
        for line in self.stderr.read():
            _copy(line)
            self.last_words.hear(line.decode(errors="replace"))
        return events

    def has_just_died(self, now: float) -> bool:
        """Whether the process has ended since this was asked before."""
        if self.ended_at is not None or self.popen.poll() is None:
            return False
        self.ended_at = now
        return True

    def death(self, *, out_of_memory: bool) -> Died:
        """How it ended, after its pipes were read."""
        node_ended = self._raylet is not None and not _runs(self._raylet)
        return Died(self.number, self.popen.returncode, self.last_words.telling(), out_of_memory, node_ended)

    def is_gone(self, now: float) -> bool:
        """Whether the child ended and nothing of it is left; what won't end by itself is killed."""
        if self.ended_at is None:
            return False
        left = session_members(self.popen.pid)
        if left and now - self.ended_at > LEFTOVERS_PATIENCE:
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


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid) if pid else None
    except (ValueError, psutil.Error):  # it is hidden from us
        return None


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _copy(line: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody reads our stderr any more
        sys.stderr.buffer.write(line + b"\n")
        sys.stderr.buffer.flush()
