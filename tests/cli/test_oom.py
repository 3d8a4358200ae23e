"""The kernel's counters of processes that it ended for want of memory, as files in the places where it keeps them."""

from __future__ import annotations

from pathlib import Path

import pytest

from raymq_cli.oom import LOOK_INTERVAL, LOOKS, Recent, kills

VMSTAT = "nr_free_pages 5\noom_kill 90\noom_kill_x 7\n"
EVENTS = "low 0\nhigh 4\nmax 12\noom 3\noom_kill {}\noom_group_kill 1\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"


def machine(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": cgroup, "proc/vmstat": VMSTAT, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V1 = "9:name=systemd:/\n4:cpu,memory:/docker/1a2b\n0::/\n"


@pytest.mark.parametrize(
    ("cgroup", "files", "count"),
    [
        ("0::/user.slice/a:b.scope\n", {"sys/fs/cgroup/user.slice/a:b.scope/memory.events": EVENTS.format(3)}, 3),
        ("0::/host/path\n", {"sys/fs/cgroup/memory.events": EVENTS.format(4)}, 4),
        ("0::/\n", {"sys/fs/cgroup/unified/memory.events": EVENTS.format(5)}, 5),
        (V1, {"sys/fs/cgroup/memory/docker/1a2b/memory.oom_control": CONTROL.format(6)}, 6),
        (V1, {"sys/fs/cgroup/memory/memory.oom_control": CONTROL.format(7)}, 7),
        ("0::/\n", {}, 90),
        ("", {}, 90),
        ("no such line\n4:cpu:/x\n", {}, 90),
        ("0::/\n", {"sys/fs/cgroup/memory.events": "low 0\n"}, 90),
    ],
)
def test_the_counter_of_our_own_group_comes_before_that_of_the_machine(
    tmp_path: Path, cgroup: str, files: dict[str, str], count: int
) -> None:
    assert kills(machine(tmp_path, cgroup, files)) == count


def test_a_machine_that_does_not_count(tmp_path: Path) -> None:
    """Other systems than Linux."""
    assert kills(tmp_path) is None


def test_what_this_machine_says() -> None:
    count = kills()
    assert count is None or count >= 0


def test_a_rise_is_recent_for_two_intervals() -> None:
    recent, now = Recent(), 100.0
    assert recent.next_look() <= now
    assert not recent.has_risen_to(1), "nobody has looked yet"
    for _ in range(5):
        recent.look(3, now)
        now += LOOK_INTERVAL
        assert recent.next_look() == now
        assert not recent.has_risen_to(3)
    assert recent.has_risen_to(4)
    for look in range(LOOKS):
        assert recent.has_risen_to(4), f"{look} looks later"
        recent.look(4, now)
        now += LOOK_INTERVAL
    assert not recent.has_risen_to(4), "that was long ago"
    assert recent.has_risen_to(5)


def test_where_nothing_counts_nothing_rises() -> None:
    recent = Recent()
    recent.look(None, 0.0)
    assert not recent.has_risen_to(None)
    assert not recent.has_risen_to(1)
    recent.look(1, 5.0)
    recent.look(1, 10.0)
    recent.look(1, 15.0)
    assert not recent.has_risen_to(None)
