"""What references, handles and remote functions tell of themselves."""

from __future__ import annotations

from typing import Any

import ray

from raymq.protocol.messages import HELD_BACK, STREAMING


def is_reference(value: Any) -> bool:
    """Whether this is a reference to an object."""
    return isinstance(value, ray.ObjectRef)


def is_actor(value: Any) -> bool:
    """Whether this is a handle to an actor."""
    return isinstance(value, ray.actor.ActorHandle)


def definition(value: Any) -> tuple[Any, dict[str, Any]] | None:
    """What was decorated, and the options: of a remote function or an actor class; None for anything else."""
    if isinstance(value, ray.remote_function.RemoteFunction) and not value._is_cross_language:
        return value._function, value._default_options
    if isinstance(value, ray.actor.ActorClass) and value.__ray_metadata__.modified_class is not None:
        return value.__ray_metadata__.modified_class.__ray_actor_class__, value._default_options
    return None


def identity(value: Any) -> bytes:
    """What makes two references, or two handles, the same."""
    return bytes(value.binary() if is_reference(value) else value._actor_id.binary())


def actor_shape(handle: Any) -> tuple[str, dict[str, int]]:
    """An actor's class name, and for each of its methods the number of values that it returns, or STREAMING's like."""
    methods = {name: _returns(handle, name) for name in handle._ray_method_signatures}
    return handle._ray_actor_creation_function_descriptor.class_name, methods


RAY_S_OWN = "_ray_trace_ctx"
"""A parameter that Ray adds to every method."""


def signatures(handle: Any) -> dict[str, list[tuple[str, int, bool]]]:
    """For each of an actor's methods the parameters: name, kind, and whether there is a default."""
    return {
        method: [(p.name, int(p.kind), p.default is not p.empty) for p in parameters if p.name != RAY_S_OWN]
        for method, parameters in handle._ray_method_signatures.items()
    }


def _returns(handle: Any, name: str) -> int:
    count = handle._ray_method_num_returns.get(name)
    if count == "streaming" or (count is None and handle._ray_method_is_generator.get(name)):
        limit = handle._ray_method_generator_backpressure_num_objects.get(name)
        return STREAMING if limit in (None, -1) else HELD_BACK
    return count if isinstance(count, int) else 1
