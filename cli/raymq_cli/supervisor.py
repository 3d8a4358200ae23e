"""The supervisor's core: which processes should run, given what happened so far.

It knows no process, pipe, clock or logger: ``handle(event, now)`` takes what happened and returns what to do.
After each event, ``_settle`` compares what runs with what should run; that comparison is the whole policy:

* one cluster, if it is ours to run (it is not with ``--address HOST:PORT``, or when a running Ray was found)
* one broker
* as many bridges as there are clients that wait, plus the spares, less those that are idle or still start
* who fails is started again after a backoff; who does not start in time, or does not stop in time, is killed
* to stop: the bridges first, so that they let go of what their sessions hold, then the broker, then the cluster
* the broker is told of each bridge that has died, and why, and of the end of the cluster: it tells the clients
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from raymq.daemon import how_it_ended
from raymq_cli.backoff import Backoff
from raymq_cli.child import START_LIMIT, STOP_LIMIT, Child, why_it_died
from raymq_cli.events import (
    Action,
    Announce,
    Died,
    Event,
    Exited,
    Failed,
    Finish,
    Listed,
    Note,
    Ready,
    Role,
    Send,
    Spawn,
    Spawned,
    StopRequested,
    Tell,
)

STOP_ORDER = (Role.BRIDGE, Role.BROKER, Role.CLUSTER)

STABLE_AFTER = 5.0
"""Seconds in service after which the end of a child is no failed start."""

STARTS_AT_ONCE = 4
"""Bridges that start side by side: each keeps a core busy for a second or two."""


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        cluster: the GCS address of a cluster that is not ours to run; None to run the cluster process.
        spares: idle bridges to hold ready.
        sessions_max: the most sessions that the broker opens; with ``spares`` the limit on bridges.
    """

    cluster: str | None = None
    spares: int = 1
    sessions_max: int = 64


class Supervisor:
    """The core; see the module's docstring."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.children: dict[int, Child] = {}
        self.cluster = plan.cluster
        self.cluster_is_ours = plan.cluster is None
        self.env: Mapping[str, str] = {}
        self.broker = self._broker_was = ""
        self.announced = False
        self._idle: frozenset[int] = frozenset()
        self._busy: frozenset[int] = frozenset()
        self._waiting = 0
        self._backoff = {role: Backoff() for role in Role}
        self._last_number = 0
        self._finish: Finish | None = None
        self._actions: list[Action] = []

    def poll(self, now: float) -> list[Action]:
        """What to do at the start, and whenever ``next_deadline`` has come."""
        return self._settle(now)

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take in what happened; returns what to do."""
        self._HANDLERS[type(event)](self, event, now)
        return self._settle(now)

    def next_deadline(self) -> float | None:
        """When ``poll`` is due if nothing happens before."""
        deadlines = [child.kill_at for child in self.children.values() if child.kill_at and not child.killed]
        if self._finish is None:
            deadlines += [c.started_at + START_LIMIT[c.role] for c in self._those() if c.ready_at is None]
            deadlines += [backoff.retry_at for role, backoff in self._backoff.items() if self._wants(role)]
        return min(deadlines, default=None)

    # events

    def _spawned(self, event: Spawned, now: float) -> None:
        self.children[event.child].pid = event.pid

    def _ready(self, event: Ready, now: float) -> None:
        child = self.children[event.child]
        child.ready_at = now
        if child.role is Role.BROKER:
            self.broker = self._broker_was = event.address
            self._note("info", "broker_ready", address=event.address, pid=child.pid)
            return
        self.cluster, self.env, self.cluster_is_ours = event.address, event.env, event.ours
        self._note("info", "cluster_ready" if event.ours else "cluster_found", address=event.address)

    def _listed(self, event: Listed, now: float) -> None:
        self._idle, self._busy, self._waiting = event.idle, event.busy, event.waiting
        for child in self._those(Role.BRIDGE):
            if child.ready_at is None and child.pid in event.idle | event.busy:
                child.ready_at = now
                self._note("info", "bridge_ready", pid=child.pid)

    def _failed(self, event: Failed, now: float) -> None:
        child = self.children[event.child]
        child.message = event.message
        if child.role is Role.CLUSTER and child.ready_at is not None:
            self._stop_those([child], now)
            self._cluster_lost(event.message, now)

    def _stop_requested(self, event: StopRequested, now: float) -> None:
        if self._finish is None:
            self._note("info", "stopping")
            self._finish = Finish(0)
            return
        for child in self.children.values():
            self._kill(child)

    def _died(self, event: Died, now: float) -> None:
        child = self.children[event.child]
        child.died_of = why_it_died(child, event)
        if child.role is Role.BRIDGE:
            if event.node_ended and event.code:  # Ray ends a driver that has no raylet any longer, without a word
                text = f"the Ray cluster at {child.address} is gone: the raylet of this node has ended"
                self._tell_broker("cluster_lost", bridges=[child.pid], message=text)
            self._tell_broker("bridge_ended", bridge=child.pid, reason=child.died_of, lines=list(event.lines))
        elif child.role is Role.CLUSTER and child.ready_at is not None:
            self._cluster_lost(child.died_of, now)

    def _cluster_lost(self, why: str, now: float) -> None:
        """Nothing is left of any session, and Ray would take a minute to notice: end them."""
        if self._finish is not None or not self.cluster_is_ours or self.cluster is None:
            return
        bridges = self._those(Role.BRIDGE)
        text = f"the Ray cluster at {self.cluster} ended: {why}"
        self._tell_broker("cluster_lost", bridges=[child.pid for child in bridges], message=text)
        self.cluster, self.env = None, {}
        self._stop_those(bridges, now)

    def _exited(self, event: Exited, now: float) -> None:
        child = self.children.pop(event.child)
        if child.role is Role.BROKER:
            self.broker, self._idle, self._busy, self._waiting = "", frozenset(), frozenset(), 0
        if child.role is Role.CLUSTER and child.ready_at is not None:
            self._cluster_lost(how_it_ended(event.code), now)
        if child.role is Role.BRIDGE:
            self._idle, self._busy = self._idle - {child.pid}, self._busy - {child.pid}
        found = child.role is Role.CLUSTER and not self.cluster_is_ours
        asked = child.stopping and not child.message  # who is late is told to stop too, and has a message
        if self._finish is None and not found and not asked:
            self._judge_exit(child, event, now)

    _HANDLERS: ClassVar[Mapping[type[Event], Callable[[Supervisor, Any, float], None]]] = {
        Spawned: _spawned,
        Ready: _ready,
        Listed: _listed,
        Failed: _failed,
        Died: _died,
        Exited: _exited,
        StopRequested: _stop_requested,
    }

    def _judge_exit(self, child: Child, event: Exited, now: float) -> None:
        """Say what the end of a child means that nobody asked for, and when the next one may start."""
        backoff = self._backoff[child.role]
        if child.ready_at is not None and (event.code == 0 or now - child.ready_at >= STABLE_AFTER):
            backoff.succeeded()
        if child.role is Role.BRIDGE and child.ready_at is not None and event.code == 0:
            self._note("info", "bridge_ended", pid=child.pid)
            return
        last_line = f": {event.last_line}" if event.code >= 0 and event.last_line else ""
        reason = child.message or (child.died_of or how_it_ended(event.code)) + last_line
        if child.role is not Role.BRIDGE and child.ready_at is None and not self.announced:
            # It never worked: most likely the settings are wrong, and whoever gave them still looks on.
            self._finish = Finish(1, child.role, reason)
            return
        retry_in = backoff.failed(now)
        event_name = f"{child.role.value}_died"
        self._note("error", event_name, pid=child.pid, reason=reason, retry_in=retry_in)

    # what should be

    def _settle(self, now: float) -> list[Action]:
        self._end_the_late(now)
        if self._finish is not None:
            self._wind_down(now)
        else:
            for role in Role:
                if self._wants(role) and now >= self._backoff[role].retry_at:
                    self._start(role, now)
            self._announce()
        actions, self._actions = self._actions, []
        return actions

    def _wants(self, role: Role) -> int:
        """How many more processes of a role should run."""
        if role is Role.BROKER:
            return 0 if self._those(role, stopping=True) else 1
        if role is Role.CLUSTER:
            return 0 if not self.cluster_is_ours or self._those(role, stopping=True) else 1
        if not self.broker or self.cluster is None:
            return 0
        # Who was told to stop counts until it is gone: it still has its memory.
        starting = sum(1 for child in self._those(role, stopping=True) if child.pid not in self._idle | self._busy)
        total = len(self._idle | self._busy) + starting
        return max(
            0,
            min(
                self._waiting + self.plan.spares - len(self._idle) - starting,
                self.plan.sessions_max + self.plan.spares - total,
                STARTS_AT_ONCE - starting,
            ),
        )

    def _start(self, role: Role, now: float) -> None:
        for _ in range(self._wants(role)):
            self._last_number += 1
            address = {Role.BRIDGE: self.cluster or "", Role.BROKER: self._broker_was, Role.CLUSTER: ""}[role]
            child = Child(self._last_number, role, now, address)
            self.children[child.number] = child
            env = self.env if role is Role.BRIDGE else {}
            there = tuple(
                bridge.pid for bridge in self._those(Role.BRIDGE) if bridge.pid and bridge.ready_at is not None
            )
            self._actions.append(Spawn(child.number, role, address, env, there if role is Role.BROKER else ()))

    def _announce(self) -> None:
        if self.announced or not self.broker or self.cluster is None:
            return
        if len(self._idle | self._busy) >= min(1, self.plan.spares):
            self.announced = True
            self._actions.append(Announce(self.broker))

    def _end_the_late(self, now: float) -> None:
        for child in list(self.children.values()):
            if child.kill_at is not None:
                if now >= child.kill_at:
                    self._kill(child)
            elif child.ready_at is None and now >= child.started_at + START_LIMIT[child.role]:
                child.message = f"it was not ready after {START_LIMIT[child.role]:.0f} s"
                self._note("error", f"{child.role.value}_late", pid=child.pid, seconds=START_LIMIT[child.role])
                self._stop_those([child], now)

    def _wind_down(self, now: float) -> None:
        """Stop the next role in order whose children still run; finish when none is left."""
        for role in STOP_ORDER:
            if left := self._those(role, stopping=True):
                self._stop_those(left, now)
                return
        if self._finish is not None:
            self._actions.append(self._finish)

    # helpers

    def _those(self, role: Role | None = None, *, stopping: bool = False) -> list[Child]:
        """Children of a role (or all) that run; those that were told to stop only if asked for."""
        return [c for c in self.children.values() if role in (None, c.role) and (stopping or not c.stopping)]

    def _stop_those(self, children: Iterable[Child], now: float) -> None:
        for child in children:
            if not child.stopping:
                child.kill_at = now + STOP_LIMIT[child.role]
                self._actions.append(Send(child.number, signal.SIGTERM))

    def _tell_broker(self, event: str, **fields: Any) -> None:
        for broker in self._those(Role.BROKER, stopping=True):
            self._actions.append(Tell(broker.number, event, fields))

    def _kill(self, child: Child) -> None:
        if not child.killed:
            child.killed = True
            child.kill_at = child.kill_at or child.started_at
            self._note("warning", f"{child.role.value}_killed", pid=child.pid)
            self._actions.append(Send(child.number, signal.SIGKILL))

    def _note(self, level: str, event: str, **fields: Any) -> None:
        self._actions.append(Note(level, event, {key: value for key, value in fields.items() if value is not None}))
