"""What the supervisor tells the broker: read, and acted upon."""

from __future__ import annotations

from typing import Any

import pytest

from raymq.protocol.route import Kind, Lane
from raymq_broker.actions import BridgeEnded, ClusterLost, Pool, Side
from raymq_broker.bridges import LAST_WORDS
from raymq_broker.entities import BridgeState, SessionState
from raymq_broker.supervisor import understand
from tests.broker.desk import BRIDGE, REGISTER, SESSION, Desk, check_empty, kinds

AT = "2026-11-23 09:33:41 UTC"
DIED = BridgeEnded(42, AT, "SIGKILL ended it", ("one", "two"))
LOST = ClusterLost(frozenset({42, 43}), AT, "the Ray cluster at 10.0.0.1:6379 ended: SIGKILL ended it")


@pytest.fixture
def desk() -> Desk:
    return Desk()


# --- reading


def test_what_it_says_of_a_bridge() -> None:
    told = {"event": "bridge_ended", "bridge": 42, "reason": "SIGKILL ended it", "lines": ["one", "two"], "new": 1}
    assert understand(told, AT) == DIED


def test_what_it_says_of_the_cluster() -> None:
    told = {"event": "cluster_lost", "bridges": [42, 43], "message": LOST.message}
    assert understand(told, AT) == LOST


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"event": "weather"},
        {"event": []},
        {"event": "bridge_ended", "bridge": "x", "reason": "", "lines": []},
        {"event": "bridge_ended", "bridge": 42, "reason": ""},
        {"event": "cluster_lost", "bridges": 42, "message": ""},
    ],
)
def test_what_we_do_not_understand_is_passed_over(told: dict[str, Any]) -> None:
    assert understand(told, AT) is None


# --- a bridge has died


def test_a_session_ends_at_once_with_when_and_why(desk: Desk) -> None:
    desk.attached()
    assert desk.tell(DIED) == []
    assert desk.pool == Pool((), (), 0)
    [ended] = desk.wait(LAST_WORDS)
    assert ended[:3] == (Side.CLIENTS, b"c0", Kind.ENDED)
    assert ended.fields["code"] == "bridge-lost"
    assert ended.fields["message"] == (
        f"the bridge of this session (pid 42) died at {AT}: SIGKILL ended it\n"
        "The last lines of its log:\n    one\n    two"
    )
    check_empty(desk.broker)


def test_a_bridge_that_said_nothing_is_not_quoted(desk: Desk) -> None:
    desk.attached()
    desk.tell(BridgeEnded(42, AT, "it ended with code 7", ()))
    [ended] = desk.wait(LAST_WORDS)
    assert ended.fields["message"] == f"the bridge of this session (pid 42) died at {AT}: it ended with code 7"


def test_who_comes_late_is_told_too(desk: Desk) -> None:
    desk.detached()
    desk.tell(DIED)
    assert desk.wait(LAST_WORDS) == []
    [late] = desk.attach(b"c2")
    assert late.kind == Kind.ENDED
    assert "SIGKILL ended it" in late.fields["message"]


def test_what_the_bridge_said_before_it_ended_holds(desk: Desk) -> None:
    """Its CLOSED may still be under way when the supervisor's word is there."""
    desk.attached()
    desk.tell(DIED)
    said = desk.put(Side.BRIDGES, b"b0", Kind.CLOSED, code="bridge-stopped", message="so it was")
    assert [packet.fields["code"] for packet in said] == ["bridge-stopped"]
    assert desk.wait(LAST_WORDS) == []
    check_empty(desk.broker)


def test_values_that_it_sent_before_it_ended_are_passed_on(desk: Desk) -> None:
    desk.attached()
    desk.tell(DIED)
    assert kinds(desk.put(Side.BRIDGES, b"b0", Kind.PING, BRIDGE)) == []
    assert desk.broker.bridges[BRIDGE].state is BridgeState.DEAD
    assert desk.state is SessionState.ATTACHED


def test_it_ends_the_wait_for_a_bridge_that_is_gone(desk: Desk) -> None:
    """The broker has noticed by the connection, and would give it two heartbeats to come back."""
    desk.attached()
    desk.lost(Side.BRIDGES, b"b0")
    desk.wait(0.5)
    desk.tell(DIED)
    [ended] = desk.wait(LAST_WORDS)
    assert "SIGKILL ended it" in ended.fields["message"]


def test_the_dead_do_not_come_back(desk: Desk) -> None:
    """A REGISTER of theirs may have been under way; and their connections break, which is no news."""
    desk.attached()
    entry = desk.entry()
    desk.lost(Side.BRIDGES, b"b0")
    desk.tell(DIED)
    desk.put(Side.BRIDGES, b"n0", Kind.REGISTER, BRIDGE, Lane.CALLS, **REGISTER | {"sessions": [entry]})
    desk.lost(Side.BRIDGES, b"n0")
    desk.lost(Side.BRIDGES, b"b1")
    assert kinds(desk.wait(LAST_WORDS)) == [(b"c0", Kind.ENDED)]
    check_empty(desk.broker)


def test_a_bridge_that_dies_while_it_opens_is_worth_another_try(desk: Desk) -> None:
    desk.opening()
    desk.tell(DIED)
    [refused] = desk.wait(LAST_WORDS)
    assert (refused.kind, refused.fields["code"], refused.fields["retry"]) == (Kind.REFUSED, "no-bridge", True)
    assert "SIGKILL ended it" in refused.fields["message"]
    check_empty(desk.broker)


def test_an_idle_bridge_is_forgotten(desk: Desk) -> None:
    desk.register()
    assert desk.tell(DIED) == []
    check_empty(desk.broker)
    assert desk.pool == Pool((), (), 0)


def test_a_bridge_that_ended_in_good_order_is_forgotten(desk: Desk) -> None:
    desk.attached()
    desk.put(Side.BRIDGES, b"b0", Kind.CLOSED, code="goodbye", message="bye")
    desk.tell(BridgeEnded(42, AT, "it ended with code 0", ()))
    check_empty(desk.broker)


def test_a_bridge_that_is_not_known_here_is_none_of_ours(desk: Desk) -> None:
    """The broker is new, and the bridge died before it had registered again."""
    desk.attached()
    assert desk.tell(BridgeEnded(41, AT, "SIGKILL ended it", ())) == []
    assert desk.state is SessionState.ATTACHED


def test_two_bridges_that_say_to_be_the_same_process_are_left_to_the_heartbeats(desk: Desk) -> None:
    """In containers of their own they may; who of them has died cannot be told."""
    desk.attached()
    desk.register(b"2" * 16, b"x")
    assert desk.tell(DIED) == []
    assert desk.wait(10.0) == []
    assert desk.state is SessionState.ATTACHED


# --- the cluster is gone


def test_the_sessions_of_a_lost_cluster_end_and_their_bridges_are_told(desk: Desk) -> None:
    desk.attached()
    ended, close = desk.tell(LOST)
    assert (ended.peer, ended.kind, close.peer, close.kind) == (b"c0", Kind.ENDED, b"b0", Kind.CLOSE)
    assert ended.fields == close.fields == {"code": "cluster-lost", "message": f"{LOST.message} (at {AT})"}
    assert desk.tell(DIED) == []
    check_empty(desk.broker)


def test_a_cluster_that_is_lost_while_a_session_opens_is_worth_another_try(desk: Desk) -> None:
    desk.opening()
    [refused] = desk.tell(LOST)
    assert (refused.kind, refused.fields["code"], refused.fields["retry"]) == (Kind.REFUSED, "no-cluster", True)


def test_a_bridge_of_another_cluster_goes_on(desk: Desk) -> None:
    desk.attached()
    assert desk.tell(ClusterLost(frozenset({7}), AT, "x")) == []
    assert desk.state is SessionState.ATTACHED


def test_an_idle_bridge_of_a_lost_cluster_is_the_supervisors_to_stop(desk: Desk) -> None:
    desk.register()
    assert desk.tell(LOST) == []
    assert SESSION not in desk.broker.sessions
