"""``ray.actor`` for programs that have no Ray. In tasks and actors it is Ray's own module."""

from __future__ import annotations

from typing import NoReturn

from raymq.actors import ActorClass, ActorClassInheritanceException, ActorHandle, ActorMethod, method

__all__ = ["ActorClass", "ActorClassInheritanceException", "ActorHandle", "ActorMethod", "exit_actor", "method"]


def exit_actor() -> NoReturn:
    """End the actor whose method calls this; its ``atexit`` handlers run. It is for methods of actors only.

    Raises:
        TypeError: always, on a client: it is no actor.
    """
    raise TypeError(
        "exit_actor() ends the actor whose method calls it, and this is none; kill(handle) ends one from here"
    )
