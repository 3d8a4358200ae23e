"""Placement groups: bundles of resources that are reserved together, on nodes that suit each other."""

from __future__ import annotations

from typing import Any, cast

from raymq.api import current_session
from raymq.ids import PlacementGroupID
from raymq.packing import type_name
from raymq.refs import ObjectRef

Bundles = list[dict[str, float]]


class PlacementGroup:
    """A handle to a placement group. In tasks and actors it is Ray's own.

    Made by ``placement_group`` and ``get_placement_group``. It asks the default session.

    Args:
        id: which it is.
        bundle_cache: its bundles, as far as they are known.
    """

    def __init__(self, id: PlacementGroupID, bundle_cache: Bundles | None = None) -> None:  # noqa: A002 - Ray's name
        self.id = id
        self.bundle_cache = bundle_cache

    @staticmethod
    def empty() -> PlacementGroup:
        """What stands for no placement group."""
        return PlacementGroup(PlacementGroupID.nil())

    @property
    def is_empty(self) -> bool:
        """Whether it stands for no placement group."""
        return self.id.is_nil()

    def ready(self) -> ObjectRef[PlacementGroup]:
        """A reference that is ready when all bundles are reserved; its value is the placement group.

        Its ``get`` raises ``TaskPlacementGroupRemoved`` when the group was removed.
        """
        return cast("ObjectRef[PlacementGroup]", current_session().request("placement_group_ready", self))

    def wait(self, timeout_seconds: float = 30) -> bool:
        """Wait until all bundles are reserved.

        Args:
            timeout_seconds: how long to wait at most.

        Returns:
            Whether they are.

        Raises:
            TaskPlacementGroupRemoved: the group was removed.
        """
        ready = self.ready()
        session = ready._life.session
        if not session.wait([ready], timeout=timeout_seconds)[0]:
            return False
        session.get(ready)
        return True

    @property
    def bundle_specs(self) -> Bundles:
        """The bundles: for each its resources.

        Raises:
            ValueError: there is no such placement group.
        """
        if not self.bundle_cache:
            bundles = placement_group_table(self).get("bundles")
            if bundles is None:
                raise ValueError(f"the cluster knows no placement group {self.id.hex()}")
            self.bundle_cache = list(bundles.values())
        return self.bundle_cache

    @property
    def bundle_count(self) -> int:
        """How many bundles there are."""
        return len(self.bundle_specs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __reduce__(self) -> tuple[Any, ...]:
        return PlacementGroup, (self.id, self.bundle_cache)

    def __repr__(self) -> str:
        return f"PlacementGroup({self.id.hex()})"


def placement_group(
    bundles: Bundles,
    strategy: str | None = None,
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
    topology_strategy: dict[str, str] | None = None,
) -> PlacementGroup:
    """Reserve resources. Returns at once; ``ready`` and ``wait`` tell when they are reserved.

    It ends with its session, unless it is detached, or by ``remove_placement_group``.

    Args:
        bundles: for each bundle its resources, as in ``[{"CPU": 1}, {"GPU": 1, "CPU": 2}]``.
        strategy: ``"PACK"`` (on as few nodes as can be; what None stands for), ``"SPREAD"`` (on as many),
            ``"STRICT_PACK"`` (on one node), ``"STRICT_SPREAD"`` (on one node each).
        name: under which ``get_placement_group`` finds it.
        lifetime: ``"detached"`` lets it outlive the session.
        bundle_label_selector: for each bundle the labels that its node must have.
        topology_strategy: a strategy for each of some topology labels, instead of ``strategy``. Newer Rays have it.

    Raises:
        ValueError: Ray finds something wrong with these.
        NotConnected: there is no session.
    """
    options = {
        "strategy": strategy,
        "lifetime": lifetime,
        "_soft_target_node_id": _soft_target_node_id,
        "bundle_label_selector": bundle_label_selector,
        "topology_strategy": topology_strategy,
    }
    given = {key: value for key, value in options.items() if value is not None}  # older Rays have not all of them
    return cast(PlacementGroup, current_session().request("placement_group", bundles, name=name, **given))


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Give a placement group's resources back. What runs in it is killed.

    Raises:
        TypeError: this is no placement group.
    """
    if not isinstance(placement_group, PlacementGroup):
        raise TypeError(f"remove_placement_group() takes a PlacementGroup, not {type_name(placement_group)}")
    current_session().request("remove_placement_group", placement_group)


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """The placement group of a name, in this session's namespace.

    Raises:
        ValueError: there is none, or the name is empty.
    """
    return cast(PlacementGroup, current_session().request("get_placement_group", placement_group_name))


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[Any, Any]:
    """What Ray knows of a placement group, or of all of them by id.

    Args:
        placement_group: the one, or None for all.

    Returns:
        A dict with ``placement_group_id``, ``name``, ``strategy``, ``state``, ``bundles``, ``bundles_to_node_id`` and
        ``stats``; empty if there is no such group. For all of them a dict of these.
    """
    return cast("dict[Any, Any]", current_session().request("placement_group_table", placement_group))


def get_current_placement_group() -> PlacementGroup | None:
    """The placement group in which this runs: here none. In tasks and actors it is Ray's own function."""
    current_session()
    return None
