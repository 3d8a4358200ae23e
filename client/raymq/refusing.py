"""What ``get`` and ``wait`` refuse: what Ray refuses, in the same order and with its words."""

from __future__ import annotations

from typing import Any

from raymq.generators import ObjectRefGenerator
from raymq.refs import ObjectRef


def get_limit(timeout: float | None) -> float | None:
    """How long a get waits. To Ray -1 is None, and its process ends with a failed check for what else is below 0."""
    if timeout is not None and timeout < 0 and timeout != -1:
        raise ValueError(f"a timeout is 0 or more seconds, or -1 for no limit, not {timeout}")
    return None if timeout == -1 else timeout


def checked_get(refs: Any) -> list[ObjectRef[Any]]:
    """The references of a list that ``get`` takes."""
    if not isinstance(refs, list):
        raise ValueError(  # noqa: TRY004 - as Ray does
            f"Invalid type of object refs, {type(refs)}, is given. "
            "'object_refs' must either be an ObjectRef or a list of ObjectRefs. "
        )
    for ref in refs:
        if not isinstance(ref, ObjectRef):
            raise TypeError(f"Attempting to call `get` on the value {ref}, which is not an ray.ObjectRef.")
    return list(refs)


def check_wait(refs: Any, num_returns: int, timeout: float | None) -> None:
    """Refuse what ``wait`` does not take."""
    expected = "wait() expected a list of ray.ObjectRef or ray.ObjectRefGenerator"
    if isinstance(refs, ObjectRef | ObjectRefGenerator):
        raise TypeError(f"{expected}, got a single ray.ObjectRef or ray.ObjectRefGenerator {refs}")
    if not isinstance(refs, list):
        raise TypeError(f"{expected}, got {type(refs)}")
    if timeout is not None and timeout < 0:
        raise ValueError(f"The 'timeout' argument must be nonnegative. Received {timeout}")
    for kind in dict.fromkeys(map(type, refs)):
        if not issubclass(kind, ObjectRef | ObjectRefGenerator):
            raise TypeError(f"{expected}, got list containing {kind}")
    # As they compare, but in less time than these take to.
    if len({(id(ref._life), ref._hold.number) for ref in refs}) != len(refs):
        raise ValueError("Wait requires a list of unique ray_waitables.")
    if refs and num_returns <= 0:
        raise ValueError(f"Invalid number of objects to return {num_returns}.")
    if refs and num_returns > len(refs):
        raise ValueError("num_returns cannot be greater than the number of ray_waitables provided to ray.wait.")
