"""What a session has its bridge make: objects, tasks, actors, calls of their methods, and the definitions for these."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from raymq.actors import ActorClass, ActorHandle, ActorMethod
from raymq.functions import Callee, Definition, RemoteFunction
from raymq.generators import WINDOWS, ObjectRefGenerator
from raymq.options import check_strategy
from raymq.packing import type_name
from raymq.protocol.messages import Call, Create, Define, Put, Task
from raymq.refs import Held, Hold, ObjectRef
from raymq.runtime_env import names_files

if TYPE_CHECKING:
    from raymq.life import Life

T = TypeVar("T")


class Calls:
    """Sends what makes something, under numbers chosen here, so that nothing has to be waited for.

    Args:
        life: in which it is made.
    """

    def __init__(self, life: Life) -> None:
        self._life = life
        self._numbers = itertools.count(1, 2)  # the bridge chooses the even ones
        self._defining = threading.RLock()
        self._known: WeakKeyDictionary[Definition, int] = WeakKeyDictionary()
        self._sent: WeakKeyDictionary[Definition, int] = WeakKeyDictionary()
        self._options: WeakKeyDictionary[Callee, bytes] = WeakKeyDictionary()

    def put(self, value: T) -> ObjectRef[T]:
        """Store a value."""
        if not self._life.is_ours:
            self._life.check()  # before a lock is taken, which another thread may have held at the fork
        copied: list[memoryview] = []
        payload = self._life.packer.pack(value, lambda: f"the value of type {type_name(value)}", copied)
        (reference,) = self._new_refs(1)
        if not copied:  # what comes back from the cluster is read-only
            self._life.recent.keep(reference._hold.number, payload)
        self._life.post(Put(reference._hold.number, payload), payload)
        return reference

    def function(self, function: RemoteFunction[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a function."""
        payload = self._life.packer.pack_call(function.__name__, args, kwargs)
        number, options = self.prepare(function)
        refs = self._new_returns(function._returns)
        self._life.post(Task([ref._hold.number for ref in refs], number, options, payload), payload)
        return self._as_returned(refs)

    def actor(self, kind: ActorClass, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ActorHandle:
        """Create an actor. One that takes a name is waited for until the cluster has it, or says that it is taken."""
        payload = self._life.packer.pack_call(kind.__name__, args, kwargs)
        number, options = self.prepare(kind)
        handle = ActorHandle(self._life, self._new_hold(), kind.__name__, kind._shape)
        self._life.post(Create(handle._hold.number, number, options, payload), payload)
        if kind._takes_name:
            handle._check_made()
        return handle

    def method(self, method: ActorMethod, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call an actor's method."""
        self._life.check(method._handle)
        packer = self._life.packer
        options = packer.pack_options(method._options, method._name) if method._options else b""
        payload = packer.pack_call(method._name, args, kwargs)
        refs = self._new_returns(method._returns())
        call = Call([ref._hold.number for ref in refs], method._handle._hold.number, method._name, options, payload)
        self._life.post(call, payload, held=method._handle)
        return self._as_returned(refs)

    def prepare(self, callee: Callee) -> tuple[int, bytes]:
        """The callee's number and options here; its definition is sent if the bridge has not got it."""
        self._life.check()
        number = self._define(callee._definition)
        if not callee._overrides:
            return number, b""
        options = self._options.get(callee)
        if options is None:
            check_strategy(callee._overrides)
            overrides = self._uploaded(callee._overrides)
            options = self._life.packer.pack_options(overrides, callee._definition.name)
            self._options[callee] = options
        return number, options

    def _define(self, definition: Definition) -> int:
        number = self._sent.get(definition)
        if number is not None:
            return number
        check_strategy(definition.options)
        options = self._uploaded(definition.options)  # without the lock, for that may take its time
        with self._defining:
            number = self._known.get(definition)
            if number is not None:
                return number  # another thread has just sent it; or it is being pickled, and mentions itself
            number = self._known[definition] = next(self._numbers)
            try:
                what = f"the remote {definition.kind} {definition.name}"
                payload = self._life.packer.pack((definition.target, options), lambda: what)
                self._life.post(Define(number, definition.kind, definition.name, payload), payload)
            except BaseException:
                self._known.pop(definition, None)
                raise
            self._sent[definition] = number
            return number

    def _uploaded(self, options: dict[str, Any]) -> dict[str, Any]:
        """The same options; the cluster has what their runtime environment names of this machine."""
        environment = options.get("runtime_env")
        if not names_files(environment):
            return options
        uploading = import_module("raymq.uploading")  # which few programs need

        def request(operation: str, *args: Any) -> Any:
            return self._life.request(operation, args, {})

        return {**options, "runtime_env": uploading.uploaded(environment, request)}

    def _new_hold(self) -> Hold:
        return Hold(next(self._numbers), self._life.dropped)

    def _new_refs(self, count: int) -> list[ObjectRef[Any]]:
        return [ObjectRef(self._life, self._new_hold()) for _ in range(count)]

    def _new_returns(self, count: int) -> Sequence[Held]:
        """What a call returns: so many references, or a generator."""
        if count in WINDOWS:
            return [ObjectRefGenerator(self._life, self._new_hold(), WINDOWS[count])]
        return self._new_refs(count)

    def _as_returned(self, made: Sequence[Held]) -> Any:
        if not made:
            return None
        if isinstance(made[0], ObjectRefGenerator):
            made[0]._begin()
        return made[0] if len(made) == 1 else made
