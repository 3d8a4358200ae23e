"""Which parts of a runtime environment are uploaded, and what is asked for that."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from raymq.errors import PayloadTooLarge
from raymq.exceptions import RuntimeEnvSetupError
from raymq.runtime_env import RuntimeEnv, names_files
from raymq.uploading import located, uploaded


class Bridge:
    """Answers what a bridge is asked: what it has been given it has."""

    def __init__(self, object_max: int = 1 << 30) -> None:
        self.packages: dict[str, bytes] = {}
        self._object_max = object_max

    def request(self, operation: str, *args: Any) -> Any:
        if operation == "package_limit":
            return 1 << 20
        uri, *data = args
        if data:
            if len(data[0]) > self._object_max:
                raise PayloadTooLarge("argument 1 of package")
            assert uri not in self.packages, "it is sent twice"
            self.packages[uri] = data[0]
        return uri in self.packages

    def names(self, uri: str) -> list[str]:
        with zipfile.ZipFile(io.BytesIO(self.packages[uri])) as archive:
            return archive.namelist()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    for name in ("a.py", "a.log", "venv/x", "__pycache__/a.pyc"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("")
    (tree / ".gitignore").write_text("*.log\n")
    return tree


@pytest.mark.parametrize(
    ("environment", "files"),
    [
        (None, False), ({}, False), ({"pip": ["."], "excludes": ["a"]}, False),
        ({"working_dir": None, "py_modules": None}, False), ({"py_modules": []}, False),
        ({"working_dir": "s3://bucket/it.zip", "py_modules": ["gcs://it.zip", "local:///on/each/node"]}, False),
        ({"working_dir": "."}, True), ({"working_dir": Path("/")}, True), ({"working_dir": ""}, True),
        ({"py_modules": ["s3://bucket/it.zip", "src"]}, True), ({"py_modules": [io]}, True),
    ],
)  # fmt: skip
def test_whether_it_names_files(environment: dict[str, Any] | None, files: bool) -> None:
    assert names_files(environment) is files


def test_what_becomes_of_an_environment(tree: Path) -> None:
    bridge = Bridge()
    modules = [str(tree), "gcs://known.zip", tree / "a.py"]
    given = RuntimeEnv(working_dir=tree, py_modules=modules, excludes=["nothing"], env_vars={"A": "B"})
    before = given.to_dict()
    made = uploaded(given, bridge.request)
    assert given == before
    assert type(made) is RuntimeEnv
    assert made.keys() == {"working_dir", "py_modules", "env_vars"}
    assert bridge.names(made["working_dir"]) == [".gitignore", "a.py"]
    whole, known, single = made["py_modules"]
    assert bridge.names(whole) == ["tree/.gitignore", "tree/__pycache__/a.pyc", "tree/a.py", "tree/venv/x"]
    assert known == "gcs://known.zip"
    assert bridge.names(single) == ["a.py"]
    assert uploaded(given, bridge.request) == made
    assert len(bridge.packages) == 3


def test_ray_s_variables(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bridge = Bridge()
    monkeypatch.setenv("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "1")
    monkeypatch.setenv("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", "venv")
    uri = uploaded({"working_dir": str(tree)}, bridge.request)["working_dir"]
    assert bridge.names(uri) == [".gitignore", "__pycache__/a.pyc", "a.log", "a.py"]


def test_paths_are_those_of_now(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert located({"working_dir": ".", "py_modules": ["a.py", "s3://b/c.zip"], "pip": ["d"]}) == {
        "working_dir": str(tree), "py_modules": [str(tree / "a.py"), "s3://b/c.zip"], "pip": ["d"],
    }  # fmt: skip
    assert located({"working_dir": ""}) == {"working_dir": str(tree)}


def test_one_that_the_broker_does_not_take(tree: Path) -> None:
    with pytest.raises(RuntimeEnvSetupError, match="tree is too large to be uploaded: argument 1"):
        uploaded({"working_dir": tree}, Bridge(object_max=10).request)
