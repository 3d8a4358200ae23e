"""Which values the client wants, and how far each of them is on its way to it. Pure.

Ray hands a value over as soon as it is there, the client reads when it likes. So only some values wait here; the others
are put off: dropped, and asked of Ray again when it is their turn::

    (none)  --the client wants it------------------> ASKED
    ASKED   --it is found, with others-------------> (none), being sent at once
    ASKED   --Ray gives it-------------------------> WAITING, or OFF if too much waits, or (none) if it is not wanted
    WAITING --sent---------------------------------> (none)
    WAITING --too large for now--------------------> OFF
    OFF     --there is room, and it is wanted------> ASKED

Values that are wanted together are of use together: whoever sends one of them may wait a little for the others.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Any

WAITING_MAX = 64 << 20
"""Bytes, as far as they can be guessed, of values that Ray has handed over and that wait to be pickled.

What is found with others is pickled at once, and does not count.
"""

VALUE_COST = 64 << 10
"""Bytes that a value counts at least: so no more than about a thousand wait."""

SAMPLE = 8
"""Elements of a container that are looked at, to guess at the others."""

LEVELS = 3
"""Containers within containers that are looked into."""


class Together:
    """Values that were wanted in one go."""

    __slots__ = ("missing",)

    def __init__(self) -> None:
        self.missing = 0
        """How many of them Ray does not have yet."""


class Fetches:
    """The state of each value that was asked for. Several threads work on it; each method is atomic."""

    def __init__(self, waiting_max: int = WAITING_MAX) -> None:
        self._waiting_max = waiting_max
        self._wanted: set[int] = set()
        self._asked: set[int] = set()
        self._waiting: dict[int, int] = {}
        self._off: OrderedDict[int, int] = OrderedDict()
        self._large: OrderedDict[int, None] = OrderedDict()
        self._total = 0
        self._together: dict[int, Together] = {}
        self._lock = threading.Lock()

    def want(self, number: int, together: Together | None = None) -> bool:
        """The client wants a value, perhaps with others; whether Ray is to be asked for it."""
        with self._lock:
            self._wanted.add(number)
            if number in self._asked or number in self._waiting or number in self._off or number in self._large:
                return False
            self._asked.add(number)
            if together is not None:
                together.missing += 1
                self._together[number] = together
            return True

    def want_no_more(self, numbers: Iterable[int]) -> None:
        """The client has taken it back."""
        with self._lock:
            for number in numbers:
                self._wanted.discard(number)
                self._off.pop(number, None)
                self._large.pop(number, None)

    def came(self, number: int, nbytes: int) -> bool:
        """Ray has handed over a value of about so many bytes; whether it is to be kept until it can be sent."""
        with self._lock:
            self._asked.discard(number)
            self._leave(number)
            if number not in self._wanted:
                self._forget(number)
                return False
            if number in self._waiting:  # its place was kept
                return True
            cost = max(nbytes, VALUE_COST)
            if not self._fits(cost):
                self._off[number] = cost
                return False
            self._wait(number, cost)
            return True

    def is_there(self, number: int) -> bool:
        """Ray has a value; whether it can wait, being one of several of which some are still missing."""
        with self._lock:
            return self._leave(number)

    def _leave(self, number: int) -> bool:
        together = self._together.pop(number, None)
        if together is None:
            return False
        together.missing -= 1
        return together.missing > 0

    def taken(self, number: int) -> bool:
        """A value that waited is being sent; whether it is still wanted."""
        with self._lock:
            self._forget(number)
            wanted = number in self._wanted
            self._wanted.discard(number)
            return wanted

    def taken_at_once(self, numbers: Iterable[int]) -> list[int]:
        """These values were found, and are sent without waiting here; those of them that are still wanted."""
        with self._lock:
            wanted = []
            for number in numbers:
                self._asked.discard(number)
                self._leave(number)
                self._forget(number)
                if number in self._wanted:
                    self._wanted.discard(number)
                    wanted.append(number)
            return wanted

    def put_off(self, number: int) -> None:
        """A value that was taken turned out to be too large for now."""
        with self._lock:
            self._wanted.add(number)
            self._large[number] = None

    @property
    def has_off(self) -> bool:
        """Whether a value was put off since too much waited, so that ``again`` may have something to say."""
        with self._lock:
            return bool(self._off)

    def again(self, *, large: bool) -> list[int]:
        """The values that Ray is to be asked for again.

        Args:
            large: whether there is room for one that was too large.
        """
        with self._lock:
            numbers = []
            if large and self._large:
                number, _ = self._large.popitem(last=False)
                self._wait(number, VALUE_COST)
                numbers.append(number)
            while self._off and self._fits(next(iter(self._off.values()))):
                number, cost = self._off.popitem(last=False)
                self._wait(number, cost)
                numbers.append(number)
            self._asked.update(numbers)
            return numbers

    def _fits(self, cost: int) -> bool:
        return not self._waiting or self._total + cost <= self._waiting_max

    def _wait(self, number: int, cost: int) -> None:
        self._forget(number)
        self._waiting[number] = cost
        self._total += cost

    def _forget(self, number: int) -> None:
        self._total -= self._waiting.pop(number, 0)


def guess_size(value: Any, levels: int = LEVELS) -> int:
    """About how many bytes a value takes, by a look at the first elements of what holds others."""
    try:
        size = sys.getsizeof(value)
        inside = getattr(value, "__dict__", None)
    except BaseException:
        return 0  # user code, if a class has its own idea of these; whatever it raises is no reason to lose the value
    if levels == 0:
        return size
    if type(inside) is dict:
        size += guess_size(inside, levels - 1)
    if type(value) is dict:
        return size + _guess_all(value.keys(), levels) + _guess_all(value.values(), levels)
    if type(value) in (list, tuple, set, frozenset):
        return size + _guess_all(value, levels)
    return size


def _guess_all(values: Collection[Any], levels: int) -> int:
    sample = list(islice(values, SAMPLE))
    return sum(guess_size(each, levels - 1) for each in sample) * len(values) // len(sample) if sample else 0
