"""The functions of ``raymq.util.state``. In tasks and actors each is Ray's own.

The bridge carries them out. ``address`` is None or ``"auto"``, since the session's cluster is the one that is asked;
``_explain`` has no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, Union, cast

from raymq.api import current_session
from raymq.util.state.common import (
    ActorState,
    ClusterEventState,
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
    RuntimeEnvState,
    TaskState,
    WorkerState,
)

LIMIT = 100
"""Entries that are listed unless told otherwise."""

TIMEOUT = 30
"""Seconds that the dashboard gets unless told otherwise."""

Told = TypeVar("Told")
Told_co = TypeVar("Told_co", covariant=True)
Named = TypeVar("Named", bound=Callable[..., Any])
Filters = Sequence[tuple[str, str, Union[str, bool, int, float]]]
"""Each is a field, ``"="`` or ``"!="``, and a value; all of them have to be true."""


def _ask(question: str, address: str | None, *args: Any, **kwargs: Any) -> Any:
    if address not in (None, "auto"):
        raise ValueError(f"the session's own cluster is asked, whatever its address; connect to the one at {address!r}")
    return current_session().request("state", question, *args, **kwargs)


def _named(function: Named, name: str, does: str) -> Named:
    """Give a function the name under which it is found, here and in Ray's module."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = does
    return function


# --- lists


class _List(Protocol[Told]):
    def __call__(
        self,
        address: str | None = None,
        filters: Filters | None = None,
        limit: int = LIMIT,
        timeout: float = TIMEOUT,
        detail: bool = False,
        raise_on_missing_output: bool = True,
        _explain: bool = False,
    ) -> list[Told]: ...


def _lister(what: str, kind: type[Told]) -> _List[Told]:
    question = f"list_{what}"

    def ask(
        address: str | None = None,
        filters: Filters | None = None,
        limit: int = LIMIT,
        timeout: float = TIMEOUT,
        detail: bool = False,
        raise_on_missing_output: bool = True,
        _explain: bool = False,
    ) -> list[Told]:
        options = {"limit": limit, "timeout": timeout, "detail": detail}
        told = _ask(question, address, filters=filters, raise_on_missing_output=raise_on_missing_output, **options)
        return cast("list[Told]", told)

    does = f"""The {what.replace("_", " ")} of the cluster, each a ``{kind.__name__}``.

    Args:
        address: None, or "auto".
        filters: which to list, as in ``[("state", "=", "ALIVE")]``; all must be true.
        limit: how many at most.
        timeout: seconds that the dashboard gets.
        detail: tell also the fields that are dearer to know.
        raise_on_missing_output: raise an error where not all of the cluster answers, or there is too much to tell.

    Raises:
        RayStateApiException: the cluster cannot tell, or not all of it.
        ServerUnavailable: it has no dashboard.
        ValueError: a filter is none.
    """
    return _named(ask, question, does)


list_actors = _lister("actors", ActorState)
list_cluster_events = _lister("cluster_events", ClusterEventState)
list_jobs = _lister("jobs", JobState)
list_nodes = _lister("nodes", NodeState)
list_objects = _lister("objects", ObjectState)
list_placement_groups = _lister("placement_groups", PlacementGroupState)
list_runtime_envs = _lister("runtime_envs", RuntimeEnvState)
list_tasks = _lister("tasks", TaskState)
list_workers = _lister("workers", WorkerState)


# --- one of them


class _Get(Protocol[Told_co]):
    def __call__(
        self,
        id: str,  # noqa: A002 - Ray's name
        address: str | None = None,
        timeout: float = TIMEOUT,
        _explain: bool = False,
    ) -> Told_co | None: ...


def _getter(what: str, kind: type[Told_co], tells: str) -> _Get[Told_co]:
    question = f"get_{what}"

    def ask(
        id: str,  # noqa: A002 - Ray's name
        address: str | None = None,
        timeout: float = TIMEOUT,
        _explain: bool = False,
    ) -> Told_co | None:
        return cast("Told_co | None", _ask(question, address, id, timeout=timeout))

    does = f"""{tells}; None if there is none of that id.

    Args:
        id: its id, as hexadecimal digits; of a job its submission id.
        address: None, or "auto".
        timeout: seconds that the dashboard gets.

    Raises:
        RayStateApiException: the cluster cannot tell.
        ServerUnavailable: it has no dashboard.
    """
    return _named(ask, question, does)


get_actor = _getter("actor", ActorState, "An actor, as an ``ActorState``")
get_job = _getter("job", JobState, "A job that was submitted, as a ``JobState``")
get_node = _getter("node", NodeState, "A node, as a ``NodeState``")
get_objects = _getter("objects", list[ObjectState], "The references to an object, each an ``ObjectState``")
get_placement_group = _getter("placement_group", PlacementGroupState, "A placement group, a ``PlacementGroupState``")
get_task = _getter("task", TaskState, "A task, as a ``TaskState``; a list of them if it was tried several times")
get_worker = _getter("worker", WorkerState, "A process of the cluster's, as a ``WorkerState``")


# --- summaries


class _Summarize(Protocol):
    def __call__(
        self,
        address: str | None = None,
        timeout: float = TIMEOUT,
        raise_on_missing_output: bool = True,
        _explain: bool = False,
    ) -> dict[str, Any]: ...


def _summarizer(what: str) -> _Summarize:
    question = f"summarize_{what}"

    def ask(
        address: str | None = None,
        timeout: float = TIMEOUT,
        raise_on_missing_output: bool = True,
        _explain: bool = False,
    ) -> dict[str, Any]:
        told = _ask(question, address, timeout=timeout, raise_on_missing_output=raise_on_missing_output)
        return cast("dict[str, Any]", told)

    return _named(ask, question, f"How many {what} there are of which kind and in which state, as Ray sums them up.")


summarize_actors = _summarizer("actors")
summarize_objects = _summarizer("objects")
summarize_tasks = _summarizer("tasks")


# --- logs


def list_logs(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    glob_filter: str | None = None,
    timeout: float = TIMEOUT,
) -> dict[str, list[str]]:
    """The names of a node's log files, by what they belong to.

    Args:
        address: None, or "auto".
        node_id: the node.
        node_ip: or its address.
        glob_filter: only names that match it, ``"*worker*"`` say.
        timeout: seconds that the dashboard gets.

    Raises:
        AssertionError: neither tells the node.
        RayStateApiException: the cluster cannot tell.
    """
    asked = {"node_id": node_id, "node_ip": node_ip, "glob_filter": glob_filter, "timeout": timeout}
    return cast("dict[str, list[str]]", _ask("list_logs", address, **asked))


def get_log(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    filename: str | None = None,
    actor_id: str | None = None,
    task_id: str | None = None,
    pid: int | None = None,
    follow: bool = False,
    tail: int = -1,
    timeout: float = TIMEOUT,
    suffix: str = "out",
    encoding: str | None = "utf-8",
    errors: str = "strict",
    submission_id: str | None = None,
    attempt_number: int = 0,
    _interval: float | None = None,
    filter_ansi_code: bool = False,
) -> Iterator[Any]:
    """A log file, or the log of a worker, an actor, a task or a job; yields it in one piece.

    Args:
        address: None, or "auto".
        node_id: the node that has the file, or the process.
        node_ip: or its address.
        filename: the file, as ``list_logs`` tells it.
        actor_id: or an actor.
        task_id: or a task.
        pid: or a process of the node.
        follow: not here: what is written later does not come.
        tail: how many of the last lines; -1 for all.
        timeout: seconds that the dashboard gets.
        suffix: ``"out"`` or ``"err"``.
        encoding: None yields bytes.
        errors: what to do with bytes that cannot be decoded, as in ``bytes.decode``.
        submission_id: or a job that was submitted.
        attempt_number: which attempt at the task.
        filter_ansi_code: leave out what colours a terminal.

    Raises:
        RayStateApiException: there is no such log.
        ValueError: it is to be followed, or too long.
    """
    if follow:
        raise ValueError(
            "get_log(follow=True) does not come through a session: yield from ray.util.state.get_log(..., follow=True) "
            "in a remote function, and read its generator"
        )
    chosen = {"node_id": node_id, "node_ip": node_ip, "filename": filename, "actor_id": actor_id, "task_id": task_id}
    chosen |= {"submission_id": submission_id}
    how: dict[str, Any] = {"pid": pid, "tail": tail, "timeout": timeout, "suffix": suffix, "encoding": None}
    how |= {"attempt_number": attempt_number, "filter_ansi_code": filter_ansi_code}
    log = _ask("get_log", address, **chosen, **how)
    if log:
        yield log if encoding is None else log.decode(encoding, errors)
