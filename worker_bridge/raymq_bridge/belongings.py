"""What a client has in the cluster, by number, and values on their way in and out: what stands for what in a pickle."""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from raymq import pickling
from raymq.errors import PayloadTooLarge
from raymq.protocol.limits import INLINE_MAX, REFS_MAX, TEXT_MAX
from raymq.protocol.messages import NOTHING, Pickled
from raymq_bridge import cluster, services
from raymq_bridge.failures import DependencyFailed, Failed, describe, own
from raymq_bridge.table import Table


class _Blank:
    """Stands for a remote function that is mentioned before it is defined: by itself, or by one that it calls.

    Nothing here ever calls it. When Ray pickles the function that mentions it, for a worker, it has been filled, and
    is pickled as what it stands for.
    """

    def __init__(self) -> None:
        self.real: Any = None

    def __reduce__(self) -> Any:
        if self.real is None:
            raise LookupError("a remote function was used before it was defined")
        return operator.getitem, ([self.real], 0)


STORED_MAX = 32 << 20
"""Bytes of small values that are kept here, unpickled by nobody, until the cluster needs them."""

STORED_COST = 500
"""Bytes that such a value takes beside its pickle."""


class _Stored(NamedTuple):
    """Stands in the table for a value that is not in the cluster yet."""

    payload: Pickled


class Belongings:
    """References, actors and functions of one client.

    Args:
        object_max: bytes that one value may have.
    """

    def __init__(self, object_max: int) -> None:
        self.table = Table(cluster.identity)
        self.callee = functools.lru_cache(maxsize=1000)(self._make_callee)
        self._object_max = object_max
        self._functions: dict[int, Any] = {}
        self._classes: set[Any] = set()
        self._stored = 0

    def define(self, function: int, made: Any) -> None:
        """The client has defined a function, or failed to; it may have been mentioned before."""
        blank = self._functions.get(function)
        if isinstance(blank, _Blank) and not isinstance(made, Failed):
            blank.real = made
        self._functions[function] = made

    def clear(self) -> None:
        """Let go of everything."""
        self.table.clear()
        self._functions.clear()
        self.callee.cache_clear()

    def real(self, number: int) -> Any:
        """What stands behind a number.

        Raises:
            LookupError: nothing does.
            DependencyFailed: what was to stand there failed.
        """
        try:
            real = self.table.get(number)
        except KeyError:
            raise LookupError(f"reference {number} is not known here: it was released, or never made") from None
        if type(real) is _Stored:
            real = self._to_cluster(number, real.payload)
        if isinstance(real, Failed):
            raise DependencyFailed(real)
        return real

    # --- values that are put: a small one stays here until the cluster needs it, since Ray takes 400 us for each

    def store(self, number: int, payload: Any) -> bool:
        """Keep a value for the client as it came; False if it has to go to the cluster at once."""
        small = isinstance(payload, Pickled) and payload.nbytes <= INLINE_MAX and not payload.refs
        if not small or self._stored + payload.nbytes + STORED_COST > STORED_MAX or not pickling.is_plain(payload):
            return False
        if pickling.may_be_written_to(payload):
            return False  # from the cluster it comes back read-only
        payload = Pickled(bytes(payload.inband), [bytes(buffer) for buffer in payload.buffers])
        self._stored += payload.nbytes + STORED_COST
        self.table.add(number, _Stored(payload), known=False)
        return True

    def stored(self, number: int) -> Pickled | None:
        """A value that is kept here, or None."""
        real = self.table.peek(number)
        return real.payload if type(real) is _Stored else None

    def _to_cluster(self, number: int, payload: Pickled) -> Any:
        self._stored -= payload.nbytes + STORED_COST
        try:
            real = cluster.put(self.load(payload))
        except BaseException as error:
            real = failed(error, "the value of put()")
        self.table.settle(number, real, known=not isinstance(real, Failed))
        return real

    def release(self, *numbers: int) -> None:
        """The client holds numbers once less."""
        for real in self.table.release(*numbers):
            if type(real) is _Stored:
                self._stored -= real.payload.nbytes + STORED_COST

    def _make_callee(self, function: int, options: bytes) -> Any:
        callee = self._functions.get(function)
        if isinstance(callee, Failed):
            raise DependencyFailed(callee)
        if callee is None or isinstance(callee, _Blank):
            raise LookupError(f"function {function} is not known here")
        return callee.options(**self.options(options)) if options else callee

    def options(self, options: bytes) -> dict[str, Any]:
        """The options of a call."""
        return self.load(Pickled(options)) if options else {}

    def load(self, payload: Any) -> Any:
        """Unpickle what the client has sent, which may run any code of its."""
        return pickling.loads(payload, self._resolve, self._classes)

    def arguments(self, payload: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Unpickle the arguments of a call: those by position, and those by name."""
        if payload.inband == pickling.NO_ARGUMENTS.inband:
            return (), {}
        args, kwargs = self.load(payload)
        return args, kwargs

    def _resolve(self, kind: str, *fields: Any) -> Any:
        resolver = _RESOLVERS.get(kind)
        if resolver is None:
            raise ValueError(f"the payload mentions a {kind!r}, which this bridge does not know")
        return resolver(self, *fields)

    def _resolve_function(self, function: int, options: bytes) -> Any:
        if function not in self._functions:
            self._functions[function] = _Blank()
        if isinstance(self._functions[function], _Blank) and not options:
            return self._functions[function]
        return self.callee(function, options)

    def _resolve_actor(self, number: int, *shape: Any) -> Any:
        return self.real(number)

    def dump(self, value: Any) -> Pickled:
        """Pickle a value; each reference in it is handed out once more.

        Raises:
            PayloadTooLarge: it is above a limit.
            Exception: whatever the user's classes raise.
        """
        refs: list[int] = []
        try:
            payload = pickling.dumps(value, functools.partial(self._replace, refs), refs)
            if len(refs) > REFS_MAX:
                raise PayloadTooLarge(
                    f"mentions {len(refs):,} references; at most {REFS_MAX:,} can travel in one value"
                )
            if payload.nbytes > self._object_max:
                raise PayloadTooLarge(
                    f"has {payload.nbytes:,} bytes; this broker takes up to {self._object_max:,} (--max-object-size)"
                )
            return payload
        except BaseException:
            self.take_back(refs)
            raise

    def take_back(self, refs: Iterable[int]) -> None:
        """What was handed out with a payload that is not sent."""
        self.table.release(*refs)

    def dump_cause(self, failed: Failed) -> Pickled:
        """The cause of a failure, pickled each time that it is sent: the references in it are handed out each time."""
        if failed.cause is None:
            return NOTHING
        try:
            return self.dump(failed.cause)
        except BaseException:
            return NOTHING  # the description has to do

    def _replace(self, refs: list[int], value: Any) -> pickling.Fields | None:
        if isinstance(value, cluster.Serialized):
            return value.fields()
        if cluster.is_reference(value):
            return "ref", self._hand_out(refs, value)
        if cluster.is_actor(value):
            return "actor", self._hand_out(refs, value), *cluster.actor_shape(value)
        if cluster.is_error(value):
            return "error", _described(value), getattr(value, "cause", None)
        if cluster.is_error_class(value):
            return "exception", value.__name__
        definition = cluster.definition(value)
        if definition is not None:
            return "remote", *definition
        state = services.described(value)
        if state is not None:
            return "state", *state
        shared = cluster.shared_class(value) if isinstance(value, type) else None
        return ("name", *shared) if shared is not None else None

    def _hand_out(self, refs: list[int], value: Any) -> int:
        number = self.table.hand_out(value)
        if number in refs:
            self.table.release(number)  # a payload brings a number along once, however often it mentions it
        else:
            refs.append(number)
        return number


def failed(error: BaseException, what: str) -> Failed:
    """What an exception makes of something; ``what`` says of what, where that helps."""
    if isinstance(error, DependencyFailed):
        return error.failed
    if isinstance(error, ModuleNotFoundError):
        return own("NotUnpicklable", _missing_module(error, what))
    cause = getattr(error, "cause", None) if cluster.is_error(error) else error
    return Failed(_described(error), cause)


def _described(error: BaseException) -> dict[str, Any]:
    """The description of an exception, with one of Ray's own itself: a client that has Ray makes it of that."""
    told = describe(error)
    if cluster.is_own_error(error):
        with contextlib.suppress(Exception):  # what it carries may be of any kind
            pickled = pickling.dumps(error, lambda value: None)
            if not pickled.buffers and pickled.nbytes <= TEXT_MAX:
                told["pickled"] = bytes(pickled.inband)
    return told


def _missing_module(error: ModuleNotFoundError, what: str) -> str:
    return (
        f"{what} needs the module {error.name!r}, which the cluster does not have. Install it there, or send it along "
        f"by value: cloudpickle.register_pickle_by_value({str(error.name).partition('.')[0]})"
    )


_RESOLVERS: dict[str, Callable[..., Any]] = {
    "ref": Belongings.real,
    "actor": Belongings._resolve_actor,
    "function": Belongings._resolve_function,
    "module": lambda _, name: cluster.named(name),
    "name": lambda _, module, name: cluster.named(module, name),
    "error": lambda _, task, cause: cluster.task_error(task, cause),
}
"""What stands on the wire for an object, and how the object is found."""
