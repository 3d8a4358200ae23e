"""Where objects are. In tasks and actors these functions are Ray's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from raymq.api import current_session
from raymq.refs import ObjectRef

Locations = dict[ObjectRef[Any], dict[str, Any]]
"""For each reference a dict with ``node_ids``, those that have a copy in their object store, and ``object_size``."""


def get_object_locations(obj_refs: Sequence[ObjectRef[Any]], timeout_ms: int = -1) -> Locations:
    """Where objects are, and how many bytes they have; a small one is in no object store.

    Args:
        obj_refs: the references.
        timeout_ms: how long to wait at most, in ms; below 0 for ever.

    Returns:
        A dict by reference, with ``node_ids`` and ``object_size``; without those that nothing is known of.

    Raises:
        GetTimeoutError: the time was over.
    """
    return cast(Locations, current_session().request("object_locations", list(obj_refs), timeout_ms))


def get_local_object_locations(obj_refs: Sequence[ObjectRef[Any]]) -> Locations:
    """The same, as far as the session's driver knows it without asking."""
    return cast(Locations, current_session().request("local_object_locations", list(obj_refs)))
