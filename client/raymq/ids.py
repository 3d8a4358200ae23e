"""Ray's ids, for programs that have no Ray: bytes that know what they are the id of."""

from __future__ import annotations

import os
from typing import Any, ClassVar, TypeVar

Id = TypeVar("Id", bound="BaseID")


class BaseID:
    """What all ids have in common.

    Args:
        id: the bytes of the id, ``size()`` of them.

    Raises:
        TypeError: these are no bytes.
        ValueError: there are more or fewer.
    """

    __slots__ = ("_bytes",)

    _size: ClassVar[int]

    def __init__(self, id: bytes) -> None:  # noqa: A002 - Ray's name
        if not isinstance(id, bytes):
            raise TypeError(f"{type(self).__name__} takes bytes, not {type(id).__qualname__}; from_hex() takes text")
        if len(id) != self._size:
            raise ValueError(f"{type(self).__name__} takes {self._size} bytes, not {len(id)}")
        self._bytes = id

    @classmethod
    def size(cls) -> int:
        """Bytes of such an id."""
        return cls._size

    @classmethod
    def from_binary(cls: type[Id], id_bytes: bytes) -> Id:  # noqa: PYI019 - Self came with 3.11
        """The id of these bytes."""
        return cls(id_bytes)

    @classmethod
    def from_hex(cls: type[Id], hex_id: str | bytes) -> Id:  # noqa: PYI019 - Self came with 3.11
        """The id of these hexadecimal digits.

        Raises:
            ValueError: these are no such digits, or not as many as it takes.
        """
        return cls(bytes.fromhex(hex_id if isinstance(hex_id, str) else hex_id.decode()))

    @classmethod
    def nil(cls: type[Id]) -> Id:  # noqa: PYI019 - Self came with 3.11
        """The id of nothing."""
        return cls(b"\xff" * cls._size)

    def is_nil(self) -> bool:
        """Whether it is the id of nothing."""
        return self._bytes == b"\xff" * self._size

    def binary(self) -> bytes:
        """The bytes of the id."""
        return self._bytes

    def hex(self) -> str:
        """The id as hexadecimal digits."""
        return self._bytes.hex()

    def __bytes__(self) -> bytes:
        return self._bytes

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and bytes(other) == self._bytes

    def __hash__(self) -> int:
        return hash((type(self), self._bytes))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._bytes,)


class UniqueID(BaseID):
    """An id that was drawn at random."""

    __slots__ = ()
    _size = 28

    @classmethod
    def from_random(cls: type[Id]) -> Id:  # noqa: PYI019 - Self came with 3.11
        """A new one."""
        return cls(os.urandom(cls._size))


class NodeID(UniqueID):
    """The id of a node."""

    __slots__ = ()


class WorkerID(UniqueID):
    """The id of a worker process."""

    __slots__ = ()


class FunctionID(UniqueID):
    """The id of a remote function."""

    __slots__ = ()


class ActorClassID(UniqueID):
    """The id of an actor class."""

    __slots__ = ()


class JobID(BaseID):
    """The id of a job: a number."""

    __slots__ = ()
    _size = 4

    @classmethod
    def from_int(cls, value: int) -> JobID:
        """The id of the job of this number."""
        return cls(value.to_bytes(cls._size, "little"))

    def int(self) -> int:
        """The number."""
        return int.from_bytes(self._bytes, "little")


class ActorID(BaseID):
    """The id of an actor, which ends in that of its job."""

    __slots__ = ()
    _size = 16

    @property
    def job_id(self) -> JobID:
        """The job that created it."""
        return JobID(self._bytes[-JobID._size :])


class TaskID(BaseID):
    """The id of a task, which ends in that of its actor; of a task of no actor, in one that only names the job."""

    __slots__ = ()
    _size = 24

    def actor_id(self) -> ActorID:
        """The actor whose method it runs."""
        return ActorID(self._bytes[-ActorID._size :])

    def job_id(self) -> JobID:
        """The job that it belongs to."""
        return self.actor_id().job_id


class PlacementGroupID(BaseID):
    """The id of a placement group."""

    __slots__ = ()
    _size = 18

    @classmethod
    def from_random(cls) -> PlacementGroupID:
        """A new one, of no placement group that there is."""
        return cls(os.urandom(cls._size))
