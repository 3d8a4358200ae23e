"""Design law 3, tried: each message once and in order, both ways, whatever the network and the broker do.

Where once cannot be kept, both ends know that the session is over; nothing hangs and nothing is flooded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymq.connection import HELLO_INTERVAL, LATE, State
from raymq.protocol import limits
from raymq.protocol.route import Kind, Lane
from tests.model.world import TIMING, End, World
from tests.protocol.test_channel import shrink_limits

SPAN = 10.0
"""Seconds in which a test's faults come; shorter than the grace, so that a session outlives all of them."""

QUIET = 25.0
"""Seconds after the last fault in which everything must have arrived: several of the longest probe intervals."""

HEALED = 35.0
"""Seconds after which no fault lasts where a session may end of them: longer than lease and grace."""

SLOT = 5.0
"""Each hurts the bridge's hop at most once: a bridge that cannot come back within two heartbeats is lost by design."""

SHORT_QUEUE = 1500
"""Bytes that wait in the broker for a connection: less than a window of packets, so that some are dropped."""

Fault = tuple[float, str, Callable[[World], None]]


@pytest.fixture(autouse=True)
def small_limits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        shrink_limits(patch)
        yield


# --- what can go wrong

sets_of_lanes = st.sampled_from([(Lane.CALLS,), (Lane.BULK,), (Lane.CALLS, Lane.BULK)])
seconds = st.builds(
    lambda about, after: about + after,
    st.sampled_from([0.0, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 9.5]),
    st.sampled_from([0.0, 0.02, 0.06, 0.2]),
)
"""When things happen: drawn so that faults and traffic often meet."""


def on_cables(end: Callable[[World], End | None], lanes: tuple[Lane, ...], what: str, *args: float) -> Any:
    def hurt(world: World) -> None:
        found = end(world)
        for lane in lanes if found is not None else ():
            getattr(found.cables[lane], what)(*args)

    return hurt


def the_client(world: World) -> End:
    return world.client


def the_bridge(world: World) -> End | None:
    alive = [bridge for bridge in world.bridges if bridge.alive]
    return alive[-1] if alive else None


@st.composite
def cable_faults(draw: st.DrawFn, end: Any, start: float, longest: float, again: float) -> Fault:
    what = draw(st.sampled_from(["block", "stall", "slow", "lose", "lose", "break_", "break_"]))
    lanes = draw(sets_of_lanes)
    duration = round(draw(st.floats(0.05, max(longest, 0.1))), 2)
    args: tuple[float, ...] = (duration,)
    if what == "slow":
        args = (duration, draw(st.sampled_from([0.1, 0.7])))
    elif what == "lose":
        args = draw(st.sampled_from([0, 1])), draw(st.integers(1, 2))
    elif what == "break_":
        args = (draw(st.sampled_from([0.0, 0.0, min(duration, again)])), min(duration, again))
    return start, f"{what} {end.__name__} {lanes} {args}", on_cables(end, lanes, what, *args)


@st.composite
def client_faults(draw: st.DrawFn, span: float = SPAN) -> Fault:
    start = draw(seconds)
    longest = max(0.1, span - start)
    what = draw(st.sampled_from(["cable", "cable", "cable", "suspend", "broker"]))
    if what == "cable":
        return draw(cable_faults(the_client, start, longest, longest))
    duration = round(draw(st.floats(0.05, longest)), 2)
    if what == "suspend":
        return start, f"suspend client {duration}", lambda world: world.client.suspend(duration)
    down = min(duration, 3.0)
    return start, f"kill broker {down}", lambda world: world.kill_broker(down)


@st.composite
def gentle_faults(draw: st.DrawFn) -> list[Fault]:
    """Faults that every session must outlive."""
    faults = draw(st.lists(client_faults(), max_size=6))
    for slot in range(int(SPAN / SLOT)):
        if draw(st.booleans()):
            start = slot * SLOT + draw(st.sampled_from([0.0, 0.3, 0.35, 0.5, 1.0, 1.06, 1.7]))
            faults.append(draw(cable_faults(the_bridge, start, 2.0, 0.3)))
    return sorted(faults, key=lambda fault: fault[0])


@st.composite
def wild_faults(draw: st.DrawFn) -> list[Fault]:
    """Anything, and for any time: a session may end of it."""
    faults = draw(st.lists(client_faults(span=HEALED), max_size=4))
    for start in draw(st.lists(seconds, max_size=3)):
        faults.append(draw(cable_faults(the_bridge, start, HEALED - start, HEALED - start)))
    for start in draw(st.lists(seconds, max_size=2)):
        faults.append(
            draw(
                st.sampled_from([
                    (start, "kill bridge", lambda world: [bridge.kill() for bridge in world.bridges if bridge.alive]),
                    (start, "kill client", lambda world: world.client.kill() if world.client.alive else None),
                    (start, "suspend bridge", lambda world: [bridge.suspend(8.0) for bridge in world.bridges]),
                    (start, "long outage", lambda world: world.kill_broker(25.0)),
                ])
            )
        )  # fmt: skip
    return sorted(faults, key=lambda fault: fault[0])


sizes = st.sampled_from([0, 3, 10, 40, 200])
traffic = st.lists(
    st.tuples(seconds, st.sampled_from(["client", "bridge"]), st.lists(sizes, min_size=1, max_size=4)), max_size=8
)


def run(world: World, faults: list[Fault], values: list[tuple[float, str, list[int]]]) -> None:
    for start, _, hurt in faults:
        world.at(world.now + start, lambda hurt=hurt: hurt(world))
    for start, side, some in values:
        world.at(world.now + start, lambda side=side, some=some: talk(world, side, some))


def talk(world: World, side: str, some: list[int]) -> None:
    ends = [world.client] if side == "client" else world.bridges
    for end in ends:
        if end.alive:
            for size in some:
                end.put(size)


def packets_of(values: list[tuple[float, str, list[int]]]) -> int:
    """What the traffic takes without a fault: messages, beginnings and chunks, each on two hops."""
    return sum(2 * (2 + size // limits.CHUNK) for *_, some in values for size in some)


def check_no_storm(world: World, elapsed: float, faults: int, needed: int) -> None:
    bridges, some = len(world.bridges), 64 * (faults + 1)
    count = world.packets
    assert count[Kind.PING] <= (elapsed / TIMING.heartbeat + 2) * 2 * len(Lane) * (1 + bridges)
    assert count[Kind.HELLO] <= 2 + elapsed / HELLO_INTERVAL
    assert count[Kind.ATTACH] <= some / 4 + elapsed / TIMING.heartbeat
    for kind in (Kind.REGISTER, Kind.OPEN, Kind.OPENED, Kind.CLOSE):
        assert count[kind] <= bridges * (some / 8 + elapsed / TIMING.heartbeat), kind
    assert count[Kind.DATA] <= 1.5 * needed + some
    assert count[Kind.ACK] <= 2 * needed + some
    for kind in (Kind.SYNC, Kind.UNBOUND):
        assert count[kind] <= 2 * elapsed + some, kind


@settings(max_examples=400)
@given(gentle_faults(), traffic)
def test_a_session_outlives_every_fault_that_heals_in_time(
    faults: list[Fault], values: list[tuple[float, str, list[int]]]
) -> None:
    world = World()
    run(world, faults, values)
    world.run(SPAN + QUIET)
    world.check_whole()
    check_no_storm(world, SPAN + QUIET, len(faults), packets_of(values))
    world.supervised = False
    world.client.close()
    world.run(10.0)
    assert [event.code for event in world.client.over] == ["goodbye"]
    world.check_over()
    assert world.broker is not None
    assert world.broker.bridges == {}


@settings(max_examples=200)
@given(gentle_faults(), traffic)
def test_a_session_outlives_queues_that_are_too_short(
    faults: list[Fault], values: list[tuple[float, str, list[int]]]
) -> None:
    """The broker drops what a peer does not read in time; it is sent again when the peer reads, and nobody is stuck."""
    world = World(queue_max=SHORT_QUEUE)
    run(world, faults, values)
    world.run(SPAN + 2 * QUIET)
    world.check_whole()


@settings(max_examples=300)
@given(wild_faults(), traffic)
def test_a_session_lives_whole_or_is_over_on_both_sides(
    faults: list[Fault], values: list[tuple[float, str, list[int]]]
) -> None:
    world = World()
    run(world, faults, values)
    elapsed = HEALED + TIMING.lease + TIMING.grace + LATE + QUIET
    world.run(elapsed)
    if world.client.connection.state is State.OPEN and world.client.alive:
        world.check_whole()
    else:
        world.check_over()
    check_no_storm(world, elapsed, len(faults), packets_of(values))


def test_a_broker_that_never_comes_back() -> None:
    """Both sides give up on their own."""
    world = World()
    world.run(2.0)
    world.supervised = False
    world.kill_broker(down=1e9)
    world.run(TIMING.lease + TIMING.grace + LATE + 2.0)
    assert [event.code for event in world.client.over] == ["unreachable"]
    assert [event.code for event in world.bridges[0].over] == ["orphaned"]
    assert not world.client.alive
    assert not world.bridges[0].alive
