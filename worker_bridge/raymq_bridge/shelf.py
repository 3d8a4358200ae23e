"""What a session keeps by name, for the clients that come after this one. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raymq.protocol.limits import KEPT_MAX, NAME_MAX


class Shelf:
    """References and actors by name; outlives the client that put them here, not the session."""

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}
        self.operations: dict[str, Callable[..., Any]] = {
            "keep": self.keep,
            "kept": self.kept,
            "unkeep": self.unkeep,
            "kept_names": self.names,
        }

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, name: str, real: Any) -> None:
        """Keep a reference or an actor, in the place of what had this name before.

        Raises:
            ValueError: the name is too long, or there are too many.
        """
        if not isinstance(name, str) or not 0 < len(name) <= NAME_MAX:
            raise ValueError(f"a name has 1 to {NAME_MAX} characters")
        if len(self._kept) >= KEPT_MAX and name not in self._kept:
            raise ValueError(f"the session keeps {KEPT_MAX:,} names, as many as it may")
        self._kept[name] = real

    def kept(self, name: str) -> Any:
        """What was kept under a name.

        Raises:
            KeyError: nothing was.
        """
        if name not in self._kept:
            raise KeyError(f"the session keeps nothing under the name {name!r}; it has {self._few()}")
        return self._kept[name]

    def unkeep(self, name: str) -> None:
        """Keep it no longer.

        Raises:
            KeyError: nothing was kept under this name.
        """
        self.kept(name)
        del self._kept[name]

    def names(self) -> list[str]:
        """All names, in the order in which they were first given."""
        return list(self._kept)

    def _few(self) -> str:
        names = ", ".join(map(repr, self.names()[:10]))
        return (names or "no names at all") + (", ..." if len(self._kept) > 10 else "")
