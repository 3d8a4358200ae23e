"""What a pool's calls return: results that come at once, or one after the other."""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from multiprocessing import TimeoutError as PoolTimeoutError
from typing import TYPE_CHECKING, Any

from raymq.refs import ObjectRef
from raymq.remote_errors import RemoteTraceback

if TYPE_CHECKING:
    from raymq.util.multiprocessing.pool import Process

Outcome = tuple[bool, Any, str]
"""Of one call: whether it went well, what it returned or raised, and the traceback of the latter."""

Chunk = list[tuple[Sequence[Any], dict[str, Any]]]
"""Calls that one process does one after the other: for each its arguments."""


def _value(outcome: Outcome) -> Any:
    went_well, value, text = outcome
    if went_well:
        return value
    raise value from RemoteTraceback(text) if text else value.__cause__


class AsyncResult:
    """The results of ``map_async`` and its like, or the one of ``apply_async``. Made by these.

    Args:
        refs: one for each chunk.
        callback: called with the results when all are there and none has failed.
        error_callback: called with the first error else.
        single: there is one result, and no list of them.
    """

    def __init__(
        self,
        refs: Sequence[ObjectRef[Any]],
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        *,
        single: bool = False,
    ) -> None:
        self._callback, self._error_callback, self._single = callback, error_callback, single
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._chunks: list[list[Outcome]] = [[] for _ in refs]
        self._left = len(refs)
        if not refs:
            self._finish()
        for place, ref in enumerate(refs):
            ref.future().add_done_callback(functools.partial(self._arrived, place))

    def get(self, timeout: float | None = None) -> Any:
        """Wait for the results.

        Args:
            timeout: seconds to wait at most; None waits for ever.

        Raises:
            multiprocessing.TimeoutError: the time was over.
            Exception: the first that a call has raised.
        """
        if not self._done.wait(timeout):
            raise PoolTimeoutError(f"no result came within {timeout} s")
        results = [_value(outcome) for chunk in self._chunks for outcome in chunk]
        return results[0] if self._single else results

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the results, ``timeout`` seconds at most."""
        self._done.wait(timeout)

    def ready(self) -> bool:
        """Whether all results are there."""
        return self._done.is_set()

    def successful(self) -> bool:
        """Whether no call has failed.

        Raises:
            ValueError: not all results are there.
        """
        if not self.ready():
            raise ValueError("the results are not ready")
        return self._error() is None

    def _arrived(self, place: int, future: Future[Any]) -> None:
        """A chunk is done; in the thread that completes futures."""
        self._chunks[place] = _outcomes(future.result)
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._finish()

    def _finish(self) -> None:
        try:
            error = self._error()
            if error is None and self._callback is not None:
                results = [value for chunk in self._chunks for _, value, _ in chunk]
                self._callback(results[0] if self._single else results)
            elif error is not None and self._error_callback is not None:
                self._error_callback(error)
        finally:
            self._done.set()

    def _error(self) -> BaseException | None:
        failed = (value for chunk in self._chunks for went_well, value, _ in chunk if not went_well)
        return next(failed, None)


def _outcomes(result: Callable[[], list[Outcome]]) -> list[Outcome]:
    """The outcomes of a chunk; one for all of it if its process failed."""
    try:
        return result()
    except Exception as error:
        return [(False, error, "")]


class IMapIterator:
    """The results of ``imap`` and ``imap_unordered``. Made by these.

    Each process has one chunk at a time, and gets the next when its last one is done and results are asked for.

    Args:
        processes: the pool's.
        function: what to call, or a reference to it.
        chunks: the calls.
        ordered: whether the results come in the order of the calls.
    """

    def __init__(self, processes: Sequence[Process], function: Any, chunks: Iterator[Chunk], *, ordered: bool) -> None:
        self._function, self._chunks, self._ordered = function, chunks, ordered
        self._running: dict[ObjectRef[Any], Process] = {}
        self._order: deque[ObjectRef[Any]] = deque()
        self._outcomes: deque[Outcome] = deque()
        for process in processes:
            self._submit(process)

    def __iter__(self) -> IMapIterator:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """The next result.

        Args:
            timeout: seconds to wait at most; None waits for ever.

        Raises:
            StopIteration: there are no more.
            multiprocessing.TimeoutError: the time was over.
            Exception: what the call has raised; those after it can be asked for.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._outcomes:
            ref = self._next_chunk(deadline)
            self._outcomes.extend(_outcomes(functools.partial(ref._life.session.get, ref)))
        return _value(self._outcomes.popleft())

    def submit_all(self) -> None:
        """Hand out all calls that are left: the pool is being closed."""
        processes = list(self._running.values())
        while processes and self._submit(processes[0]):
            processes.append(processes.pop(0))

    def _submit(self, process: Process) -> bool:
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        ref = process.run(self._function, chunk)
        self._running[ref] = process
        self._order.append(ref)
        return True

    def _next_chunk(self, deadline: float | None) -> ObjectRef[Any]:
        """Wait for the chunk whose results come next; every one that is done meanwhile makes room for another."""
        while self._order and (not self._ordered or self._order[0] in self._running):
            running = list(self._running)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _ = running[0]._life.session.wait(running, timeout=left)
            if not ready:
                raise PoolTimeoutError("no result came in time")
            self._submit(self._running.pop(ready[0]))
            if not self._ordered:
                self._order.remove(ready[0])
                return ready[0]
        if not self._order:
            raise StopIteration
        return self._order.popleft()
