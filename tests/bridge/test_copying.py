"""What the holder looks at before it copies; the copies themselves are made in the integration tests."""

from __future__ import annotations

import enum
import functools
import importlib
import inspect
import pickle
import re
import subprocess
import sys
from typing import Any

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from raymq_bridge import copying, holder
from raymq_bridge.copying import check_alone, travels_apart
from raymq_bridge.holder import check_detached
from raymq_bridge.publications import Refused


def _object_ref_deserializer() -> None:
    """Has the name of Ray's own function, so a pickle that mentions it has what a reference leaves there."""


def _actor_handle_deserializer() -> None:
    """The same for actors."""


class TensorTransportEnum(enum.Enum):
    """As in Ray 2.50."""

    OBJECT_STORE = 0
    NCCL = 1


def test_tensors_that_travel_apart_are_known_in_all_versions_of_ray() -> None:
    ordinary: list[list[Any]] = [[], [None], [TensorTransportEnum.OBJECT_STORE]]
    apart: list[list[Any]] = [["NIXL"], [TensorTransportEnum.NCCL]]
    assert not any(travels_apart(b"PYTHON", *transport) for transport in ordinary)
    assert all(travels_apart(b"PYTHON", *transport) for transport in apart)
    assert not any(travels_apart(b"7", *transport) for transport in apart), "an error has none"


NAMES = ["_object_ref_deserializer", "_actor_handle_deserializer", "_rdt_ref_deserializer", "x"]


@given(
    st.recursive(st.sampled_from(NAMES), lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(NAMES), inner))
)
def test_values_that_talk_of_references_are_alone(value: object) -> None:
    check_alone(pickle.dumps(value, protocol=5))
    check_alone(pickle.dumps([value, check_alone], protocol=5))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_object_ref_deserializer, "holds references to other objects"),
        (_actor_handle_deserializer, "an actor's handle"),
    ],
)
@pytest.mark.parametrize("before", [0, 10, 100, 1000])
def test_references_are_found_wherever_they_are(
    function: object, message: str, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickled = pickle.dumps([bytes(before), {"deep": (function,)}], protocol=5)
    for scanned in (16 << 20, 64, 33):
        monkeypatch.setattr(copying, "SCANNED", scanned)
        with pytest.raises(Refused, match=message):
            check_alone(memoryview(pickled))


def test_actors() -> None:
    check_detached({"State": "ALIVE", "IsDetached": True})
    check_detached({"State": "PENDING_CREATION", "IsDetached": True})
    for actor, message in (
        ({"State": "DEAD", "IsDetached": True}, "the actor is dead"),
        ({}, "the actor is dead"),
        ({"State": "ALIVE", "IsDetached": False}, 'lifetime="detached"'),
    ):
        with pytest.raises(Refused, match=message):
            check_detached(actor)


WITHOUT_RAYMQ = """
import sys
sys.modules.update(dict.fromkeys(["raymq", "raymq_bridge", "raymq_broker", "raymq_cli"]))  # importing one fails
import ray
kind = ray.cloudpickle.loads(sys.stdin.buffer.read())
space = kind.publish.__globals__
table = space["Publications"](0.0)
table.add(space["Publication"]("name", "object", 1, "id", 2, {}, 0.0, 5.0), replace=False, now=1.0)
try:
    table.find("name", 5.0)
except space["Refused"] as refused:
    print(refused.message)
print(space["copied"].__globals__["_REFERENCE"].groups)
"""


def test_the_holder_needs_no_raymq_where_it_runs() -> None:
    pickled = ray.cloudpickle.dumps(holder.by_value())
    done = subprocess.run([sys.executable, "-c", WITHOUT_RAYMQ], input=pickled, capture_output=True, timeout=60)
    assert done.stdout.decode().splitlines() == [
        "nothing is published as 'name' any more: its time to live ended 0 s ago. There are no publications.",
        "1",
    ], done.stderr.decode()


def resolved(dotted: str) -> Any:
    """What a dotted name stands for; those of the core worker go without their module."""
    path = dotted.replace("CoreWorker.", "ray._raylet.CoreWorker.", 1).split(".")
    for split in range(len(path), 0, -1):
        try:
            module = importlib.import_module(".".join(path[:split]))
        except ModuleNotFoundError:
            continue
        return functools.reduce(getattr, path[split:], module)
    raise LookupError(dotted)


@pytest.mark.parametrize("internal", [*copying.INTERNALS, *holder.INTERNALS])
def test_the_internals_of_ray_are_where_they_were(internal: str) -> None:
    name, _, arguments = internal.rstrip(")").partition("(")
    found = resolved(name)
    try:
        signature = str(inspect.signature(found))
    except ValueError:
        signature = str(found.__doc__ or arguments)  # one of Cython's, which tells it in its text if at all
    for argument in filter(None, arguments.split(", ")):
        assert re.search(rf"\b{argument}\b", signature), f"{name} has no argument {argument!r} any more: {signature}"
