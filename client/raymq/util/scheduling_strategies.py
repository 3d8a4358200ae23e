"""Where tasks and actors run: the strategies for ``.options(scheduling_strategy=...)``, under Ray's names.

Beside these there are ``"DEFAULT"`` and ``"SPREAD"``. All of them travel as calls of their constructors, which on the
way to the cluster are Ray's: the state of Ray's own objects is Ray's business.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from raymq.ids import NodeID
from raymq.packing import type_name

if TYPE_CHECKING:
    from raymq.util.placement_group import PlacementGroup


class PlacementGroupSchedulingStrategy:
    """Run in a placement group.

    Args:
        placement_group: the group, or None for none.
        placement_group_bundle_index: which of its bundles, from 0; -1 stands for any.
        placement_group_capture_child_tasks: whether what the task or actor starts runs in the group, too.
    """

    def __init__(
        self,
        placement_group: PlacementGroup | None,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ) -> None:
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (
            self.placement_group,
            self.placement_group_bundle_index,
            self.placement_group_capture_child_tasks,
        )


class NodeAffinitySchedulingStrategy:
    """Run on a certain node.

    Args:
        node_id: the node's id, as ``nodes()`` and ``get_node_id()`` tell it: 56 hexadecimal digits.
        soft: run elsewhere if there is no such node any more, or it can never have room; else that is an error.

    Raises:
        ValueError: this is no node's id, or the others contradict each other.
    """

    def __init__(
        self, node_id: Any, soft: bool, _spill_on_unavailable: bool = False, _fail_on_unavailable: bool = False
    ) -> None:
        self.node_id = node_id if isinstance(node_id, str) else node_id.hex()
        self.soft = soft
        self._spill_on_unavailable = _spill_on_unavailable
        self._fail_on_unavailable = _fail_on_unavailable
        try:
            nil = NodeID.from_hex(self.node_id).is_nil()
        except ValueError:
            nil = True
        if nil:
            raise ValueError(f"{self.node_id!r} is no node's id; nodes() lists the nodes, each with its NodeID")
        if _spill_on_unavailable and not soft:
            raise ValueError("_spill_on_unavailable is for soft=True: a hard strategy does not go elsewhere")
        if _fail_on_unavailable and soft:
            raise ValueError("_fail_on_unavailable is for soft=False: a soft strategy goes elsewhere")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.node_id, self.soft, self._spill_on_unavailable, self._fail_on_unavailable)


# --- by labels


class _Values:
    def __init__(self, *values: str) -> None:
        name = type(self).__name__
        if not values:
            raise ValueError(f'{name}() takes at least one value of the label, as in {name}("a", "b")')
        for value in values:
            if not isinstance(value, str):
                raise ValueError(f"{name}() takes the values of a label as str, not {value!r}")  # noqa: TRY004 - as Ray
        self.values = list(values)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(self.values)


class In(_Values):
    """The label has one of these values.

    Raises:
        ValueError: there are none, or one is no str.
    """


class NotIn(_Values):
    """The label has none of these values.

    Raises:
        ValueError: there are none, or one is no str.
    """


class Exists:
    """The node has the label."""


class DoesNotExist:
    """The node has no such label."""


Operator = In | NotIn | Exists | DoesNotExist


class LabelMatchExpression(NamedTuple):
    """What is asked of one label."""

    key: str
    operator: Operator


class NodeLabelSchedulingStrategy:
    """Run on a node with certain labels: ``NodeLabelSchedulingStrategy({"region": In("us"), "gpu": Exists()})``.

    Args:
        hard: what must be so, by label.
        soft: what should be so, by label, if there are several such nodes.

    Raises:
        ValueError: nothing is asked at all, or something else than these operators.
    """

    def __init__(self, hard: dict[str, Operator] | None, *, soft: dict[str, Operator] | None = None) -> None:
        self.hard = _expressions(hard, "hard")
        self.soft = _expressions(soft, "soft")
        if not self.hard and not self.soft:
            raise ValueError("NodeLabelSchedulingStrategy() asks for nothing: hard and soft are both empty")

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(NodeLabelSchedulingStrategy, dict(self.hard), soft=dict(self.soft)), ()


def _expressions(asked: dict[str, Operator] | None, which: str) -> list[LabelMatchExpression]:
    if asked is None:
        return []
    if not isinstance(asked, dict):
        raise ValueError(f'{which} is a dict, as in {{"region": In("us")}}, not {type_name(asked)}')  # noqa: TRY004
    for key, operator in asked.items():
        if not isinstance(key, str) or not isinstance(operator, Operator):
            raise ValueError(  # noqa: TRY004 - as Ray does
                f"{which} says In(...), NotIn(...), Exists() or DoesNotExist() of labels; not {operator!r} of {key!r}"
            )
    return [LabelMatchExpression(key, operator) for key, operator in asked.items()]
