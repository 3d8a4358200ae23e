"""Values of a session on their way out and in: what stands for references and their like, and errors that name them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from importlib import import_module
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from raymq import exceptions, pickling, remote_errors
from raymq.actors import ActorHandle
from raymq.errors import NotPicklable, NotUnpicklable, PayloadTooLarge, RaymqError, WrongSession
from raymq.functions import Callee
from raymq.protocol.limits import REFS_MAX, TEXT_MAX
from raymq.protocol.messages import Failure, Pickled, Refusal
from raymq.refs import Held, Hold, ObjectRef
from raymq.shapes import Shape
from raymq.waiting import Answer, payload_of

if TYPE_CHECKING:
    from raymq.life import Life


class Packer:
    """Pickles and unpickles in one life of a session.

    Args:
        life: whose references these are, and which defines the functions that are mentioned.
    """

    def __init__(self, life: Life) -> None:
        self.object_max = 0
        self._life = life
        self._dialect = life.session.dialect

    # --- out

    def pack(self, value: Any, what: Callable[[], str], copied: list[memoryview] | None = None) -> Pickled:
        """Pickle a value. ``what`` says what it is, where an error has to; ``copied`` as in ``pickling.dumps``.

        Raises:
            NotPicklable: it, or something in it, cannot be pickled.
            PayloadTooLarge: it is above the broker's limit.
            WrongSession: it mentions a reference of another session.
        """
        refs: list[int] = []
        try:
            payload = pickling.dumps(value, functools.partial(self._replace, refs), refs, copied)
        except RaymqError:
            raise
        except Exception as error:
            raise NotPicklable(f"{what()} cannot be pickled: {type(error).__name__}: {error}") from error
        if len(refs) > REFS_MAX:
            raise PayloadTooLarge(
                f"{what()} mentions {len(refs):,} references; at most {REFS_MAX:,} can travel at once"
            )
        if payload.nbytes > self.object_max:
            raise PayloadTooLarge(
                f"{what()} has {payload.nbytes:,} bytes pickled; this broker takes objects up to "
                f"{self.object_max:,} (raymq start --max-object-size)"
            )
        return payload

    def pack_call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Pickled:
        """Pickle a call's arguments; an error names the one that is at fault."""
        if not args and not kwargs:
            return pickling.NO_ARGUMENTS
        return self.pack((args, kwargs), lambda: self._culprit(name, args, kwargs))

    def pack_options(self, options: dict[str, Any], name: str) -> bytes:
        """Pickle options, which travel beside the payload and are small."""
        payload = self.pack(options, lambda: f"an option of {name}")
        if payload.buffers or payload.nbytes > TEXT_MAX:
            raise PayloadTooLarge(f"the options of {name} have {payload.nbytes:,} bytes pickled; at most {TEXT_MAX:,}")
        return bytes(payload.inband)

    def own(self, held: Held) -> int:
        """The number of something that this session holds.

        Raises:
            WrongSession: another session holds it.
            SessionLost: its session was lost, now or in an earlier life.
        """
        life = held._life
        if life.ended is not None and life.session is self._life.session:
            life.check(held)
        if life is not self._life:
            theirs, ours = life.session, self._life.session
            raise WrongSession(f"{held!r} belongs to {theirs!r}, not to {ours!r}: use it with its own session")
        return held._hold.number

    def _replace(self, refs: list[int], value: Any) -> pickling.Fields | None:
        kind = type(value)
        if kind is ObjectRef:
            refs.append(self.own(value))
            return "ref", refs[-1]
        if kind is ActorHandle:
            refs.append(self.own(value))
            return "actor", refs[-1]
        if issubclass(kind, Callee):
            number, options = self._life.calls.prepare(value)
            refs.append(number)
            return "function", number, options
        if issubclass(kind, exceptions.RayTaskError):
            message, cause, *task = value._state()
            return "error", (message, *task), cause
        if kind is ModuleType or kind is FunctionType or kind is type:
            return pickling.raymq_name(value)
        own = self._dialect.own(value)
        return None if own is None else self._replace(refs, own)

    def _culprit(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Which argument of a call cannot be pickled, or is the largest."""
        largest = ("the arguments", -1)
        for key, value in itertools.chain(enumerate(args), kwargs.items()):
            which = f"argument {key!r} of {name}, a {type_name(value)},"
            try:
                nbytes = pickling.dumps(value, functools.partial(self._replace, [])).nbytes
            except Exception:
                return which
            largest = max(largest, (which, nbytes), key=lambda entry: entry[1])
        return largest[0]

    # --- in

    def unpack(self, answer: Answer, holds: dict[int, Hold]) -> Any:
        """The value that an answer carries, or raise the error that it describes.

        Args:
            answer: what came.
            holds: the references that came along.

        Raises:
            NotUnpicklable: the value cannot be rebuilt here.
        """
        if isinstance(answer, Failure | Refusal):
            load = functools.partial(self._load, holds)
            raise self._dialect.error(answer.error, remote_errors.cause(payload_of(answer), load))
        return self.load(payload_of(answer), holds)

    def load(self, payload: Pickled, holds: dict[int, Hold]) -> Any:
        """Unpickle a value.

        Raises:
            NotUnpicklable: the value cannot be rebuilt here.
        """
        try:
            return self._load(holds, payload)
        except (ModuleNotFoundError, AttributeError) as error:
            raise NotUnpicklable(
                f"the value needs what this machine does not have: {error}. Install it here, or return plain data."
            ) from error
        except Exception as error:
            raise NotUnpicklable(f"the value cannot be rebuilt here: {type(error).__name__}: {error}") from error

    def _load(self, holds: dict[int, Hold], payload: Pickled) -> Any:
        def resolve(kind: str, *fields: Any) -> Any:
            if kind == "ref":
                return self._dialect.reference(ObjectRef(self._life, holds[fields[0]]))
            if kind == "actor":
                number, class_name, shape = fields
                return self._dialect.actor(ActorHandle(self._life, holds[number], class_name, Shape(shape)))
            if kind == "remote":
                return self._dialect.remote(self._life.session, *fields)
            if kind == "error":
                return self._dialect.error(*fields)
            if kind == "exception":
                return getattr(self._dialect.exceptions, fields[0])
            if kind == "name":
                return self._dialect.named(*fields)
            if kind == "state":
                return import_module("raymq.util.state.common").rebuild(*fields)
            if kind == "msgpack":
                return import_module("raymq.serialized").value_of(*fields)
            if kind == "bytes":
                return bytes(*fields)
            raise NotUnpicklable(f"the value mentions a {kind}, which has no meaning on a client")

        return pickling.loads(payload, resolve)


def type_name(value: Any) -> str:
    """A value's type, as an error names it."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
