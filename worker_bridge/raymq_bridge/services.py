"""The cluster face, continued: what the cluster's own services do: its dashboard, its key-value store, its metrics.

As in ``cluster``, each internal of Ray's that is touched has a name here, in ``INTERNALS``.
"""

from __future__ import annotations

import concurrent.futures
import functools
import importlib
import json
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any

import ray
from ray.experimental import internal_kv

INTERNALS = (
    "ray.experimental.internal_kv._internal_kv_get(key, namespace)",
    "ray.experimental.internal_kv._internal_kv_put(key, value, overwrite, namespace)",
    "ray.experimental.internal_kv._internal_kv_exists(key, namespace)",
    "ray.experimental.internal_kv._internal_kv_list(prefix, namespace)",
    "ray.experimental.internal_kv._internal_kv_del(key, del_by_prefix, namespace)",
    "ray.util.state.common: StateSchema.asdict(), JobState.model_dump_json()",
    "ray.experimental.internal_kv._internal_kv_get('webui:url', namespace='dashboard')",
    "ray._private.worker.global_worker.core_worker.get_local_actor_state(actor_id)",
    "ray._private.worker.global_worker.core_worker.get_local_ongoing_lineage_reconstruction_tasks()",
    "ray._private.state.state: _global_state_accessor.get_draining_nodes()",
)

Steps = Generator[Any, Any, Any]

# --- what takes a while


def apart(what: str, most: int, call: Callable[[], Any]) -> Steps:
    """Carry out a call that takes a while in a thread of its own. An operation in steps.

    Args:
        what: what the calls of this kind are, for the thread's name and the error.
        most: how many of this kind may be under way.
        call: what to do.

    Raises:
        RuntimeError: as many are under way as may be.
    """
    name = f"raymq_{what}"
    if sum(thread.name == name for thread in threading.enumerate()) >= most:
        raise RuntimeError(f"{most} {what} of this session are under way already: wait for one of them")
    told: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def ask() -> None:
        try:
            told.set_result(call())
        except Exception as error:  # Ray's own, of any kind
            told.set_exception(error)

    threading.Thread(target=ask, name=name, daemon=True).start()
    yield told.add_done_callback
    return told.result()


TIMELINES_MAX = 4
"""Timelines that may be made at a time, each in a thread of its own."""


def timeline() -> Steps:
    """The events of the cluster's tasks. An operation in steps: Ray sleeps for a second in there."""
    return apart("timelines", TIMELINES_MAX, ray.timeline)


# --- the state of the cluster, as the dashboard tells it

QUESTIONS_MAX = 64
"""Questions about the state of the cluster that may be under way at a time."""

LOG_MAX = 64 << 20
"""Bytes of a log that are read for one question."""

QUESTIONS = frozenset({
    "get_actor", "get_job", "get_node", "get_objects", "get_placement_group", "get_task", "get_worker",
    "list_actors", "list_cluster_events", "list_jobs", "list_logs", "list_nodes", "list_objects",
    "list_placement_groups", "list_runtime_envs", "list_tasks", "list_workers",
    "summarize_actors", "summarize_objects", "summarize_tasks", "get_log",
})  # fmt: skip
"""The functions of ``ray.util.state``."""


def state(question: str, *args: Any, **kwargs: Any) -> Steps:
    """Ask one of the functions of ``ray.util.state``. An operation in steps.

    Args:
        question: its name; ``get_log`` returns bytes.
        args: its arguments but ``address``.
        kwargs: the same.

    Raises:
        ValueError: there is no such function.
        ServerUnavailable: the cluster has no dashboard, or it does not answer.
    """
    if question not in QUESTIONS:
        raise ValueError(f"ray.util.state has no {question!r}")
    return apart("questions", QUESTIONS_MAX, functools.partial(_ask_state, question, args, kwargs))


def _ask_state(question: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    module = importlib.import_module("ray.util.state")  # a quarter of a second, that not every session needs
    errors = importlib.import_module("ray.util.state.exception")
    if not _has_dashboard():  # else Ray would look for its address for most of a minute
        raise errors.ServerUnavailable(
            "the cluster has no dashboard, and that is what ray.util.state asks: install ray[default] on the head "
            "node, and start Ray without --include-dashboard=false"
        )
    try:
        told = getattr(module, question)(*args, address=ray.get_runtime_context().gcs_address, **kwargs)
        return _read(told) if question == "get_log" else told
    # Some are of classes that a client need not have, of requests and of pydantic.
    except ValueError as error:
        raise ValueError(str(error)) from error
    except OSError as error:
        answered = getattr(error, "response", None) is not None
        raise (errors.RayStateApiException if answered else errors.ServerUnavailable)(
            f"the cluster's dashboard {'refuses' if answered else 'does not answer'}: {error}"
        ) from error


def _has_dashboard() -> bool:
    return bool(internal_kv._internal_kv_get("webui:url", namespace="dashboard"))


def _read(chunks: Generator[bytes, None, None]) -> bytes:
    """A log, up to a limit."""
    log = bytearray()
    for chunk in chunks:
        log += chunk
        if len(log) > LOG_MAX:
            chunks.close()
            raise ValueError(f"the log has more than {LOG_MAX:,} bytes: ask for its last lines, tail=1000 say")
    return bytes(log)


def described(value: Any) -> tuple[str, dict[str, Any]] | None:
    """What ``ray.util.state`` tells of something, as the class's name and plain fields; None for any other value."""
    kind = type(value)
    if kind.__module__ != "ray.util.state.common" or not hasattr(kind, "filterable_columns"):
        return None
    if hasattr(value, "model_dump_json"):  # a JobState, which has enums and models in it
        return kind.__name__, json.loads(value.model_dump_json())
    return kind.__name__, value.asdict()


# --- where objects are


def object_locations(references: list[Any], timeout_ms: int = -1) -> Steps:
    """Where objects are, by reference. An operation in steps: it may wait for each of them."""
    ask = functools.partial(ray.experimental.get_object_locations, references, timeout_ms)
    return apart("questions", QUESTIONS_MAX, ask)


# --- the key-value store

_KV: dict[str, Callable[..., Any]] = {
    "get": internal_kv._internal_kv_get,
    "put": internal_kv._internal_kv_put,
    "exists": internal_kv._internal_kv_exists,
    "list": internal_kv._internal_kv_list,
    "del": internal_kv._internal_kv_del,
}


def kv(name: str, *args: Any, **kwargs: Any) -> Any:
    """One of the functions of ``ray.experimental.internal_kv``, ``"get"`` for instance."""
    if name not in _KV:
        raise ValueError(f"ray.experimental.internal_kv has no {name!r}")
    return _KV[name](*args, **kwargs)


# --- what a client that has Ray asks for Ray's libraries


def core(name: str, *args: Any) -> Any:
    """What this driver's core worker says under a name; for the libraries of a client that has Ray."""
    if name not in CORE:
        raise ValueError(f"nobody may ask the core worker for {name!r}")
    return getattr(ray._private.worker.global_worker.core_worker, name)(*args)


CORE = frozenset({
    "get_disable_job_level_lineage_reconstruction", "get_local_actor_state", "get_local_memory_store_bytes_used",
    "get_local_ongoing_lineage_reconstruction_tasks",
})  # fmt: skip
"""What may be asked; an older Ray has not got all of them."""


def tables(name: str, *args: Any) -> Any:
    """What the tables of the cluster say under a name, as Ray's own accessor hands it over."""
    if not name.startswith("get_"):
        raise ValueError(f"nobody may ask the state of the cluster for {name!r}")
    ray.nodes()  # connects the accessor
    state = ray._private.state.state
    accessor = getattr(state, "_global_state_accessor", None) or state.global_state_accessor
    return getattr(accessor, name)(*args)


# --- metrics

METRICS_MAX = 1_000
"""Metrics of a client's own, none of which Ray forgets again."""

_RECORD = {"Counter": "inc", "Gauge": "set", "Histogram": "observe"}


_metrics: dict[tuple[str, str], Any] = {}


def metric(kind: str, fields: Sequence[Any], value: float, tags: dict[str, str]) -> None:
    """Record a figure of the client's, as one of this driver's.

    Args:
        kind: ``Counter``, ``Gauge`` or ``Histogram``.
        fields: name, description, of a histogram a list of its boundaries, and the tuple of its tags' keys.
        value: the figure.
        tags: a value for each of its tags.
    """
    if kind not in _RECORD:
        raise ValueError(f"ray.util.metrics has no {kind!r}")
    key = kind, repr(fields)
    if key not in _metrics and len(_metrics) >= METRICS_MAX:
        raise ValueError(f"a session has at most {METRICS_MAX:,} metrics of its own: use tags")
    known = _metrics.get(key)
    if known is None:
        known = _metrics[key] = getattr(importlib.import_module("ray.util.metrics"), kind)(*fields)
    getattr(known, _RECORD[kind])(value, tags)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "timeline": timeline,
    "state": state,
    "object_locations": object_locations,
    "local_object_locations": ray.experimental.get_local_object_locations,
    "internal_kv": kv,
    "metric": metric,
    "core": core,
    "tables": tables,
}
"""What a client may ask for by name."""
