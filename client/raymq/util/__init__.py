"""``ray.util`` for programs that have no Ray: queues, pools, metrics, the cluster's state, and what else Ray has there.

In tasks and actors each of these names is Ray's own.
"""

# No "from __future__ import annotations": that would be an attribute of this module, and is one of Ray's names.

from typing import Any

from raymq.absent import missing
from raymq.api import current_session
from raymq.util import scheduling_strategies
from raymq.util.actor_pool import ActorPool
from raymq.util.check_serialize import inspect_serializability
from raymq.util.debug import disable_log_once_globally, enable_periodic_logging, log_once
from raymq.util.helpers import as_completed, map_unordered
from raymq.util.placement_group import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

__all__ = [
    "ActorPool",
    "as_completed",
    "disable_log_once_globally",
    "enable_periodic_logging",
    "get_current_placement_group",
    "get_node_ip_address",
    "get_placement_group",
    "inspect_serializability",
    "list_named_actors",
    "log_once",
    "map_unordered",
    "placement_group",
    "placement_group_table",
    "remove_placement_group",
    "scheduling_strategies",
]


def list_named_actors(all_namespaces: bool = False) -> list[Any]:
    """The named actors that are there.

    Args:
        all_namespaces: of all namespaces, not only of this session's.

    Returns:
        Their names; with ``all_namespaces`` dicts with ``name`` and ``namespace``.
    """
    return current_session().list_named_actors(all_namespaces)


def get_node_ip_address() -> str:
    """The address of the node on which the session's driver runs, as the cluster knows it; not that of this machine."""
    return str(current_session().request("node_ip_address"))


def __getattr__(name: str) -> Any:
    raise missing(__name__, name)
