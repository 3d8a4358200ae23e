"""A session and its lives: what is raised when one is lost, and how the next begins. No socket, no cluster."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest

import raymq
from raymq import exceptions, pickling
from raymq.connecting import open_session
from raymq.connection import Ended, Welcomed
from raymq.info import session_info
from raymq.life import Life
from raymq.lives import Reconnect
from raymq.named import NAMELESS, Named
from raymq.protocol.channel import Received
from raymq.protocol.messages import Call, Create, Define, Detach, Fetch, Message, Put, Reply, Request, Task, Watch
from raymq.session import Session

OBJECT_LOST = (raymq.SessionLost, exceptions.ObjectLostError, ConnectionError)
ACTOR_LOST = (raymq.SessionLost, exceptions.ActorDiedError, ConnectionError)
DIED = Ended("bridge-lost", "the bridge (pid 7) was killed by signal 9\nits last words")
PACKAGES = {"python": "3", "raymq": "0", "ray": "", "packages": {}}


class Tape:
    """Takes a wire's place: keeps what is posted, and answers requests if it is told to."""

    def __init__(self, life: Life, *, answers: bool) -> None:
        self.posted: list[Message] = []
        self.closed = False
        self._life = life
        self._answers = answers
        self._asked = threading.Event()

    def post(self, message: Message, nbytes: int = 0, *, wait_delivered: bool = False, wait_room: bool = True) -> None:
        self.posted.append(message)
        if isinstance(message, Fetch | Watch | Request):
            self._asked.set()
        if isinstance(message, Request) and self._answers:
            self._life.receiver.handle(Received([Reply(message.request, pickling.dumps([], lambda value: None))]))

    def close(self, farewell: Message, timeout: float) -> bool:
        self.posted.append(farewell)
        self.closed = True
        return True

    def kinds(self) -> list[type]:
        return [type(message) for message in self.posted]

    def await_question(self) -> None:
        assert self._asked.wait(30)


class Cluster:
    """Begins lives that write on tapes, and ends them."""

    def __init__(self) -> None:
        self.lives: list[Life] = []
        self.tapes: list[Tape] = []
        self.refusal: raymq.ConnectError | None = None
        self.answers = False
        self.named = NAMELESS
        self.resumed = False
        self.before: Callable[[], Any] = lambda: None

    def begin(self, session: Session) -> Life:
        self.before()
        if self.refusal is not None:
            raise self.refusal
        life = Life(session, bytes([len(self.lives)]) * 16, log_to_driver=False)
        tape = Tape(life, answers=self.answers)
        wire: Any = tape
        welcomed = Welcomed(1 << 20, 1, {}, resumed=self.resumed)
        life.open(wire, session_info(life.id, "head:10001", self.named, PACKAGES, welcomed), 1 << 20)
        self.lives.append(life)
        self.tapes.append(tape)
        return life

    def session(self, reconnect: Reconnect = None) -> Session:
        return Session(self.begin, reconnect)

    def lose(self, event: Ended = DIED) -> None:
        self.lives[-1].receiver.handle(event)

    def lose_when_asked(self) -> None:
        self.tapes[-1].await_question()
        self.lose()


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


class Counter:
    def up(self) -> int:
        return 1


def calling(*calls: Callable[[], Any]) -> list[Any]:
    """Calls in threads of their own, begun together; what each returned or raised."""
    results: list[Any] = [None] * len(calls)
    ready = threading.Barrier(len(calls))

    def run(place: int, call: Callable[[], Any]) -> None:
        ready.wait()
        try:
            results[place] = call()
        except Exception as error:
            results[place] = error

    threads = [threading.Thread(target=run, args=numbered) for numbered in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return results


class Gate:
    """A lock that knows how many have come to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._came = threading.Semaphore(0)

    def __enter__(self) -> None:
        self._came.release()
        self._lock.acquire()

    def __exit__(self, *_: Any) -> None:
        self._lock.release()

    def await_arrivals(self, count: int) -> None:
        for _ in range(count):
            assert self._came.acquire(timeout=30)


# --- the errors


@pytest.mark.parametrize(
    ("kind", "bases"), [(raymq.ObjectLost, OBJECT_LOST), (raymq.ActorLost, ACTOR_LOST), (raymq.SessionLost, ())]
)
def test_errors_travel(kind: type[BaseException], bases: tuple[type, ...]) -> None:
    error = kind("what, when and why")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), type(error)(*error.args)):
        assert type(twin) is kind
        assert str(twin) == "what, when and why"
        assert all(isinstance(twin, base) for base in (*bases, raymq.SessionLost, raymq.RaymqError))


def test_the_error_says_which_when_and_why(cluster: Cluster) -> None:
    session = cluster.session()
    reference = session.put(1)
    cluster.lose()
    with pytest.raises(raymq.ObjectLost) as caught:
        session.get(reference)
    text = str(caught.value)
    assert text.startswith(f"{reference!r} is gone: session {session.id.hex()} was lost at 20")
    assert "0.0 s after it began (bridge-lost): the bridge (pid 7) was killed by signal 9\nits last words\n" in text
    assert "except for detached actors" in text
    assert 'connect() again for a new session; connect(..., reconnect="new")' in text


def test_with_reconnect_it_says_something_else(cluster: Cluster) -> None:
    session = cluster.session("new")
    reference = session.put(1)
    cluster.lose()
    with pytest.raises(raymq.ObjectLost, match="starts over, empty, with the next call") as caught:
        session.get(reference)
    assert "connect(" not in str(caught.value)


async def awaited(reference: Any) -> Any:
    return await reference


def same(x: Any) -> Any:
    return x


OF_REFERENCES: dict[str, Callable[[Session, Any], Any]] = {
    "get": lambda session, reference: session.get(reference),
    "get of a list": lambda session, reference: session.get([reference, reference]),
    "get of what is ready": lambda session, reference: session.get(reference, timeout=0),
    "wait": lambda session, reference: session.wait([reference]),
    "future": lambda session, reference: reference.future().result(30),
    "await": lambda session, reference: asyncio.run(awaited(reference)),
}
WITH_ANYTHING: dict[str, Callable[[Session, Any], Any]] = {
    "argument": lambda session, held: session.remote(same).remote(held),
    "keyword": lambda session, held: session.remote(same).remote(x=held),
    "in an argument": lambda session, held: session.remote(same).remote([held]),
    "constructor's": lambda session, held: session.remote(type("Any", (), {"__init__": lambda self, x: None})).remote(
        held
    ),
    "in a value": lambda session, held: session.put({"key": held}),
    "request": lambda session, held: session.request("anything", held),
}
OF_ACTORS: dict[str, Callable[[Session, Any], Any]] = {
    "call": lambda session, actor: actor.up.remote(),
    "call with options": lambda session, actor: actor.up.options(num_returns=2).remote(),
    "kill": lambda session, actor: session.kill(actor),
    "a value": lambda session, actor: session.put(actor),
}


@pytest.mark.parametrize("reconnect", [None, "new"])
@pytest.mark.parametrize("use", [*OF_REFERENCES, *WITH_ANYTHING, "cancel"])
def test_a_reference_of_a_lost_session(cluster: Cluster, use: str, reconnect: Reconnect) -> None:
    session = cluster.session(reconnect)
    reference = session.put(1)
    cluster.lose()
    uses = {**OF_REFERENCES, **WITH_ANYTHING, "cancel": Session.cancel}
    with pytest.raises(raymq.ObjectLost, match="was killed by signal 9") as caught:
        uses[use](session, reference)
    assert all(isinstance(caught.value, kind) for kind in OBJECT_LOST)
    assert repr(reference) in str(caught.value)


@pytest.mark.parametrize("reconnect", [None, "new"])
@pytest.mark.parametrize("use", [*OF_ACTORS, *WITH_ANYTHING])
def test_an_actor_of_a_lost_session(cluster: Cluster, use: str, reconnect: Reconnect) -> None:
    session = cluster.session(reconnect)
    actor = session.remote(Counter).remote()
    cluster.lose()
    with pytest.raises(raymq.ActorLost, match="was killed by signal 9") as caught:
        {**OF_ACTORS, **WITH_ANYTHING}[use](session, actor)
    assert all(isinstance(caught.value, kind) for kind in ACTOR_LOST)
    assert f"Actor(Counter, {actor._id().hex()}) is gone" in str(caught.value)


def test_a_function_that_captured_what_is_lost(cluster: Cluster) -> None:
    session = cluster.session("new")
    reference, actor = session.put(1), session.remote(Counter).remote()
    cluster.lose()
    with pytest.raises(raymq.ObjectLost):
        session.remote(lambda: reference).remote()
    with pytest.raises(raymq.ActorLost):
        session.remote(lambda: actor).remote()


@pytest.mark.parametrize("use", OF_REFERENCES)
def test_who_waits_while_it_is_lost(cluster: Cluster, use: str) -> None:
    session = cluster.session()
    reference = session.put(bytes(100_000))  # a small one is at hand, and is not waited for
    error, _ = calling(lambda: OF_REFERENCES[use](session, reference), cluster.lose_when_asked)
    assert isinstance(error, raymq.ObjectLost)


@pytest.mark.parametrize(
    ("use", "kind"), [("kill", raymq.ActorLost), ("cancel", raymq.ObjectLost), ("nodes", raymq.SessionLost)]
)
def test_who_waits_for_an_answer_while_it_is_lost(cluster: Cluster, use: str, kind: type) -> None:
    session = cluster.session()
    held = {"kill": [session.remote(Counter).remote()], "cancel": [session.put(1)], "nodes": []}[use]
    error, _ = calling(lambda: getattr(session, use)(*held), cluster.lose_when_asked)
    assert type(error) is kind


def test_each_raise_has_an_error_of_its_own(cluster: Cluster) -> None:
    session = cluster.session()
    cluster.lose()
    errors = [error for _ in range(2) for error in calling(lambda: session.put(1))]
    assert errors[0] is not errors[1]
    assert str(errors[0]) == str(errors[1])


def test_the_first_end_counts(cluster: Cluster) -> None:
    session = cluster.session()
    cluster.lose()
    cluster.lose(Ended("unreachable", "second"))
    with pytest.raises(raymq.SessionLost, match="signal 9"):
        session.put(1)


def test_what_was_queued_goes_with_its_life(cluster: Cluster) -> None:
    """A reference that somebody keeps does not keep gigabytes that were on their way."""
    session = cluster.session("new")
    reference = session.put(1)
    cluster.lose()
    assert reference._life._wire is None


# --- without reconnect


def test_a_lost_session_stays_lost(cluster: Cluster) -> None:
    session = cluster.session()
    cluster.lose()
    assert not session.is_open
    assert repr(session).endswith("to head:10001, lost>")
    for _ in range(2):
        for call in (
            lambda: session.put(1),
            lambda: session.remote(same).remote(1),
            session.nodes,
            lambda: session.get([]),
        ):
            with pytest.raises(raymq.SessionLost, match="connect\\(\\) again") as caught:
                call()
            assert type(caught.value) is raymq.SessionLost
    session.close()
    assert repr(session).endswith(", closed>")
    assert len(cluster.lives) == 1


# --- with reconnect="new"


def test_starting_over(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    session = cluster.session("new")
    first = session.id
    cluster.lose()
    assert session.is_open
    assert repr(session).endswith(", lost>")
    assert len(cluster.lives) == 1, "nothing begins before it is needed"
    with caplog.at_level(logging.WARNING, "raymq"):
        session.put(1)
        session.put(2)
    assert len(cluster.lives) == 2
    assert cluster.tapes[1].kinds() == [Put, Put]
    assert session.id != first
    assert session.info.session_id == session.id.hex()
    assert repr(session).endswith(", open>")
    (record,) = caplog.records
    assert f"session {first.hex()} was lost at 2" in record.getMessage()
    assert "signal 9" in record.getMessage()
    assert f"starts over, empty, as {session.id.hex()}" in record.getMessage()


@pytest.mark.parametrize(
    "call",
    [
        lambda session: session.put(1),
        lambda session: session.remote(same).remote(1),
        lambda session: session.remote(Counter).remote(),
        lambda session: session.get_actor("name"),
        lambda session: session.nodes(),
        lambda session: session.cluster_resources(),
    ],
)
def test_calls_that_start_over(cluster: Cluster, call: Callable[[Session], Any]) -> None:
    session = cluster.session("new")
    cluster.lose()
    cluster.answers = True
    call(session)
    assert len(cluster.lives) == 2


def test_numbers_that_are_the_same_are_not_mixed_up(cluster: Cluster) -> None:
    session = cluster.session("new")
    old = session.put(1)
    known = old.binary(), hash(old), {old}
    cluster.lose(Ended("bridge-lost", "the first reason"))
    new = session.put(2)
    assert new._hold.number == old._hold.number
    assert new != old
    assert old in known[2]
    assert new not in known[2]
    assert (old.binary(), hash(old)) == known[:2]
    assert new.binary() != old.binary()
    cluster.lose(Ended("bridge-lost", "the second reason"))
    third = session.put(3)
    for reference, reason in ((old, "the first reason"), (new, "the second reason")):
        for use in (*OF_REFERENCES.values(), *WITH_ANYTHING.values()):
            with pytest.raises(raymq.ObjectLost, match=reason):
                use(session, reference)
        with pytest.raises(raymq.ObjectLost, match=reason):
            session.wait([third, reference])
    del old, new, known, reference
    assert not cluster.lives[2].dropped, "what is dropped of an earlier life is not released in a later one"
    number = third._hold.number
    del third
    assert list(cluster.lives[2].dropped) == [number]


def test_an_old_reference_of_another_session_is_of_another_session(cluster: Cluster) -> None:
    ours, theirs = cluster.session("new"), cluster.session("new")
    reference = theirs.put(1)
    cluster.lose()
    for use in (ours.get, ours.put, lambda held: ours.put([held])):
        with pytest.raises((raymq.WrongSession, TypeError)):
            use(reference)
    assert len(cluster.lives) == 2


def test_definitions_are_sent_again(cluster: Cluster) -> None:
    session = cluster.session("new")
    function = session.remote(same).options(num_cpus=2)
    kind = session.remote(Counter)
    for _ in range(2):
        function.remote(1)
        function.remote(2)
        actor = kind.remote()
        actor.up.remote()
        assert cluster.tapes[-1].kinds() == [Define, Task, Task, Define, Create, Call]
        define, task = cluster.tapes[-1].posted[:2]
        assert isinstance(define, Define)
        assert isinstance(task, Task)
        assert task.function == define.function
        cluster.lose()
    assert len(cluster.lives) == 2


def test_an_old_argument_is_refused_before_anything_begins(cluster: Cluster) -> None:
    session = cluster.session("new")
    reference = session.put(1)
    cluster.lose()
    cluster.refusal = raymq.NothingListens("nobody there")
    with pytest.raises(raymq.ObjectLost):
        session.remote(same).remote(reference)
    with pytest.raises(raymq.ObjectLost):
        session.remote(same).remote(x=reference)
    with pytest.raises(raymq.NothingListens):
        session.remote(same).remote(1)


def test_many_threads_begin_one_life(cluster: Cluster) -> None:
    session = cluster.session("new")
    cluster.lose()
    gate = session._lives._beginning = Gate()
    cluster.before = lambda: gate.await_arrivals(16)
    lives = {reference._life for reference in calling(*[lambda: session.put(1)] * 16)}
    assert lives == {cluster.lives[1]}
    assert len(cluster.lives) == 2


def test_a_failure_is_shared_by_those_who_waited_for_it(cluster: Cluster) -> None:
    """They do not try one after the other, each with a timeout of its own; but the next call tries again."""
    session = cluster.session("new")
    cluster.lose()
    tries = []
    begun, go_on = threading.Event(), threading.Event()

    def fail() -> None:
        tries.append(1)
        begun.set()
        go_on.wait(30)

    cluster.before, cluster.refusal = fail, raymq.NothingListens("nobody there")

    def late() -> Any:
        begun.wait(30)
        return session.put(1)

    gate = session._lives._beginning = Gate()

    def release() -> None:
        gate.await_arrivals(6)
        go_on.set()

    errors = calling(lambda: session.put(1), *[late] * 5, release)[:-1]
    assert all(isinstance(error, raymq.NothingListens) for error in errors)
    assert len({id(error) for error in errors}) == 6
    assert len(tries) == 1
    cluster.refusal = None
    session.put(1)
    assert len(tries) == 2


def test_an_attempt_that_is_interrupted_is_left_to_the_next(cluster: Cluster) -> None:
    """Ctrl-C in the thread that connects is no answer for the others."""
    session = cluster.session("new")
    cluster.lose()

    def interrupt() -> None:
        raise KeyboardInterrupt

    cluster.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        session.put(1)
    cluster.before = lambda: None
    session.put(1)
    assert len(cluster.lives) == 2


# --- the end


def test_a_closed_session_does_not_start_over(cluster: Cluster) -> None:
    session = cluster.session("new")
    reference = session.put(1)
    session.close()
    assert cluster.tapes[0].closed
    assert not session.is_open
    for call in (lambda: session.put(1), lambda: session.get(reference), lambda: session.put([reference])):
        with pytest.raises(raymq.SessionClosed):
            call()
    assert len(cluster.lives) == 1


def test_closed_after_the_loss(cluster: Cluster) -> None:
    """That is final. What was lost before was lost, all the same."""
    session = cluster.session("new")
    reference = session.put(1)
    cluster.lose()
    session.close()
    assert not session.is_open
    assert repr(session).endswith(", closed>")
    with pytest.raises(raymq.SessionClosed):
        session.put(1)
    with pytest.raises(raymq.ObjectLost, match="signal 9"):
        session.get(reference)
    assert len(cluster.lives) == 1


def test_closed_while_it_starts_over(cluster: Cluster) -> None:
    """Whoever closes does not wait for that; what has begun is ended."""
    session = cluster.session("new")
    cluster.lose()
    cluster.before = session.close
    with pytest.raises(raymq.SessionClosed):
        session.put(1)
    assert cluster.tapes[1].closed
    assert not session.is_open
    cluster.before = lambda: None
    with pytest.raises(raymq.SessionClosed):
        session.put(1)
    assert len(cluster.lives) == 2


def test_detached_by_this_process(cluster: Cluster) -> None:
    """Left as it was wanted: that is no loss either."""
    cluster.named = Named("night-run", takeover=False, ttl=60.0)
    session = cluster.session("new")
    reference = session.put(1)
    session.detach(ttl=5)
    assert cluster.tapes[0].kinds() == [Put, Detach]
    assert repr(session).endswith(", closed>")
    for call in (lambda: session.put(1), lambda: session.get(reference), session.detach):
        with pytest.raises(raymq.SessionClosed, match="was detached from this process"):
            call()
    session.close()
    assert cluster.tapes[0].kinds() == [Put, Detach]
    assert len(cluster.lives) == 1


def test_a_lost_session_cannot_be_detached(cluster: Cluster) -> None:
    cluster.named = Named("night-run", takeover=False, ttl=60.0)
    session = cluster.session("new")
    cluster.lose()
    with pytest.raises(raymq.SessionLost, match="signal 9"):
        session.detach()


@pytest.mark.parametrize(
    ("code", "advice"), [("taken-over", r"takeover=True\) takes it back"), ("killed", r"connect\(\) again")]
)
def test_what_somebody_ended_does_not_start_over(cluster: Cluster, code: str, advice: str) -> None:
    """Two clients would take the session from each other for ever; an administrator would have to kill it for ever."""
    session = cluster.session("new")
    cluster.lose(Ended(code, "somebody did it"))
    assert not session.is_open
    for _ in range(2):
        with pytest.raises(raymq.SessionLost, match=f"\\({code}\\): somebody did it\n.*{advice}"):
            session.put(1)
    assert len(cluster.lives) == 1


def test_a_named_session_that_is_found_again_is_not_called_empty(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    session = cluster.session("new")
    cluster.lose(Ended("unreachable", "nothing was heard"))
    cluster.resumed = True
    session.put(1)
    assert "starts over, with what it kept by name, as" in caplog.text


def test_a_child_starts_nothing_over(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    session = cluster.session("new")
    reference = session.put(1)
    cluster.lose()
    monkeypatch.setattr("os.getpid", lambda: 1)
    assert not session.is_open
    for call in (lambda: session.put(1), lambda: session.put([reference]), lambda: session.get(reference)):
        with pytest.raises(raymq.ForkedSession):
            call()
    session.close()
    monkeypatch.undo()
    assert session.is_open, "the child's close() is not the parent's"
    assert len(cluster.lives) == 1


@pytest.mark.parametrize("word", ["never", "always", 1])
def test_other_words_are_refused(word: Any) -> None:
    with pytest.raises(ValueError, match='reconnect is "new" or None'):
        open_session("127.0.0.1:1", timeout=1, job={}, log_to_driver=False, reconnect=word)
