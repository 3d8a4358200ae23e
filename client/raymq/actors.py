"""Actors: what ``@remote`` makes of a class, and the handles to its instances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

from raymq.errors import ActorLost
from raymq.functions import Callee, Definition, no_graphs
from raymq.ids import ActorID
from raymq.options import METHOD_OPTIONS, check_actor, check_call, check_creation, check_method, check_method_names
from raymq.refs import Held, Hold
from raymq.shapes import EVERY_ACTOR, METHOD_MARK, Listed, Shape, ShapeOfClass, returned_by

if TYPE_CHECKING:
    from raymq.life import Life
    from raymq.session import Session


class ActorClassInheritanceException(TypeError):
    """A class was derived from an actor class."""


class ActorClass(Callee):
    """A class whose instances live in the cluster: ``C.remote(*args, **kwargs)`` creates one."""

    def __init__(self, definition: Definition, overrides: dict[str, Any], choose: Callable[[], Session]) -> None:
        super().__init__(definition, overrides, choose)
        check_actor(definition.options, overrides)
        self._merged = {**definition.options, **overrides}
        self._shape = ShapeOfClass(definition.target, self._merged)
        self.__name__ = definition.name
        self.__doc__ = definition.target.__doc__

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Create an actor; returns its handle at once, or with a ``name`` when the cluster has given it that.

        What else goes wrong in the creation is raised by the ``get`` of the actor's first call.

        Raises:
            ActorAlreadyExistsError: the name is taken, and ``get_if_exists`` is not given.
            TypeError: the arguments do not fit the constructor's signature.
            ValueError: options exclude each other.
            NotPicklable: an argument cannot be pickled; the message names it.
            NotConnected: there is no session.
            SessionLost: the session was lost, and does not start over.
            ObjectLost: so was an argument of it.
            ConnectError: the session cannot start over now.
        """
        self._shape.check_constructor(args, kwargs)
        check_creation(self._merged, is_async=self._shape.is_async)
        made = self._choose()._lives.for_call(args, kwargs).calls.actor(self, args, kwargs)
        return made._as_known() if self._merged.get("get_if_exists") else made

    @property
    def _takes_name(self) -> bool:
        """Whether an actor that is created must be the only one of its name."""
        options = {**self._definition.options, **self._overrides}
        return bool(options.get("name")) and not options.get("get_if_exists")

    def options(self, **options: Any) -> ActorClass:
        """The same class with other options than the decorator's."""
        return ActorClass(self._definition, {**self._overrides, **options}, self._choose)

    def _remote(
        self, args: Sequence[Any] | None = None, kwargs: dict[str, Any] | None = None, **options: Any
    ) -> ActorHandle:
        """``options(**options).remote(*args, **kwargs)``, in one."""
        kind = self.options(**options) if options else self
        return kind.remote(*(args or ()), **(kwargs or {}))

    def __mro_entries__(self, bases: tuple[Any, ...]) -> NoReturn:
        raise ActorClassInheritanceException(
            f"{self.__name__} is an actor class, and none can be derived from it: derive the class from one that is no "
            "actor class, and decorate it with @remote"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"an actor is not created directly: write {self.__name__}.remote(...)")

    def __repr__(self) -> str:
        return f"ActorClass({self.__name__})"


class ActorHandle(Held):
    """A handle to an actor. The actor is terminated when the last handle dies, unless it is detached."""

    __slots__ = ("_class_name", "_shape")

    _lost = ActorLost

    def __init__(self, life: Life, hold: Hold, class_name: str, shape: Shape) -> None:
        super().__init__(life, hold)
        self._class_name = class_name
        self._shape = shape

    @property
    def _actor_id(self) -> ActorID:
        """Ray's own id of the actor, under the name by which many programs ask for it. Asks the cluster."""
        return cast(ActorID, self._life.request("actor_id", (self,), {}, held=self))

    _ray_actor_id = _actor_id

    def __getattr__(self, name: str) -> ActorMethod:
        if name in self._shape.returns or name in EVERY_ACTOR:
            return ActorMethod(self, name, {})
        raise AttributeError(f"the actor {self._class_name} has no method {name!r}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._shape.returns, *EVERY_ACTOR]

    def _as_known(self) -> ActorHandle:
        """The handle that was there first, if there are more to this actor: so they are equal. Asks the cluster."""
        return cast(ActorHandle, self._life.request("itself", (self,), {}, held=self))

    def _check_made(self) -> None:
        """Wait until the cluster knows the actor.

        Raises:
            Exception: what it says against that.
        """
        self._life.request("actor_id", (self,), {}, held=self)

    def _ask_for_signatures(self) -> Listed:
        """The parameters of its methods, of which only the program that made the actor knows without asking."""
        return cast(Listed, self._life.request("signatures", (self,), {}, held=self))

    def __repr__(self) -> str:
        return f"Actor({self._class_name}, {self._id().hex()})"


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
            TypeError: the arguments do not fit the method's signature. The first call of an actor that this program has
                not made asks the cluster for it.
            NotPicklable: an argument cannot be pickled; the message names it.
            ActorLost: the actor's session was lost.
        """
        self._handle._shape.check(self._name, args, kwargs, self._handle._ask_for_signatures)
        return self._handle._life.calls.method(self, args, kwargs)

    def options(self, **options: Any) -> ActorMethod:
        """The same method with other options, ``num_returns`` for instance."""
        check_call(options, generator=self._handle._shape.may_yield(self._name))
        return ActorMethod(self._handle, self._name, {**self._options, **options})

    def _remote(self, args: Sequence[Any] | None = None, kwargs: dict[str, Any] | None = None, **options: Any) -> Any:
        """``options(**options).remote(*args, **kwargs)``, in one."""
        called = self.options(**options) if options else self
        return called.remote(*(args or ()), **(kwargs or {}))

    @property
    def bind(self) -> NoReturn:
        """What Ray builds graphs of calls with, which a client does not."""
        raise no_graphs()

    def _returns(self) -> int:
        return returned_by(self._handle._shape, self._name, self._options)

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"an actor's method is not called directly: write {self._name}.remote(...)")


def method(*marked: Callable[..., Any], **options: Any) -> Any:
    """Set the options of a method in its class: ``@method(num_returns=2)``.

    Raises:
        AssertionError: an option is unknown, as in Ray.
        ValueError: an option's value is wrong.
    """
    if marked and (options or len(marked) > 1 or not callable(marked[0])):
        raise AssertionError(f"@method takes options by name, as in @method(num_returns=2): {list(METHOD_OPTIONS)}")
    check_method_names(options)

    def mark(function: Any) -> Any:
        check_method(options, function)
        setattr(function, METHOD_MARK, options)
        return function

    return mark(marked[0]) if marked else mark


def make_actor_class(kind: type, options: dict[str, Any], choose: Callable[[], Session]) -> ActorClass:
    """What ``@remote`` makes of a class."""
    return ActorClass(Definition(kind, "class", options), {}, choose)
