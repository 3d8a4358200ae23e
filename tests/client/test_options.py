"""Options of tasks, actors and methods: refused here as Ray refuses them, with no cluster to ask."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

import raymq
from raymq import labels, options

ray = pytest.importorskip("ray", reason="no Ray is installed here to compare with")

from ray._common import ray_option_utils as theirs  # noqa: E402
from ray._private import label_utils  # noqa: E402


def plain() -> int:
    return 1


def yields() -> Iterator[int]:
    yield 1


class Actor:
    def plain(self) -> int:
        return 1


def outcome(make: Any) -> str:
    """What comes of it: the class and the message of the error, if there is one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            make()
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            return text.replace("raymq.", "ray.")
    return "fine"


def decorated(api: Any, target: Any, given: dict[str, Any]) -> Any:
    return lambda: api.remote(**given)(target)


def overridden(api: Any, target: Any, given: dict[str, Any], decorator: dict[str, Any]) -> Any:
    return lambda: (api.remote(**decorator) if decorator else api.remote)(target).options(**given)


def test_the_tables_have_ray_s_names_in_ray_s_order() -> None:
    assert list(options.TASK_OPTIONS) == list(theirs.task_options)
    assert list(options.ACTOR_OPTIONS) == list(theirs.actor_options)


VALUES: list[Any] = [
    None, True, False, -2, -1, 0, 1, 3, 0.5, 1.0, 1e-5, -0.1, float("inf"), "", "x", "detached", "non_detached", "streaming",
    "dynamic", b"", (), [], {}, [ValueError], (OSError, KeyError), [int], [1], ["x"], [BaseException], object(), 1j,
    {"x": 1}, {"CPU": 1}, {"GPU": 1}, {"x": -1}, {"x": 1e-6}, {"x": 0}, {"TPU": 3}, {"TPU": 4}, {"HPU": 1.5}, {"HPU": 2.0},
    {"neuron_cores": 0.5}, {"RBLN": 0.5}, {"FURIOSA": 0.5}, {"MBLT": 0.5}, {"TTNPU": 0.5}, {"NPU": 0.5}, {"x": "y"},
    {"region": "us"}, {"region": "!us"}, {"region": "in(a, b,c)"}, {"region": "!in(a)"}, {"region": "in()"},
    {"region": "-x"}, {"region": None}, {"region": ""}, {"-": "x"}, {"a/b": "x"}, {"a/-b": "x"}, {"a_/b": "x"}, {"k": "us\n"},
    {"k" * 64: "x"}, {"k": "v" * 64}, [{"label_selector": {"a": "b"}}], [{"label_selector": {"-": "b"}}], [{}],
    [{"memory": 1}], [{"label_selector": 1}], [{"label_selector": None}], [{"label_selector": {"a": "in()"}}],
]  # fmt: skip
"""Of every kind that there is; each is given to each option."""


@pytest.mark.parametrize("name", [*theirs.task_options, "num_cpu", "_metadata", "lifetime"])
@pytest.mark.parametrize("target", [plain, yields])
def test_options_of_tasks(name: str, target: Any) -> None:
    for value in VALUES:
        if name == "runtime_env" and value:
            continue  # what is in there is checked by the cluster
        given = {name: value}
        told = outcome(decorated(ray, target, dict(given)))
        assert outcome(decorated(raymq, target, given)) == told or is_ours(name, value, told), value
        for decorator in ({}, {"num_cpus": 1}):
            told = outcome(overridden(ray, target, dict(given), dict(decorator)))
            ours = outcome(overridden(raymq, target, given, decorator))
            assert ours == told or is_ours(name, value, told), value


def is_ours(name: str, value: Any, told: str) -> bool:
    """Whether a value that Ray lets pass is refused here: numbers of references that no message holds."""
    return name == "num_returns" and isinstance(value, str) and told == "fine"


@pytest.mark.parametrize("name", [*theirs.actor_options, "num_cpu", "_metadata", "num_returns", "max_calls"])
def test_options_of_actors(name: str) -> None:
    for value in VALUES:
        if name == "runtime_env" and value:
            continue
        if name == "max_restarts" and value is None:
            continue  # Ray lets it pass, and then fails to compare it with a number
        given = {name: value}
        assert outcome(decorated(raymq, Actor, given)) == outcome(decorated(ray, Actor, dict(given))), value
        for decorator in ({}, {"name": "some"}, {"concurrency_groups": {"io": 1}}):
            told = outcome(overridden(ray, Actor, dict(given), dict(decorator)))
            assert outcome(overridden(raymq, Actor, given, decorator)) == told, (value, decorator)


ENVIRONMENTS: list[dict[str, Any]] = [
    {}, {"env_vars": {"A": "1"}}, {"env_vars": {"A": 1}}, {"env_vars": {1: "A"}}, {"env_vars": ["A"]}, {"env_vars": {}},
    {"pip": ["a"]}, {"pip": []}, {"pip": 5}, {"pip": ["a", 5]}, {"pip": {"packages": ["a"], "pip_check": True}},
    {"pip": {"packages": ["a"], "pip_check": 1}}, {"pip": {"pip_check": False}}, {"pip": {"packages": 5}},
    {"pip": {"packages": ["a"], "more": 1}}, {"pip": {"packages": ["a"], "pip_version": 24}},
    {"pip": {"packages": ["a"], "pip_install_options": "-q"}}, {"pip": {"packages": ["a"], "pip_install_options": [1]}},
    {"uv": ["a"]}, {"uv": 5}, {"uv": {"packages": 5}}, {"uv": {"uv_check": 1}}, {"uv": {"packages": ["a"], "more": 1}},
    {"uv": {"packages": ["a"], "uv_version": 1}}, {"uv": {"packages": ["a"], "uv_pip_install_options": [1]}},
    {"conda": 5}, {"conda": "env"}, {"conda": {"dependencies": ["pip"]}}, {"pip": ["a"], "conda": "env"},
    {"uv": ["a"], "pip": ["b"]}, {"excludes": "*"}, {"excludes": ["*"]}, {"excludes": [1]}, {"pip": None, "uv": ["a"]},
    {"container": {"image": "some"}, "pip": ["a"]}, {"container": {"image": "some"}, "env_vars": {"A": "1"}},
]  # fmt: skip


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=str)
@pytest.mark.parametrize("target", [plain, Actor])
def test_runtime_environments(environment: dict[str, Any], target: Any) -> None:
    given = {"runtime_env": environment}
    told = outcome(decorated(ray, target, copy.deepcopy(given)))
    assert outcome(decorated(raymq, target, given)) == told
    told = outcome(overridden(ray, target, copy.deepcopy(given), {}))
    assert outcome(overridden(raymq, target, given, {})) == told


def groups(api: Any) -> dict[str, Any]:
    """Options whose values are of classes that each side has its own of."""
    strategies = __import__(f"{api.__name__}.util.scheduling_strategies", fromlist=["x"])
    node = strategies.NodeAffinitySchedulingStrategy("1" * 56, soft=False)
    return {
        "node": {"scheduling_strategy": node},
        "spread": {"scheduling_strategy": "SPREAD"},
        "number": {"scheduling_strategy": 7},
        "both": {"scheduling_strategy": node, "placement_group": "some"},
        "default": {"scheduling_strategy": node, "placement_group": "default"},
        "none": {"scheduling_strategy": node, "placement_group": None},
        "wrong group": {"placement_group": node},
        "index": {"placement_group_bundle_index": "0"},
    }


@pytest.mark.parametrize("which", groups(raymq))
@pytest.mark.parametrize("target", [plain, Actor])
def test_where_it_runs(which: str, target: Any) -> None:
    told = outcome(decorated(ray, target, groups(ray)[which]))
    assert outcome(decorated(raymq, target, groups(raymq)[which])) == told


@pytest.mark.parametrize(
    "decorator", [{}, {"num_returns": 2}, {"max_calls": 1}, {"_num_objects_per_yield": 2}, {"num_returns": "dynamic"}]
)
@pytest.mark.parametrize(
    "given", [{}, {"max_calls": 2}, {"_num_objects_per_yield": 2}, {"_num_objects_per_yield": 1}, {"num_cpus": 2}]
)
def test_options_over_those_of_the_decorator(decorator: dict[str, Any], given: dict[str, Any]) -> None:
    told = outcome(overridden(ray, yields, dict(given), dict(decorator)))
    assert outcome(overridden(raymq, yields, given, decorator)) == told


@pytest.mark.parametrize("name", [*options.METHOD_OPTIONS, "num_cpus", "name"])
@pytest.mark.parametrize("target", [plain, yields])
def test_options_of_methods(name: str, target: Any) -> None:
    for value in VALUES:
        told = outcome(lambda value=value: ray.method(**{name: value})(target))
        ours = outcome(lambda value=value: raymq.method(**{name: value})(target))
        if name == "tensor_transport":
            assert value is None or ours.startswith("ValueError: tensor_transport is for calls between actors")
        elif name == "num_returns" and told == "fine" and not (value is None or isinstance(value, int | str)):
            assert ours.startswith("ValueError: num_returns is 'streaming' or a number")
        else:
            assert ours == told or is_ours(name, value, told), value


def test_the_decorator_of_methods_without_options() -> None:
    assert raymq.method(plain) is plain
    assert raymq.method()(plain) is plain
    with pytest.raises(AssertionError, match="takes options by name"):
        raymq.method(3)


@pytest.mark.parametrize(
    "key", ["a", "a/b", "a/b/c", "-a/b", "/b", "a..b/c", "", "-", "a" * 64, "x/" + "a" * 80, "A_", "a.b/c"]
)
def test_keys_of_labels(key: str) -> None:
    assert labels.wrong_key(key) == label_utils.validate_label_key(key)


def test_what_is_refused_when_an_actor_is_created() -> None:
    """As in Ray not before, since options can still change."""

    class Waits:
        async def wait(self) -> None: ...

    with pytest.raises(ValueError, match="Actor name cannot be an empty string"):
        raymq.remote(Actor).options(name="").remote()
    with pytest.raises(ValueError, match='"" is not a valid namespace'):
        raymq.remote(Actor).options(namespace="").remote()
    with pytest.raises(ValueError, match="If you're using async actors, Ray can't execute actor tasks in order"):
        raymq.remote(Waits).options(allow_out_of_order_execution=False).remote()
    with pytest.raises(ValueError, match="If you're using multi-threaded actors"):
        raymq.remote(allow_out_of_order_execution=False, max_concurrency=2)(Actor).remote()


def test_graphs_are_not_to_be_had() -> None:
    for callee in (raymq.remote(plain), raymq.remote(Actor)):
        assert not hasattr(callee, "bind")
        with pytest.raises(raymq.NotOnClient, match=r"bind\(\) is not there on a client: ray.dag builds graphs"):
            callee.bind(1)
