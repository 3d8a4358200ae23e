"""``ray.util.metrics``: what tasks, actors and clients record is exported by the cluster."""

from __future__ import annotations

import re
import urllib.request
from typing import Any

import pytest

import raymq as ray
from raymq.util.metrics import Counter, Gauge, Histogram
from tests.integration.conftest import wait_until

pytestmark = pytest.mark.cluster

CALLS = Counter("test_calls", "calls of a task", tag_keys=("who",))
"""At module level, as in a user's program: there is no session yet."""


def exported(name: str, **tags: str) -> list[float]:
    """The values that the nodes' agents export under a name, with these tags."""
    found = []
    for node in ray.nodes():
        url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=20) as answer:
            text = answer.read().decode()
        for labels, value in re.findall(rf"^ray_{name}{{(.*)}} (\S+)$", text, re.MULTILINE):
            if all(f'{key}="{tag}"' in labels for key, tag in tags.items()):
                found.append(float(value))
    return found


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("agent")
def test_what_tasks_and_actors_record(session: ray.Session) -> None:
    depth = Gauge("test_depth", tag_keys=("who",))
    sizes = Histogram("test_sizes", boundaries=[1.0, 10.0])

    @ray.remote(num_cpus=0)
    def work() -> str:
        CALLS.inc(2, tags={"who": "task"})
        Counter("test_own_calls").inc()
        return type(CALLS).__module__

    @ray.remote(num_cpus=0)
    class Recorder:
        def __init__(self, metric: Any) -> None:
            self.metric = metric

        def record(self) -> list[str]:
            self.metric.set(7, {"who": "actor"})
            sizes.observe(5)
            return [type(each).__module__ for each in (self.metric, sizes)]

        def lend(self) -> Any:
            return self.metric

    recorder = Recorder.remote(depth)
    assert ray.get(work.remote()) == "ray.util.metrics"
    assert ray.get(recorder.record.remote()) == ["ray.util.metrics"] * 2
    back = ray.get(recorder.lend.remote())
    assert type(back) is Gauge
    assert back.info == depth.info
    wait_until(lambda: 2 in exported("test_calls_total", who="task"), "the task's counter is exported")
    wait_until(lambda: 1 in exported("test_own_calls_total"), "so is that which it has made")
    wait_until(lambda: 7 in exported("test_depth", who="actor"), "the actor's gauge is exported")
    wait_until(lambda: 1 in exported("test_sizes_bucket", le="10.0"), "and its histogram")
    assert exported("test_sizes_bucket", le="1.0") == [0]


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("agent")
def test_what_a_client_records(session: ray.Session) -> None:
    counter = Counter("test_client_calls", tag_keys=("kind", "who")).set_default_tags({"kind": "a", "who": "nobody"})
    for _ in range(3):
        counter.inc(tags={"who": "client"})
    level = Gauge("test_client_level")
    level.set(1)
    level.set(5)
    level.set(None)
    Histogram("test_client_sizes", "sizes", [2], ("kind",)).observe(1, {"kind": "a"})
    wait_until(lambda: exported("test_client_calls_total", kind="a", who="client") == [3], "the counter is exported")
    wait_until(lambda: exported("test_client_level") == [5], "the gauge is exported")
    wait_until(lambda: exported("test_client_sizes_bucket", kind="a", le="2.0") == [1], "the histogram is exported")


def test_what_is_wrong_with_a_record(session: ray.Session) -> None:
    counter = Counter("test_wrong", tag_keys=("who",))
    with pytest.raises(ValueError, match="value must be >0"):
        counter.inc(0, {"who": "x"})
    with pytest.raises(ValueError, match="Missing value for tag"):
        counter.inc()
    with pytest.raises(TypeError, match="int or float"):
        counter.inc("1", {"who": "x"})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be str"):
        counter.inc(1, {"who": 1})  # type: ignore[dict-item]


def test_what_is_wrong_with_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymq.api._default", None)
    with pytest.raises(ValueError, match="not empty"):
        Counter("")
    with pytest.raises(TypeError, match="tag_keys is a tuple, not list"):
        Counter("x", tag_keys=["a"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="strings, not int"):
        Counter("x", tag_keys=(1,))  # type: ignore[arg-type]
    for boundaries in (None, [], [0, 1]):
        with pytest.raises(ValueError, match="boundaries, all above 0"):
            Histogram("x", boundaries=boundaries)
    with pytest.raises(ValueError, match="no tag 'b'"):
        Gauge("x", tag_keys=("a",)).set_default_tags({"b": "1"})
    with pytest.raises(TypeError, match="strings, not int"):
        Gauge("x", tag_keys=("a",)).set_default_tags({"a": 1})  # type: ignore[dict-item]
    with pytest.warns(UserWarning, match="cannot be a metric's name"):
        discarded = Counter("not a name")
    discarded.inc()  # as in Ray, nothing is recorded
    with pytest.raises(ray.NotConnected):
        Counter("x").inc()
