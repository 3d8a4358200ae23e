"""The three ways in which the cases run, each in a process of its own.

``native``: a driver on the cluster. ``thin``: ``import raymq as ray``. ``dropin``: ``import ray``, ``raymq://``.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

WAYS = ("native", "thin", "dropin")

WAY = os.environ.get("RAYMQ_TEST_WAY", "thin")

ray: Any = importlib.import_module("raymq" if WAY == "thin" else "ray")


def part(name: str) -> Any:
    """A module of Ray's, or that of raymq in its place."""
    return importlib.import_module(f"{ray.__name__}.{name}")


def start() -> None:
    """Connect."""
    if WAY == "native":
        ray.init(address=os.environ["RAYMQ_TEST_CLUSTER"], log_to_driver=False)
    elif WAY == "thin":
        ray.connect(os.environ["RAYMQ_TEST_HEAD"], timeout=60, log_to_driver=False)
    else:
        ray.init(f"raymq://{os.environ['RAYMQ_TEST_HEAD']}", timeout=60, log_to_driver=False)
