"""What a client holds: references to objects in the cluster, never the objects."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, TypeVar, cast

from raymq.errors import ObjectLost, SessionLost
from raymq.ids import ActorID, JobID, TaskID

if TYPE_CHECKING:  # a program that has no coroutines does not pay for asyncio: a third of the import
    import asyncio
    import concurrent.futures

    from raymq.life import Life

T_co = TypeVar("T_co", covariant=True)

Waitable = TypeVar("Waitable", bound="Held")
"""A reference or a generator: what can be waited for."""

ID_SIZE = 28
"""Bytes of a reference's id, as many as Ray's have: the session's 16, then its number in 12."""


class Hold:
    """One count of a number in the bridge's table. When it dies, the number is released once.

    The destructor only appends to a deque: a lock, a wait or a system call in there can deadlock in the middle of any
    other code (ray#59643).
    """

    __slots__ = ("_dropped", "number")

    def __init__(self, number: int, dropped: deque[int]) -> None:
        self.number = number
        self._dropped = dropped

    def __del__(self) -> None:
        self._dropped.append(self.number)


class Held:
    """Something that lives in the cluster and is known here by its number in one life of a session."""

    __slots__ = ("__weakref__", "_hold", "_life")

    _lost: ClassVar[type[SessionLost]]
    """What its use raises when its session was lost."""

    def __init__(self, life: Life, hold: Hold) -> None:
        self._life = life
        self._hold = hold

    def _id(self) -> bytes:
        return self._life.id + self._hold.number.to_bytes(ID_SIZE - 16, "big")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._life is other._life and self._hold.number == other._hold.number

    def __hash__(self) -> int:
        return hash((self._life.id, self._hold.number))

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} can only travel within its own session: as an argument of a remote call, in put(), "
            "or inside a value. It cannot be pickled by other means, since it lives no longer than its session."
        )


class Identified(Held):
    """Something whose id is to be seen. (An actor's methods may have these names.)"""

    __slots__ = ()

    def binary(self) -> bytes:
        """The id: 28 bytes, unique among all sessions."""
        return self._id()

    def hex(self) -> str:
        """The id as 56 hexadecimal digits."""
        return self._id().hex()


class ObjectRef(Identified, Generic[T_co]):
    """A reference to an object in the cluster. The object is released when the last copy of it dies.

    It can be given to remote calls, put into containers, captured by remote functions, awaited, and given to
    ``get`` and ``wait`` of its own session.
    """

    __slots__ = ()

    _lost = ObjectLost

    def task_id(self) -> TaskID:
        """The task that makes the object; of an object that was put, the session's driver's. Asks the cluster.

        Raises:
            Exception: the call could not be made, and so there is no task.
            ObjectLost: the session was lost.
        """
        return cast(TaskID, self._life.request("task_id", (self,), {}, held=self))

    def job_id(self) -> JobID:
        """The job of that task, which is another session's if the object was published by it. Asks the cluster.

        Raises:
            Exception: the call could not be made.
            ObjectLost: the session was lost.
        """
        return cast(JobID, self._life.request("job_id", (self,), {}, held=self))

    def actor_id(self) -> ActorID:
        """``task_id().actor_id()``: the actor whose method makes the object. Asks the cluster.

        Of what a task makes, or is put, it is no actor's id, but ends in the job's, as Ray's task ids have it. Ray's
        references have no such method.

        Raises:
            Exception: the call could not be made, and so there is no task.
            ObjectLost: the session was lost.
        """
        return self.task_id().actor_id()

    def owner_address(self) -> bytes:
        """The process that owns the object, Ray's message ``Address`` as bytes. Asks the cluster.

        Raises:
            Exception: the call could not be made.
            ObjectLost: the session was lost.
        """
        return cast(bytes, self._life.request("owner_address", (self,), {}, held=self))

    def call_site(self) -> str:
        """The line that made the reference, which is the bridge's, if the cluster records these. Asks the cluster.

        Raises:
            Exception: the call could not be made.
            ObjectLost: the session was lost.
        """
        return cast(str, self._life.request("call_site", (self,), {}, held=self))

    @classmethod
    def size(cls) -> int:
        """The bytes of an id."""
        return ID_SIZE

    def is_nil(self) -> bool:
        """Whether it refers to nothing: never."""
        return False

    def future(self) -> concurrent.futures.Future[T_co]:
        """A ``concurrent.futures.Future`` of the value, completed in a thread of raymq's."""
        return self._life.future(self)

    def as_future(self) -> asyncio.Future[T_co]:
        """An ``asyncio.Future`` of the value, in the running event loop.

        ``asyncio.wait`` takes these; ``asyncio.gather`` and ``await`` take references themselves. Cancelling it leaves
        the reference as it is.
        """
        return self._life.as_future(self)

    def __await__(self) -> Generator[Any, None, T_co]:
        return self.as_future().__await__()

    def __repr__(self) -> str:
        return f"ObjectRef({self.hex()})"


ObjectID = ObjectRef
"""Another name of Ray's for it."""
