"""``RuntimeEnv`` and ``RuntimeEnvConfig``: dicts that say what an environment for tasks and actors is to have."""

from __future__ import annotations

import copy
import json
from typing import Any

SETUP_TIMEOUT = 600
"""Seconds that the cluster gets to make an environment, unless told otherwise."""


def is_uri(value: Any) -> bool:
    """Whether this names what the cluster gets by itself, and not what is on this machine."""
    return "://" in str(value)


def names_files(environment: Any) -> bool:
    """Whether an environment names files of this machine, which are to be uploaded."""
    if not isinstance(environment, dict):
        return False
    modules = environment.get("py_modules") or []
    values = [environment.get("working_dir"), *(modules if isinstance(modules, list) else [modules])]
    return any(value is not None and not is_uri(value) for value in values)


class RuntimeEnvConfig(dict[str, Any]):
    """How an environment is made.

    Args:
        setup_timeout_seconds: how long that may take; -1 for any time.
        eager_install: make it at once, and not when the first worker needs it.
        log_files: log files that the dashboard is to show.

    Raises:
        TypeError: one of them is of another type.
        ValueError: so much time cannot be.
    """

    def __init__(
        self,
        setup_timeout_seconds: int = SETUP_TIMEOUT,
        eager_install: bool = True,
        log_files: list[str] | None = None,
    ) -> None:
        if not isinstance(setup_timeout_seconds, int) or not isinstance(eager_install, bool):
            raise TypeError("setup_timeout_seconds is a whole number, and eager_install True or False")
        if setup_timeout_seconds < 1 and setup_timeout_seconds != -1:
            raise ValueError(f"setup_timeout_seconds is above 0, or -1, not {setup_timeout_seconds}")
        if not all(isinstance(name, str) for name in log_files or ()):
            raise TypeError("log_files is a list of strings")
        super().__init__(
            setup_timeout_seconds=setup_timeout_seconds, eager_install=eager_install, log_files=log_files or []
        )

    def to_dict(self) -> dict[str, Any]:
        """A plain dict of it."""
        return dict(copy.deepcopy(self))


class RuntimeEnv(dict[str, Any]):
    """An environment: whatever ``runtime_env={...}`` may have. The cluster looks whether it can be made.

    In tasks and actors it is Ray's own.

    Args:
        fields: ``pip``, ``env_vars`` and so on; those that are None are left out.

    Raises:
        ValueError: several of ``pip``, ``uv`` and ``conda`` are given.
    """

    def __init__(self, *, _validate: bool = True, **fields: Any) -> None:
        super().__init__({key: value for key, value in fields.items() if value is not None})
        given = [key for key in ("pip", "uv", "conda") if self.get(key) is not None]
        if _validate and len(given) > 1:
            raise ValueError(f"a runtime_env has one of pip, uv and conda, not {' and '.join(given)}")

    def set(self, name: str, value: Any) -> None:
        """Set a field."""
        self[name] = value

    def to_dict(self) -> dict[str, Any]:
        """A plain dict of it."""
        return dict(copy.deepcopy(self))

    def serialize(self) -> str:
        """It as JSON."""
        return json.dumps(self, sort_keys=True)

    @classmethod
    def deserialize(cls, serialized_runtime_env: str) -> RuntimeEnv:
        """One that was written as JSON."""
        return cls(_validate=False, **json.loads(serialized_runtime_env))
