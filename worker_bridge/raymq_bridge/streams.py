"""Generators that the client reads: their items are handed to it as Ray has them, as many as it has asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any

from raymq.protocol.messages import Message, Next, Yielded
from raymq_bridge import cluster
from raymq_bridge.belongings import Belongings, failed

ALONG_MAX = 8 << 10
"""Bytes that an item's value may have to come along with its number: most readers get each item, one by one. The first
that has more, or is none, is the last that is looked at for this, since that takes the time to unpickle it."""


class _Stream:
    """One generator.

    Attributes:
        credit: items that the client has asked for and not got.
        awaited: Ray will call back.
        along: values come along.
    """

    __slots__ = ("along", "awaited", "credit", "generator")

    def __init__(self, generator: Any) -> None:
        self.generator = generator
        self.credit = 0
        self.awaited = False
        self.along = True


class Streams:
    """All generators of a session that are being read. Everything runs in the thread of calls.

    Args:
        belongings: where the generators are, and where their items go.
        send: takes messages for the client.
        send_cheap: sends the values of those numbers that are at hand and have no more than so many bytes; whether
            these were all.
        later: has a function called in the thread of calls; callable from any thread.
    """

    def __init__(
        self,
        belongings: Belongings,
        send: Callable[[Message], None],
        send_cheap: Callable[[list[int], int], bool],
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        self._belongings = belongings
        self._send = send
        self._send_cheap = send_cheap
        self._later = later
        self._streams: dict[int, _Stream] = {}

    def __len__(self) -> int:
        return len(self._streams)

    def want(self, message: Next) -> None:
        """The client asks for more items of a generator."""
        stream = self._streams.get(message.generator)
        if stream is None:
            try:
                generator = self._belongings.real(message.generator)
                if not cluster.is_generator(generator):
                    raise TypeError("only generators have items")
            except Exception as error:
                self._fail(message.generator, error)
                return
            stream = self._streams[message.generator] = _Stream(generator)
        stream.credit += message.items
        self._advance(message.generator, stream)

    def _fail(self, number: int, error: Exception) -> None:
        """As in Ray: the one item of a generator that never began is its error."""
        failure = self._belongings.table.enter(failed(error, "a generator"))
        self._send(Yielded(number, [failure], done=True))

    def _advance(self, number: int, stream: _Stream) -> None:
        """Hand out what there is, and wait for what there is not."""
        items: list[int] = []
        done = False
        try:
            while len(items) < stream.credit and (item := cluster.next_item(stream.generator)) is not None:
                items.append(self._belongings.table.hand_out(item))
        except StopIteration:
            done = True
        except Exception as error:
            items.append(self._belongings.table.enter(failed(error, "a generator")))
            done = True
        stream.credit -= len(items)
        if done:
            del self._streams[number]
        stream.along = stream.along and self._send_cheap(items, ALONG_MAX)
        if items or done:
            self._send(Yielded(number, items, done))
        if stream.credit and not done and not stream.awaited:
            stream.awaited = True
            woken = functools.partial(self._woken, number, stream)
            cluster.on_item(stream.generator, functools.partial(self._later, woken))

    def _woken(self, number: int, stream: _Stream) -> None:
        stream.awaited = False
        if self._streams.get(number) is stream:
            self._advance(number, stream)

    def clear(self) -> None:
        """The client is gone. Callbacks of Ray may hold this for long; they are to hold no generators with it."""
        for stream in self._streams.values():
            stream.generator = None
        self._streams.clear()

    def released(self, numbers: Collection[int]) -> None:
        """The client holds numbers once less; a generator among them that nobody holds any longer is let go of."""
        for number in self._streams.keys() & numbers if self._streams else ():
            if number not in self._belongings.table:
                # Ray may hold the stream itself for long: until there is another item, or the task has ended.
                self._streams.pop(number).generator = None
