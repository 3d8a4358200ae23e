"""One fault at every single place: each packet of a session's life is lost, or its connection breaks, or the broker
dies with it; the session goes on, without a gap and within seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from raymq.protocol.route import Lane
from raymq_broker.actions import Side
from tests.model.test_session_model import talk
from tests.model.world import Cable, World
from tests.protocol.test_channel import shrink_limits

TO_BROKER, FROM_BROKER = 0, 1
FIRST = 24
"""Packets on each lane that are hit in turn, as far as they come in the first seconds: from HELLO to the last chunk."""

LAST = 5
"""Packets after the client's close that are hit in turn."""


@pytest.fixture(autouse=True)
def small_limits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        shrink_limits(patch)
        yield


def lose(world: World, cable: Cable, direction: int) -> None:
    cable.lose(direction, 1)


def break_at_once(world: World, cable: Cable, direction: int) -> None:
    world.at(world.now, cable.break_)


def break_unnoticed(world: World, cable: Cable, direction: int) -> None:
    world.at(world.now, lambda: cable.break_(noticed=1.5))


def kill_broker(world: World, cable: Cable, direction: int) -> None:
    world.at(world.now, lambda: world.kill_broker(down=0.1))


FAULTS = [lose, break_at_once, break_unnoticed, kill_broker]
PLACES = [(side, lane, direction) for side in Side for lane in Lane for direction in (TO_BROKER, FROM_BROKER)]


def plan(world: World, fault: Callable[[World, Cable, int], None], place: tuple[Side, Lane, int], number: int) -> None:
    """Let the fault hit when the packet of this number passes, counted from now."""
    side, lane, direction = place
    cable = (world.client if side is Side.CLIENTS else world.bridges[-1]).cables[lane]
    cable.planned[direction, cable.passed[direction] + number] = lambda: fault(world, cable, direction)


def hit(world: World) -> bool:
    """Whether the fault that was planned has come."""
    return not any(cable.planned for cable in world.cables())


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place[0].value}-{place[1].name.lower()}-{place[2]}")
@pytest.mark.parametrize("fault", FAULTS)
def test_every_packet_of_a_session(fault: Callable[[World, Cable, int], None], place: tuple[Side, Lane, int]) -> None:
    for number in range(1, FIRST + 1):
        world = World()
        plan(world, fault, place, number)
        for side in ("client", "bridge"):
            world.at(world.now + 0.2, lambda side=side: talk(world, side, [3, 40, 100]))
        world.run(2.5)
        if number > 6 and not hit(world):
            break
        world.run(6.5)
        world.check_whole()


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place[0].value}-{place[1].name.lower()}-{place[2]}")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", ["close", "abandon", "kill"])
def test_every_packet_of_its_end(
    way: str, fault: Callable[[World, Cable, int], None], place: tuple[Side, Lane, int]
) -> None:
    """Said goodbye, given up or killed: in the end nothing is held for it, neither here nor there."""
    for number in range(1, LAST + 1):
        world = World()
        talk(world, "client", [3, 40])
        world.run(3.0)
        world.supervised = False
        plan(world, fault, place, number)
        if way == "abandon":
            world.client.connection.abandon()
            world.client.run()
        else:
            getattr(world.client, way)()
        world.run(22.0)
        world.check_over()
        assert world.broker is not None
        assert world.broker.bridges == {}
        if way == "close":
            assert world.bridges[0].received == [0, 1]
