"""Ray's remote functions and actor classes, made before or after the connection, as a session calls them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NoReturn

from raymq.actors import ActorClass
from raymq.functions import Callee, Definition, RemoteFunction
from raymq.options import is_generator, is_held_back, returned
from raymq.protocol.messages import HELD_BACK, STREAMING
from raymq.shapes import EVERY_ACTOR, Listed, Shape


class Converted(Definition):
    """A definition that is kept with Ray's object, under the attribute where Ray keeps a key for it.

    So it lives as long as that object, and serves all contexts.

    Args:
        remote: a ``ray.remote_function.RemoteFunction`` or a ``ray.actor.ActorClass``.
        target: the function or class that was decorated.
        kind: ``"function"`` or ``"class"``.
    """

    def __init__(self, remote: Any, target: Any, kind: str) -> None:
        super().__init__(target, kind, remote._default_options)

    def overrides(self, options: dict[str, Any]) -> dict[str, Any]:
        """Of all options of a call those that the decorator has not given."""
        return {
            name: value
            for name, value in options.items()
            if value is not self.options.get(name) and (value is not None or name in self.options)
        }

    def __reduce__(self) -> Any:
        return str, ("",)  # elsewhere it is a key that nobody knows


class Function(RemoteFunction[Any, Any]):
    """A remote function of Ray's with the options of one call."""

    def __init__(self, definition: ConvertedFunction, options: dict[str, Any]) -> None:
        Callee.__init__(self, definition, definition.overrides(options), _never)  # Ray has checked the options
        self.__name__ = definition.name
        merged = {**definition.options, **self._overrides}
        self._returns = returned(merged, generator=is_generator(definition.target))


class ConvertedFunction(Converted):
    """A remote function."""

    def __init__(self, remote: Any) -> None:
        if remote._is_cross_language:
            raise TypeError("a function in another language can only be called from within the cluster")
        super().__init__(remote, remote._function, "function")
        self.signature = inspect.signature(self.target)
        self.plain = Function(self, {})

    def callee(self, options: dict[str, Any]) -> Function:
        """The function with the options of a call."""
        return Function(self, options) if self.overrides(options) else self.plain


class Class(ActorClass):
    """An actor class of Ray's with the options of one call."""

    def __init__(self, definition: ConvertedClass, options: dict[str, Any]) -> None:
        Callee.__init__(self, definition, definition.overrides(options), _never)
        self.__name__ = definition.name
        self._shape: Shape = definition.shape  # type: ignore[assignment]


class ConvertedClass(Converted):
    """An actor class.

    Attributes:
        signatures: the parameters of each method, without ``self``.
        shape: what is known of its methods.
    """

    def __init__(self, remote: Any) -> None:
        metadata = remote.__ray_metadata__
        if metadata.modified_class is None:
            raise TypeError("a class in another language can only be used from within the cluster")
        super().__init__(remote, metadata.modified_class.__ray_actor_class__, "class")
        self.signatures: dict[str, list[inspect.Parameter]] = metadata.method_meta.signatures
        self.shape = RaysShape(metadata.method_meta)

    def callee(self, options: dict[str, Any]) -> Class:
        """The class with the options of a call."""
        return Class(self, options)


class RaysShape(Shape):
    """The methods of a class of this program, as Ray knows them.

    Args:
        methods: what Ray has found out.
    """

    def __init__(self, methods: Any) -> None:
        super().__init__({name: _returns(methods, name) for name in methods.signatures if name not in EVERY_ACTOR})
        self._parameters = methods.signatures
        self._yields = methods.method_is_generator

    def may_yield(self, name: str) -> bool:
        """Whether a method is a generator."""
        return bool(self._yields.get(name, True))

    def _signature(self, name: str, ask: Callable[[], Listed]) -> inspect.Signature | None:
        parameters = self._parameters.get(name)
        return None if parameters is None else _signature(tuple(parameters))


def _returns(methods: Any, name: str) -> int:
    count = methods.num_returns.get(name)
    if count == "streaming" or (count is None and methods.method_is_generator.get(name)):
        limit = methods.generator_backpressure_num_objects.get(name)
        held_back = is_held_back({"_generator_backpressure_num_objects": limit})
        return HELD_BACK if held_back else STREAMING
    return count if isinstance(count, int) else 1


def converted(remote: Any, attribute: str, make: Callable[[Any], Converted]) -> Converted:
    """What was made of a remote function or actor class before, or is made now.

    Args:
        remote: it.
        attribute: where it is kept.
        make: makes it.
    """
    found = getattr(remote, attribute, None)
    if not isinstance(found, Converted):
        found = make(remote)
        setattr(remote, attribute, found)
    return found


def check_arguments(parameters: list[inspect.Parameter] | None, args: Any, kwargs: Any) -> None:
    """See whether arguments fit.

    Raises:
        TypeError: they do not.
    """
    if parameters is not None:
        _signature(tuple(parameters)).bind(*args, **kwargs)


@functools.lru_cache(maxsize=1000)
def _signature(parameters: tuple[inspect.Parameter, ...]) -> inspect.Signature:
    return inspect.Signature(parameters=parameters)


def _never() -> NoReturn:
    raise LookupError("the context chooses the session")
