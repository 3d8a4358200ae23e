"""The session: one client's life on the cluster, and everything that can be done with it."""

from __future__ import annotations

import atexit
import concurrent.futures
import functools
import itertools
import os
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType, TracebackType
from typing import Any, cast

from raymq import connection as core
from raymq.actors import ActorClass, ActorHandle, ActorMethod, make_actor_class
from raymq.errors import ForkedSession, RaymqError, SessionClosed, SessionLost
from raymq.exceptions import GetTimeoutError
from raymq.functions import Callee, Definition, RemoteFunction, make_function
from raymq.info import SessionInfo
from raymq.packing import Packer, type_name
from raymq.protocol.limits import INLINE_MAX, REFS_PER_MESSAGE
from raymq.protocol.messages import (
    Call,
    Create,
    Define,
    Fetch,
    Message,
    Pickled,
    Put,
    Request,
    Task,
    Unfetch,
    Value,
    Watch,
)
from raymq.receiving import Receiver
from raymq.refs import Hold, ObjectRef
from raymq.waiting import Ledger, Pending, Waiter
from raymq.wire import Wire

GOODBYE_TIME = 5.0
"""Seconds that ``close`` gives the cluster to confirm the end; after that the broker is just told."""


class Session:
    """A session on a Ray cluster. Made by ``raymq.connect``; a context manager that closes itself.

    All methods may be called from any thread.
    """

    def __init__(self, session_id: bytes, *, log_to_driver: bool = True) -> None:
        self.id = session_id
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._ledger = Ledger()
        self._packer = Packer(self, self._prepare)
        self._defining = threading.RLock()
        self._numbers = itertools.count(1, 2)
        self._requests = itertools.count(1)
        self._dropped: deque[int] = deque()
        self._receiver = Receiver(self._ledger, self._dropped, log_to_driver=log_to_driver, ended=self._on_end)
        self._ended: RaymqError | None = None
        self._wire: Wire | None = None
        self._info: SessionInfo | None = None
        self._completions: queue.SimpleQueue[Callable[[], None]] | None = None

    def _open(self, wire: Wire, info: SessionInfo, object_max: int) -> None:
        """The handshake is done; from now on the session can be used."""
        self._wire, self._info, self._packer.object_max = wire, info, object_max
        atexit.register(_close_at_exit, weakref.ref(self))

    # --- about itself

    @property
    def info(self) -> SessionInfo:
        """What is known of both sides: versions, the Ray job, the node."""
        if self._info is None:
            raise SessionClosed("the session was never opened")
        return self._info

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return self._wire is not None and self._ended is None

    def __enter__(self) -> Session:  # noqa: PYI034 - it has no subclasses
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "open" if self.is_open else "closed"
        return f"<Session {self.id.hex()} to {self._info.address if self._info else '?'}, {state}>"

    def close(self, timeout: float = GOODBYE_TIME) -> None:
        """End the session: what it holds in the cluster is released, except for detached actors.

        Everything that was called before is handed to the cluster first. Does nothing on a session that has ended.

        Args:
            timeout: seconds to wait for the cluster's confirmation.
        """
        if os.getpid() != self._pid or self._wire is None:
            return
        with self._lock:
            open_before, self._ended = self._ended is None, self._ended or SessionClosed("the session is closed")
        if open_before:
            self._wire.close(timeout)
            self._ledger.end(self._ended)

    # --- calls

    def remote(self, *args: Any, **options: Any) -> Any:
        """As ``raymq.remote``, for functions and classes that always use this session."""
        return decorate(self, args, options)

    def put(self, value: Any) -> ObjectRef[Any]:
        """Store a value in the cluster.

        Returns at once, except for a large value whose memory could be changed (a numpy array, say): then when the
        cluster has it.

        Raises:
            TypeError: the value is a reference already.
            NotPicklable: it cannot be pickled.
            PayloadTooLarge: it is above the broker's limit.
            SessionLost: the session has ended.
        """
        if isinstance(value, ObjectRef):
            raise TypeError(
                "put() of an ObjectRef: it stands for a stored value already; put it into a list if you must"
            )
        payload = self._packer.pack(value, lambda: f"the value of type {type_name(value)}")
        reference: ObjectRef[Any] = ObjectRef(self, self._new_hold())
        self._post(Put(reference._hold.number, payload), payload)
        return reference

    def get(self, refs: Any, *, timeout: float | None = None) -> Any:
        """Fetch values, waiting for them.

        Args:
            refs: one ``ObjectRef``, or a list of them.
            timeout: seconds to wait at most; None waits for ever, 0 takes what is ready in the cluster by now.

        Returns:
            The value; a list of them for a list.

        Raises:
            RayTaskError: the task raised; the error is an instance of the task's exception class, too.
            GetTimeoutError: the time was over.
            WrongSession: a reference belongs to another session.
            SessionLost: the session ended meanwhile.
        """
        single = isinstance(refs, ObjectRef)
        wanted: list[ObjectRef[Any]] = [refs] if single else self._check_refs("get", refs)
        numbers = [self._packer.own(ref) for ref in wanted]
        unique = list(dict.fromkeys(numbers))
        limit = self._get_limit(unique, timeout)
        waiter = Waiter(len(unique))
        pending = self._want(unique, waiter)
        try:
            if not waiter.wait(limit):
                missing = sum(entry.outcome is None for entry in pending.values())
                raise GetTimeoutError(f"get() waited {timeout} s; {missing} of {len(unique)} values are not there yet")
            for entry in pending.values():
                if entry.outcome is not None and not isinstance(entry.outcome, Value):
                    self._outcome(entry)
            values = {number: self._outcome(entry) for number, entry in pending.items()}
        finally:
            self._want_no_more(pending, waiter)
        return values[numbers[0]] if single else [values[number] for number in numbers]

    def _get_limit(self, numbers: list[int], timeout: float | None) -> float | None:
        """How long a get waits. A timeout of 0 asks what is ready there; the way here takes the time that it takes."""
        if timeout != 0:
            return _limit(timeout)
        self._watch(numbers, fetch_local=True)
        missing = len(numbers) - len(self._ledger.ready_among(numbers))
        if missing:
            raise GetTimeoutError(f"{missing} of {len(numbers)} values are not ready")
        return None

    def wait(
        self,
        refs: list[ObjectRef[Any]],
        *,
        num_returns: int = 1,
        timeout: float | None = None,
        fetch_local: bool = True,
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        """Wait until some references are ready: have a value, or an error.

        Args:
            refs: a list of references, each once.
            num_returns: how many must be ready.
            timeout: seconds to wait at most; None waits for ever, 0 only looks.
            fetch_local: also bring the objects to the head node, so that ``get`` finds them there.

        Returns:
            Those that are ready, at most ``num_returns``, and the others; both in the order of ``refs``.

        Raises:
            TypeError: ``refs`` is no list of references.
            ValueError: a reference is listed twice, or ``num_returns`` does not fit.
            WrongSession: a reference belongs to another session.
            SessionLost: the session ended meanwhile.
        """
        if isinstance(refs, ObjectRef):
            raise TypeError("wait() takes a list of ObjectRefs, not a single one")
        wanted = self._check_refs("wait", refs, TypeError)
        numbers = [self._packer.own(ref) for ref in wanted]
        if len(set(numbers)) != len(numbers):
            raise ValueError("wait() takes each reference once")
        if not numbers:
            return [], []
        if not 0 < num_returns <= len(numbers):
            raise ValueError(
                f"num_returns is between 1 and the number of references, {len(numbers)}, not {num_returns}"
            )
        limit = _limit(timeout)
        deadline = None if limit is None else time.monotonic() + limit
        self._watch(numbers, fetch_local=fetch_local)
        ready = set(self._await_ready(numbers, num_returns, deadline)[:num_returns])
        return (
            [ref for ref, number in zip(wanted, numbers, strict=True) if number in ready],
            [ref for ref, number in zip(wanted, numbers, strict=True) if number not in ready],
        )

    def kill(self, actor: ActorHandle, *, no_restart: bool = True) -> None:
        """Terminate an actor by force.

        Raises:
            ValueError: this is no actor.
        """
        if not isinstance(actor, ActorHandle):
            raise ValueError(  # noqa: TRY004 - as Ray does
                f"kill() takes an actor's handle, not {type_name(actor)}; tasks are cancelled by cancel()"
            )
        self.request("kill", actor, no_restart=no_restart)

    def cancel(self, ref: ObjectRef[Any], *, force: bool = False, recursive: bool = True) -> None:
        """Cancel the task that makes an object; its ``get`` raises ``TaskCancelledError`` then.

        Args:
            ref: the object.
            force: kill the worker instead of interrupting the task.
            recursive: cancel the tasks that the task has started, too.

        Raises:
            TypeError: this is no reference.
        """
        if not isinstance(ref, ObjectRef):
            raise TypeError(f"cancel() takes an ObjectRef, not {type_name(ref)}; actors are terminated by kill()")
        self.request("cancel", ref, force=force, recursive=recursive)

    def get_actor(self, name: str, namespace: str | None = None) -> ActorHandle:
        """The handle of a named actor.

        Raises:
            ValueError: there is none of that name.
        """
        return cast(ActorHandle, self.request("get_actor", name, namespace))

    def list_named_actors(self, all_namespaces: bool = False) -> list[Any]:
        """The names of all named actors in this session's namespace, or names and namespaces of all."""
        return cast("list[Any]", self.request("list_named_actors", all_namespaces))

    def nodes(self) -> list[dict[str, Any]]:
        """The cluster's nodes, as ``ray.nodes`` describes them."""
        return cast("list[dict[str, Any]]", self.request("nodes"))

    def cluster_resources(self) -> dict[str, float]:
        """The resources of the cluster."""
        return cast("dict[str, float]", self.request("cluster_resources"))

    def available_resources(self) -> dict[str, float]:
        """The resources of the cluster that nobody uses at the moment."""
        return cast("dict[str, float]", self.request("available_resources"))

    def request(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Ask the bridge for an operation, and wait for its answer.

        Raises:
            Exception: what the operation raised.
            SessionLost: the session ended meanwhile.
        """
        payload = self._packer.pack_call(operation, args, kwargs)
        return self._ask(lambda number: Request(number, operation, payload), payload)

    def _ask(self, message: Callable[[int], Message], payload: Pickled | None = None) -> Any:
        """Send a message that the bridge answers, and wait for the answer."""
        number, waiter = next(self._requests), Waiter(1)
        pending = self._ledger.expect_reply(number, waiter)
        try:
            self._post(message(number), payload)
            waiter.wait(None)
            return self._outcome(pending)
        finally:
            self._ledger.expect_no_reply(number)

    # --- what functions, actor classes and methods call

    def _call_function(self, function: RemoteFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        number, options = self._prepare(function)
        payload = self._packer.pack_call(function.__name__, args, kwargs)
        refs = self._new_refs(function._returns)
        self._post(Task([ref._hold.number for ref in refs], number, options, payload), payload)
        return _as_returned(refs)

    def _create_actor(self, kind: ActorClass, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ActorHandle:
        number, options = self._prepare(kind)
        payload = self._packer.pack_call(kind.__name__, args, kwargs)
        handle = ActorHandle(self, self._new_hold(), kind.__name__, kind._shape)
        self._post(Create(handle._hold.number, number, options, payload), payload)
        return handle

    def _call_method(self, method: ActorMethod, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._check_open()
        options = self._packer.pack_options(method._options, method._name) if method._options else b""
        payload = self._packer.pack_call(method._name, args, kwargs)
        refs = self._new_refs(method._returns())
        actor = method._handle._hold.number
        self._post(Call([ref._hold.number for ref in refs], actor, method._name, options, payload), payload)
        return _as_returned(refs)

    def _prepare(self, callee: Callee) -> tuple[int, bytes]:
        """The callee's number and options in this session; its definition is sent if the bridge has not got it."""
        self._check_open()
        number = self._define(callee._definition)
        if not callee._overrides:
            return number, b""
        options = callee._encoded.get(self)
        if options is None:
            options = self._packer.pack_options(callee._overrides, callee._definition.name)
            callee._encoded[self] = options
        return number, options

    def _define(self, definition: Definition) -> int:
        if definition.defined.get(self):
            return definition.numbers[self]
        with self._defining:
            number = definition.numbers.get(self)
            if number is not None:
                return number  # it is just being pickled, and mentions itself
            number = definition.numbers[self] = next(self._numbers)
            try:
                what = f"the remote {definition.kind} {definition.name}"
                payload = self._packer.pack((definition.target, definition.options), lambda: what)
                self._post(Define(number, definition.kind, definition.name, payload), payload)
            except BaseException:
                definition.numbers.pop(self, None)
                raise
            definition.defined[self] = True
            return number

    def _new_hold(self) -> Hold:
        return Hold(next(self._numbers), self._dropped)

    def _new_refs(self, count: int) -> list[ObjectRef[Any]]:
        return [ObjectRef(self, self._new_hold()) for _ in range(count)]

    def _future(self, ref: ObjectRef[Any]) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        pending = self._want([self._packer.own(ref)], None)

        def complete() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    (entry,) = pending.values()
                    future.set_result(self._outcome(entry))
                except BaseException as error:
                    future.set_exception(error)
            self._want_no_more(pending, None)

        for entry in pending.values():
            self._ledger.when_complete(entry, lambda: self._complete_later(complete))
        return future

    def _complete_later(self, complete: Callable[[], None]) -> None:
        """Values of futures are unpickled in a thread of their own: user code must not hold up the I/O thread."""
        if self._completions is None:
            self._completions = queue.SimpleQueue()
            threading.Thread(
                target=_run_completions, args=(self._completions,), name="raymq-futures", daemon=True
            ).start()
        self._completions.put(complete)

    # --- asking and waiting

    def _want(self, numbers: list[int], waiter: Waiter | None) -> dict[int, Pending]:
        """Want values; what nobody has asked for yet is fetched."""
        self._check_open()
        pending, ask = self._ledger.want(numbers, waiter)
        for part in _parts(ask):
            self._post(Fetch(part))
        return pending

    def _want_no_more(self, pending: dict[int, Pending], waiter: Waiter | None) -> None:
        unwanted = self._ledger.want_no_more(pending, waiter)
        for part in _parts(unwanted) if self.is_open else ():
            self._post(Unfetch(part))

    def _outcome(self, pending: Pending) -> Any:
        """The value of a completed answer, or raise what it failed with."""
        outcome = pending.outcome
        if outcome is None or isinstance(outcome, BaseException):
            raise _copy(outcome or SessionClosed("the session is closed"))
        return self._packer.unpack(outcome, pending.holds)

    def _watch(self, numbers: list[int], *, fetch_local: bool) -> None:
        """Have the bridge tell when references become ready; returns when it has told of those that are."""
        self._check_open()
        for part in _parts(self._ledger.watch(numbers)):
            self._ask(functools.partial(Watch, refs=part, fetch_local=fetch_local))

    def _await_ready(self, numbers: list[int], count: int, deadline: float | None) -> list[int]:
        waiter = self._ledger.wait_for(numbers, count)
        try:
            waiter.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        finally:
            self._ledger.wait_no_more(numbers, waiter)
        self._check_open()
        return self._ledger.ready_among(numbers)

    # --- sending

    def _post(self, message: Message, payload: Pickled | None = None) -> None:
        self._check_open()
        wire = cast(Wire, self._wire)
        if payload is None or payload.nbytes <= INLINE_MAX:
            wire.post(message, 0 if payload is None else payload.nbytes)
        else:
            writable = any(not memoryview(buffer).readonly for buffer in payload.buffers)
            wire.post(message, payload.nbytes, wait_delivered=writable)
        if self._ended is not None:
            raise _copy(self._ended)

    def _check_open(self) -> None:
        if os.getpid() != self._pid:
            raise ForkedSession("a session does not survive a fork: call connect() in the child, or spawn it instead")
        if self._ended is not None:
            raise _copy(self._ended)
        if self._wire is None:
            raise SessionClosed("the session is not open")

    def _check_refs(self, what: str, refs: Any, error: type[Exception] = ValueError) -> list[ObjectRef[Any]]:
        if not isinstance(refs, list | tuple):
            raise error(f"{what}() takes an ObjectRef or a list of them, not {type_name(refs)}")
        for position, ref in enumerate(refs):
            if not isinstance(ref, ObjectRef):
                raise error(f"{what}() takes ObjectRefs; item {position} of the list is a {type_name(ref)}")
        return list(refs)

    # --- the end, told by the I/O thread

    def _on_end(self, event: core.Ended) -> None:
        with self._lock:
            if self._ended is None:
                self._ended = SessionLost(
                    f"the session has ended ({event.code}): {event.message}. Its objects and actors are gone, except "
                    "for detached actors; connect() again for a new session."
                )
            error = self._ended
        self._ledger.end(error)


def decorate(session: Session | None, args: Sequence[Any], options: dict[str, Any]) -> Any:
    """What ``@remote`` and ``@remote(...)`` do; ``session`` None stands for the default one at the time of a call.

    Raises:
        TypeError: it decorates neither a function nor a class, or has options that are not keywords.
        ValueError: an option is unknown.
    """
    if len(args) == 1 and not options:
        return _decorate_with(session, {}, args[0])
    if args or not options:
        raise TypeError("@remote decorates a function or a class; options are keywords, as in @remote(num_cpus=2)")
    return functools.partial(_decorate_with, session, options)


def _decorate_with(session: Session | None, options: dict[str, Any], target: Any) -> Any:
    if isinstance(target, type):
        return make_actor_class(target, options, session)
    if isinstance(target, FunctionType):
        return make_function(target, options, session)
    raise TypeError(f"@remote decorates a function or a class, not {type_name(target)}: wrap it in a function")


def _parts(numbers: list[int]) -> Iterator[list[int]]:
    """A list of references in pieces that fit into a message."""
    for start in range(0, len(numbers), REFS_PER_MESSAGE):
        yield numbers[start : start + REFS_PER_MESSAGE]


def _as_returned(refs: list[ObjectRef[Any]]) -> Any:
    if not refs:
        return None
    return refs[0] if len(refs) == 1 else refs


def _limit(timeout: float | None) -> float | None:
    if timeout is not None and timeout < 0:
        raise ValueError(f"a timeout is 0 or more seconds, not {timeout}")
    return timeout


def _copy(error: BaseException) -> BaseException:
    """A fresh exception for each raise: one object raised in many threads would gather all their tracebacks."""
    return type(error)(*error.args)


def _run_completions(completions: queue.SimpleQueue[Callable[[], None]]) -> None:
    while True:
        completions.get()()


def _close_at_exit(session: weakref.ref[Session]) -> None:
    alive = session()
    if alive is not None:
        alive.close(timeout=2.0)
