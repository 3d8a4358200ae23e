"""``Queue``: first in, first out, between processes of the cluster and clients; it lives in an actor."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterable
from typing import Any

from raymq.api import current_session
from raymq.packing import type_name
from raymq.session import Session


class Empty(queue.Empty):
    """There is nothing in the queue."""


class Full(queue.Full):
    """There is no room in the queue."""


class Queue:
    """A queue in the cluster. It can be handed to tasks and actors, where it is a ``ray.util.queue.Queue``.

    Its actor ends with the last of those who hold the queue, or by ``shutdown``; an actor that ``actor_options`` make a
    detached one only by the latter.

    Args:
        maxsize: how many items it has room for; 0 or less stands for any number.
        actor_options: options of its actor, such as ``{"num_cpus": 1}``.

    Raises:
        ValueError: an option is unknown or cannot have that value.
        NotConnected: there is no session.
    """

    # These two are all the state that Ray's has, too.
    maxsize: int
    actor: Any

    def __init__(self, maxsize: int = 0, actor_options: dict[str, Any] | None = None) -> None:
        made: Queue = current_session().request("queue", maxsize, actor_options)
        self.maxsize, self.actor = maxsize, made.actor

    # --- how full it is

    def __len__(self) -> int:
        return self.size()

    def size(self) -> int:
        """How many items are in it."""
        return int(self._get(self._actor.qsize.remote()))

    def qsize(self) -> int:
        """The same as ``size``."""
        return self.size()

    def empty(self) -> bool:
        """Whether there is nothing in it."""
        return bool(self._get(self._actor.empty.remote()))

    def full(self) -> bool:
        """Whether there is no room in it."""
        return bool(self._get(self._actor.full.remote()))

    # --- items

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an item in at the end. Returns when it is in.

        Args:
            item: whatever can be pickled.
            block: wait for room.
            timeout: seconds to wait at most; None waits for ever.

        Raises:
            Full: there is no room, or there was none in time.
            ValueError: the timeout is negative.
        """
        try:
            self._get(self._put(item, block, timeout))
        except asyncio.QueueFull:
            raise Full from None

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """``put`` for coroutines."""
        try:
            await self._put(item, block, timeout)
        except asyncio.QueueFull:
            raise Full from None

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the first item out.

        Args:
            block: wait for one.
            timeout: seconds to wait at most; None waits for ever.

        Raises:
            Empty: there is none, or there was none in time.
            ValueError: the timeout is negative.
        """
        try:
            return self._get(self._take(block, timeout))
        except asyncio.QueueEmpty:
            raise Empty from None

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """``get`` for coroutines."""
        try:
            return await self._take(block, timeout)
        except asyncio.QueueEmpty:
            raise Empty from None

    def put_nowait(self, item: Any) -> None:
        """``put`` without waiting for room."""
        self.put(item, block=False)

    def get_nowait(self) -> Any:
        """``get`` without waiting for an item."""
        return self.get(block=False)

    def put_nowait_batch(self, items: Iterable[Any]) -> None:
        """Put several items in at once, in their order: all or none.

        Raises:
            Full: there is no room for all of them.
            TypeError: these are no items.
        """
        if not isinstance(items, Iterable):
            raise TypeError(f"put_nowait_batch() takes items to iterate over, not {type_name(items)}")
        self._get(self._actor.put_nowait_batch.remote(list(items)))

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Take several items out at once: as many as are wanted, or none.

        Raises:
            Empty: there are not as many.
            TypeError: this is no number.
            ValueError: it is negative.
        """
        if not isinstance(num_items, int):
            raise TypeError(f"get_nowait_batch() takes a number of items, not {type_name(num_items)}")
        if num_items < 0:
            raise ValueError(f"a number of items is 0 or more, not {num_items}")
        return list(self._get(self._actor.get_nowait_batch.remote(num_items)))

    # --- the end

    def shutdown(self, force: bool = False, grace_period_s: int = 5) -> None:
        """Terminate the actor, and with it the queue; does nothing the second time.

        Args:
            force: kill it at once; else it may end what it does.
            grace_period_s: seconds that it gets for that.
        """
        if self.actor is None:
            return
        session, actor = self._session, self.actor
        if force or not session.wait([actor.__ray_terminate__.remote()], timeout=grace_period_s)[0]:
            session.kill(actor, no_restart=True)
        self.actor = None

    # --- its actor

    @property
    def _actor(self) -> Any:
        if self.actor is None:
            raise RuntimeError("the queue was shut down")
        return self.actor

    @property
    def _session(self) -> Session:
        session: Session = self._actor._life.session
        return session

    def _get(self, ref: Any) -> Any:
        return self._session.get(ref)

    def _put(self, item: Any, block: bool, timeout: float | None) -> Any:
        if not block:
            return self._actor.put_nowait.remote(item)
        return self._actor.put.remote(item, _limit(timeout))

    def _take(self, block: bool, timeout: float | None) -> Any:
        return self._actor.get.remote(_limit(timeout)) if block else self._actor.get_nowait.remote()


def _limit(timeout: float | None) -> float | None:
    if timeout is not None and timeout < 0:
        raise ValueError(f"a timeout is 0 or more seconds, not {timeout}")
    return timeout
