"""What is in the object store comes as Ray has stored it, and is what it would be on the cluster."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import raymq as ray
from tests.integration.conftest import Head

pytestmark = pytest.mark.cluster

LARGE = 200_000
"""Bytes with which a value goes to the object store."""


MAKE: dict[str, Callable[[], Any]] = {
    "nested": lambda: {
        **{f"key-{i}": {"id": i, "values": [i + 0.5, (i, None)], "flag": i % 2 == 0} for i in range(5000)},
        (1, 2): {3, 4},
        5: b"bytes",
        b"key": bytearray(b"changeable"),
        None: [datetime(2026, 1, 1, tzinfo=timezone.utc), Decimal("1.5"), 1 << 200, float("inf"), 1j, frozenset({6})],
    },
    "bytes": lambda: b"x" * LARGE,
    "text": lambda: "é" * LARGE,
    "objects beside": lambda: [bytes(LARGE), {1}, (2, [3]), range(4)],
    "a tuple of many": lambda: tuple(range(LARGE)),
    "plain": lambda: list(range(LARGE)),
}


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_values_are_what_they_are(session: ray.Session, make: Callable[[], Any]) -> None:
    @ray.remote(num_cpus=0)
    def made() -> Any:
        return make()

    value, refs = make(), [made.remote(), ray.put(make()), made.remote()]
    for came in (ray.get(refs[0]), ray.get(refs[1]), *ray.get(refs)):
        assert came == value
        assert type(came) is type(value)
    assert gc.isenabled()


def test_small_ones_that_a_driver_has_put_are_in_the_object_store_too(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def puts() -> list[Any]:
        import ray

        return [ray.put(value) for value in (1, "two", (3,), None, b"", [{}])]

    refs = ray.get(puts.remote())
    assert ray.get(refs) == [1, "two", (3,), None, b"", [{}]]
    assert [ray.get(ref) for ref in refs] == [1, "two", (3,), None, b"", [{}]]


def test_small_ones_are_kept_by_the_client(own_session: ray.Session, cluster: Head) -> None:
    @own_session.remote(num_cpus=0)
    def puts() -> list[Any]:
        import ray

        return [ray.put([1, (2,)]), ray.put(b"three")]

    refs = own_session.get(puts.remote())
    assert own_session.get(refs) == [[1, (2,)], b"three"]
    bridge = cluster.bridge_pid(own_session)
    os.kill(bridge, signal.SIGSTOP)
    try:
        assert [own_session.get(ref, timeout=5) for ref in refs] == [[1, (2,)], b"three"]
    finally:
        os.kill(bridge, signal.SIGCONT)


def test_arrays_in_there_cannot_be_written_to_as_on_the_cluster(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def arrays() -> dict[str, Any]:
        return {"large": np.arange(LARGE), "small": np.arange(3), "objects": np.array([{1}, "two"], dtype=object)}

    @ray.remote(num_cpus=0)
    def flags(value: dict[str, Any]) -> list[bool]:
        return [each.flags.writeable for each in value.values()]

    ref = arrays.remote()
    value = ray.get(ref)
    assert (value["large"] == np.arange(LARGE)).all()
    assert (value["small"] == np.arange(3)).all()
    assert list(value["objects"]) == [{1}, "two"]
    assert [each.flags.writeable for each in value.values()] == ray.get(flags.remote(ref))


def test_nobody_unpickles_them_on_the_way(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def made() -> list[Any]:
        class Unpickler:
            """Becomes the process id of whoever unpickles it."""

            def __reduce__(self) -> Any:
                return os.getpid, ()

        return [Unpickler(), bytes(LARGE)]

    assert ray.get(made.remote())[0] == os.getpid()


def test_what_has_a_meaning_of_its_own_here_has_it(session: ray.Session) -> None:
    @dataclass
    class Local:
        x: int

    @ray.remote(num_cpus=0)
    class Actor:
        def name(self) -> str:
            return "actor"

    @ray.remote(num_cpus=0)
    def mentions(actor: Any, refs: list[Any]) -> list[Any]:
        import ray

        error = ray.exceptions.GetTimeoutError("too late")
        return [
            bytes(LARGE),
            actor,
            refs,
            Local(7),
            error,
            ray.exceptions.RayError,
            ray.NodeID.from_hex("00" * 28),
            mentions,
        ]

    inner = ray.put("inner")
    _, actor, refs, local, error, kind, node, function = ray.get(mentions.remote(Actor.remote(), [inner]))
    assert ray.get(actor.name.remote()) == "actor"
    assert ray.get(refs) == ["inner"]
    assert local == Local(7)
    assert type(local) is Local
    assert type(error) is ray.exceptions.GetTimeoutError
    assert kind is ray.exceptions.RayError
    assert node == ray.NodeID.from_hex("00" * 28)
    assert isinstance(function, ray.remote_function.RemoteFunction)
