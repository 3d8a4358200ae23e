"""Packages: what is in them, and that the same contents are the same package."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from raymq.archiving import Package, pack_directory, pack_module, take_file
from raymq.exceptions import RuntimeEnvSetupError

LIMIT = 1 << 20
IGNORE_FILES = (".gitignore", ".rayignore")


def pack(root: Path, *excludes: str, limit: int = LIMIT, top: str = "") -> Package:
    return pack_directory(root, excludes, limit, ignore_files=IGNORE_FILES, top=top)


def names(package: Package) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(package.data)) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def make(root: Path, **files: str) -> Path:
    """A directory; ``__`` in a name stands for a slash, ``DOT`` for a dot."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_same_contents_are_the_same_package(tmp_path: Path) -> None:
    here = make(tmp_path / "here", aDOTpy="1", b__cDOTpy="2")
    there = make(tmp_path / "there", b__cDOTpy="2", aDOTpy="1")
    os.utime(there / "a.py", (1, 1))  # before what a zip file can tell
    assert pack(here) == pack(there) == pack(here)
    assert pack(here).uri.startswith("gcs://_ray_pkg_")
    assert pack(here).uri.endswith(".zip")


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "a.py").write_text("other"),
        lambda tree: (tree / "a.py").rename(tree / "b.py"),
        lambda tree: (tree / "a.py").chmod(0o755),
        lambda tree: (tree / "empty").mkdir(),
        lambda tree: (tree / "d" / "c.py").unlink(),
    ],
    ids=["contents", "name", "mode", "empty directory", "one less"],
)
def test_a_change_makes_another_package(tmp_path: Path, change: Callable[[Path], object]) -> None:
    tree = make(tmp_path / "tree", aDOTpy="1", d__cDOTpy="2")
    before = pack(tree)
    change(tree)
    assert pack(tree).uri != before.uri


def test_what_is_in_there(tmp_path: Path) -> None:
    tree = make(tmp_path / "tree", aDOTpy="1", d__bDOTsh="2", other__x="3")
    (tree / "d" / "b.sh").chmod(0o750)
    (tree / "empty").mkdir()
    (tree / "linked").symlink_to(tree / "other")
    (tree / "a link.py").symlink_to("a.py")
    (tree / "broken").symlink_to("nowhere")
    os.mkfifo(tree / "pipe")
    package = pack(tree)
    assert names(package) == ["a link.py", "a.py", "d/b.sh", "empty/", "linked/x", "other/x"]
    with zipfile.ZipFile(io.BytesIO(package.data)) as archive:
        assert archive.read("a link.py") == b"1"
        assert archive.getinfo("d/b.sh").external_attr >> 16 & 0o777 == 0o750
        assert archive.getinfo("empty/").is_dir()
    assert names(pack(tree, top="tree/"))[1] == "tree/a.py"
    assert names(pack_module(tree / "a.py", LIMIT)) == ["a.py"]


def test_what_is_left_out(tmp_path: Path) -> None:
    tree = make(
        tmp_path / "tree",
        aDOTpy="", aDOTlog="", data__xDOTcsv="", data__yDOTtxt="", sub__aDOTlog="", sub__bDOTtmp="", sub__deep__bDOTtmp="",
        bDOTtmp="", sub__only__aDOTpy="", cache__aDOTpy="",
        DOTgitignore="*.log\n", DOTrayignore="cache/\n", sub__DOTgitignore="*.tmp\n/only\n!a.log\n",
    )  # fmt: skip
    assert names(pack(tree, "data/*.csv")) == [
        ".gitignore", ".rayignore", "a.py", "b.tmp", "data/y.txt", "sub/.gitignore",
    ]  # fmt: skip
    assert names(pack(tree, "*", "!a.py")) == ["a.py"]
    everything = pack_directory(tree, (), LIMIT, ignore_files=(), top="")
    assert len(names(everything)) == 13


def test_ray_packs_the_same(tmp_path: Path) -> None:
    packaging = pytest.importorskip("ray._private.runtime_env.packaging")
    tree = make(
        tmp_path / "tree",
        aDOTpy="1", aDOTlog="", data__xDOTcsv="", data__keepDOTcsv="", data__yDOTtxt="", sub__aDOTlog="", sub__bDOTtmp="",
        sub__build__out="", build__out="", sub__deep__build__out="", DOTgitignore="*.log\nbuild/\n",
        sub__DOTrayignore="*.tmp\n",
    )  # fmt: skip
    (tree / "empty").mkdir()
    (tree / "linked").symlink_to(tree / "data")
    for excludes in ([], ["data/", "!data/keep.csv"], ["data"], ["/build", "**/*.csv"], ["sub/**/out", "linked"]):
        theirs = tmp_path / "theirs.zip"
        packaging.create_package(str(tree), theirs, include_gitignore=True, include_parent_dir=True, excludes=excludes)
        with zipfile.ZipFile(theirs) as archive:
            assert sorted(names(pack(tree, *excludes, top="tree/"))) == sorted(archive.namelist()), excludes
        theirs.unlink()


def test_a_directory_that_is_too_large(tmp_path: Path) -> None:
    tree = make(tmp_path / "tree", aDOTpy="1")
    for number in range(3):
        (tree / "data").mkdir(exist_ok=True)
        (tree / "data" / f"{number}.bin").write_bytes(os.urandom(LIMIT // 2))
    with pytest.raises(RuntimeEnvSetupError) as caught:
        pack(tree)
    told = str(caught.value)
    assert told.startswith(f"{tree} has {3 * (LIMIT // 2) + 1:,} bytes in 4 files, too many for a package")
    assert f"less than {LIMIT:,} bytes" in told
    assert f"The largest in there: data/ ({3 * (LIMIT // 2):,}), a.py (1)." in told
    assert 'runtime_env={"excludes": [...]}' in told
    assert len(pack(tree, "data").data) < LIMIT
    with (tmp_path / "hole.py").open("wb") as file:
        file.truncate(100 << 30)
    with pytest.raises(RuntimeEnvSetupError, match=r"hole.py has 107,374,182,400 bytes"):
        pack_module(tmp_path / "hole.py", LIMIT)
    (tree / "data" / "2.bin").unlink()
    with pytest.raises(RuntimeEnvSetupError, match="too many for a package"):  # with what a zip file adds
        pack(tree)


def test_what_cannot_be_packed_is_named(tmp_path: Path) -> None:
    tree = make(tmp_path / "tree", a__b__cDOTpy="1")
    (tree / "a" / "b" / "up").symlink_to(tree / "a")
    with pytest.raises(RuntimeEnvSetupError, match=r"tree cannot be packed: .*/a/b/up is a link to a directory"):
        pack(tree)
    assert names(pack(tree, "up")) == ["a/b/c.py"]
    (tree / "a" / ".gitignore").write_text("[z-a]")
    with pytest.raises(ValueError, match=r"/a/.gitignore: '\[z-a\]' is no pattern"):
        pack(tree)
    with pytest.raises(RuntimeEnvSetupError, match="nowhere cannot be packed"):
        pack(tmp_path / "nowhere")
    with pytest.raises(RuntimeEnvSetupError, match=r"nowhere.zip cannot be read"):
        take_file(tmp_path / "nowhere.zip", LIMIT)
    odd = make(tmp_path / "odd", aDOTpy="1")
    try:
        Path(os.fsdecode(os.fsencode(odd) + b"/\xff.py")).write_text("")
    except OSError:
        return  # this file system has no such names
    with pytest.raises(RuntimeEnvSetupError, match="odd cannot be packed"):
        pack(odd)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    tree = make(tmp_path / "tree", aDOTpy="1")
    (tree / "a.py").chmod(0)
    with pytest.raises(RuntimeEnvSetupError, match=r"tree cannot be packed: .*/a.py: .*Permission"):
        pack(tree)


def test_files_that_are_packages(tmp_path: Path) -> None:
    tree = make(tmp_path / "tree", aDOTpy="1")
    (tmp_path / "it.zip").write_bytes(pack(tree).data)
    assert take_file(tmp_path / "it.zip", LIMIT) == pack(tree)
    plain, built = tmp_path / "it-1.0-py3-none-any.whl", tmp_path / "it-1.0-1-py3-none-any.whl"
    for wheel in (plain, built):
        shutil.copy(tmp_path / "it.zip", wheel)
    digest = pack(tree).uri.removeprefix("gcs://_ray_pkg_").removesuffix(".zip")
    assert {take_file(wheel, LIMIT).uri for wheel in (plain, built)} == {f"gcs://it-1.0-0_{digest}-py3-none-any.whl"}
    with pytest.raises(RuntimeEnvSetupError, match=r"it.zip has \d+ bytes; a package has less than 10 "):
        take_file(tmp_path / "it.zip", 10)
