"""The order in which messages are carried out while large payloads are still on their way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymq.protocol.limits import INLINE_MAX
from raymq.protocol.messages import (
    FROM_CLIENT,
    Ahead,
    Call,
    Coming,
    Create,
    Define,
    Detach,
    Fetch,
    Goodbye,
    Message,
    Next,
    Pickled,
    Put,
    Release,
    Request,
    Task,
    Unfetch,
    Watch,
)
from raymq_bridge.inbox import TOUCH_COST, Inbox, touches

SMALL = Pickled(b"small")
LARGE = Pickled(b"large", (), (9,))


def put(ref: int, transfer: int = 0) -> Put:
    return Put(ref, Coming(transfer) if transfer else SMALL)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (Define(1, "function", "f", Pickled(b"", (), [2])), {1, 2}),
        (Put(1, Coming(5, [2, 3])), {1, 2, 3}),
        (Task([1, 2], 3, b"", Pickled(b"", (), [4])), {1, 2, 3, 4}),
        (Create(1, 2, b"", Pickled(b"", (), [3])), {1, 2, 3}),
        (Call([1], 2, "m", b"", Pickled(b"", (), [3])), {1, 2, 3}),
        (Fetch([1, 2]), {1, 2}),
        (Ahead([1, 2]), set()),
        (Unfetch([1]), {1}),
        (Watch(7, [1, 2], True), {1, 2}),
        (Release([1]), {1}),
        (Request(7, "kill", Pickled(b"", (), [1])), {1}),
        (Next(1, 16), {1}),
        (Goodbye(), set()),
    ],
)
def test_what_a_message_touches(message: Message, expected: set[int]) -> None:
    """A request's number is not a reference's: 7 is in none of them."""
    assert set(touches(message)) == expected


def test_small_messages_pass_at_once() -> None:
    inbox = Inbox()
    for message in (put(1), Fetch([1]), Goodbye()):
        assert inbox.take(message) == [message]
    assert inbox.nbytes == 0


def test_a_large_payload_delays_what_needs_it_and_nothing_else() -> None:
    inbox = Inbox()
    uses, other = Fetch([1]), Fetch([2])
    assert inbox.take(put(1, transfer=5)) == []
    assert inbox.take(uses) == []
    assert inbox.take(other) == [other]
    assert inbox.nbytes == TOUCH_COST * 4
    assert inbox.arrive(5, LARGE) == [Put(1, LARGE), uses]
    assert inbox.nbytes == 0


def test_what_waits_for_one_that_waits_waits_too() -> None:
    inbox = Inbox()
    inbox.take(put(1, transfer=5))
    task = Task([2], 3, b"", Pickled(b"", (), [1]))
    for message in (task, Fetch([2]), Release([3])):
        assert inbox.take(message) == []
    assert inbox.take(Release([4])) == [Release([4])]
    assert inbox.arrive(5, LARGE) == [Put(1, LARGE), task, Fetch([2]), Release([3])]


def test_payloads_that_arrive_in_another_order() -> None:
    inbox = Inbox()
    inbox.take(put(1, transfer=5))
    inbox.take(Call([2], 1, "m", b"", Coming(6)))
    inbox.take(put(3, transfer=7))
    assert inbox.arrive(6, LARGE) == []
    assert inbox.arrive(7, LARGE) == [Put(3, LARGE)]
    assert inbox.arrive(5, LARGE) == [Put(1, LARGE), Call([2], 1, "m", b"", LARGE)]


def test_what_waits_is_weighed() -> None:
    """But for large payloads, which are counted where they arrive."""
    inbox = Inbox()
    inbox.take(put(1, transfer=5))
    inbox.take(Call([2], 1, "m", b"o" * 50, Pickled(b"x" * 500)))
    assert inbox.nbytes == 2 * TOUCH_COST + 3 * TOUCH_COST + 550
    inbox.take(Call([3], 1, "m", b"", Coming(6)))
    inbox.arrive(6, Pickled(bytes(1 << 20)))
    assert inbox.nbytes == 8 * TOUCH_COST + 550 + INLINE_MAX
    inbox.arrive(5, LARGE)
    assert inbox.nbytes == 0


def test_goodbye_waits_for_everything() -> None:
    inbox = Inbox()
    inbox.take(put(1, transfer=5))
    inbox.take(put(2, transfer=6))
    assert inbox.take(Goodbye()) == []
    assert inbox.arrive(6, LARGE) == [Put(2, LARGE)]
    assert inbox.arrive(5, LARGE) == [Put(1, LARGE), Goodbye()]


# --- in any order

tokens = st.integers(1, 5)
some = st.lists(tokens, max_size=3)


@st.composite
def sequences(draw: st.DrawFn) -> tuple[list[Message], list[int]]:
    """What a client may send, marked by its place, and the places at which large payloads arrive."""
    messages: list[Message] = []
    for place in range(draw(st.integers(1, 15))):
        large = draw(st.booleans())
        payload: Any = Coming(place, draw(some)) if large else Pickled(b"%d" % place, (), draw(some))
        kind = draw(st.sampled_from([Define, Put, Task, Create, Call, Request, Fetch, Watch, Release]))
        if kind is Define:
            messages.append(Define(draw(tokens), "function", str(place), payload))
        elif kind is Put:
            messages.append(Put(draw(tokens), payload))
        elif kind is Task:
            messages.append(Task(draw(some), draw(tokens), b"%d" % place, payload))
        elif kind is Create:
            messages.append(Create(draw(tokens), draw(tokens), b"%d" % place, payload))
        elif kind is Call:
            messages.append(Call(draw(some), draw(tokens), str(place), b"", payload))
        elif kind is Request:
            messages.append(Request(place, "kill", payload))
        elif kind is Watch:
            messages.append(Watch(place, draw(some), True))
        else:
            messages.append(kind(draw(some)))
    large = [place for place, message in enumerate(messages) if isinstance(getattr(message, "payload", None), Coming)]
    return messages, draw(st.permutations(large))


def unfilled(message: Any, announced: dict[bytes, Coming]) -> Any:
    """The message as it was sent."""
    payload = getattr(message, "payload", None)
    if isinstance(payload, Pickled) and bytes(payload.inband) in announced:
        return message._replace(payload=announced[bytes(payload.inband)])
    return message


@given(sequences(), st.data(), st.booleans())
def test_any_sequence(given_: tuple[list[Message], list[int]], data: st.DataObject, goodbye: bool) -> None:
    """Messages that share something keep their order, all are carried out, and none waits for what it does not need."""
    messages, arrivals = given_
    if goodbye:
        messages = [*messages, Goodbye()]
    announced: dict[bytes, Coming] = {}
    inbox, done, taken = Inbox(), [], 0
    arrived: set[int] = set()

    def finish(ready: list[Message]) -> None:
        for message in ready:
            assert not isinstance(getattr(message, "payload", None), Coming), "what is carried out is whole"
            done.append(unfilled(message, announced))

    while taken < len(messages) or arrivals:
        possible = [place for place in arrivals if place < taken]
        if taken < len(messages) and (not possible or data.draw(st.booleans())):
            finish(inbox.take(messages[taken]))
            taken += 1
        else:
            place = possible[0]
            arrivals = [other for other in arrivals if other != place]
            coming: Any = messages[place]
            announced[b"large %d" % place] = coming.payload
            arrived.add(place)
            finish(inbox.arrive(place, Pickled(b"large %d" % place, (), coming.payload.refs)))
        check_waiting(messages[:taken], done, arrived)
        assert len(inbox._deferred) == taken - len(done)
        assert inbox.nbytes == sum(deferred.nbytes for deferred in inbox._deferred)
    assert inbox.nbytes == 0
    assert inbox._blocked == set()
    assert inbox._arrived == {}
    assert sorted(map(repr, done)) == sorted(map(repr, messages))
    for token in range(1, 6):
        sharing = [message for message in messages if token in set(touches(message))]
        assert [message for message in done if token in set(touches(message))] == sharing
    assert not goodbye or done[-1] == Goodbye()


def check_waiting(messages: list[Message], done: list[Message], arrived: set[int]) -> None:
    """Exactly those wait that need a payload that is not here, or something that one before them makes or needs."""
    waiting: list[Message] = []
    blocked: set[Any] = set()
    for place, message in enumerate(messages):
        lacks = isinstance(getattr(message, "payload", None), Coming) and place not in arrived
        last = isinstance(message, Goodbye | Detach) and waiting
        if lacks or last or not blocked.isdisjoint(touches(message)):
            waiting.append(message)
            blocked |= set(touches(message))
    left = list(messages)
    for message in done:
        left.remove(message)
    assert left == waiting


def test_every_message_of_a_client_is_known_here() -> None:
    """A message that is added to the protocol says what it touches."""
    covered = {Define, Put, Task, Create, Call, Fetch, Unfetch, Watch, Release, Request, Goodbye, Detach, Next, Ahead}
    assert covered == set(FROM_CLIENT)
