"""Methods of actors: of every kind, with their arguments checked, for handles of every origin; and how actors end."""

from __future__ import annotations

import asyncio
import functools
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import raymq as ray
from tests.integration.conftest import Head, wait_until

pytestmark = pytest.mark.cluster


def doubled(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def make_kind() -> Any:
    class Base:
        def __init__(self, start: int = 0) -> None:
            self.value = start

        def inherited(self, by: int) -> int:
            return self.value + by

        def replaced(self) -> str:
            return "base"

    class Kind(Base):
        """Has methods of every kind."""

        kept = 7

        class Within:
            pass

        def replaced(self) -> str:
            return "kind, " + super().replaced()

        @classmethod
        def of_class(cls, one: int, /, other: int = 2) -> tuple[str, int, int]:
            return cls.__name__, one, other

        @staticmethod
        def static(one: int, *rest: int, key: str) -> tuple[int, tuple[int, ...], str]:
            return one, rest, key

        @classmethod
        @ray.method(num_returns=2)
        def pair_of_class(cls) -> tuple[int, int]:
            return 1, 2

        @doubled
        @ray.method(num_returns=2)
        def wrapped(self, one: int) -> tuple[int, int]:
            return one, -one

        @ray.method
        def marked(self, **named: int) -> dict[str, int]:
            return named

        def _private(self) -> str:
            return "private"

        def __len__(self) -> int:
            return 3

        def __call__(self, one: int) -> int:
            return one

        def pid(self) -> int:
            return os.getpid()

    return ray.remote(num_cpus=0)(Kind)


@pytest.fixture(params=["made", "named", "passed", "other session"])
def handle(request: pytest.FixtureRequest, session: ray.Session, cluster: Head) -> Any:
    """A handle to an actor of that class, by each way to one; who made the actor knows the most of it."""
    kind = make_kind()
    if request.param == "passed":

        @ray.remote(num_cpus=0)
        def make() -> list[Any]:
            return [kind.remote(1)]

        yield ray.get(make.remote())[0]
        return
    name = f"methods {request.param}"
    options = {"name": name, "namespace": "methods"}
    made = kind.options(**options).remote(1)
    if request.param == "made":
        yield made
        return
    ray.get(made.pid.remote())
    if request.param == "named":
        yield ray.get_actor(name, "methods")
        return
    with cluster.connect() as other:
        yield _Of(other, other.get_actor(name, "methods"))


class _Of:
    """A handle of another session: its results are fetched there."""

    def __init__(self, other: ray.Session, handle: Any) -> None:
        self.session = other
        self.handle = handle

    def __getattr__(self, name: str) -> Any:
        return getattr(self.handle, name)


def result(handle: Any, of: Any) -> Any:
    return handle.session.get(of) if isinstance(handle, _Of) else ray.get(of)


def test_methods_of_every_kind(handle: Any) -> None:
    get = functools.partial(result, handle)
    assert get(handle.inherited.remote(2)) == 3
    assert get(handle.replaced.remote()) == "kind, base"
    assert get(handle.of_class.remote(1)) == ("Kind", 1, 2)
    assert get(handle.static.remote(1, 2, 3, key="k")) == (1, (2, 3), "k")
    assert get(handle.pair_of_class.remote()) == [1, 2]
    assert get(handle.wrapped.remote(4)) == [4, -4]
    assert get(handle.marked.remote(a=1)) == {"a": 1}
    assert get(handle._private.remote()) == "private"
    assert get(handle.__len__.remote()) == 3
    assert get(handle.__call__.remote(5)) == 5
    assert get(handle.__ray_ready__.remote()) is True
    assert get(handle.__ray_call__.remote(lambda self, by: self.value + by, 5)) == 6
    listed = set(dir(handle.handle if isinstance(handle, _Of) else handle))
    assert {"inherited", "of_class", "static", "_private", "__len__", "__init__", "__ray_ready__"} <= listed
    assert not {"kept", "Within"} & listed
    for name in ("kept", "Within", "nothing"):
        with pytest.raises(AttributeError):
            getattr(handle, name)


WRONG: dict[str, Callable[[Any], Any]] = {
    "missing a required argument: 'by'": lambda handle: handle.inherited.remote(),
    "too many positional arguments": lambda handle: handle.replaced.remote(1),
    "got an unexpected keyword argument 'of'": lambda handle: handle.inherited.remote(1, of=2),
    "multiple values for argument 'by'": lambda handle: handle.inherited.remote(1, by=2),
    "missing a required argument: 'key'": lambda handle: handle.static.remote(1),
    "'one' parameter is positional only": lambda handle: handle.of_class.remote(one=1),
    "missing a required argument: 'one'": lambda handle: handle.wrapped.remote(),
}


def test_arguments_that_do_not_fit_are_refused_at_once(handle: Any) -> None:
    for message, call in WRONG.items():
        with pytest.raises(TypeError, match=message.replace("'one' parameter is positional only", "'one'")):
            call(handle)


def test_ray_says_the_same_of_arguments_that_do_not_fit(session: ray.Session) -> None:
    def messages(handle: Any, calls: Any) -> list[str]:
        told = []
        for call in calls:
            try:
                call(handle)
            except TypeError as error:
                told.append(str(error))
        return told

    actor = make_kind().remote()
    there = ray.get(ray.remote(num_cpus=0)(messages).remote(actor, list(WRONG.values())))
    assert messages(actor, WRONG.values()) == there
    assert len(there) == len(WRONG)


def test_constructors(session: ray.Session) -> None:
    kind = make_kind()
    with pytest.raises(TypeError, match="too many positional arguments"):
        kind.remote(1, 2)
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'begin'"):
        kind.remote(begin=1)
    with pytest.raises(ray.actor.ActorClassInheritanceException, match="none can be derived"):

        class Derived(kind):  # type: ignore[misc]
            pass


def test_signatures_are_asked_for_once(session: ray.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_kind().options(name="asked once").remote()
    found = ray.get_actor("asked once")
    asked: list[str] = []
    request = type(session._life).request

    def counted(self: Any, operation: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(operation)
        return request(self, operation, *args, **kwargs)

    monkeypatch.setattr(type(session._life), "request", counted)
    assert ray.get([found.inherited.remote(by) for by in range(3)]) == [0, 1, 2]
    assert asked == ["signatures"]
    ray.get(made.inherited.remote(1))
    assert asked == ["signatures"]


# --- handles


def test_handles_are_values(session: ray.Session) -> None:
    kind = make_kind()
    one, other = kind.options(name="a value").remote(), kind.remote()
    ray.get(one.pid.remote())
    found = ray.get_actor("a value")
    assert found == one
    assert hash(found) == hash(one)
    assert {found: 1}[one] == 1
    assert one not in (other, None, 1)
    assert repr(one).startswith("Actor(")
    assert "Kind" in repr(one)
    assert isinstance(one, ray.actor.ActorHandle)
    assert one._actor_id == one._ray_actor_id == found._actor_id != other._actor_id
    assert len(one._actor_id.binary()) == 16
    with pytest.raises(TypeError, match="can only travel within its own session"):
        pickle.dumps(one)
    assert ray.get(ray.put([one])) == [one]


# --- how actors end


def test_an_actor_that_died_says_which_and_how(session: ray.Session) -> None:
    actor = make_kind().remote()
    number = actor._actor_id.hex()
    pid = ray.get(actor.pid.remote())
    with pytest.raises(ray.exceptions.ActorDiedError) as caught:
        ray.get(actor.__ray_call__.remote(lambda self: os._exit(1)))
    error = caught.value
    assert (error.actor_id, error.preempted, error.actor_init_failed) == (number, False, False)
    assert error.error_msg == str(error)
    assert f"pid: {pid}" in error.error_msg
    assert error.BASE_ERROR_MSG in error.error_msg


def test_an_actor_whose_constructor_failed_says_so(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    class Broken:
        def __init__(self) -> None:
            raise ValueError("never born")

        def method(self) -> None: ...

    actor = Broken.remote()
    with pytest.raises(ray.exceptions.ActorDiedError, match="never born") as caught:
        ray.get(actor.method.remote())
    assert caught.value.actor_init_failed
    assert caught.value.actor_id == actor._actor_id.hex()


def test_an_actor_that_is_about_to_restart_is_unavailable(session: ray.Session) -> None:
    actor = make_kind().options(max_restarts=1).remote()
    number = actor._actor_id.hex()
    pid = ray.get(actor.pid.remote())
    with pytest.raises(ray.exceptions.ActorUnavailableError, match="is unavailable") as caught:
        ray.get(actor.__ray_call__.remote(lambda self: os._exit(1)))
    assert caught.value.actor_id == number

    def back() -> int:
        try:
            return int(ray.get(actor.pid.remote()))
        except ray.exceptions.ActorUnavailableError:
            return 0

    assert wait_until(back, "the actor is back") != pid


def test_a_task_of_an_actor_says_whose_it_was(session: ray.Session) -> None:
    actor = make_kind().remote()
    with pytest.raises(ZeroDivisionError) as caught:
        ray.get(actor.__ray_call__.remote(lambda self: 1 // 0))
    error: Any = caught.value
    assert isinstance(error, ray.exceptions.RayTaskError)
    assert "Kind" in error.proctitle
    assert "Kind" in error.actor_repr
    assert error.pid == ray.get(actor.pid.remote())


# --- cancel


def make_async() -> Any:
    @ray.remote(num_cpus=0)
    class Asynchronous:
        def __init__(self) -> None:
            self.began = asyncio.Event()
            self.told = ""

        async def sleep(self) -> None:
            self.began.set()
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                self.told = "cancelled"
                raise

        async def begun(self) -> None:
            await self.began.wait()

        async def says(self) -> str:
            return self.told

    return Asynchronous.remote()


def test_cancel_of_an_async_actor_s_task(session: ray.Session) -> None:
    actor = make_async()
    asleep = actor.sleep.remote()
    ray.get(actor.begun.remote())
    ray.cancel(asleep)
    with pytest.raises(ray.exceptions.TaskCancelledError) as caught:
        ray.get(asleep, timeout=60)
    assert caught.value.task_id == asleep.task_id()
    assert ray.get(actor.says.remote()) == "cancelled"


def test_cancel_of_a_queued_task_of_an_actor(session: ray.Session) -> None:
    actor = make_kind().remote()
    gate = make_async()
    blocked = actor.__ray_call__.remote(lambda self, gate: ray.get(gate.begun.remote()), gate)
    queued = actor.pid.remote()
    ray.cancel(queued)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(queued, timeout=60)
    with pytest.raises(ValueError, match="force=True is not supported for actor tasks"):
        ray.cancel(blocked, force=True)


def test_cancel_of_children(session: ray.Session) -> None:
    gate = make_async()

    @ray.remote(num_cpus=0)
    def child() -> None:
        ray.get(gate.sleep.remote())

    @ray.remote(num_cpus=0)
    def parent() -> None:
        ray.get(child.remote())

    family = parent.remote()
    ray.get(gate.begun.remote())
    ray.cancel(family, recursive=True)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(family, timeout=60)
    wait_until(lambda: ray.get(gate.says.remote()) == "cancelled", "the child's own task is cancelled, too")


def test_cancel_by_force(session: ray.Session, tmp_path: Path) -> None:
    @ray.remote(num_cpus=0, max_retries=0)
    def stubborn(began: Path, asked: Path) -> None:
        while True:
            try:
                began.touch()
                time.sleep(0.05)  # the interrupt does not end a longer one
            except BaseException:
                asked.touch()

    began, asked = tmp_path / "began", tmp_path / "asked"
    running = stubborn.remote(began, asked)
    wait_until(began.exists, "the task runs")
    ray.cancel(running)
    wait_until(asked.exists, "it has been asked to stop, and does not")
    assert ray.wait([running], timeout=0) == ([], [running])
    ray.cancel(running, force=True)
    with pytest.raises((ray.exceptions.WorkerCrashedError, ray.exceptions.TaskCancelledError)):
        ray.get(running, timeout=60)


def test_methods_may_have_the_names_of_what_references_have(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    class Numbers:
        def hex(self, number: int) -> str:
            return f"{number:x}"

        def binary(self, number: int) -> str:
            return f"{number:b}"

    numbers = Numbers.remote()
    assert ray.get([numbers.hex.remote(10), numbers.binary.remote(5)]) == ["a", "101"]
