"""The table of references: which of the client's numbers stands for which real object. Pure.

A number is held as often as it was handed to the client: once when it was made, and once more in each value that
brings it along. The client releases it as often as it was handed to it; only then is the entry dropped. So a
release that crosses a value on its way can never drop what the client is about to receive.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Entry:
    """One number: the real reference, actor handle or failure behind it, and how often the client holds it."""

    real: Any
    held: int
    identity: bytes | None


class Table:
    """Both directions: numbers to entries, and real objects to the number that the client knows them by.

    Calls are carried out in one thread and values pickled in another; each method is atomic.

    Args:
        identity: what makes two real objects the same, as bytes.
    """

    def __init__(self, identity: Callable[[Any], bytes]) -> None:
        self._identity = identity
        self._entries: dict[int, Entry] = {}
        self._numbers: dict[bytes, int] = {}
        self._next = 2
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, number: int) -> bool:
        return number in self._entries

    def add(self, number: int, real: Any, *, known: bool = True) -> None:
        """The client has made ``number``; ``known``: it stands for a real object, not for a failure."""
        identity = self._identity(real) if known else None
        with self._lock:
            if number in self._entries:  # what a client calls by a number that is taken is its own confusion
                self._drop(number)
            self._entries[number] = Entry(real, 1, identity)
            if identity is not None:
                self._numbers.setdefault(identity, number)

    def settle(self, number: int, real: Any, *, known: bool = True) -> None:
        """What stood behind a number meanwhile is a real object now, or a failure; it is held as often as before."""
        identity = self._identity(real) if known else None
        with self._lock:
            entry = self._entries.get(number)
            if entry is not None:
                entry.real, entry.identity = real, identity
                if identity is not None:
                    self._numbers.setdefault(identity, number)

    def get(self, number: int) -> Any:
        """What stands behind a number.

        Raises:
            KeyError: the client never made it, or has released it.
        """
        return self._entries[number].real

    def enter(self, real: Any) -> int:
        """A new, even number under which the client gets what is no real object, such as a failure; held once."""
        with self._lock:
            return self._new(Entry(real, 1, None))

    def peek(self, number: int) -> Any:
        """What stands behind a number, or None."""
        entry = self._entries.get(number)
        return entry.real if entry is not None else None

    def hand_out(self, real: Any) -> int:
        """The number under which the client gets a real object, held once more; a new, even one if it knows none."""
        identity = self._identity(real)
        with self._lock:
            number = self._numbers.get(identity)
            if number is None:
                number = self._numbers[identity] = self._new(Entry(real, 0, identity))
            self._entries[number].held += 1
            return number

    def release(self, *numbers: int) -> list[Any]:
        """The client holds numbers once less. One that is not in the table is ignored: it was never made.

        Returns:
            What stood behind those that it holds no longer.
        """
        dropped = []
        with self._lock:
            for number in numbers:
                entry = self._entries.get(number)
                if entry is not None:
                    entry.held -= 1
                    if entry.held == 0:
                        self._drop(number)
                        dropped.append(entry.real)
        return dropped

    def clear(self) -> None:
        """Drop everything: the client is gone, and nobody knows its numbers."""
        with self._lock:
            self._entries.clear()
            self._numbers.clear()

    def _new(self, entry: Entry) -> int:
        number, self._next = self._next, self._next + 2
        self._entries[number] = entry
        return number

    def _drop(self, number: int) -> None:
        entry = self._entries.pop(number, None)
        if entry is not None and entry.identity is not None and self._numbers.get(entry.identity) == number:
            del self._numbers[entry.identity]
