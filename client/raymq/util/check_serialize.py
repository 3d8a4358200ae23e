"""``inspect_serializability``: what it is in a value that cannot be pickled."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any, TextIO

from raymq import pickling
from raymq.functions import Callee
from raymq.refs import Held


class FailureTuple:
    """Something that cannot be pickled.

    Attributes:
        obj: the thing itself.
        path: the names by which it is reached.
        parent: what it is in; None at the top.
    """

    def __init__(self, obj: Any, path: tuple[str, ...], parent: Any) -> None:
        self.obj = obj
        self.path = path
        self.parent = parent

    def __repr__(self) -> str:
        return f"FailTuple({' -> '.join(self.path) or 'unknown'}, obj={self.obj!r}, parent={self.parent!r})"


def inspect_serializability(
    base_obj: Any, name: str | None = None, depth: int = 3, print_file: TextIO | None = None
) -> tuple[bool, set[FailureTuple]]:
    """Find what it is in a value that cannot be pickled, and print that.

    Args:
        base_obj: a function, a class or any other value.
        name: what to call it.
        depth: how deep to look.
        print_file: where to print; standard output if left out.

    Returns:
        Whether it can be pickled, and what cannot.
    """
    out = print_file or sys.stdout
    found: set[FailureTuple] = set()
    path = (name,) if name is not None else ()
    went_well = _inspect(base_obj, path, None, depth, found)
    out.write(f"{base_obj!r} can{'' if went_well else 'not'} be pickled\n")
    for failure in found:
        out.write(f"  at fault: {' -> '.join(failure.path) or 'itself'}: {failure.obj!r}: {_why(failure.obj)}\n")
    return went_well, found


def _inspect(value: Any, path: tuple[str, ...], parent: Any, depth: int, found: set[FailureTuple]) -> bool:
    if _why(value) is None:
        return True
    parts = _parts(value) if depth > 0 else iter(())
    # No short cut: each of the parts that are at fault is to be found.
    well = [_inspect(part, (*path, name), value, depth - 1, found) for name, part in parts]
    if all(well):
        found.add(FailureTuple(value, path, parent))
    return False


def _why(value: Any) -> str | None:
    """What pickling a value raises; None if it can be pickled."""
    try:
        pickling.dumps(value, _replace)
    except Exception as error:  # the user's classes raise what they like
        return f"{type(error).__name__}: {error}"
    return None


def _replace(value: Any) -> pickling.Fields | None:
    """What stands for a value on its way to a session, without one."""
    if isinstance(value, Callee):
        return "function", value._definition.target
    return ("ref",) if isinstance(value, Held) else pickling.raymq_name(value)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a value consists of, each with a name."""
    if isinstance(value, Callee):
        value = value._definition.target
    if isinstance(value, FunctionType):
        closure = inspect.getclosurevars(value)
        yield from {**closure.globals, **closure.nonlocals}.items()
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield f"the key {key!r}", key
            yield f"[{key!r}]", item
    elif isinstance(value, list | tuple | set | frozenset):
        for place, item in enumerate(value):
            yield f"[{place}]", item
    else:
        for name, item in getattr(value, "__dict__", {}).items():
            if not name.startswith("__"):
                yield name, item
