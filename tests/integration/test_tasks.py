"""Tasks: functions called in the cluster."""

from __future__ import annotations

import os
from typing import Any

import pytest

import raymq as ray
from tests.integration.conftest import Head

pytestmark = pytest.mark.cluster


@ray.remote
def do_work(x: int) -> int:
    return x**x


@ray.remote
def add(*values: int, more: int = 0) -> int:
    return sum(values) + more


def test_readme(session: ray.Session) -> None:
    assert ray.get(do_work.remote(2)) == 4


def test_runs_elsewhere(session: ray.Session) -> None:
    assert ray.get(ray.remote(lambda: os.getpid()).remote()) != os.getpid()


def test_many(session: ray.Session) -> None:
    """More calls than fit into one window of packets."""
    assert ray.get([add.remote(i, 1) for i in range(3000)]) == list(range(1, 3001))


def test_keywords_and_defaults(session: ray.Session) -> None:
    assert ray.get(add.remote(1, 2, more=3)) == 6


def test_references_as_arguments(session: ray.Session) -> None:
    """At the top level a reference becomes its value, as in Ray."""
    assert ray.get(add.remote(add.remote(1, 1), ray.put(5), more=add.remote(10))) == 17


def test_references_in_containers_stay_references(session: ray.Session) -> None:
    @ray.remote
    def total(boxed: dict[str, Any]) -> int:
        return sum(ray.get(boxed["refs"])) + ray.get(boxed["one"])

    assert ray.get(total.remote({"refs": [ray.put(1), add.remote(2)], "one": ray.put(3)})) == 6


def test_references_in_closures(session: ray.Session) -> None:
    captured = ray.put(41)

    @ray.remote
    def read() -> int:
        return ray.get(captured) + 1

    assert ray.get(read.remote()) == 42


def test_references_inside_values(session: ray.Session) -> None:
    @ray.remote
    def make() -> dict[str, Any]:
        return {"put": ray.put("x"), "task": add.remote(1, 2)}

    value = ray.get(make.remote())
    assert ray.get([value["put"], value["task"]]) == ["x", 3]


def test_a_reference_that_comes_back_is_the_same(session: ray.Session) -> None:
    @ray.remote
    def echo(box: list[Any]) -> list[Any]:
        return box

    reference = ray.put("there and back")
    (returned,) = ray.get(echo.remote([reference]))
    assert returned == reference
    assert hash(returned) == hash(reference)
    del reference
    assert ray.get(returned) == "there and back"


def test_several_values(session: ray.Session) -> None:
    @ray.remote(num_returns=3)
    def three() -> tuple[int, int, int]:
        return 1, 2, 3

    @ray.remote(num_returns=0)
    def none() -> None: ...

    assert ray.get(three.remote()) == [1, 2, 3]
    assert none.remote() is None
    assert isinstance(three.options(num_returns=1).remote(), ray.ObjectRef)


def test_options(session: ray.Session) -> None:
    @ray.remote(num_cpus=0.5)
    def resources() -> dict[str, float]:
        return ray.get_runtime_context().get_assigned_resources()  # type: ignore[attr-defined, no-any-return]

    assert ray.get(resources.remote())["CPU"] == 0.5
    assert ray.get(resources.options(num_cpus=1).remote())["CPU"] == 1


def test_runtime_env_of_a_task(session: ray.Session) -> None:
    read = ray.remote(lambda name: os.getenv(name)).options(runtime_env={"env_vars": {"RAYMQ_TEST": "yes"}})
    assert ray.get(read.remote("RAYMQ_TEST")) == "yes"


def test_bad_options_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(
        ValueError, match=r"Invalid option keyword num_cpu for remote functions. Valid ones are .*'num_cpus'"
    ):
        ray.remote(num_cpu=1)(add.__wrapped__)
    with pytest.raises(ValueError, match="'num_returns' only accepts None, a non-negative integer"):
        add.options(num_returns=-1)


def test_bad_values_of_options_reach_the_caller(session: ray.Session) -> None:
    """Of those that only Ray looks at."""
    with pytest.raises(TypeError, match="setup_timeout_seconds"):
        ray.get(add.options(runtime_env={"config": {"setup_timeout_seconds": "soon"}}).remote(1))


def test_functions_call_functions_and_themselves(session: ray.Session) -> None:
    @ray.remote
    def fibonacci(n: int) -> int:
        return n if n < 2 else sum(ray.get([fibonacci.remote(n - 1), fibonacci.remote(n - 2)]))

    assert ray.get(fibonacci.remote(4)) == 3


@ray.remote
def is_even(n: int) -> bool:
    return n == 0 or bool(ray.get(is_odd.remote(n - 1)))


@ray.remote
def is_odd(n: int) -> bool:
    return n != 0 and bool(ray.get(is_even.remote(n - 1)))


def test_functions_that_call_each_other(session: ray.Session) -> None:
    assert ray.get(is_even.remote(2)) is True


def test_worker_uses_put_and_wait(session: ray.Session) -> None:
    @ray.remote
    def work() -> int:
        ready, waiting = ray.wait([ray.put(1), ray.put(2)], num_returns=2)
        return len(ready) + len(waiting)

    assert ray.get(work.remote()) == 2


def test_names_imported_from_raymq_work_on_a_worker(session: ray.Session) -> None:
    from raymq import get, put
    from raymq.exceptions import RayTaskError

    @ray.remote
    def fail() -> None:
        raise KeyError("k")

    @ray.remote
    def work() -> str:
        try:
            get(fail.remote())
        except RayTaskError as error:
            return type(error.cause).__name__
        return str(put(1))

    assert ray.get(work.remote()) == "KeyError"


def test_names_that_are_elsewhere_in_ray(session: ray.Session) -> None:
    from raymq import ActorHandle, RemoteFunction

    @ray.remote(num_cpus=0)
    class Actor: ...

    @ray.remote
    def kinds(actor: Any) -> list[bool]:
        return [isinstance(actor[0], ActorHandle), isinstance(add, RemoteFunction)]

    assert ray.get(kinds.remote([Actor.remote()])) == [True, True]


def test_attributes_with_the_name_of_a_module_of_raymq(session: ray.Session) -> None:
    """cloudpickle takes ``add.options`` beside ``ray`` for ``ray.options``, and wants that on the worker, too."""

    @ray.remote
    def call_with_options() -> int:
        return int(ray.get(add.options(num_cpus=0).remote(1, 2)))

    assert ray.get(call_with_options.remote()) == 3


def test_a_module_that_ray_has_not(session: ray.Session) -> None:
    from raymq import duration

    @ray.remote
    def use_it() -> float:
        return duration.parse("ttl", "1m")

    with pytest.raises(AttributeError, match=r"ray\.duration"):
        ray.get(use_it.remote())


def test_a_call_that_does_not_fit_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        do_work.remote()
    with pytest.raises(TypeError, match=r"write do_work\.remote"):
        do_work(2)


def test_errors_keep_their_type(session: ray.Session) -> None:
    @ray.remote
    def fail() -> None:
        raise ValueError("the reason")

    with pytest.raises(ValueError, match="the reason") as caught:
        ray.get(fail.remote())
    error = caught.value
    assert isinstance(error, ray.exceptions.RayTaskError)
    assert isinstance(error.cause, ValueError)
    assert error.cause.args == ("the reason",)
    assert "in fail" in error.traceback_str
    assert error.function_name.endswith("fail")
    assert error.pid


def test_errors_of_the_programs_own(session: ray.Session) -> None:
    """With a constructor of their own, and a cause."""

    class OddError(Exception):
        def __init__(self, code: int, hint: str) -> None:
            super().__init__(code, hint)
            self.code, self.hint = code, hint

        def __str__(self) -> str:
            return f"code {self.code}"

    @ray.remote
    def fail() -> None:
        try:
            raise OSError(2, "no such thing", "file.txt")
        except OSError as error:
            raise OddError(7, "look") from error

    with pytest.raises(OddError, match="code 7") as caught:
        ray.get(fail.remote())
    assert (caught.value.code, caught.value.hint) == (7, "look")
    traceback = caught.value.traceback_str  # type: ignore[attr-defined]
    assert __file__ in traceback, "a traceback tells the file"
    assert "no such thing" in traceback, "and, where the worker can read it, the line"


def test_errors_that_cannot_be_rebuilt_here(session: ray.Session) -> None:
    @ray.remote
    def fail() -> None:
        class BadError(Exception):
            def __init__(self, one: int, two: int) -> None:
                super().__init__("only one argument is kept")

        raise BadError(1, 2)

    with pytest.raises(ray.exceptions.RayError, match="only one argument is kept"):
        ray.get(fail.remote())


def test_errors_with_fields_in_c(session: ray.Session) -> None:
    @ray.remote
    def fail() -> None:
        open("/no/such/file")

    with pytest.raises(FileNotFoundError) as caught:
        ray.get(fail.remote())
    assert caught.value.errno == 2
    assert caught.value.filename == "/no/such/file"


def test_an_error_passes_through_what_depends_on_it(session: ray.Session) -> None:
    @ray.remote
    def fail() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ray.get(add.remote(add.remote(fail.remote())))


def test_the_first_error_of_a_list_does_not_wait_for_the_rest(session: ray.Session) -> None:
    @ray.remote
    def fail() -> int:
        raise ZeroDivisionError

    @ray.remote
    def sleep() -> None:
        import time

        time.sleep(600)

    sleeping = sleep.options(num_cpus=0).remote()
    with pytest.raises(ZeroDivisionError):
        ray.get([sleeping, fail.options(num_cpus=0).remote()])
    ray.cancel(sleeping, force=True)


def test_cancel(session: ray.Session) -> None:
    @ray.remote
    def sleep() -> None:
        import time

        while True:
            time.sleep(0.01)

    sleeping = sleep.remote()
    with pytest.raises(ray.exceptions.GetTimeoutError, match="1 of 1 values are not there yet"):
        ray.get(sleeping, timeout=0.3)
    ray.cancel(sleeping)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(sleeping)


def test_what_a_function_needs_and_the_cluster_lacks(session: ray.Session) -> None:
    """This very package is not installed there."""
    from tests.integration.conftest import wait_until

    @ray.remote
    def use() -> str:
        return wait_until.__name__

    with pytest.raises(ray.NotUnpicklable, match=r"use needs the module 'tests'.*register_pickle_by_value"):
        ray.get(use.remote())


def test_a_worker_that_dies(session: ray.Session) -> None:
    @ray.remote(max_retries=0)
    def die() -> None:
        os._exit(1)

    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(die.remote())


def test_methods_of_a_session(session: ray.Session) -> None:
    @session.remote(num_cpus=0.1)
    def square(x: int) -> int:
        return x * x

    assert session.get(square.remote(3)) == 9


def test_what_workers_print_is_printed_here(session: ray.Session, capfd: pytest.CaptureFixture[str]) -> None:
    from tests.integration.conftest import wait_until

    @ray.remote
    def speak() -> None:
        print("a word from the worker")

    ray.get(speak.remote())
    wait_until(lambda: "a word from the worker" in capfd.readouterr().out, "the line is printed")


def test_decorators_refuse_what_they_cannot_decorate() -> None:
    with pytest.raises(TypeError, match="decorates a function or a class"):
        ray.remote(3)
    with pytest.raises(TypeError, match="not builtin_function_or_method: wrap it in a function"):
        ray.remote(abs)
    with pytest.raises(TypeError, match="options are keywords"):
        ray.remote()

    async def coroutine() -> None: ...

    with pytest.raises(ValueError, match="async def"):
        ray.remote(coroutine)


def test_pipelined_calls_do_not_wait(own_session: ray.Session, cluster: Head) -> None:
    """Calls return while the bridge is stopped: nothing in them waits for the network (law 2)."""
    import signal

    bridge = cluster.bridge_pid(own_session)
    assert own_session.get(do_work.remote(1)) == 1
    os.kill(bridge, signal.SIGSTOP)
    try:
        refs = [do_work.remote(2) for _ in range(200)]
        refs += [own_session.put(i) for i in range(200)]
    finally:
        os.kill(bridge, signal.SIGCONT)
    assert own_session.get(refs) == [4] * 200 + list(range(200))
