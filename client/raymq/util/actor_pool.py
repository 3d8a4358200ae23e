"""``ActorPool``: a fixed set of actors, each of which does one thing at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from raymq.exceptions import ActorDiedError
from raymq.refs import ObjectRef

Work = Callable[[Any, Any], Any]
"""Called with an actor and a value; returns the reference of a call of the actor, or the list of them."""


class ActorPool:
    """Spreads work over actors: each gets the next piece when its last one has been taken out of the pool.

    Results come from ``get_next`` in the order of submission, from ``get_next_unordered`` as they are ready. Not to be
    used from several threads at a time.

    Args:
        actors: the handles of the actors, which do nothing yet.
    """

    def __init__(self, actors: Iterable[Any]) -> None:
        self._idle = list(actors)
        self._waiting: deque[tuple[Work, Any]] = deque()
        self._running: dict[int, tuple[Any, Any]] = {}  # from the place in the order to the reference and the actor
        self._next_place = 0
        self._next_result = 0

    # --- work

    def submit(self, fn: Work, value: Any) -> None:
        """Give a piece of work to an actor, as soon as one is free.

        Args:
            fn: called with an actor and the value; returns the reference of the call that it makes.
            value: what the work is about.
        """
        if not self._idle:
            self._waiting.append((fn, value))
            return
        actor = self._idle.pop()
        self._running[self._next_place] = (fn(actor, value), actor)
        self._next_place += 1

    def map(self, fn: Work, values: Iterable[Any]) -> Iterator[Any]:
        """Do the same to many values; the results come in the order of the values.

        What was submitted before and has not been taken is dropped first. All values are submitted by this call; the
        work goes on as the results are read.

        Args:
            fn: as in ``submit``.
            values: one piece of work for each.
        """
        while self.has_next():
            self._drop(min(self._running))
        for value in values:
            self.submit(fn, value)
        return self._results(self.get_next)

    def map_unordered(self, fn: Work, values: Iterable[Any]) -> Iterator[Any]:
        """``map``, but the results come as they are ready. It waits for what was submitted before, and drops it."""
        while self.has_next():
            self.get_next_unordered()
        for value in values:
            self.submit(fn, value)
        return self._results(self.get_next_unordered)

    def _results(self, take: Callable[[], Any]) -> Iterator[Any]:
        while self.has_next():
            yield take()

    # --- results

    def has_next(self) -> bool:
        """Whether there are results to come that have not been taken."""
        return bool(self._running)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The next result in the order of submission; waits for it.

        Args:
            timeout: seconds to wait at most; None waits for ever.
            ignore_if_timedout: give the result up when the time is over, and its actor the next piece of work.

        Raises:
            StopIteration: there are no more results.
            ValueError: results after this one were taken out of order.
            TimeoutError: the time was over.
            RayTaskError: the work failed.
        """
        place = self._first_place()
        self._await([self._running[place][0]], timeout, place if ignore_if_timedout else None)
        return self._take(place)

    def get_next_unordered(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The result that is ready first.

        Args:
            timeout: seconds to wait at most; None waits for ever.
            ignore_if_timedout: when the time is over, give up the result that was submitted first.

        Raises:
            StopIteration: there are no more results.
            TimeoutError: the time was over.
            RayTaskError: the work failed.
        """
        self._check_next()
        places = {_last(made): place for place, (made, _) in self._running.items()}
        give_up = min(self._running) if ignore_if_timedout else None
        ready = self._await([made for made, _ in self._running.values()], timeout, give_up)
        return self._take(places[ready])

    def _check_next(self) -> None:
        if not self.has_next():
            raise StopIteration("there are no more results")

    def _first_place(self) -> int:
        self._check_next()
        if self._next_result >= self._next_place:
            raise ValueError("get_next() after get_next_unordered(): the results before it were left out")
        return self._next_result

    def _await(self, made: list[Any], timeout: float | None, give_up: int | None) -> ObjectRef[Any]:
        """Wait until one of the results is there; returns its reference."""
        refs = [_last(each) for each in made]
        ready, _ = refs[0]._life.session.wait(refs, timeout=timeout)
        if ready:
            return ready[0]
        text = f"no result came within {timeout} s"
        if give_up is not None:
            text += f"; {self._running[give_up][0]!r} is given up"
            self._drop(give_up)
        raise TimeoutError(text)

    def _take(self, place: int) -> Any:
        made, actor = self._remove(place)
        alive = True
        try:
            return _last(made)._life.session.get(made)
        except ActorDiedError:
            alive = False
            raise
        finally:
            self._give_back(actor, alive=alive)

    def _drop(self, place: int) -> None:
        _, actor = self._remove(place)
        self._give_back(actor)

    def _remove(self, place: int) -> tuple[Any, Any]:
        self._next_result = max(self._next_result, place + 1)
        return self._running.pop(place)

    # --- actors

    def has_free(self) -> bool:
        """Whether an actor has nothing to do."""
        return bool(self._idle) and not self._waiting

    def pop_idle(self) -> Any:
        """Take an actor that has nothing to do out of the pool; None if there is none."""
        return self._idle.pop() if self.has_free() else None

    def push(self, actor: Any) -> None:
        """Add an actor.

        Raises:
            ValueError: it is in the pool already.
        """
        if actor in self._idle or any(actor == busy for _, busy in self._running.values()):
            raise ValueError(f"{actor!r} is in this ActorPool already")
        self._give_back(actor)

    def _give_back(self, actor: Any, *, alive: bool = True) -> None:
        if alive:
            self._idle.append(actor)
        if self._waiting and self._idle:
            self.submit(*self._waiting.popleft())

    def __reduce__(self) -> tuple[Any, ...]:
        if self._running:
            raise TypeError("an ActorPool with results that have not been taken cannot travel: take them first")
        return ActorPool, (self._idle,)


def _last(made: Any) -> ObjectRef[Any]:
    """The reference that is ready when a piece of work is done: its values are there all at once."""
    return made[-1] if isinstance(made, list) else made  # type: ignore[no-any-return]
