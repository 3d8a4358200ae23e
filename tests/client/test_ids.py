"""Ray's ids."""

from __future__ import annotations

import copy
import pickle

import pytest

import raymq as ray


def test_forms() -> None:
    node = ray.NodeID.from_random()
    assert node == ray.NodeID.from_hex(node.hex()) == ray.NodeID.from_binary(node.binary()) == ray.NodeID(bytes(node))
    assert node.size() == ray.NodeID.size() == 28
    assert repr(node) == f"NodeID({node.hex()})"
    assert {node: 1}[copy.copy(node)] == 1
    assert pickle.loads(pickle.dumps(node)) == node


def test_different_kinds_are_different() -> None:
    assert ray.NodeID(bytes(28)) != ray.WorkerID(bytes(28))
    assert ray.NodeID(bytes(28)) != bytes(28)


def test_nil() -> None:
    assert ray.ActorID.nil().is_nil()
    assert ray.ActorID.nil().hex() == "f" * 32
    assert not ray.PlacementGroupID.from_random().is_nil()


def test_misuse() -> None:
    with pytest.raises(TypeError, match=r"from_hex\(\) takes text"):
        ray.JobID("01000000")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="JobID takes 4 bytes, not 3"):
        ray.JobID(b"123")
    with pytest.raises(ValueError, match="non-hexadecimal"):
        ray.JobID.from_hex("hello")
