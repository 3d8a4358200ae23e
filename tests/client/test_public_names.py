"""What ``import raymq`` offers."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import pytest

import raymq
from raymq import api
from raymq.absent import ABSENT


def test_the_functions_are_those_of_the_default_session() -> None:
    """Names are looked up in several modules: none of them hides one of these."""
    functions = [name for name in raymq.__all__ if callable(getattr(api, name, None)) and name[0].islower()]
    assert {"connect", "get", "publish", "published", "keep", "kept"} <= set(functions)
    for name in functions:
        assert getattr(raymq, name) is getattr(api, name), name


# --- names of Ray's that no client has


@pytest.mark.parametrize("name", sorted(ABSENT))
def test_what_is_not_on_a_client_says_why_and_what_to_do(name: str) -> None:
    module, _, last = f"raymq.{name}".rpartition(".")
    where = import_module(module)
    assert not hasattr(where, last)
    with pytest.raises(raymq.NotOnClient, match="not there on a client") as caught:
        getattr(where, last)
    message = str(caught.value)
    assert message.startswith(f"raymq.{name} ")
    assert message.endswith(".")
    assert ": " in ABSENT[name]
    assert name not in raymq.__all__
    assert find_spec(f"raymq.{name}") is None


def test_other_names_are_plainly_missing() -> None:
    for module in (raymq, raymq.util):
        with pytest.raises(AttributeError, match="has no attribute 'nothing'") as caught:
            module.nothing
        assert type(caught.value) is AttributeError


# --- exceptions


def test_ray_s_exceptions_are_all_there_with_ray_s_tree() -> None:
    theirs = pytest.importorskip("ray.exceptions")
    from raymq import exceptions, remote_errors
    from raymq_bridge import failures

    kinds = [
        kind
        for kind in vars(theirs).values()
        if isinstance(kind, type) and issubclass(kind, BaseException) and kind.__module__ == "ray.exceptions"
    ]
    assert {kind.__name__ for kind in kinds} == set(exceptions.BY_NAME)
    for kind in kinds:
        ours = getattr(exceptions, kind.__name__)
        assert [base.__name__ for base in ours.__mro__] == [base.__name__ for base in kind.__mro__]
        if kind is not theirs.RayTaskError:
            # Made without its constructor, which takes what only a cluster has.
            described = failures.describe(kind.__new__(kind))
            assert type(remote_errors.from_description(described, None)) is ours
