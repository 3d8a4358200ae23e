"""``Pool``: calls of functions, spread over actors that stay."""

from __future__ import annotations

import itertools
import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, NoReturn, cast

from raymq.api import current_session
from raymq.pickling import travels_by_value
from raymq.refs import ObjectRef
from raymq.util.multiprocessing.results import AsyncResult, Chunk, IMapIterator
from raymq.util.multiprocessing.worker import Worker

log = logging.getLogger("raymq")

travels_by_value(Worker.__module__)

CHUNKS = 4
"""Chunks that each process gets of what is mapped, unless told otherwise."""

Callback = Callable[[Any], object]


class Process:
    """An actor of a pool, and the one that takes its place.

    Args:
        start: makes an actor.
        most: chunks after which another one takes its place; None for never.
        end: takes an actor that has got its last chunk, and a reference to what comes of that.
    """

    def __init__(self, start: Callable[[], Any], most: int | None, end: Callable[[Any, Any], None]) -> None:
        self._start, self._most, self._end = start, most, end
        self.actor = start()
        self.last: ObjectRef[Any] | None = None
        self._count = 0

    def run(self, function: Any, chunk: Chunk) -> ObjectRef[Any]:
        """Have it do some calls after those that it has got already."""
        ref: ObjectRef[Any] = self.actor.run.remote(function, chunk)
        self.last = ref
        self._count += 1
        if self._count == self._most:
            self._end(self.actor, ref)
            self.actor, self._count, self.last = self._start(), 0, None
        return ref


class Pool:
    """A pool of processes in the cluster, as ``multiprocessing.Pool`` is one on this machine. A context manager.

    Args:
        processes: how many; as many as the cluster has CPUs if left out, and no more. Each is an actor that reserves
            none, unless ``ray_remote_args`` say so.
        initializer: a function that each process calls first.
        initargs: its arguments.
        maxtasksperchild: chunks after which a process ends and another one takes its place.
        context: only there for the likeness; it has no effect.
        ray_address: not here: the default session is used.
        ray_remote_args: options of the actors, such as ``{"num_cpus": 1}``.

    Raises:
        ValueError: so many processes cannot be, or an address is given.
        NotConnected: there is no session.
        ActorDiedError: the initializer failed.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] | None = None,
        maxtasksperchild: int | None = None,
        context: Any = None,
        ray_address: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
    ) -> None:
        if ray_address is not None:
            raise ValueError(
                f"Pool() uses the session that there is: connect({ray_address!r}), and give no ray_address"
            )
        if context is not None:
            log.warning("the context of a Pool has no effect: its processes are actors")
        self._session = current_session()
        kind = self._session.remote(**{"num_cpus": 0, **(ray_remote_args or {})})(Worker)
        first = initializer, tuple(initargs or ())
        self._closed = False
        self._ending: list[tuple[Any, ObjectRef[Any]]] = []
        self._lazy: weakref.WeakSet[IMapIterator] = weakref.WeakSet()
        self._processes = [
            Process(lambda: kind.remote(*first), maxtasksperchild, self._end) for _ in range(self._checked(processes))
        ]
        self._turns = itertools.cycle(self._processes)
        self._session.get([process.actor.__ray_ready__.remote() for process in self._processes])

    def _checked(self, processes: int | None) -> int:
        cpus = int(self._session.cluster_resources().get("CPU", 0))
        wanted = cpus if processes is None else processes
        if wanted < 1:
            raise ValueError(f"a pool has 1 or more processes, not {wanted}")
        if wanted > cpus:
            raise ValueError(f"a pool of {wanted} processes does not fit: the cluster has {cpus} CPUs")
        return wanted

    # --- one call

    def apply(self, func: Callable[..., Any], args: Iterable[Any] = (), kwargs: dict[str, Any] | None = None) -> Any:
        """Call a function in one of the processes, and wait for what it returns."""
        return self.apply_async(func, args, kwargs).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwargs: dict[str, Any] | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> AsyncResult:
        """Call a function in one of the processes.

        Args:
            func: the function.
            args: its arguments.
            kwargs: its keyword arguments.
            callback: called with what it returns, in a thread of its own; is not to wait for other results.
            error_callback: the same with what it raises.

        Raises:
            ValueError: the pool is closed.
        """
        self._check_running()
        ref = next(self._turns).run(func, [(tuple(args or ()), kwargs or {})])
        return AsyncResult([ref], callback, error_callback, single=True)

    # --- many

    def map(self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """Call a function for each of some items, and wait for all that it returns, in the order of the items.

        Args:
            func: the function.
            iterable: the items, each of them the one argument of a call.
            chunksize: how many calls a process gets at a time.

        Raises:
            ValueError: the pool is closed, or the ``chunksize`` is below 1.
            Exception: the first that a call has raised.
        """
        return cast("list[Any]", self.map_async(func, iterable, chunksize).get())

    def map_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> AsyncResult:
        """``map`` without waiting; ``callback`` gets the list of all results, ``error_callback`` the first error."""
        return self._spread(func, ((item,) for item in iterable), chunksize, callback, error_callback)

    def starmap(
        self, func: Callable[..., Any], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[Any]:
        """``map``, but each item is an iterable of a call's arguments."""
        return cast("list[Any]", self.starmap_async(func, iterable, chunksize=chunksize).get())

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        callback: Callback | None = None,
        error_callback: Callback | None = None,
        *,
        chunksize: int | None = None,
    ) -> AsyncResult:
        """``starmap`` without waiting. As in Ray, ``chunksize`` does not come third."""
        return self._spread(func, (tuple(item) for item in iterable), chunksize, callback, error_callback)

    def _spread(
        self,
        func: Callable[..., Any],
        calls: Iterable[tuple[Any, ...]],
        chunksize: int | None,
        callback: Callback | None,
        error_callback: Callback | None,
    ) -> AsyncResult:
        self._check_running()
        known = list(calls)
        chunks = _chunks(known, self._chunksize(known, chunksize))
        function = self._session.put(func)  # once, and not with each chunk
        refs = [process.run(function, chunk) for chunk, process in zip(chunks, self._turns, strict=False)]
        return AsyncResult(refs, callback, error_callback)

    def imap(self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = 1) -> IMapIterator:
        """``map``, item by item: each process gets a chunk only when it is free, and results come one by one.

        Args:
            func: the function.
            iterable: the items, which may be without end.
            chunksize: how many calls a process gets at a time; None for one that suits the number of items.

        Returns:
            An iterator, whose ``next`` also takes a timeout in seconds.
        """
        return self._imap(func, iterable, chunksize, ordered=True)

    def imap_unordered(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> IMapIterator:
        """``imap``, but the results come as they are ready."""
        return self._imap(func, iterable, chunksize, ordered=False)

    def _imap(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None, *, ordered: bool
    ) -> IMapIterator:
        self._check_running()
        size = self._chunksize(iterable, chunksize) if isinstance(iterable, Sized) or chunksize else 1
        chunks = _chunks(((item,) for item in iterable), size)
        made = IMapIterator(self._processes, self._session.put(func), chunks, ordered=ordered)
        self._lazy.add(made)
        return made

    def _chunksize(self, items: Any, chunksize: int | None) -> int:
        if chunksize is None:
            return max(1, -(-len(items) // (CHUNKS * len(self._processes))))
        if chunksize < 1:
            raise ValueError(f"a chunksize is 1 or more, not {chunksize}")
        return chunksize

    # --- the end

    def close(self) -> None:
        """Take no more calls. The processes end when they have done those that there are.

        What ``imap`` has not handed out yet is handed out now; of items without end, ``terminate`` is the way out.
        """
        if self._closed:
            return
        self._closed = True
        for results in self._lazy:
            results.submit_all()
        for process in self._processes:
            self._end(process.actor, process.last)

    def terminate(self) -> None:
        """End the processes at once, and what they do."""
        self._lazy.clear()
        self.close()
        for actor, _ in self._ending:
            self._session.kill(actor)

    def join(self) -> None:
        """Wait until the processes of a closed pool have ended.

        Raises:
            ValueError: the pool is not closed.
        """
        if not self._closed:
            raise ValueError("the pool is still running: close() or terminate() it first")
        refs = [ref for _, ref in self._ending]
        self._session.wait(refs, num_returns=len(refs))

    def _end(self, actor: Any, last: ObjectRef[Any] | None) -> None:
        if last is not None:
            actor.after.remote(last)  # a process that ends at once may take its last result with it
        self._ending.append((actor, actor.__ray_terminate__.remote()))
        if len(self._ending) > 2 * len(self._processes):  # as they do with maxtasksperchild
            refs = [ref for _, ref in self._ending]
            left = set(self._session.wait(refs, num_returns=len(refs), timeout=0)[1])
            self._ending = [(other, ref) for other, ref in self._ending if ref in left]

    def _check_running(self) -> None:
        if self._closed:
            raise ValueError("the pool is closed")

    def __enter__(self) -> Pool:  # noqa: PYI034 - as Ray's, it is not made for subclasses
        self._check_running()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.terminate()

    def __reduce__(self) -> NoReturn:
        raise NotImplementedError("a pool cannot travel: make one where it is used")


def _chunks(calls: Iterable[tuple[Any, ...]], size: int) -> Iterator[Chunk]:
    calls = iter(calls)
    while True:
        chunk: Chunk = [(args, {}) for args in itertools.islice(calls, size)]
        if not chunk:
            return
        yield chunk
