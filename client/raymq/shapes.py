"""What a client knows of an actor's methods: what each returns, and which arguments it takes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter, Signature
from typing import Any

from raymq.options import is_generator, is_held_back, returned

METHOD_MARK = "__raymq_method__"
"""The attribute under which ``@method`` leaves its options; the bridge turns them into Ray's."""

EVERY_ACTOR = ("__ray_ready__", "__ray_call__", "__ray_terminate__")
"""Methods that Ray gives to every actor."""

Listed = Mapping[str, Iterable[tuple[str, int, bool]]]
"""For each method its parameters: name, kind (Python's numbers of ``Parameter.kind``), and whether it has a default."""

NO_CONSTRUCTOR = Signature()


def check_arguments(signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse arguments that do not fit.

    Raises:
        TypeError: that is it.
    """
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(str(error)) from None  # without a traceback into inspect


class Shape:
    """The methods of an actor.

    Args:
        returns: for each method the number of values that it returns, as ``returned`` tells it.
    """

    def __init__(self, returns: dict[str, int]) -> None:
        self.returns = returns
        self._listed: dict[str, Signature] | None = None

    def may_yield(self, name: str) -> bool:
        """Whether a method may be a generator: it is not known to be none."""
        return True

    def check(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], ask: Callable[[], Listed]) -> None:
        """Refuse arguments that a method does not take.

        Args:
            name: the method.
            args: the arguments by position.
            kwargs: the arguments by name.
            ask: asks the cluster for the parameters of all methods, if they are not known yet.

        Raises:
            TypeError: they do not fit.
        """
        signature = self._signature(name, ask)
        if signature is not None and (args or kwargs or signature.parameters):
            check_arguments(signature, args, kwargs)

    def _signature(self, name: str, ask: Callable[[], Listed]) -> Signature | None:
        if self._listed is None:
            self._listed = {method: _signature_of(parameters) for method, parameters in ask().items()}
        return self._listed.get(name)


def _signature_of(parameters: Iterable[tuple[str, int, bool]]) -> Signature:
    kinds = {int(kind): kind for kind in type(Parameter.VAR_KEYWORD)}  # type: ignore[attr-defined]
    return Signature(
        [
            Parameter(name, kinds[kind], default=None if optional else Parameter.empty)
            for name, kind, optional in parameters
        ]
    )


class ShapeOfClass(Shape):
    """The methods of a class of this program, whose parameters are known without asking.

    Args:
        kind: the class.
        options: those of the actor class.
    """

    def __init__(self, kind: type, options: dict[str, Any]) -> None:
        members = inspect.getmembers(kind, lambda value: inspect.isfunction(value) or inspect.ismethod(value))
        self._functions = {name: inspect.unwrap(function) for name, function in members}
        self._kind = kind
        super().__init__({name: _returns(function, options) for name, function in self._functions.items()})
        self._signature_here = functools.cache(self._find_signature)

    @property
    def is_async(self) -> bool:
        """Whether one method is a coroutine, which makes the actor an asyncio actor."""
        return any(
            inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
            for function in self._functions.values()
        )

    def may_yield(self, name: str) -> bool:
        """Whether a method is a generator."""
        return name not in self._functions or is_generator(self._functions[name])

    def check_constructor(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Refuse arguments that the constructor does not take; one that is not written in Python takes none.

        Raises:
            TypeError: they do not fit.
        """
        check_arguments(self._signature_here("__init__") or NO_CONSTRUCTOR, args, kwargs)

    def _signature(self, name: str, ask: Callable[[], Listed]) -> Signature | None:
        return self._signature_here(name)

    def _find_signature(self, name: str) -> Signature | None:
        function = self._functions.get(name)
        if function is None:
            return None  # one of EVERY_ACTOR
        signature = inspect.signature(function)
        if inspect.ismethod(function) or isinstance(inspect.getattr_static(self._kind, name), staticmethod):
            return signature
        return signature.replace(parameters=list(signature.parameters.values())[1:])


def _returns(function: Any, options: dict[str, Any]) -> int:
    limit = "_actor_generator_backpressure_num_objects"
    own = {limit: options.get(limit), **getattr(function, METHOD_MARK, {})}
    return returned(own, generator=is_generator(function))


def returned_by(shape: Shape, name: str, options: dict[str, Any]) -> int:
    """How many values a call of a method with these options returns, as ``returned`` tells it."""
    known = shape.returns.get(name, 1)
    if options.get("num_returns") is not None:
        return returned(options)
    return returned(options, generator=True) if known < 0 and is_held_back(options) else known
