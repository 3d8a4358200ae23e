"""References and handles that are pickled by something else than the session.

Ray's own libraries do so to look into values, and unpickle them in the same process: that gives the same object again.
"""

from __future__ import annotations

import uuid
import weakref
from typing import Any

_alive: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()


def reduced(thing: Any) -> tuple[Any, ...]:
    """What ``__reduce__`` returns."""
    token = vars(thing).setdefault("_token", uuid.uuid4().hex)
    _alive[token] = thing
    return again, (token, type(thing).__bases__[0].__name__)


def again(token: str, kind: str) -> Any:
    """What was pickled, if it is there.

    Raises:
        TypeError: it is not: this is another process, or it has died meanwhile.
    """
    found = _alive.get(token)
    if found is None:
        raise TypeError(
            f"this {kind} can only travel within its own session: as an argument of a remote call, in ray.put(), or "
            "inside a value. Pickled by other means it is found again in its own process only, while it lives there."
        )
    return found
