"""``raymq.install_as_ray()``: programs that say ``import ray``, where there is none. Each in a process of its own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import raymq
from tests.without_ray import PythonWithoutRay

INSTALL = "import raymq; raymq.install_as_ray()\n"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> PythonWithoutRay:
    return PythonWithoutRay(tmp_path_factory.mktemp("site"))


def test_import_ray_gives_raymq(python: PythonWithoutRay) -> None:
    python.output(
        INSTALL
        + """
import sys
import ray, ray.actor, ray.exceptions, ray.util, ray.runtime_context, ray.remote_function, ray.client_builder
import ray.util.placement_group as module_or_function
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError
from ray.types import ObjectRef as Type
from ray.util import ActorPool, placement_group
from ray.util.actor_pool import ActorPool as Same
from ray.util.placement_group import PlacementGroup, placement_group as same
from ray.util.queue import Empty, Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

assert ray is raymq and ray.util is raymq.util
assert ActorPool is Same is raymq.util.ActorPool
assert placement_group is same is ray.util.placement_group and callable(placement_group)
assert ObjectRef is Type is raymq.ObjectRef
# No module is there twice, and each keeps its name and its spec.
for name, module in list(sys.modules.items()):
    if name == "ray" or name.startswith("ray."):
        ours = "raymq" + name[3:]
        assert module is sys.modules[ours] and module.__name__ == module.__spec__.name == ours, name

before = list(sys.meta_path), dict(sys.modules)
raymq.install_as_ray()
ray.install_as_ray()
assert before == (list(sys.meta_path), dict(sys.modules))
"""
    )


@pytest.mark.parametrize(
    "statement",
    [
        "import ray.data",
        "import ray.train.torch",
        "from ray import tune",
        "from ray import java_function",
        "from ray.util import register_serializer",
        "from ray.util.iter import from_items",
        "from ray.util.state import StateApiClient",
        "from ray.experimental import rdt",
        "import ray.util.collective as col",
    ],
)
def test_what_is_not_on_a_client_says_so(python: PythonWithoutRay, statement: str) -> None:
    done = python.run(f"{INSTALL}{statement}")
    assert "ModuleNotFoundError: ray." in done.stderr
    assert "is not there on a client. ray." in done.stderr


@pytest.mark.parametrize(
    "statement", ["import ray.functions", "import ray._private.worker", "from ray import nothing", "import ray.util.x"]
)
def test_what_nobody_has_is_missing(python: PythonWithoutRay, statement: str) -> None:
    """Nor do raymq's own modules become a second time modules of ray's."""
    error = python.run(f"{INSTALL}{statement}").stderr.splitlines()[-1]
    assert error.startswith(("ModuleNotFoundError: No module named 'ray.", "ImportError: cannot import name 'nothing'"))


def test_programs_can_try(python: PythonWithoutRay) -> None:
    python.output(
        INSTALL
        + """
import ray
try:
    from ray import tune
except ImportError:
    tune = None
assert tune is None and not hasattr(ray, "tune") and not hasattr(ray, "nothing")
"""
    )


def test_without_it_nothing_is_changed(python: PythonWithoutRay) -> None:
    error = python.run("import raymq, ray").stderr
    assert "ModuleNotFoundError: No module named 'ray'" in error


# --- where there is a ray


@pytest.mark.parametrize("folder", ["ray/__init__.py", "ray/notes.txt", "ray.py"])
def test_another_ray_on_the_path_is_left_alone(tmp_path: Path, folder: str) -> None:
    python = PythonWithoutRay(tmp_path)
    (tmp_path / folder).parent.mkdir(exist_ok=True)
    (tmp_path / folder).touch()
    done = python.run(INSTALL)
    assert "RayIsThere" in done.stderr
    assert f"ray is installed here, in {tmp_path}" in done.stderr


def test_a_ray_that_is_imported_is_left_alone(python: PythonWithoutRay) -> None:
    python.output(
        """
import sys, types, raymq
sys.modules["ray"] = other = types.ModuleType("ray")
before = list(sys.meta_path)
try:
    raymq.install_as_ray()
except ImportError as error:
    assert isinstance(error, raymq.RayIsThere) and "imported already" in str(error)
else:
    raise SystemExit("not refused")
assert sys.modules["ray"] is other and sys.meta_path == before and "ray.util" not in sys.modules
"""
    )


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="no Ray is installed here")
def test_an_installed_ray_is_left_alone() -> None:
    with pytest.raises(raymq.RayIsThere, match=r"^raymq cannot stand in for Ray in this process: ray is "):
        raymq.install_as_ray()
    done = subprocess.run([sys.executable, "-c", INSTALL], capture_output=True, text=True, timeout=60)
    assert "ray is installed here, in " in done.stderr
    assert "import raymq as ray" in done.stderr
