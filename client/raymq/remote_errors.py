"""Errors that were described on the other side, rebuilt as exceptions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raymq import errors, exceptions
from raymq.protocol.messages import Pickled


class RemoteTraceback(Exception):
    """Holds the traceback of another process as text; shown as the cause of an exception that was raised there."""

    def __init__(self, text: str) -> None:
        super().__init__(f"\n{text}")


def from_description(error: dict[str, Any], cause: BaseException | None) -> BaseException:
    """Turn the description of an exception into the exception.

    Args:
        error: ``type``, ``mro``, ``message``, ``traceback``, and of a task its ``task``, ``pid`` and ``ip``.
        cause: what a task raised; of an error that is not Ray's, the error itself.
    """
    name, message = str(error.get("type", "")), str(error.get("message", ""))
    bases = [name, *(str(base) for base in error.get("mro", ()))]
    if "RayTaskError" in bases:
        return exceptions.RayTaskError(
            message,
            cause,
            str(error.get("task", "")),
            str(error.get("traceback", "")),
            _pid(error.get("pid")),
            str(error.get("ip", "")),
        ).as_instanceof_cause()
    for base in bases:
        if base in exceptions.BY_NAME:
            return exceptions.BY_NAME[base](message)
    own = getattr(errors, name, None)
    if isinstance(own, type) and issubclass(own, errors.RaymqError):
        return own(message)
    if cause is None:
        cause = errors.RaymqError(f"{name}: {message}")
    cause.__cause__ = RemoteTraceback(str(error.get("traceback", "")))
    return cause


def _pid(value: Any) -> int:
    return value if isinstance(value, int) else 0


def cause(payload: Pickled, load: Callable[[Pickled], Any]) -> BaseException | None:
    """The cause that comes with a Failure or a Refusal, or None.

    Args:
        payload: it, pickled; empty if there is none.
        load: unpickles.
    """
    if not payload.inband:
        return None
    try:
        found = load(payload)
    except Exception:  # a class that this side does not have, or cannot build: the traceback's text has to do
        return None
    return found if isinstance(found, BaseException) else None
