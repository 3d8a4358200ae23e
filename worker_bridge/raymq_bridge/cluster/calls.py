"""What makes something in the cluster: objects, tasks, actors and calls of their methods."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import ray


def remote(target: Any, options: dict[str, Any]) -> Any:
    """Make a remote function or an actor class, as the decorator ``@ray.remote(**options)`` does."""
    for _, member in inspect.getmembers(target, inspect.isroutine) if isinstance(target, type) else ():
        function = inspect.unwrap(getattr(member, "__func__", member))  # where Ray looks for its marks
        method_options = getattr(function, "__raymq_method__", None)
        if method_options:
            ray.method(**method_options)(function)  # leaves them there
    return ray.remote(**options)(target) if options else ray.remote(target)


def put(value: Any) -> Any:
    """Store a value in the cluster."""
    return ray.put(value)


def submit(callee: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
    """Call a remote function or an actor's method; one reference for each value that it returns."""
    returned = callee.remote(*args, **kwargs)
    if returned is None:
        return []
    return returned if isinstance(returned, list) else [returned]


def create(actor_class: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Create an actor."""
    return actor_class.remote(*args, **kwargs)


def method(handle: Any, name: str, options: dict[str, Any]) -> Any:
    """A method of an actor, ready to be called."""
    found = getattr(handle, name)
    return found.options(**options) if options else found
