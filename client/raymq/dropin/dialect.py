"""What of Ray's stands for what of the session's, in values on their way out and in."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType
from typing import Any

import ray.actor
import ray.exceptions
import ray.remote_function

import raymq
from raymq import pickling, remote_errors
from raymq.actors import ActorHandle
from raymq.dialect import Dialect
from raymq.dropin.actors import Handle
from raymq.dropin.functions import ConvertedClass, ConvertedFunction, converted
from raymq.dropin.internals import client_mode_hook, stub
from raymq.dropin.refs import Items, Ref
from raymq.errors import RaymqError
from raymq.protocol.messages import Pickled
from raymq.refs import ObjectRef
from raymq.session import Session


class RaysDialect(Dialect):
    """Ray's: a program that says ``import ray``."""

    exceptions: ModuleType = ray.exceptions

    def own(self, value: Any) -> Any:
        """What of raymq's stands behind a value of the program's, or None: it travels as itself."""
        if isinstance(value, Ref | Handle | Items):
            return value._held
        if isinstance(value, ray.remote_function.RemoteFunction):
            return function(value).plain
        if isinstance(value, ray.actor.ActorClass):
            return actor_class(value).callee({})
        return raymq if value is stub else None

    def reference(self, reference: ObjectRef[Any]) -> Any:
        """A reference that has come with a value."""
        return Ref(reference)

    def actor(self, handle: ActorHandle) -> Any:
        """An actor's handle that has come with a value."""
        return Handle(handle)

    def remote(self, session: Session, target: Any, options: dict[str, Any]) -> Any:
        """A remote function or an actor class that has come with a value, of whichever context is the present one."""
        return ray.remote(**options)(target) if options else ray.remote(target)

    def error(self, description: dict[str, Any], cause: BaseException | None) -> BaseException:
        """An error that was described on the other side, as Ray's own."""
        bases = [str(description.get("type", "")), *map(str, description.get("mro", ()))]
        if "RayTaskError" in bases:
            return _task_error(description, cause)
        own = _unpickled(description.get("pickled"))
        if own is not None:
            return own
        for base in bases:
            kind = getattr(ray.exceptions, base, None)
            if isinstance(kind, type) and issubclass(kind, ray.exceptions.RayError):
                told: BaseException = _told(kind)(str(description.get("message", "")))
                return told
        return remote_errors.from_description(description, cause)

    def named(self, module: str, name: str) -> Any:
        """The class of Ray's of this name."""
        return getattr(importlib.import_module(".".join(filter(None, ("ray", module)))), name)


def function(remote: Any) -> Any:
    """What a session calls for a ``ray.remote_function.RemoteFunction``."""
    return converted(remote, client_mode_hook.RAY_CLIENT_MODE_ATTR, ConvertedFunction)


def actor_class(remote: Any) -> Any:
    """What a session uses for a ``ray.actor.ActorClass``."""
    return converted(remote, client_mode_hook.RAY_CLIENT_MODE_ATTR, ConvertedClass)


def _task_error(description: dict[str, Any], cause: BaseException | None) -> BaseException:
    text = str(description.get("message", ""))
    error: BaseException = _TaskError(
        str(description.get("task", "")),
        str(description.get("traceback", "")),
        cause or RaymqError(text),
        pid=description.get("pid"),
        ip=description.get("ip"),
    )
    error.text = text  # type: ignore[attr-defined]
    dual: BaseException = error.as_instanceof_cause()  # type: ignore[attr-defined]
    return dual


class _TaskError(ray.exceptions.RayTaskError):  # type: ignore[misc]
    """Has the text that the worker has made, which names more of it than the description does."""

    text = ""

    def __str__(self) -> str:
        return self.text


def _unpickled(pickled: Any) -> BaseException | None:
    """An error of Ray's own making, as the cluster has it."""
    if not isinstance(pickled, bytes):
        return None
    try:
        found = pickling.loads(Pickled(pickled), pickling.resolve)
    except Exception:  # it needs what is not there: its text has to do
        return None
    return found if isinstance(found, ray.exceptions.RayError) else None


@functools.cache
def _told(kind: type[BaseException]) -> Any:
    """One of Ray's exceptions that is made of its text: each has a constructor of its own, which makes up the text."""

    def make(self: BaseException, text: str) -> None:
        Exception.__init__(self, text)

    fields = {"__init__": make, "__str__": lambda self: self.args[0], "__module__": kind.__module__}
    return type(kind.__name__, (kind,), {**fields, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__})
