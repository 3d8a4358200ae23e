"""The options of ``@remote`` and ``.options()``: their names, and what a client must understand of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from raymq.protocol.limits import REFS_MAX
from raymq.protocol.messages import HELD_BACK, STREAMING

_COMMON = frozenset({
    "num_cpus", "num_gpus", "resources", "memory", "accelerator_type", "label_selector", "fallback_strategy",
    "runtime_env", "scheduling_strategy", "name", "enable_task_events", "placement_group",
    "placement_group_bundle_index", "placement_group_capture_child_tasks", "_metadata", "_labels",
})  # fmt: skip

TASK_OPTIONS = _COMMON | {
    "num_returns", "max_calls", "max_retries", "retry_exceptions", "object_store_memory",
    "_generator_backpressure_num_objects",
}  # fmt: skip

ACTOR_OPTIONS = _COMMON | {
    "namespace", "lifetime", "get_if_exists", "max_concurrency", "concurrency_groups", "max_restarts",
    "max_task_retries", "max_pending_calls", "object_store_memory", "allow_out_of_order_execution",
}  # fmt: skip

METHOD_OPTIONS = frozenset({
    "num_returns", "concurrency_group", "max_task_retries", "retry_exceptions", "name", "enable_task_events",
    "_generator_backpressure_num_objects",
})  # fmt: skip


def check_options(what: str, known: frozenset[str], options: dict[str, Any]) -> None:
    """Refuse options that Ray does not know, as Ray does, before anything is sent.

    Raises:
        ValueError: an option is unknown; the message lists those that there are.
    """
    for name in options:
        if name not in known:
            listed = ", ".join(sorted(name for name in known if not name.startswith("_")))
            raise ValueError(f"{name!r} is no option of a {what}; there are: {listed}")


INIT_OPTIONS_OF_NEW_CLUSTERS = frozenset({
    "num_cpus", "num_gpus", "resources", "labels", "object_store_memory", "local_mode", "include_dashboard",
    "dashboard_host", "dashboard_port", "_temp_dir", "_system_config", "_memory", "_node_ip_address",
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
        if name in INIT_OPTIONS_OF_NEW_CLUSTERS and value is not None:
            raise ValueError(f"{name} is for starting a cluster; this connects to one that runs")
        if name not in INIT_OPTIONS_OF_NEW_CLUSTERS | INIT_OPTIONS_WITHOUT_EFFECT:
            raise ValueError(f"init() has no option {name!r}")


def returned(options: dict[str, Any], function: Callable[..., Any] | None = None) -> int:
    """How many values a call returns, by its options; ``STREAMING`` or ``HELD_BACK`` if it is a generator's.

    Raises:
        ValueError: ``num_returns`` is no number of values, nor "streaming".
    """
    count = options.get("num_returns")
    generator = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    if count == "streaming" or (count is None and generator):
        return HELD_BACK if is_held_back(options) else STREAMING
    if count == "dynamic":
        raise ValueError("num_returns='dynamic' is deprecated by Ray, and not supported here: use 'streaming' instead")
    if count is None:
        return 1
    if type(count) is not int or not 0 <= count <= REFS_MAX:
        raise ValueError(f"num_returns is 'streaming' or a number of values, 0 to {REFS_MAX:,}, not {count!r}")
    return count


def is_held_back(options: dict[str, Any]) -> bool:
    """Whether a generator with these options is to wait for its reader."""
    return options.get("_generator_backpressure_num_objects") not in (None, -1)
