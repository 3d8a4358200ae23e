"""``ray.experimental``: where objects are, and ``internal_kv``. In tasks and actors all of it is there."""

# No "from __future__ import annotations": that would be an attribute of this module.

from typing import Any

from raymq.absent import missing
from raymq.experimental.locations import get_local_object_locations, get_object_locations

__all__ = ["get_local_object_locations", "get_object_locations"]


def __getattr__(name: str) -> Any:
    raise missing(__name__, name)
