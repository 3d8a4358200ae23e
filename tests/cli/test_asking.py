"""Questions to a cluster that is not there."""

from __future__ import annotations

import dataclasses

from raymq_cli.asking import Published, published
from tests.cli.test_status import STATE


def test_publications_of_no_cluster_are_not_known() -> None:
    assert published(dataclasses.replace(STATE, cluster="")) == Published(problem="there is no cluster yet")


def test_publications_of_a_cluster_that_does_not_answer_are_not_known() -> None:
    told = published(dataclasses.replace(STATE, cluster="127.0.0.1:1"))
    assert "no Ray cluster answers at 127.0.0.1:1" in told.problem
    assert (told.count, told.listed) == (0, [])
