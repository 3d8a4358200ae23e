"""Where a running ``raymq start`` leaves word of itself: one private directory for each.

``/tmp/raymq-<uid>/<pid>/`` holds ``state.json``, the bridges' socket and the cluster's files. Its owner holds a lock
on ``lock`` for as long as it lives, so a directory whose lock is free is left over from a process that was killed;
that holds across pid namespaces too, where process ids mean nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

_SOCKET = "bridges.sock"
_SOCKET_PATH_MAX = 107


_REMOVALS = 20
"""How often a directory is removed before what is left in it is left there."""

_REMOVAL_PAUSE = 0.1
"""Seconds between two of them."""


class DirectoryError(Exception):
    """The runtime directory cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class State:
    """What an instance tells of itself.

    Attributes:
        pid: of the supervisor; with ``created``, see ``created``, it is never mistaken for another process.
        port: the broker's; 0 while a free one is still looked for.
        address: the broker's, ``HOST:PORT``; empty until it is bound.
        bridges: the endpoint that bridges and administrators use.
        started: seconds since the epoch.
        cluster: the cluster's GCS address; empty until it is known.
        cluster_env: what others need in their environment to talk with that cluster.
        ready: whether clients can connect.
    """

    pid: int
    created: float
    port: int
    address: str
    bridges: str
    started: float
    cluster: str = ""
    cluster_env: Mapping[str, str] = field(default_factory=dict)
    ready: bool = False

    def process(self) -> psutil.Process | None:
        """The supervisor, or None if it is gone (or its pid now belongs to another process)."""
        try:
            return psutil.Process(self.pid) if abs(created(self.pid) - self.created) < 1 else None
        except psutil.Error:
            return None


def created(pid: int) -> float:
    """When a process was created, in seconds after the machine's start.

    psutil's own answer is in seconds since the epoch, so it is another one after the clock was set; as is its answer
    when the machine started. The order matters: before version 7, psutil remembers the latter.
    """
    booted = psutil.boot_time()
    return psutil.Process(pid).create_time() - booted


@dataclass(frozen=True)
class Directory:
    """An instance's own directory."""

    path: Path

    @property
    def endpoint(self) -> str:
        return f"ipc://{self.path / _SOCKET}"

    def clear(self) -> None:
        """Remove what a cluster that was killed left in here."""
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)

    def write(self, state: State) -> None:
        """Replace ``state.json`` in one step, so that nobody reads half of it."""
        fresh = self.path / "state.json.new"
        fresh.write_text(json.dumps(asdict(state), indent=1) + "\n")
        fresh.replace(self.path / "state.json")


def root(environ: Mapping[str, str]) -> Path:
    """The directory of all instances of this user: $RAYMQ_RUNTIME_DIR, or /tmp/raymq-<uid>."""
    return Path(environ.get("RAYMQ_RUNTIME_DIR") or _default_root()).absolute()


def _default_root() -> Path:
    return Path(f"/tmp/raymq-{os.getuid()}")


@contextlib.contextmanager
def own_directory(base: Path) -> Iterator[Directory]:
    """Make this process's directory, remove those of the dead, and remove our own at the end.

    Raises:
        DirectoryError: ``base`` is not ours alone, cannot be written, or has too long a name.
    """
    path = base / str(os.getpid())
    if len(os.fsencode(path / _SOCKET)) > _SOCKET_PATH_MAX:
        raise DirectoryError(
            f"{base} is too long a name: a unix socket's path has at most {_SOCKET_PATH_MAX} bytes. "
            "Set RAYMQ_RUNTIME_DIR to a shorter directory, such as /tmp/raymq."
        )
    try:
        _make_private(base)
        # Nobody may take our directory for a dead one's between its making and its locking.
        with _locked(base):
            _remove_dead(base)
            path.mkdir(mode=0o700)
            lock = _open_lock(path / "lock")
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise DirectoryError(
            f"{base} cannot be used for the files of a running raymq: {error}. "
            "Set RAYMQ_RUNTIME_DIR to a directory that you can write."
        ) from error
    with lock:
        try:
            yield Directory(path)
        finally:
            _remove(path)
            _remove_if_unused(base)


def running(base: Path) -> list[State]:
    """The instances that run now, oldest first."""
    states = [_read(path) for path in _directories(base) if not _is_dead(path)]
    return sorted((state for state in states if state is not None), key=lambda state: state.started)


def remove_dead(base: Path) -> None:
    """Remove what killed instances left behind."""
    with contextlib.suppress(OSError), _locked(base):
        _remove_dead(base)
    _remove_if_unused(base)


def _make_private(base: Path) -> None:
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_private(base):
        raise DirectoryError(
            f"{base} is open to others than you. `chmod 700 {base}` if it is yours, "
            "or else set RAYMQ_RUNTIME_DIR to a directory that is."
        )


def _is_private(base: Path) -> bool:
    """Whether it is a directory (no link to one) that only we can change: in /tmp, others can be there first."""
    status = base.lstat()
    mine = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    return mine and not stat.S_IMODE(status.st_mode) & 0o077


def _open_lock(path: Path) -> IO[bytes]:
    return path.open("ab")


@contextlib.contextmanager
def _locked(base: Path) -> Iterator[None]:
    """Hold the lock of all instances, which is on a file that its last owner removes."""
    path = base / "lock"
    while True:
        with _open_lock(path) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                yield
                return
        _make_private(base)


def _directories(base: Path) -> list[Path]:
    if not base.is_dir() or not _is_private(base):
        return []  # what others wrote there is not believed
    return [path for path in base.iterdir() if path.name.isdigit()]


def _is_dead(path: Path) -> bool:
    try:
        with (path / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _remove(path: Path) -> None:
    """Remove a directory, although somebody who is just ending may still put a last file into it."""
    for _ in range(_REMOVALS):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(_REMOVAL_PAUSE)


def _remove_dead(base: Path) -> None:
    for path in _directories(base):
        if _is_dead(path):
            shutil.rmtree(path, ignore_errors=True)


def _remove_if_unused(base: Path) -> None:
    with contextlib.suppress(OSError), _locked(base):
        if not _directories(base):
            (base / "lock").unlink()
            if base == _default_root():  # a directory that the user named is not ours to remove
                base.rmdir()


def _read(path: Path) -> State | None:
    try:
        fields: dict[str, Any] = json.loads((path / "state.json").read_text())
        return State(**fields)
    except (OSError, ValueError, TypeError):
        return None
