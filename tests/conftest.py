"""Settings that all tests share."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("raymq", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("raymq"), max_examples=20)
settings.load_profile("raymq")

QUICK_WITH_A_CLUSTER = ("test_tasks.py", "test_actors.py")
"""Where ``--quick`` looks at a real cluster: enough to see that a Python and its Ray go together."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="a few real calls on a cluster, and fewer examples of each property"
    )


def pytest_configure(config: pytest.Config) -> None:
    # Whoever runs the tests in the background may have them, and all their children, ignore SIGINT; nohup, SIGHUP.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if config.getoption("--quick"):
        settings.load_profile("quick")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--quick"):
        slow = [item for item in items if item.get_closest_marker("cluster") and not _is_quick(item.path)]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


def _is_quick(path: Path) -> bool:
    return path.parent.name == "integration" and path.name in QUICK_WITH_A_CLUSTER
