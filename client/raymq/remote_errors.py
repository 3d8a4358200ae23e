"""Errors that were described on the other side, rebuilt as exceptions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raymq import errors, exceptions
from raymq.ids import TaskID
from raymq.protocol.messages import Pickled


class RemoteTraceback(Exception):
    """Holds the traceback of another process as text; shown as the cause of an exception that was raised there."""

    def __init__(self, text: str) -> None:
        super().__init__(f"\n{text}")


def from_description(error: dict[str, Any], cause: BaseException | None) -> BaseException:
    """Turn the description of an exception into the exception.

    Args:
        error: ``type``, ``mro``, ``message``, ``traceback``, ``fields``; of a task ``task``, ``pid`` and ``ip``.
        cause: what a task raised; of an error that is not Ray's, the error itself.
    """
    name, message = str(error.get("type", "")), str(error.get("message", ""))
    bases = [name, *(str(base) for base in error.get("mro", ()))]
    if "RayTaskError" in bases:
        failed = exceptions.RayTaskError(
            message,
            cause,
            str(error.get("task", "")),
            str(error.get("traceback", "")),
            _pid(error.get("pid")),
            str(error.get("ip", "")),
        )
        failed._tell(_fields(error))
        return failed.as_instanceof_cause()
    for base in bases:
        if base in exceptions.BY_NAME:
            told = exceptions.BY_NAME[base](message)
            told._tell(_fields(error))
            return told
    own = getattr(errors, name, None)
    if isinstance(own, type) and issubclass(own, errors.RaymqError):
        return own(message)
    if cause is None:
        cause = errors.RaymqError(f"{name}: {message}")
    cause.__cause__ = RemoteTraceback(str(error.get("traceback", "")))
    return cause


def _fields(error: dict[str, Any]) -> dict[str, Any]:
    fields = error.get("fields")
    if not isinstance(fields, dict):
        return {}
    task = fields.get("task_id")
    return {**fields, "task_id": TaskID(task) if isinstance(task, bytes) and len(task) == TaskID.size() else None}


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
