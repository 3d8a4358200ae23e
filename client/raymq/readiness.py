"""Which references are known to be ready, and who waits for that. Pure; the ledger that has it has the lock, too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raymq.waiting import Waiter


class Readiness:
    """What is known of references in one of the two meanings: they exist, or they are on the bridge's node."""

    def __init__(self) -> None:
        self._ready: set[int] = set()
        self._watched: dict[int, list[Waiter]] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._ready

    def watch(self, numbers: Iterable[int]) -> list[int]:
        """Watch references; returns those that the bridge has not been asked to watch before."""
        unknown = [number for number in numbers if number not in self._ready and number not in self._watched]
        self._watched.update({number: [] for number in unknown})
        return unknown

    def first(self, numbers: Sequence[int], count: int) -> list[int]:
        """The places of the first so many references that are ready."""
        return list(islice((place for place, number in enumerate(numbers) if number in self._ready), count))

    def wait_for(self, numbers: Sequence[int], waiter: Waiter) -> None:
        """Have a waiter told when references are ready; at once of those that are."""
        for number in numbers:
            if number in self._ready:
                waiter.count_down()
            elif number in self._watched:
                self._watched[number].append(waiter)
            else:
                self._watched[number] = [waiter]

    def wait_no_more(self, numbers: Sequence[int], waiter: Waiter) -> None:
        """Undo ``wait_for``."""
        for number in numbers:
            if waiter in self._watched.get(number, ()):
                self._watched[number].remove(waiter)

    def become_ready(self, number: int) -> None:
        """A reference is ready."""
        if number not in self._ready:
            self._ready.add(number)
            for waiter in self._watched.pop(number, ()):
                waiter.count_down()

    def told(self, numbers: Iterable[int]) -> None:
        """The bridge says that references are ready; some may have been released meanwhile."""
        for number in numbers:
            if number in self._watched:
                self.become_ready(number)

    def be_ready_no_more(self, number: int) -> None:
        """The next item of a generator is another one."""
        self._ready.discard(number)

    def forget(self, number: int) -> None:
        """A reference was released."""
        self._ready.discard(number)
        if not self._watched.get(number):
            self._watched.pop(number, None)

    def leave_waiting(self) -> None:
        """Forget all who wait."""
        self._watched.clear()

    def end(self) -> None:
        """Nothing becomes ready any more: whoever waits is told."""
        for waiting in self._watched.values():
            for waiter in waiting:
                waiter.count_down(at_once=True)
