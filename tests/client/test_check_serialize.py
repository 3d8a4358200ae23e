"""``inspect_serializability``: it finds what cannot be pickled."""

from __future__ import annotations

import io
import threading
from typing import Any

import raymq
import raymq.util.metrics
from raymq.util import inspect_serializability


def inspect(value: Any, **options: Any) -> tuple[bool, dict[tuple[str, ...], Any], str]:
    out = io.StringIO()
    went_well, found = inspect_serializability(value, print_file=out, **options)
    return went_well, {failure.path: failure for failure in found}, out.getvalue()


def test_what_can_be_pickled() -> None:
    @raymq.remote
    def known(n: int) -> Any:
        return known.remote(n - 1), raymq.get

    class Plain:
        def call(self) -> Any:
            return known

    for value in (1, [raymq], known, Plain, Plain(), lambda: known, raymq.util.metrics.Counter("a")):
        assert inspect(value)[:2] == (True, {})


def test_what_cannot() -> None:
    lock = threading.Lock()
    nested = {"a": [1, lock]}
    went_well, found, text = inspect(nested, name="nested")
    assert not went_well
    assert list(found) == [("nested", "['a']", "[1]")]
    assert found["nested", "['a']", "[1]"].obj is lock
    assert found["nested", "['a']", "[1]"].parent is nested["a"]
    assert "at fault: nested -> ['a'] -> [1]" in text
    assert "cannot pickle '_thread.lock' object" in text
    assert "FailTuple(nested -> ['a'] -> [1]" in repr(found["nested", "['a']", "[1]"])


def test_in_closures_and_attributes() -> None:
    inner, other = threading.Lock(), threading.Lock()

    class Holder:
        def __init__(self) -> None:
            self.held, self.fine = inner, 1

    def uses() -> Any:
        return other

    assert [failure.obj for failure in inspect(Holder())[1].values()] == [inner]
    assert list(inspect(Holder(), name="holder")[1]) == [("holder", "held")]
    assert [path[0] for path in inspect(uses)[1]] == ["other"]
    assert [path[0] for path in inspect(raymq.remote(uses))[1]] == ["other"]


def test_no_deeper_than_told() -> None:
    lock = threading.Lock()
    assert list(inspect([[lock]], depth=1)[1]) == [("[0]",)]
    assert list(inspect(lock)[1]) == [()]
    assert "at fault: itself" in inspect(lock)[2]
