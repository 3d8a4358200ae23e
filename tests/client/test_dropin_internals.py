"""Ray's internals that the drop-in touches: each is asked for by its name, on the Ray that is installed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ray")

import ray  # noqa: E402
import ray.client_builder  # noqa: E402
import ray.util.client  # noqa: E402
from ray._private import auto_init_hook, client_mode_hook, state, worker  # noqa: E402
from ray._private.utils import check_version_info  # noqa: E402

from raymq.dropin.internals import INTERNALS  # noqa: E402


@ray.remote(num_cpus=0)
def function(x: Any) -> Any:
    return x


class Plain:
    def one(self, x: Any) -> Any:
        return x

    def some(self) -> Iterator[int]:
        yield 1


ActorClass = ray.remote(num_cpus=0)(Plain)


@contextmanager
def client_mode(**api: Any) -> Iterator[Any]:
    """Ray's client mode with an API of ours and no connection."""
    stub = ray.util.client.ray
    before = stub.set_context(None)
    context = stub.get_context()
    context.api = SimpleNamespace(is_initialized=lambda: True, **api)
    context.client_worker = SimpleNamespace(is_connected=lambda: True, close=lambda: None)
    client_mode_hook._explicitly_enable_client_mode()
    try:
        yield context
    finally:
        client_mode_hook._explicitly_disable_client_mode()
        stub.set_context(before)


def parameters(callee: Any) -> list[str]:
    return list(inspect.signature(callee).parameters)


def asks_for_a_builder() -> None:
    assert type(ray.client_builder._get_builder_from_address("raymq://host:1")).__module__ == "raymq.dropin.builder"
    assert ray.client("raymq://host:1").address == "host:1"


def fills_from_the_environment() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_NAMESPACE", "ns")
        patch.setenv("RAY_RUNTIME_ENV", '{"env_vars": {}}')
        builder = ray.client_builder._get_builder_from_address("raymq://host:1")
        builder._fill_defaults_from_env()
        assert builder._job_config.ray_namespace == "ns"
        assert builder._job_config.runtime_env == {"env_vars": {}}


def has_contexts() -> None:
    stub = ray.util.client.ray
    assert not stub.is_connected()
    with client_mode(nodes=lambda: ["a node"]) as context:
        assert stub.get_context() is context
        assert stub.is_connected()
        assert ray.nodes() == ["a node"]
    assert stub.get_context() is not context


def forgets_a_connection() -> None:
    with client_mode() as context:
        closed: list[int] = []
        context.client_worker.close = lambda: closed.append(1)
        context.shutdown = context.disconnect
        ray.util.client.ray.shutdown()
        assert closed == [1]
        assert context.client_worker is None


def counts_contexts() -> None:
    with ray.util.client._lock:
        ray.util.client._all_contexts.add(context := object())
    assert ray.util.client.num_connected_contexts() == 1
    ray.util.client._all_contexts.remove(context)


def converts(remote: Any, name: str) -> Callable[[], None]:
    def check() -> None:
        calls: list[Any] = []

        def _remote(args: Any, kwargs: Any, **options: Any) -> str:
            calls.append((list(args), kwargs, options["num_cpus"]))
            return "made"

        key = object()
        api = {
            name: lambda given: key if given is remote else None,
            "_converted_key_exists": lambda given: given is key,
            "_get_converted": lambda given: SimpleNamespace(_remote=_remote) if given is key else None,
        }
        with client_mode(**api):
            assert remote.remote(1) == "made"
            assert remote.options(num_cpus=2).remote(x=1) == "made"
        assert calls == [([1], {}, 0), ([], {"x": 1}, 2)]
        assert getattr(remote, client_mode_hook.RAY_CLIENT_MODE_ATTR) is key

    return check


def switches_the_hook_off() -> None:
    client_mode_hook._set_client_hook_status(True)
    with client_mode():
        assert client_mode_hook.client_mode_should_convert()
        with client_mode_hook.disable_client_hook():
            assert not client_mode_hook.client_mode_should_convert()


def compares_versions() -> None:
    same = {"ray_version": ray.__version__, "python_version": ".".join(map(str, __import__("sys").version_info[:3]))}
    check_version_info(same, "here", raise_on_mismatch=True, python_version_match_level="minor")
    with pytest.raises(RuntimeError, match="Version mismatch"):
        check_version_info(
            {**same, "ray_version": "1"}, "here", raise_on_mismatch=True, python_version_match_level="minor"
        )


def tells_of_a_driver() -> None:
    driver = SimpleNamespace(mode=worker.SCRIPT_MODE, namespace="ns", placement_group_id=ray.PlacementGroupID.nil())
    context = ray.runtime_context.RuntimeContext(driver)
    assert context.namespace == "ns"
    assert context.get_placement_group_id() is None
    assert context.get_task_id() is None


def describes_functions() -> None:
    assert function._function.__name__ == "function"
    assert function._default_options == {"num_cpus": 0}
    assert function._is_cross_language is False


def describes_classes() -> None:
    assert ActorClass.__ray_metadata__.modified_class.__ray_actor_class__ is Plain
    assert ActorClass._default_options == {"num_cpus": 0}


def describes_methods() -> None:
    methods = ActorClass.__ray_metadata__.method_meta
    assert [parameter.name for parameter in methods.signatures["one"]][:1] == ["x"]
    assert "one" not in methods.num_returns or methods.num_returns["one"] in (None, 1)
    assert methods.method_is_generator["some"]
    assert methods.generator_backpressure_num_objects.get("some") in (None, -1)


def takes_an_id() -> None:
    class Ref(ray.ObjectRef):  # type: ignore[misc]
        def __init__(self) -> None:
            self._set_id(b"x" * 28)

    assert Ref().binary() == b"x" * 28
    assert Ref() == Ref()


def has_a_harmless_destructor() -> None:
    class Handle(ray.actor.ActorHandle):  # type: ignore[misc]
        _ray_weak_ref = True

        def __init__(self) -> None:
            pass

    Handle().__del__()

    class Items(ray.ObjectRefGenerator):  # type: ignore[misc]
        worker = None

        def __init__(self) -> None:
            pass

    Items().__del__()


def binds_methods() -> None:
    from raymq.dropin.actors import Method

    handle: Any = SimpleNamespace(
        _held=SimpleNamespace(_shape=SimpleNamespace(returns={"one": 1})),
        _ray_method_signatures={},
        _ray_dag_bind_index=0,
    )
    handle.one = Method(handle, "one")
    with client_mode():
        node = handle.one.bind(1, x=2)
    assert node.num_returns == 1
    assert node.get_args() == (1,)
    assert node.get_kwargs() == {"x": 2}


def makes_task_errors() -> None:
    error = ray.exceptions.RayTaskError("f", "Traceback", ValueError("v"), pid=1, ip="1.2.3.4").as_instanceof_cause()
    assert isinstance(error, ValueError)
    assert isinstance(error, ray.exceptions.RayTaskError)
    assert error.cause.args == ("v",)


def has_a_switch() -> None:
    assert isinstance(auto_init_hook.enable_auto_connect, bool)
    assert "enable_auto_connect" in auto_init_hook.auto_init_ray.__code__.co_names


def counts_on_a_core() -> None:
    """Ray Data asks it about the life of its blocks, from Ray 2.56 on."""
    assert not hasattr(worker.global_worker, "core_worker")
    worker.global_worker.core_worker = 1
    worker.global_worker.set_is_connected(True)
    assert worker.global_worker.connected
    worker.global_worker.set_is_connected(False)
    del worker.global_worker.core_worker


def looks_into_tables() -> None:
    name = "_global_state_accessor" if hasattr(state.state, "_global_state_accessor") else "global_state_accessor"
    setattr(state.state, name, SimpleNamespace(get_draining_nodes=lambda: {"node": 0}))
    try:
        assert state.state.get_draining_nodes() == {"node": 0}
    finally:
        setattr(state.state, name, None)


def serve_asks() -> None:
    pytest.importorskip("ray.serve.handle", reason="Ray's libraries are not installed: tox -e libraries")
    from ray.serve import handle

    assert "is_connected" in handle.inside_ray_client_context.__code__.co_names
    assert "inside_ray_client_context" in handle._DeploymentHandleBase._options.__code__.co_names


CHECKS = {
    "ray.client_builder imports a module and calls its ClientBuilder(inner)": asks_for_a_builder,
    "ClientBuilder._fill_defaults_from_env()": fills_from_the_environment,
    "ClientContext(dashboard_url, python_version, ray_version, ray_commit, _num_clients, _context_to_restore)": lambda: (
        ray.client_builder.ClientContext(
            dashboard_url="", python_version="", ray_version="", ray_commit="", _num_clients=1, _context_to_restore=None
        )
    ),
    "ray.util.client.ray: get_context, set_context, is_connected": has_contexts,
    "ray.util.client._ClientContext: api, client_worker, disconnect, shutdown": forgets_a_connection,
    "ray.util.client: _all_contexts, _lock, num_connected_contexts": counts_contexts,
    "client_mode_hook: _explicitly_enable_client_mode, _set_client_hook_status, disable_client_hook": switches_the_hook_off,
    "client_mode_hook.client_mode_convert_function: _convert_function, _converted_key_exists, _get_converted, _remote": (
        converts(function, "_convert_function")
    ),
    "client_mode_hook.client_mode_convert_actor: _convert_actor": converts(
        ray.remote(num_cpus=0)(type("Made", (), {"__init__": lambda self, x: None})), "_convert_actor"
    ),
    "client_mode_hook.RAY_CLIENT_MODE_ATTR": lambda: setattr(function, client_mode_hook.RAY_CLIENT_MODE_ATTR, ""),
    "ray._private.auto_init_hook.enable_auto_connect": has_a_switch,
    "ray._private.worker.global_worker: core_worker, set_is_connected": counts_on_a_core,
    "ray._private.state.state: _global_state_accessor": looks_into_tables,
    "ray.serve.handle asks ray.util.client.ray.is_connected() through one function": serve_asks,
    "check_version_info(metadata, address, raise_on_mismatch, python_version_match_level)": compares_versions,
    "ray._private.worker.SCRIPT_MODE": lambda: worker.SCRIPT_MODE,
    "RuntimeContext(worker)": tells_of_a_driver,
    "RemoteFunction: _function, _default_options, _is_cross_language": describes_functions,
    "ActorClass: __ray_metadata__.modified_class.__ray_actor_class__, _default_options": describes_classes,
    "ActorClass.__ray_metadata__.method_meta: signatures, num_returns, method_is_generator, ...": describes_methods,
    "ObjectRef._set_id(id)": takes_an_id,
    "ActorHandle._ray_weak_ref": has_a_harmless_destructor,
    "ActorMethod._bind()": binds_methods,
    "ObjectRefGenerator.worker": has_a_harmless_destructor,
    "RayTaskError(function_name, traceback_str, cause, pid, ip), as_instanceof_cause()": makes_task_errors,
}


@pytest.mark.parametrize("name", INTERNALS)
def test_each_internal_is_there_and_does_what_it_did(name: str) -> None:
    CHECKS[name]()


def test_no_other_is_asked_for() -> None:
    assert sorted(CHECKS) == sorted(INTERNALS)
