"""Between values and payloads, for both ends of a session. The only module that imports cloudpickle.

What cannot travel as itself (references, actor handles, remote functions, the raymq module) is pickled as a call of
``raymq.pickling.resolve`` with a kind and a few plain fields; whoever unpickles gives its own meaning to that call.
It is done in ``reducer_override``, which the C pickler does not ask for ints, strings and containers: a
``persistent_id`` is asked for every object, which makes a nested dict of small objects 1.7 times as dear.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import io
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Any, Protocol

import cloudpickle
from cloudpickle.cloudpickle import list_registry_pickle_by_value

from raymq.errors import LocalProtocolError
from raymq.protocol.limits import BUFFERS_MAX, INLINE_MAX
from raymq.protocol.messages import Buffer, Pickled

Fields = tuple[Any, ...]
"""What stands for an object on the wire: a kind, and the plain fields that go with it."""

PickleBuffer = pickle.PickleBuffer
"""Has something that lies in memory travel beside a pickle, if it is large, and not in it."""

PROTOCOL = 5
"""The pickle protocol: the first with out-of-band buffers; every Python that raymq runs on has it."""


OUT_OF_BAND_MIN = 4 << 10
"""Bytes from which a buffer travels beside the pickle: below, a frame of its own costs more than a copy."""

OUT_OF_BAND_MAX = BUFFERS_MAX
"""Buffers of one value that travel beside the pickle; the ones after that are copied into it."""


CLASS_MAKERS = ("_make_skeleton_class", "_make_skeleton_enum")
"""The functions of cloudpickle that make a class which travels by value."""


def resolve(*fields: Any) -> Any:
    """Stands in pickles for the function that ``loads`` was given; never called itself.

    Raises:
        LocalProtocolError: always: a payload was unpickled by something else than ``loads``.
    """
    raise LocalProtocolError("a raymq payload can only be unpickled by raymq itself")


_MARK = __name__.encode()
"""In every pickle that calls ``resolve``."""


PLAIN = frozenset({bytes, str, int, float, bool, type(None)})
"""Types whose values are pickled without a look at any class: nothing of theirs is ever replaced."""

SIMPLE_MAX = 4 << 10
"""Bytes of a pickle in which it is worth looking for names, to do without them."""


class Replacer(Protocol):
    """Says what stands for an object on the wire; None for an object that travels as itself."""

    def __call__(self, value: Any) -> Fields | None: ...


_NAMELESS_FILE = "<dynamic-code>"
"""What cloudpickle writes since 3.1.3 for the name of the file that code comes from."""


def _reduce_code(code: CodeType) -> tuple[Any, ...]:
    """Code keeps the name of its file, as in Ray: tracebacks of what fails on a worker show it, and its lines."""
    make, fields = cloudpickle.Pickler.dispatch_table[CodeType](code)
    return make, tuple(code.co_filename if field == _NAMELESS_FILE else field for field in fields)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    dispatch_table = cloudpickle.Pickler.dispatch_table.new_child({CodeType: _reduce_code})

    def __init__(self, file: io.BytesIO, replace: Replacer, buffer_callback: Callable[[Any], bool]) -> None:
        super().__init__(file, protocol=PROTOCOL, buffer_callback=buffer_callback)
        self._replace = replace

    def reducer_override(self, value: Any) -> Any:
        """Called for everything but ints, strings, containers and their like."""
        fields = self._replace(value)
        if fields is not None:
            return resolve, fields
        return super().reducer_override(value)


class _Unpickler(pickle.Unpickler):
    def __init__(
        self, file: io.BytesIO, resolver: Callable[..., Any], buffers: Sequence[Buffer], classes: set[Any] | None
    ) -> None:
        super().__init__(file, buffers=buffers)
        self._resolver = resolver
        self._classes = classes

    def find_class(self, module: str, name: str) -> Any:
        """Called once for each name in a pickle."""
        if module == __name__ and name == resolve.__name__:
            return self._resolver
        found = super().find_class(module, name)
        if self._classes is not None and name in CLASS_MAKERS and module.partition(".")[0] == "cloudpickle":
            return functools.partial(_make_and_keep, found, self._classes)
        return found


def _make_and_keep(make: Callable[..., Any], classes: set[Any], *fields: Any) -> Any:
    made = make(*fields)
    classes.add(made)
    return made


def dumps(value: Any, replace: Replacer, refs: Sequence[int] = (), copied: list[memoryview] | None = None) -> Pickled:
    """Pickle a value.

    Buffers (arrays, for instance) stay out of band. A payload small enough to travel inside its message is a
    snapshot; the buffers of a larger one are views of the value's own memory.

    Args:
        value: what to pickle.
        replace: says what stands for references and their like.
        refs: a list that ``replace`` fills with the references that it meets.
        copied: a list that takes the buffers which are copied into the pickle; arrays over those can be written to when
            they are unpickled, those over the others cannot.
    """
    if type(value) in PLAIN:
        return Pickled(pickle.dumps(value, PROTOCOL), [], refs)
    file = io.BytesIO()
    buffers: list[memoryview] = []

    def in_band(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < OUT_OF_BAND_MIN or len(buffers) == OUT_OF_BAND_MAX:
            if copied is not None:
                copied.append(view)
            return True
        buffers.append(view)
        return False

    _Pickler(file, replace, in_band).dump(value)
    inband = file.getvalue()  # its own memory, not a copy
    if file.tell() + sum(map(len, buffers)) <= INLINE_MAX:
        return Pickled(inband, [bytes(buffer) for buffer in buffers], refs)
    return Pickled(inband, buffers, refs)


def loads(payload: Pickled, resolver: Callable[..., Any], classes: set[Any] | None = None) -> Any:
    """Rebuild a value. Its buffers are used where they lie, read-only, not copied.

    Args:
        payload: what ``dumps`` made, here or on the other side.
        resolver: called with the fields that stand for an object; returns the object.
        classes: takes the classes that are made because they travel by value. cloudpickle knows such a class again
            only as long as it lives; whoever wants its instances to come back as instances of it has to keep it.
    """
    inband = payload.inband
    if not payload.buffers and len(inband) <= SIMPLE_MAX and _is_simple(bytes(inband)):
        return pickle.loads(inband)
    buffers = [memoryview(buffer).toreadonly() for buffer in payload.buffers]
    with without_collector(len(inband)):
        return _Unpickler(io.BytesIO(inband), resolver, buffers, classes).load()


NO_ARGUMENTS = dumps(((), {}), lambda value: None)
"""Those of a call without any."""


class _Pauses:
    """How many threads want the garbage collector to pause, and whether it is to go on after the last of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._resume = False

    def begin(self) -> None:
        """One more does."""
        with self._lock:
            self._count += 1
            if self._count == 1:
                self._resume = gc.isenabled()
                gc.disable()

    def end(self) -> None:
        """One of them does not any longer."""
        with self._lock:
            self._count -= 1
            if not self._count and self._resume:
                gc.enable()

    def forked(self) -> None:
        """In a forked child the threads of its parent are not."""
        if self._count and self._resume:
            gc.enable()
        self.__init__()  # type: ignore[misc]


_PAUSES = _Pauses()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_PAUSES.forked)

COLLECTOR_MAX = 1 << 20
"""Bytes from which the garbage collector pauses while they are turned into objects."""


@contextlib.contextmanager
def without_collector(nbytes: int) -> Iterator[None]:
    """Pause the garbage collector while objects are made of so many bytes, if these are many.

    It would look for garbage among them again and again, as they become more: a nested dict of 100 MB takes a quarter
    of the time without.
    """
    if nbytes < COLLECTOR_MAX:
        yield
        return
    _PAUSES.begin()
    try:
        yield
    finally:
        _PAUSES.end()


def load_plain(inband: Buffer, buffers: Sequence[Buffer]) -> Any:
    """Rebuild what somebody else than ``dumps`` has pickled: nothing in it has a meaning of ours."""
    return pickle.loads(inband, buffers=buffers)


def _is_simple(inband: bytes) -> bool:
    """Whether a pickle calls nothing that ``_Unpickler`` has its own idea of."""
    return _MARK not in inband and b"cloudpickle" not in inband


def is_plain(payload: Pickled) -> bool:
    """Whether nothing in a value has its meaning given by whoever unpickles it: then it is the same on both sides."""
    return _MARK not in bytes(payload.inband)


def may_be_written_to(payload: Pickled) -> bool:
    """Whether a value, unpickled, may have arrays that can be written to; a few others look as if they had."""
    return pickle.BYTEARRAY8 in bytes(payload.inband)


HOMES_IN_RAY = {
    "ActorClass": "actor",
    "ActorClassInheritanceException": "actor",
    "ActorHandle": "actor",
    "ActorMethod": "actor",
    "RemoteFunction": "remote_function",
    "RuntimeContext": "runtime_context",
}
"""Names of raymq that are in another module of Ray's than one would think."""


SHARED = frozenset({
    *(("", name) for name in ("ActorClassID", "ActorID", "FunctionID", "JobID", "NodeID")),
    *(("", name) for name in ("PlacementGroupID", "TaskID", "UniqueID", "WorkerID")),
    ("", "DynamicObjectRefGenerator"),
    *(("util.queue", name) for name in ("Empty", "Full", "Queue")),
    *(("runtime_env", name) for name in ("RuntimeEnv", "RuntimeEnvConfig")),
    ("util.placement_group", "PlacementGroup"),
    *(("util.scheduling_strategies", name) for name in ("In", "NotIn", "Exists", "DoesNotExist")),
    ("util.scheduling_strategies", "NodeAffinitySchedulingStrategy"),
    ("util.scheduling_strategies", "PlacementGroupSchedulingStrategy"),
    *(("util.state.exception", name) for name in ("RayStateApiException", "ServerUnavailable")),
    *(("util.metrics", name) for name in ("Counter", "Gauge", "Histogram")),
})  # fmt: skip
"""Classes of Ray's that clients have, too, by module and name: their instances have the same state on both sides."""


def raymq_name(value: Any) -> Fields | None:
    """What stands for a module, function or class of raymq itself: its public name, which is also its name in Ray."""
    if isinstance(value, ModuleType):
        package, _, name = value.__name__.partition(".")
        return ("module", name) if package == "raymq" else None
    if isinstance(value, FunctionType | type):
        package, _, module = (value.__module__ or "").partition(".")
        if package == "raymq" and value is not resolve and value.__module__ not in list_registry_pickle_by_value():
            name = value.__qualname__
            public = getattr(sys.modules["raymq"], name, None) is value
            return "name", HOMES_IN_RAY.get(name, "" if public else module), name
    return None


def travels_by_value(module: str) -> None:
    """Have what a module of raymq's defines travel as it is: Ray has no such module."""
    cloudpickle.register_pickle_by_value(sys.modules[module])


def raymq_class(module: str, name: str) -> Any:
    """The class of raymq that stands for one of Ray's.

    Raises:
        LookupError: there is none.
    """
    if (module, name) not in SHARED:
        raise LookupError(f"there is nothing here for Ray's {'.'.join(filter(None, ('ray', module, name)))}")
    return getattr(importlib.import_module(".".join(filter(None, ("raymq", module)))), name)
