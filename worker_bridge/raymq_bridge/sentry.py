"""The watch's shell: a thread that looks at the Ray cluster under the bridge, until it is gone."""

from __future__ import annotations

import errno
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from raymq import daemon
from raymq_bridge.watch import Gcs, Watch

INTERVAL = 1.0
"""Seconds between two looks."""

SECOND_LOOK = 0.2
"""Seconds until the next one when something was missing."""

KNOCK_TIME = 1.0
"""Seconds that a connection may take."""

_ON_THE_WAY = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT)
"""What a connection fails with when there is no way to the machine."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that closes at once: knocking each second would leave a minute's worth of connections in TIME_WAIT."""


@dataclass(frozen=True)
class Place:
    """Where in which cluster a driver is.

    Attributes:
        address: the GCS, ``HOST:PORT``.
        raylet: the process id of this node's raylet; 0 if it cannot be told.
        fault_tolerant: the GCS can be restarted under the running cluster.
    """

    address: str
    raylet: int
    fault_tolerant: bool


class Sentry:
    """Watches one cluster.

    Args:
        place: what to look at.
        gone: called once, from the sentry's own thread, with the news for people.
    """

    def __init__(self, place: Place, gone: Callable[[str], None]) -> None:
        self._place = place
        self._gone = gone
        self._watch = Watch(fault_tolerant=place.fault_tolerant)
        self._raylet = _process(place.raylet)
        self._relieved = threading.Event()

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._run, name="raymq-sentry", daemon=True).start()

    def stop(self) -> None:
        """Watch no more; does not wait."""
        self._relieved.set()

    def _run(self) -> None:
        while not self._relieved.wait(SECOND_LOOK if self._watch.suspicious else INTERVAL):
            what = self._watch.look(raylet=self._raylet_runs(), gcs=knock(self._place.address), now=time.monotonic())
            if what:
                self._gone(self.news(what))
                return

    def news(self, what: str) -> str:
        """What a client is told."""
        return f"the Ray cluster at {self._place.address} is gone: {what} (at {daemon.clock()})"

    def glance(self) -> str:
        """Look once, for whoever has to know it now: the news if something is missing, or nothing."""
        if not self._raylet_runs():
            return self.news("the raylet of this node has ended")
        if knock(self._place.address) is Gcs.REFUSES and not self._place.fault_tolerant:
            return self.news("nothing listens there")
        return ""

    def _raylet_runs(self) -> bool:
        """Also true where the raylet cannot be seen."""
        if self._raylet is None:
            return True
        try:
            return self._raylet.is_running() and self._raylet.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def knock(address: str) -> Gcs:
    """Connect to a GCS, and close the connection at once."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_TIME) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    except ConnectionRefusedError:
        return Gcs.REFUSES
    except OSError as error:
        # Whatever is wrong on our own side (no file descriptor left, say) is no news of the cluster.
        return Gcs.SILENT if isinstance(error, TimeoutError) or error.errno in _ON_THE_WAY else Gcs.ACCEPTS
    return Gcs.ACCEPTS


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid) if pid else None
    except psutil.Error:  # it is hidden from us
        return None


def peer_of(path: str) -> int:
    """The process that listens at a unix socket; 0 if it cannot be told."""
    if not hasattr(socket, "SO_PEERCRED"):  # Linux alone has it
        return 0
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(KNOCK_TIME)
            connection.connect(path)
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return 0
    pid: int = struct.unpack("3i", credentials)[0]
    return pid
