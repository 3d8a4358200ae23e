"""Remote functions: what ``@remote`` makes of a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar, overload

from raymq.absent import ABSENT
from raymq.errors import NotOnClient
from raymq.options import check_task, is_generator, returned
from raymq.shapes import check_arguments

if TYPE_CHECKING:
    from raymq.session import Session
    from raymq.signatures import A, B, C, D, E, F, Form, Given, T

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
"""What a call returns, an ``ObjectRef[int]`` for instance."""


class Definition:
    """A function or class as it is sent to a bridge, once to each.

    Attributes:
        target: the function or class itself.
        kind: ``"function"`` or ``"class"``.
        options: those given to the decorator.
    """

    def __init__(self, target: Any, kind: str, options: dict[str, Any]) -> None:
        self.target = target
        self.kind = kind
        self.options = options

    @property
    def name(self) -> str:
        """The target's name, as it is written in its source."""
        return str(getattr(self.target, "__qualname__", self.target))


class Callee:
    """A remote function or actor class with the options of ``.options()``, ready to be called.

    Args:
        definition: the function or class.
        overrides: options that go before the definition's.
        choose: gives the session, at the time of a call.
    """

    def __init__(self, definition: Definition, overrides: dict[str, Any], choose: Callable[[], Session]) -> None:
        self._definition = definition
        self._overrides = overrides
        self._choose = choose

    @property
    def bind(self) -> NoReturn:
        """What Ray builds graphs of calls with, which a client does not."""
        raise no_graphs()


def no_graphs() -> NotOnClient:
    """Why a client has no ``bind``."""
    return NotOnClient(
        f"bind() is not there on a client: ray.dag {ABSENT['dag']} Or pass the reference that remote() returns to "
        "the next call, which needs no graph.",
        name="bind",
    )


class RemoteFunction(Callee, Generic[P, R_co]):
    """A function that runs in the cluster: ``f.remote(*args, **kwargs)`` returns a reference to its value."""

    def __init__(self, definition: Definition, overrides: dict[str, Any], choose: Callable[[], Session]) -> None:
        super().__init__(definition, overrides, choose)
        function = definition.target
        if inspect.iscoroutinefunction(function):
            raise ValueError("an 'async def' cannot be a remote task; run it in one: asyncio.run(f()), or use an actor")
        check_task(definition.options, overrides, function)
        self._returns = returned({**definition.options, **overrides}, generator=is_generator(function))
        self._signature = inspect.signature(function)
        self.__name__ = definition.name
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    if TYPE_CHECKING:

        @property
        def _form(self) -> Callable[P, R_co]: ...

    @overload
    def remote(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    @overload
    def remote(self: Form[Callable[[A], T]], a: Given[A], /) -> T: ...

    @overload
    def remote(self: Form[Callable[[A, B], T]], a: Given[A], b: Given[B], /) -> T: ...

    @overload
    def remote(self: Form[Callable[[A, B, C], T]], a: Given[A], b: Given[B], c: Given[C], /) -> T: ...

    @overload
    def remote(self: Form[Callable[[A, B, C, D], T]], a: Given[A], b: Given[B], c: Given[C], d: Given[D], /) -> T: ...

    @overload
    def remote(
        self: Form[Callable[[A, B, C, D, E], T]], a: Given[A], b: Given[B], c: Given[C], d: Given[D], e: Given[E], /
    ) -> T: ...

    @overload
    def remote(
        self: Form[Callable[[A, B, C, D, E, F], T]],
        a: Given[A],
        b: Given[B],
        c: Given[C],
        d: Given[D],
        e: Given[E],
        f: Given[F],
        /,
    ) -> T: ...

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function in the cluster; returns at once.

        Returns:
            An ``ObjectRef``; a list of them for ``num_returns`` above 1, None for 0; for a generator an
            ``ObjectRefGenerator``.

        Raises:
            TypeError: the arguments do not fit the function's signature.
            NotPicklable: an argument cannot be pickled; the message names it.
            NotConnected: there is no session.
            SessionLost: the session was lost, and does not start over.
            ObjectLost: so was an argument of it.
            ConnectError: the session cannot start over now.
        """
        check_arguments(self._signature, args, kwargs)
        return self._choose()._lives.for_call(args, kwargs).calls.function(self, args, kwargs)

    @overload
    def options(self, *, num_returns: Any, **options: Any) -> RemoteFunction[P, Any]: ...

    @overload
    def options(self, **options: Any) -> RemoteFunction[P, R_co]: ...

    def options(self, **options: Any) -> RemoteFunction[P, Any]:
        """The same function with other options than the decorator's, for one call or more."""
        return RemoteFunction(self._definition, {**self._overrides, **options}, self._choose)

    def _remote(self, args: Sequence[Any] | None = None, kwargs: dict[str, Any] | None = None, **options: Any) -> Any:
        """``options(**options).remote(*args, **kwargs)``, in one."""
        callee = self.options(**options) if options else self
        return callee.remote(*(args or ()), **(kwargs or {}))

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"a remote function is not called directly: write {self.__name__}.remote(...)")

    def __repr__(self) -> str:
        return f"RemoteFunction({self.__name__})"


def make_function(
    function: Callable[..., Any], options: dict[str, Any], choose: Callable[[], Session]
) -> RemoteFunction[..., Any]:
    """What ``@remote`` makes of a function."""
    return RemoteFunction(Definition(function, "function", options), {}, choose)
