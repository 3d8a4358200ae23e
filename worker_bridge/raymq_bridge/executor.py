"""What the session's messages do in the cluster: the one place where protocol and Ray meet."""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple

from raymq.protocol.channel import Arrived, Received
from raymq.protocol.messages import (
    Ahead,
    Call,
    Create,
    Define,
    Detach,
    Fetch,
    Goodbye,
    Message,
    Next,
    Pickled,
    Put,
    Ready,
    Refusal,
    Release,
    Reply,
    Request,
    Task,
    Unfetch,
    Watch,
)
from raymq_bridge import cluster
from raymq_bridge.belongings import Belongings, failed
from raymq_bridge.failures import DependencyFailed, Failed
from raymq_bridge.inbox import Inbox
from raymq_bridge.outbox import Consumed, Outbox, Taken
from raymq_bridge.readiness import Readiness
from raymq_bridge.steps import go_on
from raymq_bridge.streams import Streams
from raymq_bridge.values import Values

DEFERRED_MAX = 16 << 20
"""Bytes of messages that may wait for large payloads before the client gets no more credit on the calls lane."""

PUT = "the value of put()"


class Step(NamedTuple):
    """The next step of an operation that had to wait."""

    take: Callable[[], None]


class Made(NamedTuple):
    """Stands in a Put for its payload when that is in the cluster already, or why it is not."""

    real: Any


class Executor:
    """Carries out a session's messages, in one thread, and sends values back, in another.

    Ray copies a large value that is put, which takes long and is done in a third thread: calls go on meanwhile.

    Args:
        outbox: takes messages for the client, and word of what has been dealt with.
        farewell: tells the connection that the client has ended the session, or left it.
        broken: tells the connection that a thread of the executor has failed, which ends the session.
        object_max: bytes that one value may have.
        operations: what a client may ask for by name; one that takes a while is a generator, see ``steps``.
    """

    def __init__(
        self,
        outbox: Outbox,
        farewell: Callable[[Goodbye | Detach], None],
        broken: Callable[[Exception], None],
        object_max: int,
        operations: Mapping[str, Callable[..., Any]],
    ) -> None:
        self._outbox = outbox
        self._send = outbox.put
        self._farewell = farewell
        self._broken = broken
        self._operations = operations
        self._belongings = Belongings(object_max)
        self._table = self._belongings.table
        self._inbox = Inbox()
        self._events: queue.SimpleQueue[Received | Arrived | Step | None] = queue.SimpleQueue()
        self._values = Values(self._belongings, outbox, broken)
        self._streams = Streams(self._belongings, outbox.put, self._values.send_cheap, self._later)
        self._puts: queue.SimpleQueue[tuple[Arrived, Any] | None] = queue.SimpleQueue()
        self._readiness = Readiness(outbox)
        self._unconsumed = 0
        self._threads = [
            threading.Thread(target=self._guard, args=(run,), name=f"raymq-{name}", daemon=True)
            for name, run in (("calls", self._run_calls), ("values", self._values.run), ("puts", self._run_puts))
        ]

    def start(self) -> None:
        """Start the threads."""
        cluster.listen_to_workers(self._outbox.add_lines)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Make the threads return, after what has come; does not wait, since a call into Ray may take its time."""
        self._puts.put(None)  # and that thread ends the one of calls, which lets go of all
        self._values.stop()
        self._outbox.stop()

    @property
    def objects(self) -> int:
        """References and actors that the client holds."""
        return len(self._table)

    def put(self, event: Received | Arrived) -> None:
        """Take in what came from the client."""
        self._events.put(event)

    def delivered(self) -> None:
        """The client holds a large value that was sent to it: there may be room for another one."""
        self._values.delivered()

    def _guard(self, run: Callable[[], None]) -> None:
        try:
            run()
        except Exception as error:
            self._broken(error)

    # --- the thread of calls

    def _run_calls(self) -> None:
        while (event := self._events.get()) is not None:
            if isinstance(event, Received):
                self._unconsumed += 1
                for message in event.messages:
                    self._carry_out(self._inbox.take(message))
            elif isinstance(event, Step):
                event.take()
            elif isinstance(self._inbox.waits_for(event.transfer), Put) and not event.payload.refs:
                self._put_large(event)  # what mentions nothing waits for nothing
            else:
                self._arrived(event, event.payload)
            while self._unconsumed and self._inbox.nbytes <= DEFERRED_MAX:
                self._unconsumed -= 1
                self._send(Consumed())
        # A value that never comes may hold this executor for ever: what its client held is not to stay with it.
        self._belongings.clear()
        self._streams.clear()

    def _arrived(self, event: Arrived, payload: Pickled | Made) -> None:
        self._carry_out(self._inbox.arrive(event.transfer, payload))
        self._send(Taken(event.payload.nbytes))

    def _put_large(self, event: Arrived) -> None:
        try:
            value = self._belongings.load(event.payload)
        except BaseException as error:
            self._arrived(event, Made(failed(error, PUT)))
        else:
            self._puts.put((event, value))

    def _carry_out(self, messages: list[Message]) -> None:
        for message in messages:
            handler = _HANDLERS.get(type(message))
            if handler is not None:
                self._outbox.wait_for_room()
                handler(self, message)

    # Every handler turns whatever goes wrong into a failure of what the message makes: user code runs in here, by
    # being unpickled, and its SystemExit is the caller's error like any other.

    def _define(self, message: Define) -> None:
        try:
            target, options = self._belongings.load(message.payload)
            made = cluster.remote(target, options)
        except BaseException as error:
            made = failed(error, f"{message.kind} {message.name}")
        self._belongings.define(message.function, made)

    def _put(self, message: Put) -> None:
        if isinstance(message.payload, Made):
            self._enter(message.ref, message.payload.real)
        elif not self._belongings.store(message.ref, message.payload):
            self._make([message.ref], PUT, lambda: [cluster.put(self._belongings.load(message.payload))])

    def _task(self, message: Task) -> None:
        def call() -> list[Any]:
            args, kwargs = self._belongings.arguments(message.payload)
            return cluster.submit(self._belongings.callee(message.function, message.options), args, kwargs)

        self._make(message.refs, "an argument", call)

    def _create(self, message: Create) -> None:
        def call() -> list[Any]:
            args, kwargs = self._belongings.arguments(message.payload)
            return [cluster.create(self._belongings.callee(message.function, message.options), args, kwargs)]

        self._make([message.actor], "an argument", call)

    def _call(self, message: Call) -> None:
        def call() -> list[Any]:
            handle = self._belongings.real(message.actor)
            options = self._belongings.options(message.options)
            args, kwargs = self._belongings.arguments(message.payload)
            return cluster.submit(cluster.method(handle, message.method, options), args, kwargs)

        self._make(message.refs, "an argument", call)

    def _make(self, numbers: list[int], what: str, call: Callable[[], list[Any]]) -> None:
        """Enter what a call makes under the client's numbers, or why it failed."""
        try:
            made = call()
            if len(made) != len(numbers):
                raise ValueError(f"{len(made)} values are returned where the caller expects {len(numbers)}")
        except BaseException as error:
            failure = failed(error, what)
            made = [failure] * len(numbers)
        for number, real in zip(numbers, made, strict=True):
            self._enter(number, real)

    def _enter(self, number: int, real: Any) -> None:
        # A generator is no object, though Ray knows it by the reference that is ready at its end.
        self._table.add(number, real, known=not isinstance(real, Failed) and not cluster.is_generator(real))

    def _watch(self, message: Watch) -> None:
        pending: dict[int, Any] = {}
        for number in message.refs:
            if self._belongings.stored(number) is not None:
                continue
            with contextlib.suppress(DependencyFailed, LookupError):
                real = self._belongings.real(number)
                if cluster.is_reference(real):
                    pending[number] = real
        now = cluster.ready_now(list(pending.values()), fetch_local=message.fetch_local)
        # What is not pending has an error to be fetched: that is to be ready, too.
        ready = [n for n in message.refs if n not in pending or cluster.identity(pending[n]) in now]
        self._send(Ready(message.request, ready, message.fetch_local))
        for number in ready:
            pending.pop(number, None)
        self._readiness.watch(pending, local=message.fetch_local)

    def _release(self, message: Release) -> None:
        self._belongings.release(*message.refs)
        self._streams.released(message.refs)

    def _next(self, message: Next) -> None:
        self._streams.want(message)

    def _request(self, message: Request) -> None:
        def call() -> Any:
            operation = self._operations.get(message.operation)
            if operation is None:
                raise ValueError(f"this bridge knows no operation {message.operation!r}")
            args, kwargs = self._belongings.arguments(message.payload)
            return operation(*args, **kwargs)

        self._answer_request(message, call)

    def _answer_request(self, message: Request, call: Callable[[], Any]) -> None:
        """Answer with what a call returns or raises; if that is an operation in steps, at the end of it."""
        try:
            value = call()
            if isinstance(value, Generator):
                go_on(value, None, self._later, functools.partial(self._answer_request, message))
                return
            payload = self._belongings.dump(value)
        except BaseException as error:
            failure = failed(error, f"an argument of {message.operation}")
            self._send(Refusal(message.request, failure.error, self._belongings.dump_cause(failure)))
            return
        self._send(Reply(message.request, payload))

    def _later(self, step: Callable[[], None]) -> None:
        self._events.put(Step(step))

    def _end(self, message: Goodbye | Detach) -> None:
        self._farewell(message)

    # --- the thread of large puts

    def _run_puts(self) -> None:
        while (item := self._puts.get()) is not None:
            event, value = item
            try:
                made = cluster.put(value)
            except BaseException as error:
                made = failed(error, PUT)
            self._later(functools.partial(self._arrived, event, Made(made)))
            del item, event, value, made
        self._events.put(None)


_HANDLERS: dict[type, Callable[[Executor, Any], None]] = {
    Define: Executor._define,
    Put: Executor._put,
    Task: Executor._task,
    Create: Executor._create,
    Call: Executor._call,
    Fetch: lambda executor, message: executor._values.fetch(message),
    Unfetch: lambda executor, message: executor._values.unfetch(message),
    Watch: Executor._watch,
    Release: Executor._release,
    Request: Executor._request,
    Next: Executor._next,
    Ahead: lambda executor, message: executor._values.ahead(message),
    Goodbye: Executor._end,
    Detach: Executor._end,
}
