"""The cluster face, continued: packages of files, which clients upload for their runtime environments.

They are where Ray puts its own, in the key-value store of the GCS, which deletes what nobody refers to: Ray's jobs and
detached actors do, and this bridge for the tasks and other actors of its session.
"""

from __future__ import annotations

import contextlib
import functools
import re
import threading
from collections.abc import Callable
from typing import Any

from ray._private.runtime_env import packaging

from raymq_bridge.services import Steps, apart

INTERNALS = (
    "ray._private.runtime_env.packaging.GCS_STORAGE_MAX_SIZE",
    "ray._private.runtime_env.packaging.package_exists(uri)",
    "ray._private.runtime_env.packaging.upload_package_to_gcs(uri, data)",
    "ray._private.runtime_env.packaging.pin_runtime_env_uri(uri, expiration_s)",
)

PIN = 600
"""Seconds for which a package is kept from now on."""

UPLOADS_MAX = 64
"""Packages that may be asked for or stored at a time, each in a thread of its own."""

PACKAGES_MAX = 1_000
"""Packages that one session may have kept."""

_URI = re.compile(r"gcs://[\w.+!-]{1,200}\.(zip|whl)")


class Packages:
    """The packages of a session's tasks and actors: stored, and kept as long as this process lives."""

    def __init__(self) -> None:
        self.operations: dict[str, Callable[..., Any]] = {"package_limit": limit, "package": self.package}
        self._kept: set[str] = set()
        self._lock = threading.Lock()

    def package(self, uri: str, data: bytes | None = None) -> Steps:
        """Keep a package, which is stored first if its data come along. An operation in steps.

        Returns:
            Whether the cluster has it.

        Raises:
            ValueError: it has no such URI, is too large, or one too many.
        """
        if len(self._kept) >= PACKAGES_MAX and uri not in self._kept:
            raise ValueError(f"the session has {PACKAGES_MAX:,} packages, as many as it may")
        if not _URI.fullmatch(uri):
            raise ValueError(f"a package has a URI such as gcs://_ray_pkg_HASH.zip, not {uri!r}")
        return apart("packages", UPLOADS_MAX, functools.partial(self._package, uri, data))

    def _package(self, uri: str, data: bytes | None) -> bool:
        packaging.pin_runtime_env_uri(uri, expiration_s=PIN)  # before the look: what is there then stays
        if data is not None:
            packaging.upload_package_to_gcs(uri, data)
        there = bool(packaging.package_exists(uri))
        if there:
            self._keep(uri)
        return there

    def _keep(self, uri: str) -> None:
        with self._lock:
            first = not self._kept
            self._kept.add(uri)
        if first:
            threading.Thread(target=self._keep_all, name="raymq_packages_kept", daemon=True).start()

    def _keep_all(self) -> None:
        never = threading.Event()
        while not never.wait(PIN / 3):
            with self._lock:
                kept = list(self._kept)
            for uri in kept:
                with contextlib.suppress(Exception):  # of Ray's, of any kind: a GCS that is away, say. The next round
                    packaging.pin_runtime_env_uri(uri, expiration_s=PIN)


def limit() -> int:
    """Bytes that a package must have less of."""
    return int(packaging.GCS_STORAGE_MAX_SIZE)
