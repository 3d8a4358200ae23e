"""Actor handles and their methods as Ray has them, of a session's actors."""

from __future__ import annotations

import inspect
from typing import Any

import ray.actor

from raymq.actors import ActorHandle, ActorMethod
from raymq.dropin.pickled import reduced
from raymq.dropin.refs import as_ray
from raymq.protocol.messages import HELD_BACK, STREAMING
from raymq.shapes import EVERY_ACTOR

ANYTHING = [
    inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
    inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
]
"""The parameters of a method that is known by its name only."""


class Handle(ray.actor.ActorHandle):  # type: ignore[misc]
    """A ``ray.actor.ActorHandle`` that stands for a handle of a session.

    Args:
        held: that handle.
        signatures: the parameters of its methods, as far as they are known.
    """

    _ray_weak_ref = True
    """Ray's destructor has nothing to do: the session counts."""

    _ray_is_cross_language = False

    def __init__(self, held: ActorHandle, signatures: dict[str, list[inspect.Parameter]] | None = None) -> None:
        self._held = held
        self._ray_method_signatures = signatures or dict.fromkeys(held._shape.returns, ANYTHING)
        self._ray_dag_bind_index = 0
        self._id: Any = None

    @property
    def _ray_actor_id(self) -> Any:
        """The actor's id. Asks the cluster, the first time."""
        if self._id is None:
            self._id = self._held._actor_id
        return self._id

    @property
    def _actor_id(self) -> Any:
        return self._ray_actor_id

    def __getattr__(self, name: str) -> Method:
        if name.startswith("_") and "_held" not in vars(self):
            raise AttributeError(name)  # it is being made
        if name in self._held._shape.returns or name in EVERY_ACTOR:
            return Method(self, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return list(self._ray_method_signatures)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and self._held == other._held

    def __hash__(self) -> int:
        return hash(self._held)

    def __repr__(self) -> str:
        return repr(self._held)

    def __copy__(self) -> Handle:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Handle:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self)


class Method(ray.actor.ActorMethod):  # type: ignore[misc]
    """A method of such a handle.

    Args:
        handle: it.
        name: the method's name.
    """

    def __init__(self, handle: Handle, name: str) -> None:
        self._actor = handle
        self._actor_ref = lambda: handle  # what Ray before 2.50 asks instead
        self._method_name = name
        self._signature = handle._ray_method_signatures.get(name, ANYTHING)
        count = handle._held._shape.returns.get(name, 1)
        self._num_returns = "streaming" if count in (STREAMING, HELD_BACK) else count

    def options(self, **options: Any) -> _WithOptions:
        """The same method with other options."""
        return _WithOptions(self, options)

    def _remote(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Call it."""
        given = {name: value for name, value in options.items() if value is not None and (name, value) != ("name", "")}
        return as_ray(ActorMethod(self._actor._held, self._method_name, {})._remote(args, kwargs, **given))

    def __getstate__(self) -> dict[str, Any]:
        """Ray's graphs look here for the number of values."""
        return {"num_returns": self._num_returns}

    def __reduce__(self) -> Any:
        return getattr, (self._actor, self._method_name)


class _WithOptions:
    def __init__(self, method: Method, options: dict[str, Any]) -> None:
        self._method = method
        self._options = options

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        return self._method._remote(args, kwargs, **self._options)

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        return self._method._bind(args, kwargs, **self._options)
