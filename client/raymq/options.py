"""The options of ``@remote`` and ``.options()``: their names, their values, and what a client must understand of them.

The tables have Ray's order, in which its errors list them. What they refuse is refused with Ray's class and sentence,
before anything is sent.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from raymq.constraints import NONE, Constraint, Types, count, quantity, wrong_resources
from raymq.environments import check_environment
from raymq.labels import wrong_fallbacks, wrong_selector
from raymq.protocol.limits import REFS_MAX
from raymq.protocol.messages import HELD_BACK, STREAMING

# These modules make actors, which have options, and so are not there yet when this one is imported.


def _group_types() -> Types:
    groups = import_module("raymq.util.placement_group")
    return NONE, str, groups.PlacementGroup


def _strategy_types() -> Types:
    strategies = import_module("raymq.util.scheduling_strategies")
    kinds = ("PlacementGroup", "NodeAffinity", "NodeLabel")
    return (NONE, str, *(getattr(strategies, f"{kind}SchedulingStrategy") for kind in kinds))


_COMMON = {
    "label_selector": Constraint((dict, NONE), wrong_selector),
    "fallback_strategy": Constraint((list, NONE), wrong_fallbacks),
    "accelerator_type": Constraint((str, NONE)),
    "memory": quantity("memory"),
    "name": Constraint((str, NONE)),
    "num_cpus": quantity("num_cpus"),
    "num_gpus": quantity("num_gpus"),
    "object_store_memory": count("object_store_memory"),
    "placement_group": Constraint(_group_types),
    "placement_group_bundle_index": Constraint(int),
    "placement_group_capture_child_tasks": Constraint((bool, NONE)),
    "resources": Constraint((dict, NONE), wrong_resources),
    "runtime_env": Constraint((dict, NONE), lambda value: check_environment(value) if value else None),
    "scheduling_strategy": Constraint(_strategy_types),
    "enable_task_events": Constraint(bool),
    "_labels": Constraint((dict, NONE)),
}


def _wrong_returns(value: Any) -> str | None:
    if value in (None, "dynamic", "streaming") or value >= 0:
        return None
    return (
        "Default None. When None is passed, The default value is 1 for a task and actor task, and "
        "'streaming' for generator tasks and generator actor tasks. "
        "The keyword 'num_returns' only accepts None, a non-negative integer, "
        "'streaming' (for generators), or 'dynamic'. 'dynamic' flag "
        "will be deprecated in the future, and it is recommended to use 'streaming' instead."
    )


def _wrong_retries(value: Any) -> str | None:
    if isinstance(value, bool) or all(isinstance(kind, type) and issubclass(kind, Exception) for kind in value):
        return None
    return "retry_exceptions must be either a boolean or a list of exceptions"


def _wrong_backpressure(value: int | None) -> str | None:
    if value != 0:
        return None
    return (
        "_generator_backpressure_num_objects=0 is not allowed. Use a value > 0. If the value is equal to 1, the "
        "behavior is identical to Python generator (generator 1 object whenever `next` is called). Use -1 to disable "
        "this feature. "
    )


def _wrong_per_yield(value: int | None) -> str | None:
    if value is None or value > 0:
        return None
    return "_num_objects_per_yield is a private streaming generator option that must be set to a positive integer."


def _wrong_lifetime(value: str | None) -> str | None:
    if value in (None, "detached", "non_detached"):
        return None
    return "actor `lifetime` argument must be one of 'detached', 'non_detached' and 'None'."


def _wrong_actor_backpressure(value: int | None) -> str | None:
    if value is None or value > 0 or value == -1:
        return None
    return (
        "_actor_generator_backpressure_num_objects must be > 0 to cap the actor's total unconsumed generator "
        f"objects, or -1 to disable. Got {value}."
    )


TASK_OPTIONS = {
    **_COMMON,
    "max_calls": count("max_calls"),
    "max_retries": count("max_retries", infinite=True),
    "num_returns": Constraint((int, str, NONE), _wrong_returns),
    "object_store_memory": Constraint(
        (int, NONE),
        lambda value: None if value is None else "Setting 'object_store_memory' is not implemented for tasks",
    ),
    "retry_exceptions": Constraint((bool, list, tuple), _wrong_retries),
    "_generator_backpressure_num_objects": Constraint((int, NONE), _wrong_backpressure),
    "_num_objects_per_yield": Constraint((int, NONE), _wrong_per_yield),
}

ACTOR_OPTIONS = {
    **_COMMON,
    "concurrency_groups": Constraint((list, dict, NONE)),
    "enable_tensor_transport": Constraint((bool, NONE)),
    "lifetime": Constraint((str, NONE), _wrong_lifetime),
    "max_concurrency": count("max_concurrency"),
    "max_restarts": count("max_restarts", infinite=True),
    "max_task_retries": count("max_task_retries", infinite=True),
    "max_pending_calls": count("max_pending_calls", infinite=True),
    "namespace": Constraint((str, NONE)),
    "get_if_exists": Constraint(bool),
    "allow_out_of_order_execution": Constraint((bool, NONE)),
    "_actor_generator_backpressure_num_objects": Constraint((int, NONE), _wrong_actor_backpressure),
}


def _check_values(what: str, known: dict[str, Constraint], options: dict[str, Any]) -> None:
    for name, value in options.items():
        if name not in known:
            raise ValueError(f"Invalid option keyword {name} for {what}. Valid ones are {list(known)}.")
        known[name].check(name, value)


INIT_OPTIONS_OF_NEW_CLUSTERS = frozenset({
    "num_cpus", "num_gpus", "resources", "labels", "object_store_memory", "local_mode", "include_dashboard",
    "dashboard_host", "dashboard_port", "enable_resource_isolation", "cgroup_path", "system_reserved_cpu",
    "system_reserved_memory", "object_spilling_directory", "_temp_dir", "_system_config", "_memory", "_node_ip_address",
    "_plasma_directory", "_metrics_export_port", "_node_name", "_redis_username", "_redis_password",
    "_enable_object_reconstruction", "_driver_object_store_memory", "_tracing_startup_hook",
})  # fmt: skip

INIT_OPTIONS_WITHOUT_EFFECT = frozenset({
    "configure_logging", "logging_level", "logging_format", "logging_config", "job_config",
})  # fmt: skip


def check_init_options(options: dict[str, Any]) -> None:
    """Refuse options of ``ray.init`` that a session on a running cluster cannot have.

    Raises:
        ValueError: there is one.
    """
    for name, value in options.items():
        if name in INIT_OPTIONS_OF_NEW_CLUSTERS and value is not None and value is not False:
            raise ValueError(f"{name} is for starting a cluster; this connects to one that runs")
        if name not in INIT_OPTIONS_OF_NEW_CLUSTERS | INIT_OPTIONS_WITHOUT_EFFECT:
            raise ValueError(f"init() has no option {name!r}")


def _check_placement(options: dict[str, Any]) -> None:
    group, strategy = options.get("placement_group", "default"), options.get("scheduling_strategy")
    if group not in ("default", None) and strategy is not None:
        raise ValueError(
            "Placement groups should be specified via the scheduling_strategy option. "
            "The placement_group option is deprecated."
        )


def check_strategy(options: dict[str, Any]) -> None:
    """Refuse the name of a scheduling strategy that there is not: when it is first called, as Ray does.

    Raises:
        ValueError: that is it.
    """
    strategy = options.get("scheduling_strategy")
    if isinstance(strategy, str) and strategy not in ("DEFAULT", "SPREAD"):
        raise ValueError(
            f"Invalid scheduling_strategy value {strategy}. Valid values are "
            '["DEFAULT" | "SPREAD" | PlacementGroupSchedulingStrategy | NodeAffinitySchedulingStrategy]'
        )


def check_task(options: dict[str, Any], overrides: dict[str, Any], function: Callable[..., Any]) -> None:
    """Refuse what Ray refuses of a remote function.

    Args:
        options: those of the decorator.
        overrides: those of ``.options()``.
        function: what is to run.

    Raises:
        TypeError: a value is of another type than the option's.
        ValueError: an option is unknown, or its value is wrong.
    """
    per_yield = overrides.get("_num_objects_per_yield", ...)
    if per_yield is not ... and per_yield != (options.get("_num_objects_per_yield") or 1):
        raise ValueError(
            "_num_objects_per_yield cannot be overridden per task call. "
            "Use @ray.remote(_num_objects_per_yield=...) instead."
        )
    merged = {**options, **overrides}
    _check_values("remote functions", TASK_OPTIONS, merged)
    if "max_calls" in overrides:
        raise ValueError("Setting 'max_calls' is not supported in '.options()'.")
    _check_placement(merged)
    if "num_returns" in (overrides or options):
        check_returns(merged["num_returns"], generator=is_generator(function))


def check_actor(options: dict[str, Any], overrides: dict[str, Any]) -> None:
    """Refuse what Ray refuses of an actor class; arguments and errors as of ``check_task``."""
    merged = {**options, **overrides}
    _check_values("actors", ACTOR_OPTIONS, merged)
    if "concurrency_groups" in overrides:
        raise ValueError("Setting 'concurrency_groups' is not supported in '.options()'.")
    if merged.get("get_if_exists") and not merged.get("name"):
        raise ValueError("The actor name must be specified to use `get_if_exists`.")
    if "object_store_memory" in (overrides or options):
        warnings.warn("object_store_memory of actors is deprecated: Ray reserves none", DeprecationWarning, 2)
    _check_placement(merged)


def check_creation(options: dict[str, Any], *, is_async: bool) -> None:
    """Refuse what Ray refuses when an actor is created.

    Raises:
        ValueError: options that exclude each other, or a name that is empty.
    """
    if options.get("name") == "":
        raise ValueError("Actor name cannot be an empty string.")
    if options.get("namespace") == "":
        raise ValueError('"" is not a valid namespace. Pass None to not specify a namespace.')
    if options.get("allow_out_of_order_execution") is False:
        threaded = not is_async and (options.get("max_concurrency") or 1) > 1
        if is_async or threaded:
            raise ValueError(
                f"If you're using {'multi-threaded' if threaded else 'async'} actors, Ray can't execute actor tasks in "
                "order. Set `allow_out_of_order_execution=True` to allow out-of-order execution."
            )


METHOD_OPTIONS = (
    "num_returns", "concurrency_group", "max_task_retries", "retry_exceptions",
    "_generator_backpressure_num_objects", "_num_objects_per_yield", "enable_task_events", "tensor_transport",
)  # fmt: skip
"""What ``@method`` knows."""

CALL_OPTIONS = frozenset({*METHOD_OPTIONS, "name", "_labels"})
"""What ``handle.method.options()`` knows."""


def check_method(options: dict[str, Any], function: Callable[..., Any]) -> None:
    """Refuse what Ray refuses of ``@method``.

    Raises:
        ValueError: a value is wrong.
    """
    if "num_returns" in options:
        check_returns(options["num_returns"], generator=is_generator(function))
    if "_num_objects_per_yield" in options:
        TASK_OPTIONS["_num_objects_per_yield"].check("_num_objects_per_yield", options["_num_objects_per_yield"])
    _check_transport(options)


def check_method_names(options: Iterable[str]) -> None:
    """Refuse options that ``@method`` does not know; with an AssertionError, as Ray does."""
    for name in options:
        if name not in METHOD_OPTIONS:
            raise AssertionError(
                f"Unexpected keyword argument to @ray.method: '{name}'. "
                f"The supported keyword arguments are {list(METHOD_OPTIONS)}"
            )


def check_call(options: dict[str, Any], *, generator: bool) -> None:
    """Refuse what Ray refuses of ``handle.method.options()``, or of a call with them.

    Raises:
        TypeError: an option is unknown.
        ValueError: a value is wrong.
    """
    if "_num_objects_per_yield" in options:
        raise ValueError(
            "_num_objects_per_yield cannot be overridden per actor method call. "
            "Use @ray.method(_num_objects_per_yield=...) instead."
        )
    for name in options:
        if name not in CALL_OPTIONS:
            raise TypeError(f"ActorMethod._remote() got an unexpected keyword argument '{name}'")
    if "num_returns" in options:
        check_returns(options["num_returns"], generator=generator)
    _check_transport(options)


def _check_transport(options: dict[str, Any]) -> None:
    if options.get("tensor_transport") is not None:
        raise ValueError("tensor_transport is for calls between actors: a client has no tensors to be fetched by it")


# --- what a call returns


def is_generator(function: Any) -> bool:
    """Whether a function's calls are generators."""
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def check_returns(value: Any, *, generator: bool) -> None:
    """Refuse what Ray refuses of ``num_returns``, and more references than can be had at once.

    Raises:
        ValueError: that is it.
    """
    if isinstance(value, int) and value < 0:
        raise ValueError(f"num_returns must be >= 0, but got {value}.")
    if value == "dynamic":
        warnings.warn("num_returns='dynamic' is deprecated by Ray: use 'streaming' instead", DeprecationWarning, 2)
    if value in ("streaming", "dynamic") and not generator:
        raise ValueError(
            f"num_returns='{value}' can only be used with generator functions (functions that use 'yield'). "
            "The decorated function is not a generator function."
        )
    if value not in (None, "streaming", "dynamic") and (not isinstance(value, int) or value > REFS_MAX):
        raise ValueError(f"num_returns is 'streaming' or a number of values, 0 to {REFS_MAX:,}, not {value!r}")


def returned(options: dict[str, Any], *, generator: bool = False) -> int:
    """How many values a call returns, by its options; ``STREAMING`` or ``HELD_BACK`` if it is a generator's."""
    value = options.get("num_returns")
    if value == "streaming" or (value is None and generator):
        return HELD_BACK if is_held_back(options) else STREAMING
    return 1 if value is None or value == "dynamic" else int(value)


def is_held_back(options: dict[str, Any]) -> bool:
    """Whether a generator with these options is to wait for its reader."""
    limits = (options.get(f"{whose}generator_backpressure_num_objects") for whose in ("_", "_actor_"))
    return any(limit not in (None, -1) for limit in limits)
