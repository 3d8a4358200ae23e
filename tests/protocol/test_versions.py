"""The rules of the handshake."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymq.protocol import versions
from raymq.protocol.version import PROTOCOL_NEWEST, PROTOCOL_OLDEST, __version__
from raymq.protocol.versions import (
    common_protocol,
    description,
    differing_packages,
    minor,
    package_versions,
    python_mismatch,
    ray_mismatch,
)


@pytest.mark.parametrize(
    ("theirs", "common"),
    [
        ([5, 6], 6), ([5, 9], 7), ([4, 4], 4), ([7, 9], 7), ([8, 9], None), ([1, 3], None), ([6, 5], None),
        ([1, 9], 7), ([-5, 5], 5),
        (None, None), ([], None), ([5], None), ([5, 5, 5], None), ("55", None), ({5: 5}, None),
        ([5.0, 5], None), ([True, 5], None), (["5", 5], None), ((5, 5), None),
    ],
)  # fmt: skip
def test_the_newest_version_of_both(monkeypatch: pytest.MonkeyPatch, theirs: Any, common: int | None) -> None:
    monkeypatch.setattr(versions, "PROTOCOL_OLDEST", 4)
    monkeypatch.setattr(versions, "PROTOCOL_NEWEST", 7)
    assert common_protocol(theirs) == common


def test_a_side_goes_together_with_itself() -> None:
    assert common_protocol([PROTOCOL_OLDEST, PROTOCOL_NEWEST]) == PROTOCOL_NEWEST
    assert python_mismatch(platform.python_version(), platform.python_version()) is None
    assert ray_mismatch(description()["ray"], description()["ray"]) is None


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("3.11.4", (3, 11)), ("3.13.0rc1", (3, 13)), ("3.9", (3, 9)), ("3.11+", (3, 11)),
        ("", None), ("3", None), ("three", None), ("v3.11", None), ("9" * 10_000 + ".1", None),
    ],
)  # fmt: skip
def test_minor_versions(version: str, expected: tuple[int, int] | None) -> None:
    assert minor(version) == expected


@given(st.text(max_size=20))
def test_any_text_is_a_version_or_none(version: str) -> None:
    found = minor(version)
    assert found is None or len(found) == 2


def test_pythons_go_together_by_their_minor_versions() -> None:
    assert python_mismatch("3.11.4", "3.11.9") is None
    mismatch = python_mismatch("3.12.1", "3.11.9")
    assert mismatch is not None
    assert mismatch.code == "python-mismatch"
    assert "Python 3.12.1" in mismatch.message
    assert "Run the client with Python 3.11." in mismatch.message


def test_two_pythons_that_nobody_knows_do_not_go_together() -> None:
    mismatch = python_mismatch("?", "?")
    assert mismatch is not None
    assert mismatch.message.endswith("Python ?.")


def test_a_client_needs_no_ray_but_if_it_has_one_it_is_the_clusters() -> None:
    assert ray_mismatch("", "2.60.0") is None
    assert ray_mismatch("2.60.0", "2.60.0") is None
    mismatch = ray_mismatch("2.59.0", "2.60.0")
    assert mismatch is not None
    assert mismatch.code == "ray-mismatch"
    assert "ray==2.60.0" in mismatch.message


def test_packages_that_both_have_in_different_versions() -> None:
    client = {"numpy": "1", "pandas": "2", "torch": "3"}
    cluster = {"numpy": "1", "pandas": "3", "scipy": "4"}
    assert differing_packages(client, cluster) == {"pandas": ("2", "3")}


def test_metadata_lies_in_folders_of_two_kinds_and_the_first_on_the_path_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (
        first / "torch-2.1.0+cu118.dist-info", first / "Odd_Name-1.0-py3.11.egg-info", first / "numpy",
        second / "torch-9.dist-info", second / "numpy-2.0.0rc1.dist-info", second / "scipy-.dist-info",
    ):  # fmt: skip
        folder.mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(first), str(tmp_path / "none"), str(second)])
    assert package_versions(("torch", "odd-name", "numpy", "scipy")) == {
        "torch": "2.1.0+cu118", "odd-name": "1.0", "numpy": "2.0.0rc1",
    }  # fmt: skip


def test_versions_come_from_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    assert package_versions(("msgpack", "no-such-package-of-raymq")) == {"msgpack": metadata.version("msgpack")}
    installed = {each: metadata.version(each) for each in ("cloudpickle", "pyzmq", "pytest")}
    assert package_versions(tuple(installed)) == installed
    monkeypatch.setattr(versions, "package_versions", lambda names: dict.fromkeys(names[:2], "9.9"))
    assert description() == {
        "python": platform.python_version(), "raymq": __version__, "ray": "9.9",
        "packages": {versions.COMPARED_PACKAGES[0]: "9.9"},
    }  # fmt: skip
    monkeypatch.setattr(versions, "package_versions", lambda names: {})
    assert description()["ray"] == ""
