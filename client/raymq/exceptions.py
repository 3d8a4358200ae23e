"""Ray's exceptions, under Ray's names and with Ray's tree, for programs that have no Ray.

An exception that was raised in the cluster arrives here as the class of the same name. A task's own exception
arrives as a ``RayTaskError`` that is also an instance of the exception's class, so ``except ValueError`` catches a
remote ``ValueError``.
"""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raymq.ids import TaskID


class _Text:
    """A field that holds the error's whole text, unless the cluster has told it another."""

    def __get__(self, error: BaseException | None, kind: type) -> str:
        return str(error or "")


class RayError(Exception):
    """Base of all errors that come from Ray.

    What an error tells beside its text stands in the fields that its class declares.
    """

    def _tell(self, fields: dict[str, Any]) -> None:
        """Set those of the fields that the class declares."""
        declared = {name for kind in type(self).__mro__ for name in vars(kind).get("__annotations__", ())}
        vars(self).update({name: value for name, value in fields.items() if name in declared})


class CrossLanguageError(RayError):
    """A task in another language failed."""


class TaskCancelledError(RayError):
    """The task was cancelled."""

    task_id: TaskID | None = None
    error_message: str | None = None


class RayTaskError(RayError):
    """A task raised an exception.

    Attributes:
        cause: the exception as it was raised, or None where it could not be rebuilt here.
        function_name: the task or method that raised it.
        traceback_str: the traceback on the worker, as text.
        pid: the worker's process id.
        ip: the worker's node.
        proctitle: what the worker's process was called then.
        actor_repr: of an actor's method, the actor.
    """

    proctitle: str = ""
    actor_repr: str | None = None

    def __init__(
        self,
        message: str,
        cause: BaseException | None = None,
        function_name: str = "",
        traceback_str: str = "",
        pid: int = 0,
        ip: str = "",
    ) -> None:
        # Not super(): in an error that is also of its cause's class that would be the constructor of the user's class.
        Exception.__init__(self, message)
        self._message = message
        self.cause = cause
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.pid = pid
        self.ip = ip

    def __str__(self) -> str:
        return self._message

    def __reduce__(self) -> Any:
        return _task_error, (self._state(), {"proctitle": self.proctitle, "actor_repr": self.actor_repr})

    def _state(self) -> tuple[Any, ...]:
        return self._message, self.cause, self.function_name, self.traceback_str, self.pid, self.ip

    def as_instanceof_cause(self) -> RayTaskError:
        """This error as one that is also an instance of its cause's class; itself where there can be no such class."""
        cause = self.cause
        if cause is None or isinstance(self, type(cause)):
            return self
        try:
            kind: Any = type(f"RayTaskError({type(cause).__name__})", (RayTaskError, type(cause)), {})
            dual: RayTaskError = kind.__new__(kind, *cause.args)
            RayTaskError.__init__(dual, *self._state())
            dual.proctitle, dual.actor_repr = self.proctitle, self.actor_repr
            _copy_state(cause, dual)
        except Exception:  # classes that cannot be subclassed or made this way are the user's, and of any kind
            return self
        dual.__cause__ = cause
        return dual


def _copy_state(source: BaseException, target: BaseException) -> None:
    """Copy what the cause carries: its dictionary, its arguments, and fields that live in C, as ``errno`` does."""
    for name, value in vars(source).items():
        vars(target).setdefault(name, value)
    target.args = source.args
    for kind in type(source).__mro__:
        for name, descriptor in vars(kind).items():
            in_c = inspect.ismemberdescriptor(descriptor) or inspect.isgetsetdescriptor(descriptor)
            if in_c and not name.startswith("_") and kind not in (BaseException, object):
                # Some of them cannot be read before they are set, some are set by __new__ and for good.
                with contextlib.suppress(AttributeError):
                    setattr(target, name, getattr(source, name))


def _task_error(state: tuple[Any, ...], fields: dict[str, Any]) -> RayTaskError:
    error = RayTaskError(*state)
    error._tell(fields)
    return error.as_instanceof_cause()


class LocalRayletDiedError(RayError):
    """The raylet of the task's node died."""


class WorkerCrashedError(RayError):
    """The worker that ran the task died."""


class RayActorError(RayError):
    """An actor cannot carry out the call."""

    BASE_ERROR_MSG = "The actor experienced an error before finishing this task."

    actor_id: str | None = None
    actor_init_failed: bool = False
    preempted: bool = False
    error_msg: str | _Text = _Text()


class ActorDiedError(RayActorError):
    """The actor is dead."""

    BASE_ERROR_MSG = "The actor died unexpectedly before finishing this task."


class ActorUnavailableError(RayActorError):
    """The actor cannot be reached for now."""


class RaySystemError(RayError):
    """Ray itself failed."""

    client_exc: Any = None
    traceback_str: str | None = None


class AuthenticationError(RayError):
    """The cluster refuses the bridge's token."""

    message: str | _Text = _Text()


class UserCodeException(RayError):
    """User code failed within one of Ray's libraries."""


class ObjectStoreFullError(RayError):
    """The object store is full."""


class OutOfDiskError(RayError):
    """A node's disk is full."""


class OutOfMemoryError(RayError):
    """A node ran out of memory, and the worker was killed."""

    message: str | _Text = _Text()


class NodeDiedError(RayError):
    """The node is dead."""

    message: str | _Text = _Text()


class ObjectLostError(RayError):
    """All copies of the object are lost."""

    object_ref_hex: str | None = None
    owner_address: bytes | None = None
    call_site: str = ""


class ObjectFetchTimedOutError(ObjectLostError):
    """The object could not be fetched in time."""


class RpcError(RayError):
    """A call inside of Ray failed."""

    message: str | _Text = _Text()
    rpc_code: int | None = None


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """The object was deleted although it was referred to."""


class ObjectFreedError(ObjectLostError):
    """The object was freed by hand."""


class OwnerDiedError(ObjectLostError):
    """The process that owned the object is dead."""


class ObjectReconstructionFailedError(ObjectLostError):
    """The object was lost and cannot be made again."""

    reason: int | None = None
    reason_message: str | _Text = _Text()


class GetTimeoutError(RayError, TimeoutError):
    """A ``get`` ran out of time."""


class PlasmaObjectNotAvailable(RayError):
    """The object is not in the object store."""


class AsyncioActorExit(RayError):
    """An asyncio actor exits by itself."""


class RuntimeEnvSetupError(RayError):
    """A runtime environment could not be set up."""

    error_message: str | _Text = _Text()


class TaskPlacementGroupRemoved(RayError):
    """The task's placement group was removed."""


class ActorPlacementGroupRemoved(RayError):
    """The actor's placement group was removed."""


class PendingCallsLimitExceeded(RayError):
    """The actor has as many pending calls as it may."""


class TaskUnschedulableError(RayError):
    """The task can never be scheduled."""

    error_message: str | _Text = _Text()


class ActorUnschedulableError(RayError):
    """The actor can never be scheduled."""

    error_message: str | _Text = _Text()


class ObjectRefStreamEndOfStreamError(RayError):
    """A generator has no more values."""


class StreamingGeneratorReplayInconsistentError(RaySystemError):
    """A generator that was run again yielded other values."""


class OufOfBandObjectRefSerializationException(RayError):
    """A reference was pickled outside of Ray."""


class RayChannelError(RaySystemError):
    """A channel of a compiled graph failed."""


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """A channel of a compiled graph timed out."""


class RayCgraphCapacityExceeded(RaySystemError):
    """A compiled graph has as many executions under way as it may."""


class RayDirectTransportError(RaySystemError):
    """A direct transfer between actors failed."""


class UnserializableException(RayError):
    """A task's exception could not be pickled."""


class ActorAlreadyExistsError(ValueError, RayError):
    """An actor of this name exists already."""

    error_message: str | _Text = _Text()


class ActorHandleNotFoundError(ValueError, RayError):
    """The actor handle is not known to the cluster."""

    error_message: str | _Text = _Text()


BY_NAME: dict[str, type[RayError]] = {
    name: value for name, value in list(globals().items()) if isinstance(value, type) and issubclass(value, RayError)
}
"""Every class above, by its name: Ray's exceptions cross the wire by name."""

RAY_EXCEPTION_TYPES = list(BY_NAME.values())
"""All of them. (Ray's own list leaves some out.)"""
