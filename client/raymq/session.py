"""The session: one client's life on the cluster, and everything that can be done with it."""

from __future__ import annotations

import atexit
import functools
import json
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from raymq import publications, refusing
from raymq.actors import ActorHandle
from raymq.completing import Completions
from raymq.context import RuntimeContext
from raymq.decorating import decorate
from raymq.dialect import Dialect
from raymq.errors import NotConfirmed
from raymq.generators import ObjectRefGenerator
from raymq.info import SessionInfo
from raymq.keeping import Kept
from raymq.life import Life
from raymq.lives import GOODBYE_TIME, Lives, Reconnect, what_now
from raymq.named import check_ttl
from raymq.packing import type_name
from raymq.publications import Publication
from raymq.refs import ObjectRef, Waitable
from raymq.steps import Kind, Steps, in_thread
from raymq.waiting import Waiter

if TYPE_CHECKING:
    from raymq.signatures import Remote

T = TypeVar("T")

DETACH_TIME = 60.0
"""Seconds that ``detach`` gives the cluster to take in what was sent before, and to confirm."""


class Session:
    """A session on a Ray cluster. Made by ``raymq.connect``; a context manager that closes itself.

    All methods may be called from any thread. With ``reconnect="new"`` a session that is lost starts over, empty, with
    the next call that makes something new or asks the cluster: ``put``, ``remote()``, ``get_actor``, ...

    Args:
        begin: opens a life on the cluster; raises a ``ConnectError`` where it cannot.
        reconnect: what to do when that is lost.
        dialect: what its things are to the program.
    """

    def __init__(
        self, begin: Callable[[Session], Life], reconnect: Reconnect = None, dialect: Dialect | None = None
    ) -> None:
        self.dialect = dialect or Dialect()
        self._completions = Completions()
        self._what_now = functools.partial(what_now, reconnect)
        self._lives = Lives(functools.partial(begin, self), reconnect)
        atexit.register(_close_at_exit, weakref.ref(self))

    @property
    def _life(self) -> Life:
        return self._lives.last

    # --- about itself

    @property
    def id(self) -> bytes:
        """The 16 bytes by which broker and bridge know it; others when it has started over."""
        return self._life.id

    @property
    def info(self) -> SessionInfo:
        """What is known of both sides: versions, the Ray job, the node."""
        return self._life.info

    @property
    def is_open(self) -> bool:
        """Whether calls can be made; so of a lost session, whether it starts over with the next one."""
        return self._lives.is_open

    def __enter__(self) -> Session:  # noqa: PYI034 - it has no subclasses
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Session {self.id.hex()} to {self.info.address}, {self._lives.state}>"

    def close(self, timeout: float = GOODBYE_TIME) -> None:
        """End the session: what it holds in the cluster is released, except for detached actors.

        Everything that was called before is handed to the cluster first. Does nothing on a session that has ended; one
        that was lost does not start over any more.

        Args:
            timeout: seconds to wait for the cluster's confirmation.
        """
        self._lives.close(timeout)

    # --- sessions with a name

    @property
    def name(self) -> str:
        """The session's name; empty for one without."""
        return self.info.name

    def detach(self, ttl: float | str | None = None, *, timeout: float = DETACH_TIME) -> None:
        """Leave a named session without ending it: tasks go on, actors and objects stay.

        Everything that was called before is handed to the cluster first. Then this process has no session any more;
        another one, or this one, gets it by ``connect(..., session=name)``. Only what was kept by name is found then:
        other references, and actors that only this process could reach, are dropped when the next client comes.

        Args:
            ttl: how long it waits for its next client, as seconds or a text such as ``"24h"``; None stands for what
                was given to ``connect``. Then it ends.
            timeout: seconds to wait for the cluster's confirmation.

        Raises:
            ValueError: the session has no name, or the ttl cannot be read.
            NotConfirmed: the confirmation did not come in time.
            SessionLost: the session has ended.
        """
        self._life.check()
        if not self.name:
            raise ValueError("only a session with a name can be detached: connect(..., session=NAME)")
        seconds = check_ttl(ttl if ttl is not None else self.info.ttl)
        if not self._life.detach(seconds, timeout):
            raise NotConfirmed(
                f"the cluster did not confirm within {timeout:g} s that session {self.name!r} was left. It stays as if "
                "its client were lost, but what was called last may not have reached it."
            )

    def keep(self, name: str, held: ObjectRef[Any] | ActorHandle) -> None:
        """Keep a reference or an actor by name, also for the clients that attach to this session later.

        Raises:
            TypeError: it is neither a reference nor an actor.
            ValueError: the name is empty or too long, or there are too many.
        """
        self.kept[name] = held

    @property
    def kept(self) -> Kept:
        """What the session keeps by name: a mapping; ``kept(name)`` is the same as ``kept[name]``."""
        return Kept(self.request)

    # --- calls

    if TYPE_CHECKING:
        remote: Remote
    else:

        def remote(self, *args: Any, **options: Any) -> Any:
            """As ``raymq.remote``, for functions and classes that always use this session."""
            return decorate(lambda: self, args, options)

    def put(self, value: T) -> ObjectRef[T]:
        """Store a value in the cluster.

        Returns at once, except for a large value whose memory could be changed (a numpy array, say): then when the
        cluster has it.

        Raises:
            TypeError: the value is a reference already.
            NotPicklable: it cannot be pickled.
            PayloadTooLarge: it is above the broker's limit.
            SessionLost: the session was lost, and does not start over.
            ConnectError: it cannot start over now.
        """
        if isinstance(value, ObjectRef):
            raise TypeError(
                "put() of an ObjectRef: it stands for a stored value already; put it into a list if you must"
            )
        return self._lives.for_call((value,), {}).calls.put(value)

    @overload
    def get(self, object_refs: ObjectRef[T], *, timeout: float | None = None) -> T: ...

    @overload
    def get(self, object_refs: Sequence[ObjectRef[T]], *, timeout: float | None = None) -> list[T]: ...

    @overload
    def get(self, object_refs: ObjectRefGenerator[T], *, timeout: float | None = None) -> ObjectRefGenerator[T]: ...

    def get(self, object_refs: Any, *, timeout: float | None = None) -> Any:
        """Fetch values, waiting for them.

        Args:
            object_refs: one ``ObjectRef``, or a list of them; a generator is returned as it is.
            timeout: seconds to wait at most; None waits for ever, as does -1; 0 takes what is on the head node by now.

        Returns:
            The value; a list of them for a list.

        Raises:
            ValueError: this is neither, but a tuple, say; or the timeout cannot be one.
            TypeError: in the list is something else.
            RayTaskError: the task raised; the error is an instance of the task's exception class, too.
            GetTimeoutError: the time was over.
            WrongSession: a reference belongs to another session.
            ObjectLost: the reference's session was lost, before or meanwhile.
        """
        if isinstance(object_refs, ObjectRef) and (timeout is None or timeout >= 0):
            life, wanted = self._life, [object_refs]
            if (at_hand := life.at_hand(wanted)) is not None:  # which is found in less time than steps take
                return life.values(wanted, at_hand)[0]
        return in_thread(self._get(object_refs, timeout, Waiter))()

    def _get(self, object_refs: Any, timeout: float | None, kind: Kind) -> Steps[Callable[[], Any]]:
        """Wait for values, in a thread or a loop; returns what makes them of that which has come."""
        limit = refusing.get_limit(timeout)
        if isinstance(object_refs, ObjectRefGenerator):
            return lambda: object_refs  # as Ray does: it has no value of its own
        life, single = self._life, isinstance(object_refs, ObjectRef)
        wanted: list[ObjectRef[Any]] = [object_refs] if single else refusing.checked_get(object_refs)
        pending = yield from life.fetch(wanted, limit, kind)
        return lambda: life.values(wanted, pending)[0] if single else life.values(wanted, pending)

    def wait(
        self,
        ray_waitables: list[Waitable],
        *,
        num_returns: int = 1,
        timeout: float | None = None,
        fetch_local: bool = True,
    ) -> tuple[list[Waitable], list[Waitable]]:
        """Wait until some references are ready: have a value, or an error.

        Args:
            ray_waitables: a list of references, each once. A generator is ready when its ``next`` would not wait.
            num_returns: how many must be ready.
            timeout: seconds to wait at most; None waits for ever, 0 only looks.
            fetch_local: to be ready is to be on the head node, where the objects are copied; else it is to exist on any
                node. (The next item of a generator is ready when it exists.)

        Returns:
            Those that are ready, at most ``num_returns``, and the others; both in the order of ``ray_waitables``.

        Raises:
            TypeError: ``ray_waitables`` is no list of references.
            ValueError: a reference is listed twice, or ``num_returns`` or ``timeout`` does not fit.
            WrongSession: a reference belongs to another session.
            ObjectLost: the reference's session was lost, before or meanwhile.
        """
        return in_thread(self._wait(ray_waitables, num_returns, timeout, Waiter, fetch_local=fetch_local))

    def _wait(
        self, ray_waitables: list[Waitable], num_returns: int, timeout: float | None, kind: Kind, *, fetch_local: bool
    ) -> Steps[tuple[list[Waitable], list[Waitable]]]:
        """Wait for references, in a thread or a loop."""
        refusing.check_wait(ray_waitables, num_returns, timeout)
        wanted = list(ray_waitables)
        if not wanted:
            return [], []
        places = yield from self._life.wait(wanted, num_returns, timeout, kind, fetch_local=fetch_local)
        ready = [wanted[place] for place in places]
        if len(places) == 1:
            del wanted[places[0]]
            return ready, wanted
        taken = set(places)
        return ready, [ref for place, ref in enumerate(wanted) if place not in taken]

    def kill(self, actor: ActorHandle, *, no_restart: bool = True) -> None:
        """Terminate an actor by force.

        Raises:
            ValueError: this is no actor.
        """
        if not isinstance(actor, ActorHandle):
            raise ValueError(  # noqa: TRY004 - as Ray does
                f"kill() takes an actor's handle, not {type_name(actor)}; tasks are cancelled by cancel()"
            )
        self._life.request("kill", (actor,), {"no_restart": no_restart}, held=actor)

    def cancel(
        self, ray_waitable: ObjectRef[Any] | ObjectRefGenerator[Any], *, force: bool = False, recursive: bool = True
    ) -> None:
        """Cancel the task that makes an object; its ``get`` raises ``TaskCancelledError`` then.

        Args:
            ray_waitable: the object, or a generator.
            force: kill the worker instead of interrupting the task.
            recursive: cancel the tasks that the task has started, too.

        Raises:
            TypeError: this is no reference.
        """
        if isinstance(ray_waitable, ObjectRefGenerator):
            ray_waitable.cancel(force=force, recursive=recursive)
            return
        if not isinstance(ray_waitable, ObjectRef):
            raise TypeError(
                f"cancel() takes an ObjectRef, not {type_name(ray_waitable)}; actors are terminated by kill()"
            )
        self._life.request("cancel", (ray_waitable,), {"force": force, "recursive": recursive}, held=ray_waitable)

    def get_actor(self, name: str, namespace: str | None = None) -> ActorHandle:
        """The handle of a named actor.

        Raises:
            ValueError: there is none of that name.
        """
        return cast(ActorHandle, self.request("get_actor", name, namespace))

    def list_named_actors(self, all_namespaces: bool = False) -> list[Any]:
        """The names of all named actors in this session's namespace, or names and namespaces of all."""
        return cast("list[Any]", self.request("list_named_actors", all_namespaces))

    def publish(
        self, name: str, what: ObjectRef[Any] | ActorHandle, *, ttl: float | str | None = None, replace: bool = False
    ) -> None:
        """Publish an object or an actor for all sessions on this cluster: it outlives this one.

        An object is waited for, and then copied within the cluster. It is there until it is unpublished or its time
        is over; who has looked it up keeps it as long as they hold their reference. An actor must be detached, and
        **the end of its publication terminates it**.

        Args:
            name: 1 to 200 printable characters; all sessions share the names.
            what: a reference, or a detached actor's handle.
            ttl: its time to live: seconds, or "90s", "30m", "24h", "7d"; None is until it is unpublished.
            replace: take the name over if it is taken, which ends the publication that has it.

        Raises:
            TypeError: this is neither, but a plain value for instance.
            ValueError: the name or the time cannot be one.
            AlreadyPublished: the name is taken.
            NotPublishable: it would not outlive its session.
            PublicationError: there are as many publications as there may be.
            Exception: the task that makes the object failed with it.
        """
        publications.share(self, name, what, ttl, replace=replace)

    def lookup(self, name: str) -> Any:
        """What is published under a name, by this session or another.

        Returns:
            A reference or an actor's handle, of this session.

        Raises:
            NotPublished: nothing is; the message says why, if that is known, and which names there are.
        """
        return self.request("lookup", name)

    def unpublish(self, name: str) -> None:
        """End a publication, whoever published it. An actor is terminated; an object stays with those who hold it.

        Raises:
            NotPublished: nothing is published under that name.
        """
        self.request("unpublish", name)

    def published(self) -> list[Publication]:
        """All publications on this cluster, by name."""
        return publications.listing(self)

    def nodes(self) -> list[dict[str, Any]]:
        """The cluster's nodes, as ``ray.nodes`` describes them."""
        return cast("list[dict[str, Any]]", self.request("nodes"))

    def cluster_resources(self) -> dict[str, float]:
        """The resources of the cluster."""
        return cast("dict[str, float]", self.request("cluster_resources"))

    def available_resources(self) -> dict[str, float]:
        """The resources of the cluster that nobody uses at the moment."""
        return cast("dict[str, float]", self.request("available_resources"))

    def timeline(self, filename: str | None = None) -> list[dict[str, Any]] | None:
        """What ran when and where, as events that ``chrome://tracing`` shows. Takes a second or more.

        Args:
            filename: a file on this machine that is written with them, as JSON.

        Returns:
            The events, or None if they were written to a file.

        Raises:
            OSError: the file cannot be written.
            PayloadTooLarge: there are more than fit into one value.
            RuntimeError: several threads have asked for it already.
        """
        events = cast("list[dict[str, Any]]", self.request("timeline"))
        if filename is None:
            return events
        with open(filename, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib takes longer to import than sessions
            json.dump(events, file)
        return None

    def get_runtime_context(self) -> RuntimeContext:
        """What ``ray.get_runtime_context`` tells a driver; in tasks and actors it is Ray's own."""
        return RuntimeContext(self)

    def request(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Ask the bridge for an operation, and wait for its answer.

        Raises:
            Exception: what the operation raised.
            SessionLost: the session ended meanwhile.
        """
        return self._lives.for_call(args, kwargs).request(operation, args, kwargs)


def _close_at_exit(session: weakref.ref[Session]) -> None:
    alive = session()
    if alive is not None and alive.is_open:  # in a forked child it is not, and there locks may be held for ever
        alive._life.ledger.leave_waiting()
        alive.close(timeout=2.0)
