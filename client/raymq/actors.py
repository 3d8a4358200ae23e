"""Actors: what ``@remote`` makes of a class, and the handles to its instances."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, cast

from raymq.errors import ActorLost
from raymq.functions import Callee, Definition
from raymq.ids import ActorID
from raymq.options import ACTOR_OPTIONS, METHOD_OPTIONS, check_options, is_held_back, returned
from raymq.protocol.messages import HELD_BACK, STREAMING
from raymq.refs import Held, Hold

if TYPE_CHECKING:
    from raymq.life import Life
    from raymq.session import Session

METHOD_MARK = "__raymq_method__"
"""The attribute under which ``@method`` leaves its options; the bridge turns them into Ray's."""

EVERY_ACTOR = ("__ray_ready__", "__ray_call__", "__ray_terminate__")
"""Methods that Ray gives to every actor."""


def class_shape(kind: type) -> dict[str, int]:
    """The methods of a class that can be called remotely, each with what ``returned`` says of it.

    Raises:
        ValueError: a method's ``num_returns`` cannot be understood.
    """
    shape = {}
    for name, function in inspect.getmembers(kind, callable):
        if not name.startswith("__") or name == "__call__":
            if name == "__call__" and not inspect.isfunction(function):
                continue  # every class can be called; this is no method of its instances
            shape[name] = returned(getattr(function, METHOD_MARK, {}), function)
    return shape


class ActorClass(Callee):
    """A class whose instances live in the cluster: ``C.remote(*args, **kwargs)`` creates one."""

    def __init__(self, definition: Definition, overrides: dict[str, Any], choose: Callable[[], Session]) -> None:
        super().__init__(definition, overrides, choose)
        check_options("actor", ACTOR_OPTIONS, {**definition.options, **self._overrides})
        self._shape = class_shape(definition.target)
        self.__name__ = definition.name
        self.__doc__ = definition.target.__doc__

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Create an actor; returns its handle at once.

        What goes wrong in the creation is raised by the ``get`` of the actor's first call.

        Raises:
            TypeError: the arguments do not fit the constructor's signature.
            NotPicklable: an argument cannot be pickled; the message names it.
            NotConnected: there is no session.
            SessionLost: the session was lost, and does not start over.
            ObjectLost: so was an argument of it.
            ConnectError: the session cannot start over now.
        """
        if "__init__" in vars(self._definition.target):
            inspect.signature(self._definition.target.__init__).bind(None, *args, **kwargs)
        return self._choose()._lives.for_call(args, kwargs).calls.actor(self, args, kwargs)

    def options(self, **options: Any) -> ActorClass:
        """The same class with other options than the decorator's."""
        return ActorClass(self._definition, {**self._overrides, **options}, self._choose)

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"an actor is not created directly: write {self.__name__}.remote(...)")

    def __repr__(self) -> str:
        return f"ActorClass({self.__name__})"


class ActorHandle(Held):
    """A handle to an actor. The actor is terminated when the last handle dies, unless it is detached."""

    __slots__ = ("_class_name", "_shape")

    _lost = ActorLost

    def __init__(self, life: Life, hold: Hold, class_name: str, shape: dict[str, int]) -> None:
        super().__init__(life, hold)
        self._class_name = class_name
        self._shape = shape

    @property
    def _actor_id(self) -> ActorID:
        """Ray's own id of the actor, under the name by which many programs ask for it. Asks the cluster."""
        return cast(ActorID, self._life.request("actor_id", (self,), {}, held=self))

    _ray_actor_id = _actor_id

    def __getattr__(self, name: str) -> ActorMethod:
        if name in self._shape or name in EVERY_ACTOR:
            return ActorMethod(self, name, {})
        raise AttributeError(f"the actor {self._class_name} has no method {name!r}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._shape]

    def __repr__(self) -> str:
        return f"Actor({self._class_name}, {self.hex()})"


class ActorMethod:
    """A method of an actor: ``handle.method.remote(*args, **kwargs)`` calls it."""

    __slots__ = ("_handle", "_name", "_options")

    def __init__(self, handle: ActorHandle, name: str, options: dict[str, Any]) -> None:
        self._handle = handle
        self._name = name
        self._options = options

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method; returns at once.

        Calls of one client to one actor are carried out in their order.

        Returns:
            An ``ObjectRef``; a list of them for ``num_returns`` above 1, None for 0; for a generator an
            ``ObjectRefGenerator``.

        Raises:
            NotPicklable: an argument cannot be pickled; the message names it.
            ActorLost: the actor's session was lost.
        """
        return self._handle._life.calls.method(self, args, kwargs)

    def options(self, **options: Any) -> ActorMethod:
        """The same method with other options, ``num_returns`` for instance."""
        check_options("method", METHOD_OPTIONS, options)
        return ActorMethod(self._handle, self._name, {**self._options, **options})

    def _returns(self) -> int:
        if "num_returns" in self._options:
            return returned(self._options)
        known = self._handle._shape.get(self._name, 1)
        return HELD_BACK if known == STREAMING and is_held_back(self._options) else known

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"an actor's method is not called directly: write {self._name}.remote(...)")


def method(**options: Any) -> Any:
    """Set the options of a method in its class: ``@method(num_returns=2)``.

    Raises:
        ValueError: an option is unknown.
    """
    check_options("method", METHOD_OPTIONS, options)

    def mark(function: Any) -> Any:
        setattr(function, METHOD_MARK, options)
        return function

    return mark


def make_actor_class(kind: type, options: dict[str, Any], choose: Callable[[], Session]) -> ActorClass:
    """What ``@remote`` makes of a class."""
    return ActorClass(Definition(kind, "class", options), {}, choose)
