"""What type checkers are told of ``remote``; nothing of it is there at run time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Any, ParamSpec, Protocol, TypeVar, Union, overload

from raymq.actors import ActorClass
from raymq.functions import RemoteFunction
from raymq.generators import ObjectRefGenerator
from raymq.refs import ObjectRef

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
Form_co = TypeVar("Form_co", covariant=True)


class Form(Protocol[Form_co]):
    """A remote function, by what it is called with and what the call returns."""

    @property
    def _form(self) -> Form_co: ...


Given = Union[T, ObjectRef[T]]
"""An argument: the value, or a reference to it. Those that are given by name must be values, for type checkers."""

Plain = RemoteFunction[P, ObjectRef[T]]
Generates = RemoteFunction[P, ObjectRefGenerator[T]]


class Decorator(Protocol):
    """What ``@remote(...)`` with options returns. The first overload that fits is the one that counts."""

    @overload
    def __call__(self, kind: type[Any], /) -> ActorClass: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, function: Callable[P, Generator[T, Any, Any]], /) -> Generates[P, T]: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, function: Callable[P, AsyncGenerator[T, Any]], /) -> Generates[P, T]: ...  # type: ignore[overload-overlap]

    @overload  # whether such a function is a generator, its type does not tell
    def __call__(self, function: Callable[P, Iterator[Any] | AsyncIterator[Any]], /) -> RemoteFunction[P, Any]: ...

    @overload
    def __call__(self, function: Callable[P, T], /) -> Plain[P, T]: ...


class AnyDecorator(Protocol):
    """What ``@remote(num_returns=...)`` returns: a call's result is a list, None, a reference or a generator."""

    @overload
    def __call__(self, kind: type[Any], /) -> ActorClass: ...

    @overload
    def __call__(self, function: Callable[P, Any], /) -> RemoteFunction[P, Any]: ...


class Remote(Protocol):
    """``remote`` itself, without options or with them."""

    @overload
    def __call__(self, kind: type[Any], /) -> ActorClass: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, function: Callable[P, Generator[T, Any, Any]], /) -> Generates[P, T]: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, function: Callable[P, AsyncGenerator[T, Any]], /) -> Generates[P, T]: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, function: Callable[P, Iterator[Any] | AsyncIterator[Any]], /) -> RemoteFunction[P, Any]: ...

    @overload
    def __call__(self, function: Callable[P, T], /) -> Plain[P, T]: ...

    @overload
    def __call__(self, *, num_returns: Any, **options: Any) -> AnyDecorator: ...

    @overload
    def __call__(self, **options: Any) -> Decorator: ...
