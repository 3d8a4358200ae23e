"""What a session's things are to the program that uses it: raymq's own classes, or those of an installed Ray."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from raymq import decorating, exceptions, pickling, remote_errors

if TYPE_CHECKING:
    from raymq.actors import ActorHandle
    from raymq.refs import ObjectRef
    from raymq.session import Session


class Dialect:
    """raymq's own: a program that says ``import raymq``. For one that says ``import ray`` see ``raymq.dropin``.

    Attributes:
        exceptions: the module that has Ray's exceptions.
    """

    exceptions: ModuleType = exceptions

    def own(self, value: Any) -> Any:
        """What of raymq's stands behind a value of the program's, or None: it travels as itself."""
        return None

    def reference(self, reference: ObjectRef[Any]) -> Any:
        """A reference that has come with a value."""
        return reference

    def actor(self, handle: ActorHandle) -> Any:
        """An actor's handle that has come with a value."""
        return handle

    def remote(self, session: Session, target: Any, options: dict[str, Any]) -> Any:
        """A remote function or an actor class that has come with a value."""
        return decorating.decorated(lambda: session, options, target)

    def error(self, description: dict[str, Any], cause: BaseException | None) -> BaseException:
        """An error that was described on the other side; see ``remote_errors.from_description``."""
        return remote_errors.from_description(description, cause)

    def named(self, module: str, name: str) -> Any:
        """The class that stands for one of Ray's, by module and name within Ray.

        Raises:
            LookupError: there is none.
        """
        return pickling.raymq_class(module, name)
