"""The wheel: what a user gets who says ``pip install raymq``."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from raymq import __version__

ROOT = Path(__file__).parents[1]
PACKAGES = ("raymq", "raymq_broker", "raymq_bridge", "raymq_cli")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    [path] = folder.glob("*.whl")
    assert path.name == f"raymq-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    return email.message_from_bytes(wheel.read(f"raymq-{__version__}.dist-info/METADATA"))


def test_the_four_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {*PACKAGES, f"raymq-{__version__}.dist-info"}
    for name in wheel.namelist():
        assert not re.search(r"test|conftest|__pycache__|bench", name), name


@pytest.mark.parametrize("package", PACKAGES)
def test_every_source_file_is_there(wheel: zipfile.ZipFile, package: str) -> None:
    [folder] = [path.parent for path in ROOT.glob(f"*/{package}/__init__.py")]
    files = {f"{package}/{path.relative_to(folder).as_posix()}" for path in folder.rglob("*.py")}
    assert files | {f"{package}/py.typed"} <= set(wheel.namelist())


def test_the_command(wheel: zipfile.ZipFile) -> None:
    text = wheel.read(f"raymq-{__version__}.dist-info/entry_points.txt").decode()
    assert text.split() == ["[console_scripts]", "raymq", "=", "raymq_cli:main"]


def test_the_thin_client_needs_three_packages(metadata: email.message.Message) -> None:
    requirements = metadata.get_all("Requires-Dist") or []
    thin = {re.split(r"[<>=\[ ;]", line)[0] for line in requirements if "extra ==" not in line}
    assert thin == {"pyzmq", "msgpack", "cloudpickle"}


def test_the_head_needs_ray(metadata: email.message.Message) -> None:
    requirements = metadata.get_all("Requires-Dist") or []
    head = {re.split(r"[<>=\[ ;]", line)[0] for line in requirements if re.search(r"extra == .head.", line)}
    assert {"ray", "structlog", "click", "rich", "psutil"} <= head


def test_what_it_says_of_itself(metadata: email.message.Message) -> None:
    assert metadata["Name"] == "raymq"
    assert metadata["Version"] == __version__
    assert metadata["Requires-Python"] == ">=3.10"
    assert "ray.connect" in str(metadata.get_payload())
