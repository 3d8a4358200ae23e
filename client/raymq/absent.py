"""What Ray has and a client has not: each name with the reason, and the way round.

The one place for it. Asking for such a name raises ``NotOnClient``, which is an ``AttributeError``: ``hasattr`` says
that it is not there. In remote functions, where ``ray`` is Ray itself, all of them are there.
"""

from __future__ import annotations

from raymq.errors import NotOnClient

_LIBRARY = "is a library on top of Ray, and works inside of the cluster only: use it in a remote function or an actor."
_INTERNAL = "is for Ray's own code and for libraries that are built into Ray: use it in a remote function."
_REMOVED = "was removed from Ray, which only says so: there is nothing to be had from it."
_DEBUGGER = (
    "attaches to the cluster's processes: call breakpoint() in a remote function, and `ray debug` on the head node."
)
_CROSS_LANGUAGE = "calls into another language's workers of the cluster: call it in a remote function."
_SERIALIZER = "tells one process what all that a value passes have to know: give the class a __reduce__ method."
_TENSORS = "moves tensors between the processes of actors, past the object store: use it in their methods."
_MODE = "tells what a process of the cluster is, and a client is none: ask in a remote function."

ABSENT = {
    "_config": "holds the settings of a process of the cluster: read it in a remote function.",
    "Language": "chooses the language of a worker, and a client has Python only: use it in a remote function.",
    "SCRIPT_MODE": _MODE,
    "WORKER_MODE": _MODE,
    "cpp_function": "is listed there, but is in ray.cross_language only: call that one in a remote function.",
    "java_actor_class": _CROSS_LANGUAGE,
    "java_function": _CROSS_LANGUAGE,
    "air": _LIBRARY,
    "autoscaler": "talks to the cluster's own services: call ray.autoscaler.sdk in a remote function.",
    "cloudpickle": "is a copy of a package that raymq needs, too: import cloudpickle itself.",
    "cluster_utils": "starts clusters on this machine, for tests of Ray: run `raymq start` or `raymq demo` instead.",
    "core": _INTERNAL,
    "cross_language": _CROSS_LANGUAGE,
    "dag": "builds graphs of calls in a process of the cluster: build and run them in a remote function.",
    "dashboard": "is the code of a server in the cluster: look at it with a browser, at its port 8265.",
    "data": _LIBRARY,
    "experimental.CommunicatorMetadata": _TENSORS,
    "experimental.RDTManager": _TENSORS,
    "experimental.TensorTransportManager": _TENSORS,
    "experimental.TensorTransportMetadata": _TENSORS,
    "experimental.deregister_nixl_memory": _TENSORS,
    "experimental.register_nixl_memory": _TENSORS,
    "experimental.register_nixl_memory_pool": _TENSORS,
    "experimental.register_tensor_transport": _TENSORS,
    "experimental.set_nixl_cuda_stream": _TENSORS,
    "experimental.set_target_device_for_ref": _TENSORS,
    "experimental.set_target_for_ref": _TENSORS,
    "experimental.wait_tensor_freed": _TENSORS,
    "experimental.set_resource": "was given up by Ray, which only says so: use placement groups.",
    "experimental.channel": _INTERNAL,
    "experimental.collective": "is the code behind ray.util.collective: use that in the methods of actors.",
    "experimental.compiled_dag_ref": "belongs to graphs of calls: build and run them in a remote function.",
    "experimental.dynamic_resources": _REMOVED,
    "experimental.gradio_utils": _INTERNAL,
    "experimental.job": _INTERNAL,
    "experimental.multiprocessing": "has moved to ray.util.multiprocessing: use that.",
    "experimental.queue": "has moved to ray.util.queue: use that.",
    "experimental.rdt": _TENSORS,
    "experimental.sandbox": _INTERNAL,
    "experimental.shuffle": _INTERNAL,
    "experimental.state": "has moved to ray.util.state: use that.",
    "experimental.tf_utils": _REMOVED,
    "experimental.tqdm_ray": "draws the progress bars of workers: use it in a remote function, and tqdm itself here.",
    "experimental.util": _INTERNAL,
    "internal": _INTERNAL,
    "job_config": "configures the job of a driver, here the bridge: give connect() its namespace and runtime_env.",
    "job_submission": "speaks to the dashboard over HTTP: use it in a remote function, or `ray job` on the head node.",
    "llm": _LIBRARY,
    "rllib": _LIBRARY,
    "scripts": "is the code of Ray's command line: run `ray` on the head node.",
    "serve": _LIBRARY,
    "train": _LIBRARY,
    "tune": _LIBRARY,
    "widgets": "draws Ray's own objects in notebooks: show what session.info says.",
    "workflow": _REMOVED,
    "util.accelerators": 'has names for plain strings: write accelerator_type="A100", say.',
    "util.actor_group": "is deprecated by Ray: make a list of actors, or use ray.util.ActorPool.",
    "util.annotations": _INTERNAL,
    "util.check_open_ports": "looks at the head node from there: call it in a remote function.",
    "util.client": "is the code of Ray Client, in place of which this is used: call connect().",
    "util.client_connect": "is the code of Ray Client, in place of which this is used: call connect().",
    "util.collective": "moves data between the processes of actors: use it in their methods.",
    "util.common": _INTERNAL,
    "util.connect": "is the code of Ray Client, in place of which this is used: call ray.connect() or ray.init().",
    "util.dask": _LIBRARY,
    "util.debugpy": _DEBUGGER,
    "util.deregister_serializer": _SERIALIZER,
    "util.disconnect": "is the code of Ray Client, in place of which this is used: call ray.shutdown().",
    "util.get_node_instance_id": "tells of the machine that it is called on, a node: call it in a remote function.",
    "util.horovod": _REMOVED,
    "util.iter": "is deprecated by Ray: use ray.util.ActorPool, or remote generators.",
    "util.iter_metrics": "belongs to ray.util.iter, which Ray deprecates: use ray.util.metrics.",
    "util.lightgbm": _REMOVED,
    "util.pdb": _DEBUGGER,
    "util.ray_debugpy": _DEBUGGER,
    "util.register_serializer": _SERIALIZER,
    "util.rpdb": _DEBUGGER,
    "util.serialization": _SERIALIZER,
    "util.serialization_addons": _INTERNAL,
    "util.sgd": _REMOVED,
    "util.spark": "starts Ray on a Spark cluster: do so there, and run `raymq start` on its head node.",
    "util.state.StateApiClient": "speaks HTTP to the dashboard: call list_actors() and its like here.",
    "util.state.state_cli": "is the code of `ray list` and its like: run these on the head node.",
    "util.state.state_manager": _INTERNAL,
    "util.state.util": _INTERNAL,
    "util.timer": _INTERNAL,
    "util.tpu": "looks at the nodes' own devices: call it in a remote function.",
    "util.tracing": "instruments the cluster's processes: give `ray start` its --tracing-startup-hook.",
    "util.xgboost": _REMOVED,
}
"""By name within ray: what it is, and after the colon what to do."""


def reason(name: str) -> str | None:
    """One sentence on a name within ray that no client has, such as ``"util.state"``; None for any other name."""
    tells = ABSENT.get(name)
    return f"ray.{name} {tells}" if tells else None


def missing(module: str, name: str) -> AttributeError:
    """The error for an attribute that a module of raymq does not have, to be raised by the module.

    Args:
        module: the module's name, ``raymq`` or one in it.
        name: what was asked for.
    """
    within = f"{module}.{name}".partition(".")[2]
    tells = reason(within)
    if tells is None:
        return AttributeError(f"module {module!r} has no attribute {name!r}", name=name)
    return NotOnClient(f"{module}.{name} is not there on a client. {tells}", name=name)
