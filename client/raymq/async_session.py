"""A session for programs that live in an event loop: whatever waits is awaited. The session itself is the same."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable, Coroutine, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from raymq import api
from raymq.awaiting import LoopWaiter, in_loop
from raymq.connecting import Attempt
from raymq.generators import ObjectRefGenerator
from raymq.info import SessionInfo
from raymq.lives import GOODBYE_TIME, Reconnect
from raymq.logging_config import LoggingConfig
from raymq.refs import ObjectRef, Waitable
from raymq.session import Session

if TYPE_CHECKING:
    from raymq.signatures import Remote

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 8
"""Calls of one session, at most, that wait for the cluster at a time, apart from ``get``, ``wait`` and ``await``, which
need no thread. Further ones wait for these."""


def _in_a_thread(
    method: Callable[Concatenate[Session, P], T],
) -> Callable[Concatenate[AsyncSession, P], Coroutine[Any, Any, T]]:
    """The same method, awaited: a thread of the session's pool waits."""

    @functools.wraps(method)
    async def call(self: AsyncSession, /, *args: P.args, **kwargs: P.kwargs) -> T:
        context = contextvars.copy_context()
        bound = functools.partial(context.run, method, self.session, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, bound)

    return call


def _kept(session: Session, name: str) -> Any:
    """As ``Session.kept[name]``."""
    return session.kept[name]


class AsyncSession:
    """A session whose waiting methods are coroutines. Made by ``raymq.aconnect``; an async context manager.

    ``get``, ``wait``, ``await ref`` and ``async for`` wait without a thread, however many there are at a time; the
    other methods wait in a few threads, each until it is done, also when its coroutine is cancelled. ``f.remote()`` is
    no coroutine, since it returns at once; but a large argument whose memory could be changed is sent first, as by
    ``put``, so give it a reference: ``f.remote(await session.put(array))``. So is, with the first call, what
    the ``runtime_env`` of a function or class names of this machine. The creation of an actor that takes a name waits
    until the cluster has given it that: ``await asyncio.to_thread(Cls.options(name="x").remote)``.

    Attributes:
        session: the session itself, whose methods block.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._pool = _new_pool()

    @property
    def id(self) -> bytes:
        """As ``Session.id``."""
        return self.session.id

    @property
    def info(self) -> SessionInfo:
        """As ``Session.info``."""
        return self.session.info

    @property
    def name(self) -> str:
        """As ``Session.name``."""
        return self.session.name

    @property
    def is_open(self) -> bool:
        """As ``Session.is_open``."""
        return self.session.is_open

    async def __aenter__(self) -> AsyncSession:  # noqa: PYI034 - it has no subclasses
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncSession of {self.session!r}>"

    async def close(self, timeout: float = GOODBYE_TIME) -> None:
        """As ``Session.close``; it is carried to its end also when this is cancelled meanwhile."""
        await _whole(_apart(functools.partial(self._close, timeout)))

    def _close(self, timeout: float) -> None:
        self.session.close(timeout)
        pool, self._pool = self._pool, _new_pool()  # which has no thread until somebody calls a closed session
        pool.shutdown()  # whatever waits there has just been told of the end

    if TYPE_CHECKING:
        remote: Remote
    else:

        def remote(self, *args: Any, **options: Any) -> Any:
            """As ``raymq.remote``, for functions and classes that always use this session."""
            return self.session.remote(*args, **options)

    @overload
    async def get(self, object_refs: ObjectRef[T], *, timeout: float | None = None) -> T: ...

    @overload
    async def get(self, object_refs: Sequence[ObjectRef[T]], *, timeout: float | None = None) -> list[T]: ...

    @overload
    async def get(
        self, object_refs: ObjectRefGenerator[T], *, timeout: float | None = None
    ) -> ObjectRefGenerator[T]: ...

    async def get(self, object_refs: Any, *, timeout: float | None = None) -> Any:
        """As ``Session.get``."""
        values = await in_loop(self.session._get(object_refs, timeout, LoopWaiter))
        return values()

    async def put(self, value: T) -> ObjectRef[T]:
        """As ``Session.put``."""
        ref: ObjectRef[T] = await self._put(value)
        return ref

    _put = _in_a_thread(Session.put)

    async def wait(
        self,
        ray_waitables: list[Waitable],
        *,
        num_returns: int = 1,
        timeout: float | None = None,
        fetch_local: bool = True,
    ) -> tuple[list[Waitable], list[Waitable]]:
        """As ``Session.wait``."""
        return await in_loop(
            self.session._wait(ray_waitables, num_returns, timeout, LoopWaiter, fetch_local=fetch_local)
        )

    kill = _in_a_thread(Session.kill)
    cancel = _in_a_thread(Session.cancel)
    get_actor = _in_a_thread(Session.get_actor)
    list_named_actors = _in_a_thread(Session.list_named_actors)
    detach = _in_a_thread(Session.detach)
    keep = _in_a_thread(Session.keep)
    kept = _in_a_thread(_kept)
    publish = _in_a_thread(Session.publish)
    lookup = _in_a_thread(Session.lookup)
    unpublish = _in_a_thread(Session.unpublish)
    published = _in_a_thread(Session.published)
    nodes = _in_a_thread(Session.nodes)
    cluster_resources = _in_a_thread(Session.cluster_resources)
    available_resources = _in_a_thread(Session.available_resources)
    timeline = _in_a_thread(Session.timeline)
    request = _in_a_thread(Session.request)


class Connecting:
    """A session that is to be opened: ``await`` it, or write ``async with``, which closes the session at its end.

    Args:
        begin: opens the session, in a thread; takes an ``attempt``, by which that can be called off.
    """

    def __init__(self, begin: Callable[..., Session]) -> None:
        self._begin = begin
        self._opened: AsyncSession | None = None

    def __await__(self) -> Generator[Any, None, AsyncSession]:
        return self._open().__await__()

    async def __aenter__(self) -> AsyncSession:
        self._opened = await self._open()
        return self._opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await self._opened.close()

    async def _open(self) -> AsyncSession:
        attempt = Attempt()
        opening = _apart(functools.partial(self._begin, attempt=attempt))
        try:
            session = await _whole(opening, attempt.call_off)
        except asyncio.CancelledError:
            if opening.exception() is None:  # it was too late to call it off
                await _whole(_apart(opening.result().close))
            raise
        api.make_default(session)
        return AsyncSession(session)


def aconnect(
    address: str | None = None,
    *,
    timeout: float = api.CONNECT_TIMEOUT,
    namespace: str | None = None,
    runtime_env: dict[str, Any] | None = None,
    log_to_driver: bool = True,
    logging_config: LoggingConfig | None = None,
    session: str | None = None,
    takeover: bool = False,
    ttl: float | str | None = None,
    reconnect: Reconnect = None,
    compression: str | None = "auto",
) -> Connecting:
    """``connect`` for programs that live in an event loop; all arguments are the same, and so are the errors.

    Returns:
        What is awaited for an ``AsyncSession``: ``session = await raymq.aconnect(...)``, or ``async with
        raymq.aconnect(...) as session``. Cancelled before the session is open, it leaves nothing behind.
    """
    return Connecting(
        api.opening(
            address, timeout=timeout, namespace=namespace, runtime_env=runtime_env, log_to_driver=log_to_driver,
            logging_config=logging_config, session=session, takeover=takeover, ttl=ttl, reconnect=reconnect,
            compression=compression,
        )
    )  # fmt: skip


def _new_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="raymq-calls")


def _apart(call: Callable[[], T]) -> asyncio.Future[T]:
    """Call it in a thread of its own, which ends with it."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="raymq-apart")
    try:
        return asyncio.get_running_loop().run_in_executor(pool, call)
    finally:
        pool.shutdown(wait=False)


async def _whole(future: asyncio.Future[T], cancelled: Callable[[], None] = lambda: None) -> T:
    """Wait for it to its end, also when this is cancelled meanwhile, which is told.

    Raises:
        CancelledError: this was cancelled; then the future is done, too.
    """
    cancellation: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancellation = error
            cancelled()
    if cancellation is not None:
        future.exception()  # nobody else asks for it
        raise cancellation
    return future.result()
