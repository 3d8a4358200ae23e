"""Placement groups and scheduling strategies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import raymq as ray
from raymq.util.placement_group import (
    PlacementGroup,
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from raymq.util.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
    PlacementGroupSchedulingStrategy,
)
from tests.integration.conftest import Head, wait_until

pytestmark = pytest.mark.cluster

BUNDLES = [{"CPU": 0.1}, {"CPU": 0.2}]


@pytest.fixture
def group(session: ray.Session) -> Iterator[PlacementGroup]:
    made = placement_group(BUNDLES)
    yield made
    remove_placement_group(made)


def state(group: PlacementGroup) -> str:
    return str(placement_group_table(group)["state"])


@ray.remote(num_cpus=0.1)
def current() -> Any:
    return get_current_placement_group()


# --- placement groups


def test_a_group_gets_ready(group: PlacementGroup) -> None:
    assert group.wait(60)
    assert ray.get(group.ready()) == group
    assert (group.bundle_count, group.bundle_specs) == (2, BUNDLES)
    table = placement_group_table(group)
    assert table["placement_group_id"] == group.id.hex()
    assert table["bundles"] == dict(enumerate(BUNDLES))
    assert (table["strategy"], table["state"]) == ("PACK", "CREATED")
    assert placement_group_table()[group.id.hex()] == table
    assert get_current_placement_group() is None


def test_names_are_where_ray_has_them() -> None:
    util = ray.util
    assert util.placement_group is placement_group
    assert util.remove_placement_group is remove_placement_group
    assert util.get_placement_group is get_placement_group
    assert util.placement_group_table is placement_group_table
    assert util.scheduling_strategies.In is In


def test_a_group_with_a_name(session: ray.Session) -> None:
    made = placement_group([{"CPU": 0.1}], strategy="STRICT_PACK", name="a group")
    assert made.wait(60)
    found = get_placement_group("a group")
    assert found == made
    assert hash(found) == hash(made)
    assert found.bundle_cache is None
    assert found.bundle_specs == [{"CPU": 0.1}]
    remove_placement_group(found)
    with pytest.raises(ValueError, match="no such group"):
        get_placement_group("no such group")
    with pytest.raises(ValueError):
        get_placement_group("")


def test_a_group_that_cannot_get_ready_and_one_that_is_removed(session: ray.Session) -> None:
    large = placement_group([{"CPU": 1_000}])
    ready = large.ready()
    assert not large.wait(0.2)
    remove_placement_group(large)
    with pytest.raises(ray.exceptions.TaskPlacementGroupRemoved):
        ray.get(ready, timeout=60)
    with pytest.raises(ray.exceptions.TaskPlacementGroupRemoved):
        large.wait(60)
    assert state(large) == "REMOVED"


def test_misuse(session: ray.Session) -> None:
    with pytest.raises(ValueError, match="CPU cannot be negative"):
        placement_group([{"CPU": 1}, {"CPU": -1}])
    with pytest.raises(ValueError, match="WIDE"):
        placement_group([{"CPU": 1}], strategy="WIDE")
    with pytest.raises(ValueError):
        placement_group([])
    with pytest.raises(ValueError):
        placement_group([{"CPU": 1}], lifetime="long")
    with pytest.raises(TypeError, match="takes a PlacementGroup, not str"):
        remove_placement_group("a group")  # type: ignore[arg-type]
    unknown = PlacementGroup(ray.PlacementGroupID.from_random())
    with pytest.raises(ValueError, match="knows no placement group"):
        unknown.bundle_count  # noqa: B018
    assert PlacementGroup.empty().is_empty
    assert not unknown.is_empty
    assert unknown != "a group"


def test_labels_of_bundles(session: ray.Session) -> None:
    made = placement_group([{"CPU": 0.1}], bundle_label_selector=[{"raymq-test": "nowhere"}])
    assert not made.wait(0.2)
    remove_placement_group(made)


def test_a_group_in_tasks(group: PlacementGroup) -> None:
    @ray.remote(num_cpus=0)
    def look(groups: list[Any]) -> Any:
        (given,) = groups
        assert isinstance(given, PlacementGroup)
        return type(given).__module__, given.wait(60), given, ray.util.placement_group_table(given)["state"]

    module, ready, back, at_worker = ray.get(look.remote([group]))
    assert (module, ready, back, at_worker) == ("ray.util.placement_group", True, group, "CREATED")

    @ray.remote(num_cpus=0)
    def make() -> Any:
        return ray.util.placement_group([{"CPU": 0.1}], lifetime="detached")

    made = ray.get(make.remote())
    assert made.wait(60)
    remove_placement_group(made)


def test_a_group_ends_with_its_session_unless_it_is_detached(
    session: ray.Session, cluster: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster.connect():
        short, long = placement_group([{"CPU": 0.1}]), placement_group([{"CPU": 0.1}], lifetime="detached")
        assert short.wait(60)
        assert long.wait(60)
    monkeypatch.setattr("raymq.api._default", session)
    wait_until(lambda: state(short) == "REMOVED", "the group has gone with its session")
    assert state(long) == "CREATED"
    remove_placement_group(long)


# --- strategies


def test_running_in_a_group(group: PlacementGroup) -> None:
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=1)
    assert ray.get(current.options(scheduling_strategy=strategy).remote()) == group
    assert ray.get(current.options(placement_group=group).remote()) == group
    assert ray.get(current.remote()) is None
    decorated = ray.remote(num_cpus=0.1, scheduling_strategy=strategy)(lambda: get_current_placement_group())
    assert ray.get(decorated.remote()) == group


def test_an_actor_and_its_children_in_a_group(group: PlacementGroup) -> None:
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)

    @ray.remote(num_cpus=0.1)
    class Parent:
        def groups(self) -> list[Any]:
            return [get_current_placement_group(), ray.get(current.remote())]

    parent = Parent.options(scheduling_strategy=strategy).remote()
    assert ray.get(parent.groups.remote()) == [group, group]


def test_what_does_not_fit_into_the_group(group: PlacementGroup) -> None:
    with pytest.raises(ValueError, match="index 7"):
        ray.get(current.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group, 7)).remote())
    with pytest.raises(ValueError, match="cannot fit"):
        too_large = current.options(num_cpus=1, scheduling_strategy=PlacementGroupSchedulingStrategy(group))
        ray.get(too_large.remote())


def test_a_certain_node(session: ray.Session) -> None:
    @ray.remote(num_cpus=0)
    def where() -> str:
        return ray.get_runtime_context().get_node_id()

    (node,) = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    for node_id in (node, ray.NodeID.from_hex(node)):
        strategy = NodeAffinitySchedulingStrategy(node_id, soft=False)
        assert ray.get(where.options(scheduling_strategy=strategy).remote()) == node
    elsewhere = NodeAffinitySchedulingStrategy(ray.NodeID.from_random().hex(), soft=False)
    with pytest.raises(ray.exceptions.TaskUnschedulableError):
        ray.get(where.options(scheduling_strategy=elsewhere).remote())
    rather = NodeAffinitySchedulingStrategy(elsewhere.node_id, soft=True, _spill_on_unavailable=True)
    assert ray.get(where.options(scheduling_strategy=rather).remote()) == node


def test_labels(session: ray.Session) -> None:
    run = ray.remote(num_cpus=0)(lambda: "ran")
    (node,) = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    fits = NodeLabelSchedulingStrategy(
        {"ray.io/node-id": In(node), "raymq-test": DoesNotExist()}, soft={"ray.io/node-id": NotIn("a", "b")}
    )
    assert ray.get(run.options(scheduling_strategy=fits).remote(), timeout=60) == "ran"
    none = NodeLabelSchedulingStrategy({"raymq-test": Exists()})
    ref = run.options(scheduling_strategy=none).remote()
    assert ray.wait([ref], timeout=0.5)[0] == []
    ray.cancel(ref)


def test_strategies_are_rays_own_on_a_worker(group: PlacementGroup) -> None:
    @ray.remote(num_cpus=0)
    def look(strategies: list[Any]) -> Any:
        from ray.util import scheduling_strategies as rays

        found = [getattr(rays, type(each).__name__) is type(each) for each in strategies]
        labels = strategies[-1]
        return found, [(each.key, type(each.operator).__name__) for each in labels.hard + labels.soft], strategies[:-1]

    given = [
        PlacementGroupSchedulingStrategy(group, 1, True),
        NodeAffinitySchedulingStrategy("1" * 56, False, _fail_on_unavailable=True),
        In("a"),
        NotIn("b", "c"),
        Exists(),
        DoesNotExist(),
    ]
    labels = NodeLabelSchedulingStrategy({"x": In("a"), "y": Exists()}, soft={"z": DoesNotExist()})
    found, asked, back = ray.get(look.remote([*given, labels]))
    assert all(found)
    assert asked == [("x", "In"), ("y", "Exists"), ("z", "DoesNotExist")]
    assert [type(each) for each in back] == [type(each) for each in given]
    assert [vars(each) for each in back] == [vars(each) for each in given]
    assert ray.get(ray.remote(num_cpus=0)(lambda: [In, PlacementGroup]).remote()) == [In, PlacementGroup]
