"""The internals of Ray that the drop-in touches, by name. A test asks for each on the Ray that is there."""

from __future__ import annotations

import sys
from typing import Any

import ray.util.client
from ray._private import auto_init_hook, client_mode_hook, state, worker
from ray._private.utils import check_version_info
from ray._private.worker import SCRIPT_MODE

from raymq.dropin.core import Core, State

INTERNALS = (
    "ray.client_builder imports a module and calls its ClientBuilder(inner)",
    "ClientBuilder._fill_defaults_from_env()",
    "ClientContext(dashboard_url, python_version, ray_version, ray_commit, _num_clients, _context_to_restore)",
    "ray.util.client.ray: get_context, set_context, is_connected",
    "ray.util.client._ClientContext: api, client_worker, disconnect, shutdown",
    "ray.util.client: _all_contexts, _lock, num_connected_contexts",
    "client_mode_hook: _explicitly_enable_client_mode, _set_client_hook_status, disable_client_hook",
    "client_mode_hook.client_mode_convert_function: _convert_function, _converted_key_exists, _get_converted, _remote",
    "client_mode_hook.client_mode_convert_actor: _convert_actor",
    "client_mode_hook.RAY_CLIENT_MODE_ATTR",
    "ray._private.auto_init_hook.enable_auto_connect",
    "ray._private.worker.global_worker: core_worker, set_is_connected",
    "ray._private.state.state: _global_state_accessor",
    "ray.serve.handle asks ray.util.client.ray.is_connected() through one function",
    "check_version_info(metadata, address, raise_on_mismatch, python_version_match_level)",
    "ray._private.worker.SCRIPT_MODE",
    "RuntimeContext(worker)",
    "RemoteFunction: _function, _default_options, _is_cross_language",
    "ActorClass: __ray_metadata__.modified_class.__ray_actor_class__, _default_options",
    "ActorClass.__ray_metadata__.method_meta: signatures, num_returns, method_is_generator, ...",
    "ObjectRef._set_id(id)",
    "ActorHandle._ray_weak_ref",
    "ActorMethod._bind()",
    "ObjectRefGenerator.worker",
    "RayTaskError(function_name, traceback_str, cause, pid, ip), as_instanceof_cause()",
)

stub: Any = ray.util.client.ray
"""What Ray calls instead of itself while its client mode is on; it has a context for each thread."""


_auto_connect: bool = auto_init_hook.enable_auto_connect
_entered: set[Any] = set()
_STATE = "_global_state_accessor" if hasattr(state.state, "_global_state_accessor") else "global_state_accessor"


def enter(context: Any) -> None:
    """A context is connected: client mode is on, and Ray makes no connection by itself.

    Else it would start a cluster on this machine, without a word, for the first call after a session was lost.
    """
    client_mode_hook._set_client_hook_status(True)
    client_mode_hook._explicitly_enable_client_mode()
    with ray.util.client._lock:
        ray.util.client._all_contexts.add(context)
    auto_init_hook.enable_auto_connect = False
    if not worker.global_worker.connected:  # else by us already, or this is also a driver, which has a core of its own
        worker.global_worker.set_is_connected(True)
        worker.global_worker.core_worker = Core(_request)
        setattr(state.state, _STATE, State(_request))
    _entered.add(context.client_worker)


def leave(connection: Any) -> None:
    """A context's connection has been closed."""
    _entered.discard(connection)
    if _entered:
        return
    auto_init_hook.enable_auto_connect = _auto_connect
    if isinstance(getattr(worker.global_worker, "core_worker", None), Core):
        worker.global_worker.set_is_connected(False)
        del worker.global_worker.core_worker
        setattr(state.state, _STATE, None)


def is_asked_for_streams() -> bool:
    """Whether Serve asks if Ray Client is connected: in order to refuse streams, which Ray Client has not.

    Between its handle and whoever calls this are a function of Serve's, the stub, the context and its connection.
    """
    try:
        return sys._getframe(5).f_globals.get("__name__") == "ray.serve.handle"
    except ValueError:  # there are not so many
        return False


def _request(operation: str, *args: Any) -> Any:
    return stub.get_context().api.session.request(operation, *args)


def connected_contexts() -> int:
    """How many contexts are connected."""
    count: int = ray.util.client.num_connected_contexts()
    return count


__all__ = [
    "INTERNALS",
    "SCRIPT_MODE",
    "check_version_info",
    "client_mode_hook",
    "connected_contexts",
    "enter",
    "is_asked_for_streams",
    "leave",
    "stub",
]
