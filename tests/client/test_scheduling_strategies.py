"""What is wrong with a scheduling strategy is said where it is made."""

from __future__ import annotations

from typing import Any

import pytest

from raymq.util.scheduling_strategies import (
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
)

NODE = "0" * 56


@pytest.mark.parametrize("node", ["", "hello", "f" * 56, "00"])
def test_what_is_no_node(node: str) -> None:
    with pytest.raises(ValueError, match="is no node's id"):
        NodeAffinitySchedulingStrategy(node, soft=True)


def test_options_that_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="is for soft=True"):
        NodeAffinitySchedulingStrategy(NODE, soft=False, _spill_on_unavailable=True)
    with pytest.raises(ValueError, match="is for soft=False"):
        NodeAffinitySchedulingStrategy(NODE, soft=True, _fail_on_unavailable=True)


@pytest.mark.parametrize("operator", [In, NotIn])
def test_operators(operator: Any) -> None:
    with pytest.raises(ValueError, match=f"{operator.__name__}\\(\\) takes at least one value"):
        operator()
    with pytest.raises(ValueError, match="as str, not 1"):
        operator("a", 1)


@pytest.mark.parametrize(
    ("hard", "message"),
    [
        ({}, "asks for nothing"),
        (None, "asks for nothing"),
        ([("a", In("b"))], "hard is a dict"),
        ({"a": "b"}, r"not 'b' of 'a'"),
        ({1: In("b")}, r"of labels; not .* of 1"),
    ],
)
def test_labels(hard: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NodeLabelSchedulingStrategy(hard)
