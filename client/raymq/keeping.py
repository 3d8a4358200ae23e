"""What a session keeps by name, for the clients that come after this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from raymq.actors import ActorHandle
from raymq.packing import type_name
from raymq.refs import ObjectRef


class Kept(MutableMapping[str, Any]):
    """References and actors by name: a mapping that lives in the cluster, as long as its session.

    Whoever attaches to a named session finds here what the clients before it kept; everything else that they held is
    gone. Each access asks the cluster. What is looked up is a reference, or an actor's handle, of the present client.

    Args:
        request: asks the bridge for an operation.
    """

    def __init__(self, request: Callable[..., Any]) -> None:
        self._request = request

    def __call__(self, name: str) -> Any:
        """The same as ``kept[name]``."""
        return self[name]

    def __getitem__(self, name: str) -> Any:
        """What was kept under a name.

        Raises:
            KeyError: nothing was.
        """
        return self._request("kept", name)

    def __setitem__(self, name: str, held: ObjectRef[Any] | ActorHandle) -> None:
        """Keep a reference or an actor under a name, in the place of what had this name before.

        Raises:
            TypeError: it is neither; ``put()`` makes a reference of a value.
            ValueError: the name is empty or too long, or the session keeps too many.
        """
        if not isinstance(held, ObjectRef | ActorHandle):
            raise TypeError(f"a session keeps references and actors, not {type_name(held)}: put() it first")
        self._request("keep", name, held)

    def __delitem__(self, name: str) -> None:
        """Keep it no longer.

        Raises:
            KeyError: nothing was kept under this name.
        """
        self._request("unkeep", name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._request("kept_names"))

    def __len__(self) -> int:
        return len(self._request("kept_names"))

    def __contains__(self, name: object) -> bool:
        return name in self._request("kept_names")

    def __repr__(self) -> str:
        return f"<Kept: {', '.join(self) or 'nothing'}>"
