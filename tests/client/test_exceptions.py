"""What Ray's exceptions tell, here and there: described without Ray, and rebuilt."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from raymq import exceptions, remote_errors

theirs = pytest.importorskip("ray.exceptions", reason="no Ray is installed here to compare with")

import ray  # noqa: E402
from ray.core.generated import common_pb2  # noqa: E402

from raymq_bridge import failures  # noqa: E402

ACTOR = bytes(range(16))
DEATH = common_pb2.ActorDiedErrorContext(
    actor_id=ACTOR, error_message="killed", class_name="Actor", pid=7, name="n", ray_namespace="ns", never_started=True
)
PREEMPTED = common_pb2.ActorDiedErrorContext(
    actor_id=ACTOR,
    error_message="drained",
    node_death_info=common_pb2.NodeDeathInfo(reason=common_pb2.NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED),
)
TASK = theirs.RayTaskError("f", "Traceback of f", ValueError("bad"), proctitle="ray::f", pid=7, ip="1.2.3.4")
METHOD = theirs.RayTaskError(
    "A.f", "Traceback of f", ValueError("bad"), proctitle="ray::A", pid=7, ip="1.2.3.4", actor_repr="A()", actor_id="ab"
)
LOST = ("ab" * 28, b"owner", "here")

ERRORS = [
    theirs.RayError("plain"),
    theirs.TaskCancelledError(),
    theirs.TaskCancelledError(ray.TaskID(bytes(range(24))), "by hand"),
    TASK,
    METHOD,
    theirs.RayActorError("ab", "text", actor_init_failed=True, preempted=True),
    theirs.ActorDiedError(),
    theirs.ActorDiedError(DEATH),
    theirs.ActorDiedError(PREEMPTED),
    theirs.ActorDiedError(METHOD),
    theirs.ActorUnavailableError("restarting", ACTOR),
    theirs.RaySystemError("broken", "Traceback"),
    theirs.RaySystemError("broken"),
    theirs.AuthenticationError("no token"),
    theirs.OutOfMemoryError("too much"),
    theirs.NodeDiedError("gone"),
    theirs.RpcError("timeout", 4),
    *(getattr(theirs, name)(*LOST) for name in (
        "ObjectLostError", "ObjectFetchTimedOutError", "ReferenceCountingAssertionError", "ObjectFreedError",
    )),
    theirs.ObjectReconstructionFailedError(LOST[0], common_pb2.OBJECT_UNRECONSTRUCTABLE_PUT, None, b"owner", "here"),
    theirs.GetTimeoutError("late"),
    theirs.RuntimeEnvSetupError("no such package"),
    theirs.TaskUnschedulableError("nowhere"),
    theirs.ActorUnschedulableError("nowhere"),
    theirs.ActorAlreadyExistsError("taken"),
    theirs.ActorHandleNotFoundError("nobody"),
    theirs.WorkerCrashedError(),
    theirs.LocalRayletDiedError(),
    theirs.UnserializableException("Traceback"),
]  # fmt: skip

ELSEWHERE = {"REASON_MESSAGES"}
"""What is no field of an error, but a table for all."""


def fields(error: BaseException) -> dict[str, Any]:
    """The public attributes that are not methods."""
    names = {name for name in dir(error) if not name.startswith("_") and name not in dir(OSError)} - ELSEWHERE
    found = {name: getattr(error, name) for name in names}
    return {name: value for name, value in found.items() if not callable(value)}


def alike(value: Any) -> Any:
    """What can be compared between the two sides."""
    return repr(value) if isinstance(value, BaseException) or hasattr(value, "binary") else value


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_tells_here_what_it_tells_there(error: Any) -> None:
    rebuilt = remote_errors.from_description(failures.describe(error), getattr(error, "cause", None))
    for ours in (rebuilt, pickle.loads(pickle.dumps(rebuilt))) if "TaskError" not in str(type(error)) else (rebuilt,):
        assert str(ours) == str(error)
        assert isinstance(ours, getattr(exceptions, type(error).__name__))
        told = {name: alike(value) for name, value in fields(error).items()}
        assert {name: alike(value) for name, value in fields(ours).items() if name in told} == told


def test_a_task_s_error_keeps_its_fields_as_its_cause_s_class_and_in_a_pickle() -> None:
    rebuilt: Any = remote_errors.from_description(failures.describe(METHOD), METHOD.cause)
    assert isinstance(rebuilt, ValueError)
    again = pickle.loads(pickle.dumps(rebuilt))
    for error in (rebuilt, again):
        assert (error.proctitle, error.actor_repr, error.pid, error.ip) == ("ray::A", "A()", 7, "1.2.3.4")


def test_an_error_that_is_made_here_has_its_text_for_a_message() -> None:
    assert exceptions.NodeDiedError("gone").message == "gone"
    assert exceptions.ActorDiedError("gone").error_msg == "gone"
    assert exceptions.ActorDiedError("gone").actor_id is None


def test_what_a_description_says_cannot_replace_anything_else() -> None:
    sent = {"type": "ActorDiedError", "message": "gone", "fields": {"args": 1, "_tell": 2, "actor_id": "ab", "new": 3}}
    rebuilt: Any = remote_errors.from_description(sent, None)
    assert vars(rebuilt) == {"actor_id": "ab"}
    assert remote_errors.from_description({"type": "TaskCancelledError", "fields": {"task_id": b"short"}}, None)
