"""The messages of a session, between client and bridge: what they are, and how each field is checked.

A message is a named tuple with a code; on the wire it is the msgpack array ``[code, *fields]``. References, actors
and functions are numbers that the side which makes them chooses: a client's are odd, a bridge's are even, so that
neither waits for the other. ``MESSAGES`` is the table that the codec, protocol.md and the tests are held against.
"""

# Annotations are evaluated here, as nowhere else: each named tuple would compile the text of its own, in 70 us.
from collections.abc import Callable, Sequence
from functools import cache
from reprlib import repr as brief
from typing import Any, NamedTuple, Union, get_type_hints

from raymq.errors import RemoteProtocolError

Buffer = Union[bytes, memoryview]


class Pickled(NamedTuple):
    """A value in pieces: its pickle, its out-of-band buffers, and the references that it mentions."""

    inband: Buffer
    buffers: Sequence[Buffer] = ()
    refs: Sequence[int] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of the pickle and all its buffers."""
        return len(self.inband) + sum(map(len, self.buffers))


class Coming(NamedTuple):
    """A payload whose bytes travel on the bulk lane, as the transfer of this number."""

    transfer: int
    refs: Sequence[int] = ()


STREAMING = -1
"""Stands for the number of values that a generator returns."""

HELD_BACK = -2
"""The same, of one that is not to run far ahead of whoever reads it: nothing is asked for before it is wanted."""

Payload = Union[Pickled, Coming]

NOTHING = Pickled(b"")
"""The payload of a message that needs none."""

# --- client to bridge -------------------------------------------------------------------------------------------


class Define(NamedTuple):
    """A remote function (``kind`` "function") or an actor class ("class"), pickled with its default options."""

    function: int
    kind: str
    name: str
    payload: Payload


class Put(NamedTuple):
    """Store a value in the cluster under ``ref``."""

    ref: int
    payload: Payload


class Task(NamedTuple):
    """Call a function: ``payload`` is ``(args, kwargs)``, ``options`` a pickled dict or empty; a ref for each value."""

    refs: list[int]
    function: int
    options: bytes
    payload: Payload


class Create(NamedTuple):
    """Create an actor, known from now on as ``actor``."""

    actor: int
    function: int
    options: bytes
    payload: Payload


class Call(NamedTuple):
    """Call a method of an actor."""

    refs: list[int]
    actor: int
    method: str
    options: bytes
    payload: Payload


class Fetch(NamedTuple):
    """Ask for the values of references; each comes as a Value or a Failure, when it is there."""

    refs: list[int]


class Unfetch(NamedTuple):
    """Take a Fetch back: nobody waits any longer. A value already under way still comes."""

    refs: list[int]


class Watch(NamedTuple):
    """Ask to be told when references become ready. Answered at once by a Ready with ``request`` and those that are.

    ``fetch_local``: when they are on the bridge's node, too; they are copied there.
    """

    request: int
    refs: list[int]
    fetch_local: bool


class Release(NamedTuple):
    """Each listed reference is held once less by the client; one that was listed as often as it was made is dropped."""

    refs: list[int]


class Request(NamedTuple):
    """Ask the bridge to do ``operation``, with ``(args, kwargs)`` as the payload; one Reply or Refusal answers."""

    request: int
    operation: str
    payload: Payload


class Next(NamedTuple):
    """Ask for so many items more of a generator; they come in Yielded, as soon as there are some."""

    generator: int
    items: int


class Ahead(NamedTuple):
    """The values of these may be wanted soon: those that are known, small and at hand may come, unasked, as Values."""

    refs: list[int]


class Goodbye(NamedTuple):
    """The session ends here, after all that was sent before."""


class Detach(NamedTuple):
    """The client leaves its named session, which waits ``ttl`` seconds for the next one; after all that was sent."""

    ttl: int


# --- bridge to client -------------------------------------------------------------------------------------------


class Value(NamedTuple):
    """The value of a reference that was fetched."""

    ref: int
    payload: Payload


class Failure(NamedTuple):
    """A fetched reference has no value but an error: ``error`` describes it, ``payload`` holds its pickled cause."""

    ref: int
    error: dict[str, Any]
    payload: Payload


class Ready(NamedTuple):
    """Watched references have a value or an error now. ``request`` is 0 where it does not answer a Watch.

    ``local``: as those asked whose Watch said ``fetch_local``, and the values are on the bridge's node.
    """

    request: int
    refs: list[int]
    local: bool


class Reply(NamedTuple):
    """A Request was done; the payload is what it returned."""

    request: int
    payload: Payload


class Refusal(NamedTuple):
    """A Request failed; fields as in Failure."""

    request: int
    error: dict[str, Any]
    payload: Payload


class Yielded(NamedTuple):
    """A generator's next items, as references that the client holds from now on; ``done``: there are no more."""

    generator: int
    refs: list[int]
    done: bool


class Log(NamedTuple):
    """Lines that the session's workers printed; ``source["stream"]`` is "stdout" or "stderr"."""

    source: dict[str, Any]
    lines: list[str]


# --- on the bulk lane, both ways --------------------------------------------------------------------------------


class Begin(NamedTuple):
    """A transfer begins: ``sizes`` are the bytes of its pickle and then of each of its buffers."""

    transfer: int
    sizes: list[int]


class Chunk(NamedTuple):
    """The next bytes of a transfer: one frame behind the packet's first two."""

    transfer: int


class Compressed(NamedTuple):
    """As Chunk, for bytes that were compressed: by which codec, and how many they are without it."""

    transfer: int
    codec: int
    size: int


Message = Union[
    Define, Put, Task, Create, Call, Fetch, Unfetch, Watch, Release, Request, Goodbye, Detach, Next, Ahead,
    Value, Failure, Ready, Reply, Refusal, Log, Yielded, Begin, Chunk, Compressed,
]  # fmt: skip

MESSAGES: dict[int, Any] = {
    1: Define,
    2: Put,
    3: Task,
    4: Create,
    5: Call,
    6: Fetch,
    7: Unfetch,
    8: Watch,
    9: Release,
    10: Request,
    11: Goodbye,
    12: Detach,
    13: Next,
    14: Ahead,
    32: Value,
    33: Failure,
    34: Ready,
    35: Reply,
    36: Refusal,
    37: Log,
    38: Yielded,
    64: Begin,
    65: Chunk,
    66: Compressed,
}
"""Every message by the code that stands first in its array on the wire."""

CODES: dict[Any, int] = {message: code for code, message in MESSAGES.items()}

FROM_CLIENT = (Define, Put, Task, Create, Call, Fetch, Unfetch, Watch, Release, Request, Goodbye, Detach, Next, Ahead)
FROM_BRIDGE = (Value, Failure, Ready, Reply, Refusal, Log, Yielded)
ON_BULK = (Begin, Chunk, Compressed)
WITH_BYTES = (Chunk, Compressed)
AWAITED = frozenset({Task, Call, Fetch, Request, Value, Failure, Reply, Refusal})
"""What somebody waits for, on its way or on its way back, unless it brings a large payload along."""


def _plain(kind: type) -> Callable[[Any], bool]:
    return lambda value: type(value) is kind


def _count(value: Any) -> bool:
    """An integer that counts or numbers something: never negative, and within 63 bits."""
    return type(value) is int and 0 <= value < 1 << 63


def _list_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: type(value) is list and all(map(check, value))


def _payload(value: Any) -> bool:
    return (
        type(value) is list
        and len(value) == 4
        and type(value[0]) is bytes
        and _counts(value[1])
        and _counts(value[2])
        and _count(value[3])
    )


_counts = _list_of(_count)

_CHECKS: dict[Any, Callable[[Any], bool]] = {
    int: _count,
    str: _plain(str),
    bytes: _plain(bytes),
    bool: _plain(bool),
    list[int]: _counts,
    list[str]: _list_of(_plain(str)),
    dict[str, Any]: lambda value: type(value) is dict and all(type(key) is str for key in value),
    Payload: _payload,
}


@cache
def fields_of(code: int) -> tuple[tuple[str, Any], ...]:
    """The names and types of a message's fields, in the order in which they travel."""
    return tuple(get_type_hints(MESSAGES[code]).items())


@cache
def _checkers(code: int) -> tuple[Callable[[Any], bool], ...]:
    return tuple(_CHECKS[kind] for _, kind in fields_of(code))


def check_message(raw: Any) -> Any:
    """Check one decoded msgpack array and name its message class.

    Raises:
        RemoteProtocolError: no such message, or a field is missing, too many, or of another type.
    """
    if type(raw) is not list or not raw or type(raw[0]) is not int or raw[0] not in MESSAGES:
        raise RemoteProtocolError(f"not a message: {brief(raw)}")
    code = raw[0]
    checkers = _checkers(code)
    if len(raw) != len(checkers) + 1:
        raise RemoteProtocolError(f"{MESSAGES[code].__name__} has {len(checkers)} fields, here are {len(raw) - 1}")
    for position, check in enumerate(checkers, 1):
        if not check(raw[position]):
            name, kind = fields_of(code)[position - 1]
            raise RemoteProtocolError(f"{MESSAGES[code].__name__}.{name} is no {kind}: {brief(raw[position])}")
    return MESSAGES[code]
