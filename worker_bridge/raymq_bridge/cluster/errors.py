"""What comes in a value's place."""

from __future__ import annotations

from typing import Any

import ray
import ray.exceptions


def is_error(value: Any) -> bool:
    """Whether what came for a reference is Ray's way to say that there is no value."""
    return isinstance(value, ray.exceptions.RayError)


def is_own_error(value: Any) -> bool:
    """Whether this is an error of Ray's own making, and no task's."""
    return isinstance(value, ray.exceptions.RayError) and not isinstance(value, ray.exceptions.RayTaskError)


def is_actor_gone(value: Any) -> bool:
    """Whether what came for a call of an actor's method says that the actor is dead, or out of reach for now."""
    return isinstance(value, ray.exceptions.RayActorError)


def raised(error: Any) -> BaseException:
    """What a task raised, or Ray's own error."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error


def is_error_class(value: Any) -> bool:
    """Whether this is one of Ray's exception classes; the client has one of the same name."""
    return isinstance(value, type) and value.__module__ == ray.exceptions.__name__


def task_error(task: tuple[Any, ...], cause: BaseException | None) -> Any:
    """A ``RayTaskError`` as a client describes one that it hands on.

    Args:
        task: the message, the function, the traceback, the process id and the node.
        cause: what the task raised, or None where the client could not rebuild it.
    """
    message, function, text, pid, ip = task
    raised = cause or ray.exceptions.RayError(message)
    return ray.exceptions.RayTaskError(function, text, raised, pid=pid, ip=ip).as_instanceof_cause()
