"""Exceptions on their way to the client: a description that needs no Ray to be read, and the cause, pickled."""

from __future__ import annotations

import traceback
from typing import Any, NamedTuple

from raymq.protocol.limits import TEXT_MAX


class Failed(NamedTuple):
    """Stands in the table where a call has failed: what the client gets when it asks for the value.

    Attributes:
        error: the description.
        cause: what a task raised, or the error itself if it is not Ray's; None where there is nothing to send.
    """

    error: dict[str, Any]
    cause: BaseException | None


class DependencyFailed(Exception):
    """A call was given a reference whose own call had failed; it fails with the same error."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.error.get("message", ""))
        self.failed = failed


def clip(text: str) -> str:
    """A text that fits into a message: of a longer one the middle is left out."""
    if len(text) <= TEXT_MAX:
        return text
    half = TEXT_MAX // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters ...]\n{text[-half:]}"


def describe(error: BaseException) -> dict[str, Any]:
    """An exception as plain data.

    Returns:
        ``type``, the class's name; ``mro``, the names of its bases, nearest first; ``message``; ``traceback``; and of
        a task's error also ``task``, ``pid`` and ``ip``. ``fields``: what an error of Ray's tells beside these.
    """
    text = getattr(error, "traceback_str", None)
    if text is None:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    described: dict[str, Any] = {
        "type": type(error).__name__,
        "mro": [base.__name__ for base in type(error).__mro__[1:-1]],
        "message": clip(_message(error)),
        "traceback": clip(text),
        "fields": _fields(error),
    }
    for name, key in (("function_name", "task"), ("pid", "pid"), ("ip", "ip")):
        value = getattr(error, name, None)
        if isinstance(value, str | int):
            described[key] = value
    return described


DESCRIBED = frozenset({"function_name", "traceback_str", "pid", "ip", "cause", "args"})
"""Fields of a task's error that a description holds by themselves."""


def _fields(error: BaseException) -> dict[str, Any]:
    """What an error of Ray's tells beside its text, as far as no class is needed for it; of any other error nothing."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    told: dict[str, Any] = {}
    if "RayError" not in kinds:
        return told
    skipped = DESCRIBED if "RayTaskError" in kinds else frozenset()
    for name, value in vars(error).items():
        plain = value.binary() if hasattr(value, "binary") else value  # an id
        if name not in skipped and isinstance(plain, str | bytes | int | float | None):
            told[name.lstrip("_")] = clip(plain) if isinstance(plain, str) else plain
    return told


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as failure:  # a __str__ of the user's
        return f"{type(error).__name__}, whose text cannot be made: {failure!r}"


def own(kind: str, message: str) -> Failed:
    """An error of raymq's own, named as in ``raymq.errors``."""
    return Failed({"type": kind, "mro": [], "message": message, "traceback": "", "fields": {}}, None)
