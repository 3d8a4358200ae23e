"""Which versions go together: the rules of the handshake."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from raymq.protocol.version import PROTOCOL_NEWEST, PROTOCOL_OLDEST, __version__

COMPARED_PACKAGES = ("cloudpickle", "msgpack", "pyzmq", "numpy", "pandas", "pyarrow", "torch", "scipy", "polars")
"""Packages whose versions both sides tell: pickles of their objects may differ between versions."""

_METADATA = r"(?P<name>[\w.]+)-(?P<version>[^-]+)(-py[\d.]+)?\.(dist|egg)-info"


class Mismatch(NamedTuple):
    """Why two sides cannot work together: an error code of protocol.md, and a sentence that teaches."""

    code: str
    message: str


def package_versions(names: Sequence[str]) -> dict[str, str]:
    """The versions of those packages that are installed here, by the names of the folders that hold their metadata.

    Nothing is imported and no file is read, which is what ``importlib.metadata`` does: 12 ms of a connect(). The names
    of these folders are fixed by the standard (PyPA, "Recording installed projects").
    """
    found: dict[str, str] = {}
    metadata = re.compile(_METADATA)
    for folder in sys.path:
        with contextlib.suppress(OSError):
            for entry in os.scandir(folder or "."):
                if match := metadata.fullmatch(entry.name):
                    found.setdefault(match["name"].lower().replace("_", "-"), match["version"])
    return {name: found[name] for name in names if name in found}


def description() -> dict[str, Any]:
    """What a side tells of itself in the handshake."""
    packages = package_versions(("ray", *COMPARED_PACKAGES))
    return {
        "python": platform.python_version(),
        "raymq": __version__,
        "ray": packages.pop("ray", ""),
        "packages": packages,
    }


def common_protocol(theirs: Any) -> int | None:
    """The newest protocol version of both sides; ``theirs`` is ``[oldest, newest]``. None if there is none."""
    if type(theirs) is not list or len(theirs) != 2 or not all(type(version) is int for version in theirs):
        return None
    newest = min(theirs[1], PROTOCOL_NEWEST)
    return newest if newest >= max(theirs[0], PROTOCOL_OLDEST) else None


def minor(version: str) -> tuple[int, int] | None:
    """The major and minor number of a Python version string, or None if it is none."""
    match = re.match(r"(\d{1,4})\.(\d{1,4})", version)
    return (int(match[1]), int(match[2])) if match else None


def python_mismatch(client: str, cluster: str) -> Mismatch | None:
    """As in Ray: the minor versions must be equal, or functions and classes cannot be pickled across."""
    if minor(client) == minor(cluster) and minor(client) is not None:
        return None
    wanted = ".".join(map(str, minor(cluster) or ("?",)))
    return Mismatch(
        "python-mismatch",
        f"this client runs Python {client}, the cluster runs Python {cluster}: pickled functions do not cross minor "
        f"versions. Run the client with Python {wanted}.",
    )


def ray_mismatch(client: str, cluster: str) -> Mismatch | None:
    """A client may have no Ray; if it has one, it must be the cluster's."""
    if not client or client == cluster:
        return None
    return Mismatch(
        "ray-mismatch",
        f"this client has Ray {client} installed, the cluster runs Ray {cluster}: their objects may not fit each "
        f"other. Install ray=={cluster} on the client, or no Ray at all: raymq needs none there.",
    )


def differing_packages(client: dict[str, str], cluster: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Packages that both sides have, in different versions: name to (client's, cluster's)."""
    both = sorted(client.keys() & cluster.keys())
    return {name: (client[name], cluster[name]) for name in both if client[name] != cluster[name]}
