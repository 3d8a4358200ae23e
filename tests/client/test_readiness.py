"""Two ways to be ready: to exist on any node, and to be on the bridge's. Each has its own who-waits and who-was-asked."""

from __future__ import annotations

from raymq.protocol.messages import Pickled, Value
from raymq.waiting import Ledger, Waiter


def waiting(ledger: Ledger, number: int, *, local: bool) -> Waiter:
    waiter = Waiter(1)
    ledger.wait_for([number], waiter, local=local)
    return waiter


def test_the_bridge_is_asked_once_in_each_way() -> None:
    ledger = Ledger()
    assert ledger.watch([1, 3], local=True) == [1, 3]
    assert ledger.watch([1, 3, 5], local=True) == [5]
    assert ledger.watch([1, 3], local=False) == [1, 3]
    ledger.became_ready([1], local=False)
    assert ledger.watch([1, 3], local=False) == []


def test_what_exists_is_not_here_yet() -> None:
    ledger = Ledger()
    for local in (False, True):
        ledger.watch([1], local=local)
    exists, here = (waiting(ledger, 1, local=local) for local in (False, True))
    ledger.became_ready([1], local=False)
    assert exists.wait(0)
    assert not here.wait(0)
    assert (ledger.ready_among([1]), ledger.ready_among([1], local=True)) == ([1], [])
    ledger.became_ready([1], local=True)
    assert here.wait(0)
    assert ledger.ready_among([1], local=True) == [1]


def test_a_value_that_came_is_ready_in_both_ways() -> None:
    ledger = Ledger()
    waiters = [waiting(ledger, 1, local=local) for local in (False, True)]
    ledger.want([1])
    ledger.value_came(Value(1, Pickled(b"")), [])
    assert all(waiter.wait(0) for waiter in waiters)
    assert waiting(ledger, 1, local=True).wait(0)


def test_news_of_what_was_released_leaves_nothing() -> None:
    ledger = Ledger()
    for local in (False, True):
        ledger.watch([1], local=local)
    ledger.forget([1])
    for local in (False, True):
        ledger.became_ready([1], local=local)
        assert ledger.ready_among([1], local=local) == []


def test_the_end_ends_every_wait() -> None:
    ledger = Ledger()
    waiters = [waiting(ledger, 1, local=local) for local in (False, True)]
    given_up = waiting(ledger, 3, local=True)
    ledger.wait_no_more([3], given_up, local=True)
    ledger.end(ConnectionError())
    assert all(waiter.wait(0) for waiter in (*waiters, waiting(ledger, 5, local=True)))
    assert not given_up.wait(0)
