"""Being a driver ahead of the session, and anew for a session that wants a job of its own kind."""

from __future__ import annotations

import queue
import threading
from typing import Any

import pytest

from raymq_bridge.membership import PLAIN, Joined, Membership
from raymq_bridge.sentry import Place

PLACE = Place("127.0.0.1:6379", 0, fault_tolerant=False)
OWN = {"namespace": "own"}


class Cluster:
    """Lets each attempt go on when the test says how it ends."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.answers: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        self.woken = threading.Semaphore(0)
        self.membership = Membership(self.join, self.leave, self.woken.release)

    def join(self, job: dict[str, Any]) -> tuple[dict[str, Any], Place]:
        self.calls.append(job)
        answer = self.answers.get(timeout=10)
        if answer is not None:
            raise answer
        return {"job": job}, PLACE

    def leave(self) -> None:
        self.calls.append("leave")

    def outcome(self, answer: Exception | None = None) -> Joined | Exception | None:
        """Let the attempt under way end like this; what the membership tells then."""
        self.answers.put(answer)
        assert self.woken.acquire(timeout=10)
        return self.membership.poll()


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_a_plain_session_takes_what_was_joined_ahead(cluster: Cluster) -> None:
    cluster.membership.seek(PLAIN)
    assert cluster.membership.poll() is None
    assert cluster.membership.under_way
    joined = cluster.outcome()
    assert isinstance(joined, Joined)
    assert not cluster.membership.under_way
    assert cluster.membership.poll() is None  # told once
    cluster.membership.seek({})
    assert cluster.membership.poll() is joined
    assert cluster.calls == [PLAIN]


def test_a_plain_session_that_comes_meanwhile_waits_for_it(cluster: Cluster) -> None:
    cluster.membership.seek(PLAIN)
    cluster.membership.seek({})
    assert isinstance(cluster.outcome(), Joined)
    assert cluster.membership.poll() is None
    assert cluster.calls == [PLAIN]


def test_a_job_of_another_kind_is_joined_anew(cluster: Cluster) -> None:
    cluster.membership.seek(PLAIN)
    ahead = cluster.outcome()
    cluster.membership.seek(OWN)
    assert cluster.membership.poll() is None
    assert cluster.membership.under_way
    joined = cluster.outcome()
    assert isinstance(joined, Joined)
    assert joined is not ahead
    assert joined.described == {"job": OWN}
    assert cluster.calls == [PLAIN, "leave", OWN]


def test_a_job_of_another_kind_that_comes_meanwhile_is_joined_after_that(cluster: Cluster) -> None:
    cluster.membership.seek(PLAIN)
    cluster.membership.seek(OWN)
    assert cluster.outcome() is None
    assert cluster.membership.under_way
    joined = cluster.outcome()
    assert isinstance(joined, Joined)
    assert joined.described == {"job": OWN}
    assert cluster.calls == [PLAIN, "leave", OWN]


def test_what_failed_ahead_is_told_and_tried_again_for_the_session(cluster: Cluster) -> None:
    failure = ValueError("no cluster")
    cluster.membership.seek(PLAIN)
    assert cluster.outcome(failure) is failure
    assert cluster.membership.poll() is None
    assert not cluster.membership.under_way
    cluster.membership.seek(PLAIN)
    assert isinstance(cluster.outcome(), Joined)
    assert cluster.calls == [PLAIN, PLAIN]


def test_a_failure_ahead_is_none_of_a_job_of_another_kind(cluster: Cluster) -> None:
    cluster.membership.seek(PLAIN)
    cluster.membership.seek(OWN)
    assert cluster.outcome(ValueError("no cluster")) is None
    failure = ValueError("no such environment")
    assert cluster.outcome(failure) is failure
    assert cluster.calls == [PLAIN, OWN]
