"""The supervisor's core, in virtual time: no process, no sleep."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raymq.daemon import how_it_ended
from raymq_cli.child import START_LIMIT, STOP_LIMIT
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
from raymq_cli.supervisor import STABLE_AFTER, STARTS_AT_ONCE, Plan, Supervisor

BROKER = "127.0.0.1:10001"
GCS = "10.0.0.1:6379"


class World:
    """Plays the shell: keeps the time, gives process ids, and remembers what it was told to do."""

    def __init__(self, **plan: object) -> None:
        self.core = Supervisor(Plan(**plan))  # type: ignore[arg-type]
        self.now = 0.0
        self.actions: list[Action] = []
        self.alive: dict[int, Spawn] = {}
        self._did(self.core.poll(self.now))

    def tell(self, event: Event) -> None:
        if isinstance(event, Exited):
            del self.alive[event.child]
        self._did(self.core.handle(event, self.now))

    def _did(self, actions: list[Action]) -> None:
        self.actions += actions
        for action in actions:
            if isinstance(action, Spawn):
                self.alive[action.child] = action
                self.tell(Spawned(action.child, pid=1000 + action.child))

    def wait(self, seconds: float) -> None:
        """Let time pass, polling the core whenever it asked for that."""
        end = self.now + seconds
        while (deadline := self.core.next_deadline()) is not None and deadline <= end:
            assert deadline >= self.now or deadline == 0, "a deadline in the past would be a busy loop"
            self.now = max(self.now, deadline)
            self._did(self.core.poll(self.now))
            assert self.core.next_deadline() != deadline, "poll() did nothing about its deadline"
        self.now = end

    def children(self, role: Role) -> list[int]:
        return [child for child, spawn in self.alive.items() if spawn.role is role]

    def child(self, role: Role) -> int:
        (child,) = self.children(role)
        return child

    def list_bridges(self, idle: Iterable[int] = (), busy: Iterable[int] = (), waiting: int = 0) -> None:
        pids = [frozenset(1000 + child for child in children) for children in (idle, busy)]
        self.tell(Listed(self.child(Role.BROKER), pids[0], pids[1], waiting))

    def done(self, kind: type[Action]) -> list[Action]:
        return [action for action in self.actions if isinstance(action, kind)]

    def notes(self) -> list[str]:
        return [action.event for action in self.actions if isinstance(action, Note)]

    def signals(self, role: Role, spawned: dict[int, Spawn]) -> list[signal.Signals]:
        return [a.signal for a in self.actions if isinstance(a, Send) and spawned[a.child].role is role]

    def forget(self) -> None:
        self.actions.clear()

    def told(self) -> list[Tell]:
        """What the broker was told."""
        told = [action for action in self.actions if isinstance(action, Tell)]
        assert {tell.child for tell in told} <= {self.child(Role.BROKER)}
        return told


@pytest.fixture
def world() -> World:
    """Everything started, one spare bridge idle."""
    world = World()
    world.tell(Ready(world.child(Role.BROKER), BROKER))
    world.tell(Ready(world.child(Role.CLUSTER), GCS, {"TOKEN": "x"}))
    world.list_bridges(idle=world.children(Role.BRIDGE))
    return world


class TestStart:
    def test_cluster_and_broker_start_side_by_side(self) -> None:
        assert {spawn.role for spawn in World().alive.values()} == {Role.CLUSTER, Role.BROKER}

    def test_a_bridge_starts_when_both_are_ready_and_gets_what_it_needs(self) -> None:
        world = World()
        world.tell(Ready(world.child(Role.BROKER), BROKER))
        assert world.children(Role.BRIDGE) == []
        world.tell(Ready(world.child(Role.CLUSTER), GCS, {"TOKEN": "x"}))
        spawn = world.alive[world.child(Role.BRIDGE)]
        assert (spawn.address, spawn.env) == (GCS, {"TOKEN": "x"})

    def test_clients_are_called_once_and_only_when_a_bridge_is_there(self) -> None:
        world = World()
        world.tell(Ready(world.child(Role.BROKER), BROKER))
        world.tell(Ready(world.child(Role.CLUSTER), GCS))
        assert world.done(Announce) == []
        bridge = world.child(Role.BRIDGE)
        world.list_bridges(idle=[bridge])
        world.list_bridges(busy=[bridge])
        assert world.done(Announce) == [Announce(BROKER)]

    def test_without_spares_it_is_ready_without_a_bridge(self) -> None:
        world = World(spares=0)
        world.tell(Ready(world.child(Role.BROKER), BROKER))
        world.tell(Ready(world.child(Role.CLUSTER), GCS))
        assert world.done(Announce) == [Announce(BROKER)]
        assert world.children(Role.BRIDGE) == []

    def test_a_given_cluster_is_not_ours_to_run(self) -> None:
        world = World(cluster=GCS)
        world.tell(Ready(world.child(Role.BROKER), BROKER))
        assert world.children(Role.CLUSTER) == []
        assert world.alive[world.child(Role.BRIDGE)].address == GCS

    def test_a_cluster_that_was_found_stays_when_its_finder_ends(self) -> None:
        world = World()
        finder = world.child(Role.CLUSTER)
        world.tell(Ready(world.child(Role.BROKER), BROKER))
        world.tell(Ready(finder, GCS, ours=False))
        world.tell(Exited(finder, 0))
        world.wait(60)
        assert world.children(Role.CLUSTER) == []
        assert world.core.cluster == GCS
        assert "cluster_died" not in world.notes()


class TestFailingStart:
    @pytest.mark.parametrize("role", [Role.BROKER, Role.CLUSTER])
    def test_what_never_worked_ends_the_start_with_its_own_words(self, role: Role) -> None:
        world = World()
        child = world.child(role)
        world.tell(Failed(child, "the port is taken"))
        world.tell(Exited(child, 1))
        (other,) = world.alive
        assert Send(other, signal.SIGTERM) in world.actions
        world.tell(Exited(other, 0))
        assert world.done(Finish) == [Finish(1, role, "the port is taken")]

    def test_a_child_without_words_is_quoted(self) -> None:
        world = World()
        world.tell(Exited(world.child(Role.BROKER), 1, "ModuleNotFoundError: No module named 'zmq'"))
        world.tell(Exited(world.child(Role.CLUSTER), 0))
        (finish,) = world.done(Finish)
        assert isinstance(finish, Finish)
        assert finish.message == "it ended with code 1: ModuleNotFoundError: No module named 'zmq'"

    def test_a_cluster_that_does_not_start_in_time_ends_the_start(self) -> None:
        world = World()
        world.tell(Ready(world.child(Role.BROKER), BROKER))
        cluster = world.child(Role.CLUSTER)
        world.wait(START_LIMIT[Role.CLUSTER])
        assert Send(cluster, signal.SIGTERM) in world.actions
        world.tell(Exited(cluster, 0))
        world.tell(Exited(world.child(Role.BROKER), 0))
        assert world.done(Finish) == [Finish(1, Role.CLUSTER, "it was not ready after 120 s")]

    def test_a_bridge_that_fails_is_tried_again_later_and_later(self) -> None:
        world = World(cluster=GCS)
        world.tell(Ready(world.child(Role.BROKER), BROKER))
        starts = []
        for _ in range(9):
            starts.append(world.now)
            world.tell(Exited(world.child(Role.BRIDGE), 1, "no cluster"))
            while not world.children(Role.BRIDGE):
                world.wait(0.25)
        gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
        assert gaps == [0.5, 1, 2, 4, 8, 16, 30, 30]
        assert world.done(Finish) == []

    def test_a_bridge_that_never_registers_and_ends_well_does_not_spin(self) -> None:
        world = World(cluster=GCS)
        world.tell(Ready(world.child(Role.BROKER), BROKER))
        world.tell(Exited(world.child(Role.BRIDGE), 0))
        assert world.children(Role.BRIDGE) == []

    def test_a_bridge_that_hangs_is_ended_and_replaced(self) -> None:
        world = World(cluster=GCS)
        world.tell(Ready(world.child(Role.BROKER), BROKER))
        bridge = world.child(Role.BRIDGE)
        world.wait(START_LIMIT[Role.BRIDGE])
        assert Send(bridge, signal.SIGTERM) in world.actions
        world.wait(STOP_LIMIT[Role.BRIDGE])
        assert Send(bridge, signal.SIGKILL) in world.actions
        world.tell(Exited(bridge, -9))
        assert "bridge_died" in world.notes()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-9, "SIGKILL ended it"),
        (-40, "signal 40 ended it"),
        (3, "it ended with code 3"),
        (0, "it ended with code 0"),
    ],
)
def test_how_a_process_ended(code: int, words: str) -> None:
    assert how_it_ended(code) == words


class TestPool:
    def test_a_busy_bridge_is_replaced_as_spare(self, world: World) -> None:
        first = world.child(Role.BRIDGE)
        world.list_bridges(busy=[first])
        assert len(world.children(Role.BRIDGE)) == 2

    def test_one_is_started_for_each_client_that_waits_some_at_a_time(self, world: World) -> None:
        first = world.child(Role.BRIDGE)
        world.list_bridges(busy=[first], waiting=9)
        assert len(world.children(Role.BRIDGE)) == 1 + STARTS_AT_ONCE
        world.list_bridges(busy=world.children(Role.BRIDGE), waiting=5)
        world.list_bridges(busy=world.children(Role.BRIDGE), waiting=1)
        world.list_bridges(busy=world.children(Role.BRIDGE), waiting=0)
        assert len(world.children(Role.BRIDGE)) == 1 + 10 + 1

    def test_sessions_are_limited_and_so_are_bridges(self) -> None:
        world = World(cluster=GCS, sessions_max=2)
        world.tell(Ready(world.child(Role.BROKER), BROKER))
        for _ in range(5):
            world.list_bridges(busy=world.children(Role.BRIDGE), waiting=10)
        assert len(world.children(Role.BRIDGE)) == 3

    def test_bridges_that_somebody_else_started_count_too(self, world: World) -> None:
        first = world.child(Role.BRIDGE)
        world.list_bridges(idle=[55], busy=[first])
        assert world.children(Role.BRIDGE) == [first]

    def test_a_bridge_ends_with_its_session_and_that_is_no_failure(self, world: World) -> None:
        first = world.child(Role.BRIDGE)
        world.list_bridges(busy=[first])
        world.tell(Exited(first, 0))
        assert "bridge_ended" in world.notes()
        assert len(world.children(Role.BRIDGE)) == 1


class TestDeath:
    def test_an_idle_bridge_that_is_killed_is_replaced(self, world: World) -> None:
        bridge = world.child(Role.BRIDGE)
        world.tell(Exited(bridge, -9))
        assert world.children(Role.BRIDGE) == []
        world.wait(0.5)
        assert world.child(Role.BRIDGE) != bridge
        (note,) = [a for a in world.actions if isinstance(a, Note) and a.event == "bridge_died"]
        assert note.fields == {"pid": 1000 + bridge, "reason": "SIGKILL ended it", "retry_in": 0.5}

    def test_the_broker_comes_back_where_it_was_and_the_bridges_stay(self, world: World) -> None:
        bridge, broker = world.child(Role.BRIDGE), world.child(Role.BROKER)
        world.tell(Exited(broker, -9))
        world.wait(0.5)
        again = world.child(Role.BROKER)
        assert world.alive[again].address == BROKER
        world.tell(Ready(again, BROKER))
        assert world.children(Role.BRIDGE) == [bridge]
        world.list_bridges(idle=[bridge])
        assert world.children(Role.BRIDGE) == [bridge]
        assert len(world.done(Announce)) == 1

    def test_a_failed_restart_of_the_broker_is_tried_again(self, world: World) -> None:
        world.tell(Exited(world.child(Role.BROKER), -9))
        world.wait(0.5)
        broker = world.child(Role.BROKER)
        world.tell(Failed(broker, "the port is taken"))
        world.tell(Exited(broker, 1))
        assert world.done(Finish) == []
        world.wait(1)
        assert world.child(Role.BROKER) != broker

    def test_the_next_broker_is_told_which_bridges_come(self, world: World) -> None:
        first = world.child(Role.BRIDGE)
        world.list_bridges(busy=[first])
        assert len(world.children(Role.BRIDGE)) == 2, "the other one still starts, and has no session"
        world.actions.clear()
        world.tell(Exited(world.child(Role.BROKER), -9))
        world.wait(0.5)
        [spawn] = world.done(Spawn)
        assert (spawn.role, spawn.bridges) == (Role.BROKER, (1000 + first,))

    def test_a_new_cluster_gets_new_bridges(self, world: World) -> None:
        busy = world.child(Role.BRIDGE)
        world.list_bridges(busy=[busy])
        (idle,) = set(world.children(Role.BRIDGE)) - {busy}
        world.list_bridges(busy=[busy], idle=[idle])
        world.tell(Exited(world.child(Role.CLUSTER), -9))
        assert world.done(Send) == [Send(busy, signal.SIGTERM), Send(idle, signal.SIGTERM)]
        world.tell(Exited(idle, 0))
        world.tell(Exited(busy, 1))
        world.list_bridges()
        world.wait(5)
        assert world.children(Role.BRIDGE) == [], "no bridge is started while there is no cluster"
        assert "bridge_died" not in world.notes()
        world.tell(Ready(world.child(Role.CLUSTER), "10.0.0.1:7000", {"TOKEN": "y"}))
        spawn = world.alive[world.child(Role.BRIDGE)]
        assert (spawn.address, spawn.env) == ("10.0.0.1:7000", {"TOKEN": "y"})

    def test_long_service_makes_a_death_the_first_one_again(self, world: World) -> None:
        for _ in range(4):
            world.tell(Exited(world.child(Role.BRIDGE), -9))
            world.wait(8)
        world.list_bridges(idle=world.children(Role.BRIDGE))
        world.wait(STABLE_AFTER)
        world.forget()
        world.tell(Exited(world.child(Role.BRIDGE), -9))
        (note,) = world.done(Note)
        assert isinstance(note, Note)
        assert note.fields["retry_in"] == 0.5


class TestWord:
    """What the broker is told."""

    def test_a_bridge_that_died_is_told_at_once(self, world: World) -> None:
        """Not only when all that it started is gone."""
        bridge = world.child(Role.BRIDGE)
        world.forget()
        world.tell(Died(bridge, 7, ("one", "two")))
        fields = {"bridge": 1000 + bridge, "reason": "it ended with code 7", "lines": ["one", "two"]}
        assert world.told() == [Tell(world.child(Role.BROKER), "bridge_ended", fields)]
        world.tell(Exited(bridge, 7, "two"))
        assert len(world.told()) == 1
        (note,) = [a for a in world.actions if isinstance(a, Note) and a.event == "bridge_died"]
        assert note.fields["reason"] == "it ended with code 7: two"

    @pytest.mark.parametrize(
        ("code", "out_of_memory", "reason"),
        [
            (-9, False, "SIGKILL ended it"),
            (-9, True, "SIGKILL ended it, most likely the kernel's out-of-memory killer"),
            (-11, True, "SIGSEGV ended it"),
            (1, True, "it ended with code 1"),
        ],
    )
    def test_want_of_memory(self, world: World, code: int, out_of_memory: bool, reason: str) -> None:
        world.tell(Died(world.child(Role.BRIDGE), code, out_of_memory=out_of_memory))
        assert world.told()[-1].fields["reason"] == reason

    def test_a_bridge_that_we_killed_did_not_die_of_want_of_memory(self, world: World) -> None:
        bridge = world.child(Role.BRIDGE)
        world.tell(StopRequested())
        world.wait(STOP_LIMIT[Role.BRIDGE])
        world.tell(Died(bridge, -9, out_of_memory=True))
        reason = "raymq ended it (SIGKILL), since it did not stop by itself"
        assert [tell.fields["reason"] for tell in world.told()] == [reason]

    def test_who_is_told_nothing_dies_unheard(self) -> None:
        """No broker runs just then."""
        world = World(cluster=GCS)
        world.tell(Ready(world.child(Role.BROKER), BROKER))
        bridge = world.child(Role.BRIDGE)
        world.tell(Exited(world.child(Role.BROKER), -9))
        world.tell(Died(bridge, -9))
        world.tell(Exited(bridge, -9))
        assert world.done(Tell) == []

    @pytest.mark.parametrize("how", ["died", "failed", "exited"])
    def test_the_end_of_our_cluster_ends_all_sessions_once(self, world: World, how: str) -> None:
        bridge, cluster = world.child(Role.BRIDGE), world.child(Role.CLUSTER)
        world.forget()
        if how == "failed":
            world.tell(Failed(cluster, "SIGKILL ended its gcs_server (pid 5)"))
        if how != "exited":
            world.tell(Died(cluster, 3 if how == "failed" else -9))
        world.tell(Exited(cluster, 3 if how == "failed" else -9))
        why = "SIGKILL ended its gcs_server (pid 5)" if how == "failed" else "SIGKILL ended it"
        fields = {"bridges": [1000 + bridge], "message": f"the Ray cluster at {GCS} ended: {why}"}
        assert world.told() == [Tell(world.child(Role.BROKER), "cluster_lost", fields)]
        assert world.done(Send)[-1] == Send(bridge, signal.SIGTERM)
        assert world.notes() == ["cluster_died"]
        world.tell(Died(bridge, 0))
        world.tell(Exited(bridge, 0))
        world.wait(1)
        assert world.core.cluster is None
        assert world.child(Role.CLUSTER) != cluster

    def test_a_cluster_that_does_not_get_away_is_killed(self, world: World) -> None:
        cluster = world.child(Role.CLUSTER)
        world.tell(Failed(cluster, "its raylet ended"))
        world.wait(STOP_LIMIT[Role.CLUSTER])
        assert Send(cluster, signal.SIGKILL) in world.actions

    def test_a_cluster_that_we_stop_is_not_lost(self, world: World) -> None:
        world.tell(StopRequested())
        world.tell(Died(world.child(Role.CLUSTER), 0))
        assert world.told() == []

    def test_the_end_of_who_found_a_cluster_is_none_of_the_cluster(self) -> None:
        world = World()
        finder = world.child(Role.CLUSTER)
        world.tell(Ready(world.child(Role.BROKER), BROKER))
        world.tell(Ready(finder, GCS, ours=False))
        world.tell(Died(finder, 0))
        world.tell(Exited(finder, 0))
        assert world.told() == []
        assert world.core.cluster == GCS

    @pytest.mark.parametrize("code", [1, 0])
    def test_a_bridge_whose_raylet_went_before_it_died_of_that(self, code: int) -> None:
        """Unless it said so itself, and ended well."""
        world = World(cluster=GCS)
        world.tell(Ready(world.child(Role.BROKER), BROKER))
        bridge = world.child(Role.BRIDGE)
        world.tell(Died(bridge, code, node_ended=True))
        text = f"the Ray cluster at {GCS} is gone: the raylet of this node has ended"
        lost = [Tell(world.child(Role.BROKER), "cluster_lost", {"bridges": [1000 + bridge], "message": text})]
        assert world.told()[:-1] == (lost if code else [])
        assert world.told()[-1].event == "bridge_ended"


class TestStop:
    def test_bridges_stop_first_then_the_broker_then_the_cluster(self, world: World) -> None:
        bridge, broker, cluster = (world.child(role) for role in (Role.BRIDGE, Role.BROKER, Role.CLUSTER))
        world.forget()
        world.tell(StopRequested())
        assert world.done(Send) == [Send(bridge, signal.SIGTERM)]
        world.tell(Exited(bridge, 0))
        assert world.done(Send)[1:] == [Send(broker, signal.SIGTERM)]
        world.tell(Exited(broker, 0))
        assert world.done(Send)[2:] == [Send(cluster, signal.SIGTERM)]
        world.tell(Exited(cluster, 0))
        assert world.done(Finish) == [Finish(0)]
        assert world.alive == {}

    def test_who_does_not_stop_is_killed(self, world: World) -> None:
        bridge = world.child(Role.BRIDGE)
        world.tell(StopRequested())
        world.wait(STOP_LIMIT[Role.BRIDGE])
        assert world.done(Send)[-1] == Send(bridge, signal.SIGKILL)

    def test_asked_twice_it_kills(self, world: World) -> None:
        children = set(world.alive)
        world.tell(StopRequested())
        world.tell(StopRequested())
        assert {a.child for a in world.actions if isinstance(a, Send) and a.signal == signal.SIGKILL} == children

    def test_it_stops_while_it_starts(self) -> None:
        world = World()
        world.tell(StopRequested())
        world.tell(Exited(world.child(Role.BROKER), 0))
        world.tell(Ready(world.child(Role.CLUSTER), GCS))
        world.tell(Exited(world.child(Role.CLUSTER), 0))
        assert world.done(Finish) == [Finish(0)]
        assert world.children(Role.BRIDGE) == []

    def test_nobody_is_started_again(self, world: World) -> None:
        world.tell(StopRequested())
        world.tell(Exited(world.child(Role.CLUSTER), -9))
        world.wait(60)
        assert world.children(Role.CLUSTER) == []


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens, in whatever order: bounds hold, deadlines lie ahead, and a stop comes to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(sessions_max=3, spares=2)
        self.stopped = False

    def pick(self, draw: int) -> int | None:
        children = sorted(self.world.alive)
        return children[draw % len(children)] if children else None

    @precondition(lambda self: not self.world.done(Finish))
    @rule(draw=st.integers(0, 20), ours=st.booleans())
    def becomes_ready(self, draw: int, ours: bool) -> None:
        child = self.pick(draw)
        if child is not None and self.world.alive[child].role is not Role.BRIDGE:
            self.world.tell(Ready(child, GCS if self.world.alive[child].role is Role.CLUSTER else BROKER, ours=ours))

    @precondition(lambda self: not self.world.done(Finish))
    @rule(draw=st.integers(0, 20), code=st.sampled_from([0, 1, -9]), failed=st.booleans())
    def ends(self, draw: int, code: int, failed: bool) -> None:
        child = self.pick(draw)
        if child is not None:
            if failed:
                self.world.tell(Failed(child, "so it is"))
            self.world.tell(Died(child, code, ("line",), out_of_memory=failed, node_ended=failed))
            self.world.tell(Exited(child, code))

    @precondition(lambda self: self.world.core.broker)
    @rule(data=st.data(), waiting=st.integers(0, 5))
    def lists(self, data: st.DataObject, waiting: int) -> None:
        bridges = self.world.children(Role.BRIDGE)
        places = [data.draw(st.sampled_from(["idle", "busy", "unknown"])) for _ in bridges]
        by_place = {place: [b for b, p in zip(bridges, places, strict=True) if p == place] for place in places}
        self.world.list_bridges(by_place.get("idle", ()), by_place.get("busy", ()), waiting)

    @rule(seconds=st.floats(0, 200))
    def time_passes(self, seconds: float) -> None:
        self.world.wait(seconds)

    @precondition(lambda self: not self.world.done(Finish))
    @rule()
    def stop(self) -> None:
        self.world.tell(StopRequested())
        self.stopped = True

    @invariant()
    def bounds_hold(self) -> None:
        core = self.world.core
        assert len(self.world.children(Role.BRIDGE)) <= core.plan.sessions_max + core.plan.spares
        assert len(self.world.children(Role.BROKER)) <= 1
        assert len(self.world.children(Role.CLUSTER)) <= 1
        if self.world.done(Finish):
            assert not self.world.alive

    def teardown(self) -> None:
        """From wherever it is: stop, answer each signal, and it finishes."""
        world = self.world
        if not world.done(Finish):
            world.tell(StopRequested())
        for _ in range(len(world.alive) + 1):
            for child in {action.child for action in world.actions if isinstance(action, Send)} & set(world.alive):
                world.tell(Exited(child, 0))
        assert world.done(Finish)
        assert not world.alive


TestAnyOrder = AnyOrder.TestCase
