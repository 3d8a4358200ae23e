"""Bytes per second, from what is acknowledged while something is under way."""

from __future__ import annotations

import pytest

from raymq.protocol.bandwidth import ENOUGH, FRESH, Bandwidth

MIB = 1 << 20


def test_a_steady_way() -> None:
    meter = Bandwidth()
    for seq in range(1, 17):
        meter.sent(seq, MIB, 100.0)
    assert meter.figure(100.0) is None
    for seq in range(1, 17):
        meter.acknowledged(seq, 100.0 + seq / 20)
    assert meter.figure(101.0) == pytest.approx(20 * MIB)


def test_time_in_which_nothing_is_under_way_does_not_count() -> None:
    meter = Bandwidth()
    for turn in range(4):
        meter.sent(turn + 1, MIB, 100.0 * turn)
        meter.acknowledged(turn + 1, 100.0 * turn + 0.5)
    assert meter.figure(300.5) == pytest.approx(2 * MIB)


def test_an_acknowledgement_of_nothing_new_changes_nothing() -> None:
    meter = Bandwidth()
    meter.acknowledged(0, 1.0)
    meter.sent(1, ENOUGH, 10.0)
    meter.acknowledged(0, 11.0)
    assert meter.figure(11.0) is None
    meter.acknowledged(1, 12.0)
    meter.acknowledged(1, 99.0)
    assert meter.figure(12.0) == ENOUGH / 2


def test_a_figure_grows_old() -> None:
    meter = Bandwidth()
    meter.sent(1, ENOUGH, 0.0)
    meter.acknowledged(1, 1.0)
    assert meter.figure(1.0 + FRESH) == ENOUGH
    assert meter.figure(1.1 + FRESH) is None


def test_acknowledged_in_no_time() -> None:
    meter = Bandwidth()
    meter.sent(1, ENOUGH, 5.0)
    meter.acknowledged(1, 5.0)
    figure = meter.figure(5.0)
    assert figure is not None
    assert figure > 1e12
