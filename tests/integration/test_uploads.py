"""Directories and files of the client's machine in runtime environments."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import raymq as ray
from raymq import uploading
from raymq.exceptions import RuntimeEnvSetupError
from raymq.experimental.internal_kv import _internal_kv_exists, _internal_kv_list
from tests.integration.conftest import CI_PATIENCE, Head, counted, wait_until
from tests.integration.proxy import Proxy

pytestmark = pytest.mark.cluster


@pytest.fixture
def tree(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A directory with a module, data, and things that no task needs; others than any test before had."""
    tree = tmp_path / "src"
    (tree / "data").mkdir(parents=True)
    (tree / "shapes.py").write_text(f"NAME = {request.node.name!r}\n")
    (tree / "data" / "words.txt").write_text("some words")
    (tree / "data" / "junk.bin").write_text("junk")
    (tree / "secret.env").write_text("secret")
    (tree / ".gitignore").write_text("*.env\n")
    return tree


@ray.remote(num_cpus=0)
def look() -> tuple[str, str, list[str]]:
    """What a task finds in its working directory."""
    here = Path()
    files = [str(path) for path in here.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return import_module("shapes").NAME, Path("data/words.txt").read_text(), sorted(files)


@ray.remote(num_cpus=0)
def name_of(module: str) -> str:
    return str(import_module(module).NAME)


@ray.remote(num_cpus=0)
class Reader:
    def read(self) -> tuple[str, str]:
        return import_module("shapes").NAME, Path("data/words.txt").read_text()


FILES = [".gitignore", "data/words.txt", "shapes.py"]
EXCLUDES = ["data/*.bin"]


def test_the_working_dir_of_a_session(
    cluster: Head, tree: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr("raymq.api._default", None)
    monkeypatch.chdir(tree.parent)
    with cluster.connect(runtime_env={"working_dir": "./src", "excludes": EXCLUDES}) as session:
        assert ray.get(look.remote()) == (request.node.name, "some words", FILES)
        assert ray.get(Reader.remote().read.remote()) == (request.node.name, "some words")
        environment = session.get_runtime_context().runtime_env
        assert environment["working_dir"].startswith("gcs://_ray_pkg_")
        assert "excludes" not in environment


def test_the_working_dir_of_a_task_and_of_an_actor(
    session: ray.Session, tree: Path, request: pytest.FixtureRequest
) -> None:
    env = {"working_dir": tree, "excludes": EXCLUDES}
    expected = request.node.name, "some words", FILES
    assert ray.get(look.options(runtime_env=env).remote()) == expected
    assert env == {"working_dir": tree, "excludes": EXCLUDES}

    @ray.remote(num_cpus=0, runtime_env=env)
    def looks() -> Any:
        return ray.get(look.remote())  # it inherits the environment

    assert ray.get(looks.remote()) == expected
    reader = Reader.options(runtime_env=ray.runtime_env.RuntimeEnv(working_dir=str(tree))).remote()
    assert ray.get(reader.read.remote()) == expected[:2]
    (tree / "data" / "words.txt").write_text("other words")
    assert ray.get(look.options(runtime_env=env).remote())[1] == "other words"


def test_modules(session: ray.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "of_a_test_package"
    package.mkdir()
    (package / "__init__.py").write_text("NAME = 'a package'")
    (package / "left_out.py").write_text("")
    single = tmp_path / "of_a_test_single.py"
    single.write_text("NAME = 'a single file'")
    (tmp_path / "of_a_test_imported.py").write_text("NAME = 'an imported module'")
    with zipfile.ZipFile(tmp_path / "zipped.zip", "w") as archive:
        archive.writestr("of_a_test_zipped/__init__.py", "NAME = 'out of a zip file'")
    monkeypatch.syspath_prepend(tmp_path)
    modules = [package, str(single), import_module("of_a_test_imported"), tmp_path / "zipped.zip"]
    env = {"py_modules": modules, "excludes": ["left_out.py"]}
    names = ["package", "single", "imported", "zipped"]
    told = [name_of.options(runtime_env=env).remote(f"of_a_test_{name}") for name in names]
    assert ray.get(told) == ["a package", "a single file", "an imported module", "out of a zip file"]
    with pytest.raises(ModuleNotFoundError, match="left_out"):
        ray.get(name_of.options(runtime_env=env).remote("of_a_test_package.left_out"))


def wheel(folder: Path, name: str) -> Path:
    """A wheel with one module of that name."""
    path = folder / "of_a_test_wheel-1.0-py3-none-any.whl"
    about = "of_a_test_wheel-1.0.dist-info"
    files = {
        "of_a_test_wheel.py": f"NAME = {name!r}",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: of_a_test_wheel\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
        archive.writestr(f"{about}/RECORD", "".join(f"{file},,\n" for file in [*files, f"{about}/RECORD"]))
    return path


def test_a_wheel_that_was_built_anew_is_uploaded_anew(session: ray.Session, tmp_path: Path) -> None:
    for name in ("the first build", "the second build"):
        env = {"py_modules": [wheel(tmp_path, name)]}
        assert ray.get(name_of.options(runtime_env=env).remote("of_a_test_wheel")) == name


def test_the_same_contents_are_sent_once(cluster: Head, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymq.api._default", None)
    size = 3_000_000
    (tree / "data" / "noise.bin").write_bytes(os.urandom(size))
    env = {"working_dir": str(tree)}

    def uploads() -> tuple[int, str]:
        """The bytes that go to the cluster for a session of this environment, which works; and the package."""
        with Proxy(cluster.port) as proxy:
            before = proxy.passed["up"]
            with ray.connect(proxy.address, timeout=CI_PATIENCE, runtime_env=env) as session:
                assert ray.get(look.remote())[1] == "some words"
                uri = session.get_runtime_context().runtime_env["working_dir"]
                assert _internal_kv_exists(uri)
            return proxy.passed["up"] - before, uri

    first, uri = uploads()
    assert first > size
    again, the_same = uploads()
    assert again < size / 10
    assert the_same == uri
    (tree / "shapes.py").write_text("NAME = 'changed'")
    changed, other = uploads()
    assert changed > size
    assert other != uri


def test_a_session_in_an_event_loop(cluster: Head, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymq.api._default", None)

    async def work() -> Any:
        env = {"working_dir": str(tree)}
        async with ray.aconnect(cluster.address, timeout=CI_PATIENCE, runtime_env=env):
            return await look.remote()

    assert asyncio.run(work())[1] == "some words"


def test_one_that_is_called_off_leaves_nothing(cluster: Head, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymq.api._default", None)
    asked = threading.Event()
    whole = uploading.uploaded

    def watched(environment: Any, request: Any) -> Any:
        asked.set()
        return whole(environment, request)

    monkeypatch.setattr(uploading, "uploaded", watched)

    async def work() -> None:
        connecting = ray.aconnect(cluster.address, timeout=CI_PATIENCE, runtime_env={"working_dir": str(tree)})
        task = asyncio.ensure_future(connecting._open())
        await asyncio.get_running_loop().run_in_executor(None, asked.wait, CI_PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    before = counted(cluster, "opened")
    asyncio.run(work())
    assert not ray.is_initialized()
    assert counted(cluster, "opened") == before + 1  # that of the upload


def test_a_named_session_and_a_detached_actor(
    cluster: Head, tree: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr("raymq.api._default", None)
    options = {"session": "with files", "runtime_env": {"working_dir": str(tree)}}
    session = cluster.connect(**options)
    reader = Reader.options(name="reader", namespace="uploads", lifetime="detached").remote()
    assert ray.get(reader.read.remote()) == (request.node.name, "some words")
    session.detach()
    with cluster.connect(**options) as again:
        assert again.info.resumed
        assert again.info.job_id == session.info.job_id
        assert ray.get(look.remote())[0] == request.node.name
    with cluster.connect():
        found = ray.get_actor("reader", "uploads")
        assert ray.get(found.read.remote()) == (request.node.name, "some words")
        ray.kill(found)


def test_a_session_that_starts_over_has_the_files_as_they_are(
    cluster: Head, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raymq.api._default", None)
    monkeypatch.chdir(tree)
    with cluster.connect(runtime_env={"working_dir": "."}, reconnect="new") as session:
        assert ray.get(look.remote())[1] == "some words"
        monkeypatch.chdir("/")
        (tree / "data" / "words.txt").write_text("other words")
        os.kill(cluster.bridge_pid(session), signal.SIGKILL)
        wait_until(lambda: "lost" in repr(session), "the session is lost")
        assert ray.get(look.remote())[1] == "other words"


def test_what_is_not_there_or_no_package(cluster: Head, session: ray.Session, tmp_path: Path) -> None:
    text = tmp_path / "text.zip"
    text.write_text("no zip file")
    (tmp_path / "data.csv").write_text("1,2")
    before = _internal_kv_list("gcs://")
    for env, error, match in (
        ({"working_dir": "./nowhere"}, ValueError, f"there is no {Path('nowhere').absolute()} on this machine"),
        ({"working_dir": tmp_path / "data.csv"}, ValueError, "neither a directory nor a .zip file"),
        ({"working_dir": text}, ValueError, "is no zip file"),
        ({"working_dir": 7}, TypeError, "working_dir takes paths"),
        ({"py_modules": str(tmp_path)}, TypeError, "py_modules is a list"),
        ({"py_modules": [tmp_path / "data.csv"]}, ValueError, "a directory nor a .py or .whl or .zip file"),
        ({"py_modules": [sys]}, ValueError, "the module sys is not in one directory or file"),
        ({"working_dir": tmp_path, "excludes": "*.csv"}, TypeError, r"must be of type List\[str\]"),
        ({"working_dir": tmp_path, "excludes": ["[z-a]"]}, ValueError, "is no pattern"),
    ):
        with pytest.raises(error, match=match):
            cluster.connect(runtime_env=env)
        with pytest.raises(error, match=match):
            look.options(runtime_env=env).remote()
    assert _internal_kv_list("gcs://") == before


def test_a_package_that_is_too_large(session: ray.Session, tmp_path: Path) -> None:
    limit = session.request("package_limit")
    assert limit > 100 << 20
    large = tmp_path / "large.zip"
    with large.open("w+b") as file:
        file.truncate(limit)  # a hole, which takes no room
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("a", "")
    with pytest.raises(RuntimeEnvSetupError, match=rf"large.zip has .* bytes; a package has less than {limit:,}"):
        look.options(runtime_env={"working_dir": large}).remote()
