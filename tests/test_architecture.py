"""Who may import what, and the other rules of the design that the code itself can be asked about."""

from __future__ import annotations

import ast
import graphlib
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import raymq
import raymq_bridge
import raymq_broker
import raymq_cli

PACKAGES = {
    package.__name__: Path(str(package.__file__)).parent for package in (raymq, raymq_broker, raymq_bridge, raymq_cli)
}
OURS = tuple(PACKAGES)


def modules() -> Iterator[tuple[str, Path]]:
    for name, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = (name, *path.relative_to(folder).with_suffix("").parts)
            yield ".".join(part for part in parts if part != "__init__"), path


MODULES = dict(modules())
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def imports(tree: ast.AST) -> Iterator[str]:
    """The dotted names that are imported, wherever in the module; types that only checkers read are left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)
        yield from imports(node)


IMPORTS = {name: set(imports(tree)) for name, tree in TREES.items()}


DROPIN = {f"raymq.dropin.{name}" for name in ("actors", "api", "builder", "dialect", "internals", "refs")}
"""What an installed Ray asks for: the one part of the client that knows it."""


def importers(package: str) -> set[str]:
    return {name for name, found in IMPORTS.items() if any(i == package or i.startswith(package + ".") for i in found)}


def within(name: str, allowed: tuple[str, ...]) -> bool:
    return any(name == one or name.startswith(one + ".") for one in allowed)


# --- arrows


def test_ray_is_only_imported_where_ray_asked_for_it() -> None:
    assert importers("raymq.dropin") - {name for name in MODULES if within(name, ("raymq.dropin",))} == {"raymq.api"}


CLUSTER_FACE = {
    f"raymq_bridge.cluster.{name}"
    for name in (
        "arrivals",
        "calls",
        "copies",
        "driver",
        "errors",
        "generators",
        "operations",
        "references",
        "serialized",
    )
}
"""What faces Ray by its import; ``names`` finds things in Ray by their names."""

LOOPS = ("raymq.daemon", "raymq.packets", "raymq.waking")
"""What loops around sockets need, wherever they run."""


def test_all_four_packages_are_looked_at() -> None:
    assert {"raymq.protocol.stream", "raymq_broker.core", "raymq_bridge.link", "raymq_cli.commands"} <= MODULES.keys()


@pytest.mark.parametrize(
    ("package", "only"),
    [
        (
            "ray",
            {
                *CLUSTER_FACE,
                "raymq_bridge.services",
                "raymq_bridge.copying",
                "raymq_bridge.holder",
                "raymq_bridge.local_ray",
                *DROPIN,
                "raymq_bridge.packages",
            },
        ),
        ("joblib", {"raymq.util.joblib.ray_backend"}),
        ("msgpack", {"raymq.protocol.codec"}),
        ("cloudpickle", {"raymq.pickling"}),
        ("pickle", {"raymq.pickling", "raymq_bridge.copying"}),  # which names buffers by it, and unpickles nothing
    ],
)
def test_one_module_alone_knows_a_package(package: str, only: set[str]) -> None:
    assert importers(package) == only


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("raymq", ("raymq",)),
        ("raymq.protocol", ("raymq.protocol", "raymq.errors")),
        ("raymq_broker", ("raymq_broker", "raymq.protocol", "raymq.errors", *LOOPS)),
        ("raymq_bridge", ("raymq_bridge", "raymq.protocol", "raymq.errors", "raymq.pickling", *LOOPS)),
        # Sent by value to workers that need not have raymq:
        ("raymq_bridge.publications", ("raymq_bridge.publications",)),
        ("raymq_bridge.copying", ("raymq_bridge.copying", "raymq_bridge.publications")),
        ("raymq_bridge.holder", ("raymq_bridge.holder", "raymq_bridge.copying", "raymq_bridge.publications")),
    ],
)
def test_arrows_run_one_way(package: str, allowed: tuple[str, ...]) -> None:
    for name in MODULES:
        if within(name, (package,)):
            wrong = {found for found in IMPORTS[name] if within(found, OURS) and not within(found, allowed)}
            assert not wrong, f"{name} imports {wrong}"


EXTRAS = {"raymq.protocol.compression": {"zstandard", "lz4"}}
"""Modules of the client that use what an extra brings, if it is there."""


def test_the_thin_client_imports_nothing_but_its_three_requirements() -> None:
    third_party = {"zmq", "msgpack", "cloudpickle"}
    for name, found in IMPORTS.items():
        # For the head node, for those who have joblib, for those who have Ray.
        if within(name, ("raymq",)) and name not in {"raymq.daemon", "raymq.util.joblib.ray_backend", *DROPIN}:
            tops = {one.partition(".")[0] for one in found} - sys.stdlib_module_names - {"raymq"}
            tops -= EXTRAS.get(name, set())
            assert tops <= third_party, f"{name} imports {tops - third_party}"


def test_imports_run_in_no_circle() -> None:
    """Wherever in a module they stand: an import inside of a function only hides a circle."""
    graph = {name: {one for one in found if one in MODULES and one != name} for name, found in IMPORTS.items()}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(MODULES)


CORES = [
    *(name for name in MODULES if within(name, ("raymq.protocol",))),
    "raymq.connection",
    *(name for name in MODULES if within(name, ("raymq_broker",)) and not name.endswith((".server", ".arrivals", ".__main__"))),
    "raymq_bridge.link", "raymq_bridge.inbox", "raymq_bridge.table", "raymq_bridge.watch",
    "raymq_bridge.lines", "raymq_bridge.fetches", "raymq_bridge.crowds",
    "raymq_cli.backoff", "raymq_cli.events", "raymq_cli.last_words", "raymq_cli.child", "raymq_cli.supervisor",
    "raymq_bridge.publications", "raymq.duration", "raymq.ahead", "raymq.readiness",
]  # fmt: skip
IMPURE = (
    "zmq",
    "socket",
    "time",
    "datetime",
    "logging",
    "structlog",
    "threading",
    "asyncio",
    "queue",
    "random",
    "secrets",
)


@pytest.mark.parametrize("name", CORES)
def test_cores_know_no_socket_clock_thread_or_logger(name: str) -> None:
    shared = ("raymq_bridge.table", "raymq_bridge.lines", "raymq_bridge.fetches")  # by threads: each has its lock
    allowed = {"threading"} if name in shared else set()
    assert {found.partition(".")[0] for found in IMPORTS[name]} & set(IMPURE) <= allowed


# --- at run time


def loaded_by(statement: str) -> set[str]:
    """The modules that are there after a statement in a fresh interpreter."""
    code = f"import sys; {statement}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_the_broker_gets_neither_ray_nor_anything_that_unpickles() -> None:
    loaded = loaded_by("import raymq_broker.__main__")
    assert "raymq_broker.server" in loaded
    assert not loaded & {"ray", "cloudpickle", "raymq.pickling", "raymq.session", "raymq.wire", "raymq_bridge"}


def test_importing_raymq_loads_next_to_nothing() -> None:
    loaded = loaded_by("import raymq")
    assert "raymq" in loaded
    assert not loaded & {"zmq", "cloudpickle", "msgpack", "raymq.session", "raymq.protocol"}


def test_using_the_client_never_loads_the_head_nodes_packages() -> None:
    loaded = loaded_by("import raymq; [getattr(raymq, name) for name in raymq.__all__]")
    assert "raymq.session" in loaded
    assert "raymq.uploading" not in loaded  # which only those need who upload files
    assert not loaded & {"ray", "structlog", "click", "rich", "psutil", "numpy", "joblib", *OURS[1:]}


def test_the_command_line_does_not_load_ray() -> None:
    assert "ray" not in loaded_by("import raymq_cli.__main__")


# --- the code


def test_destructors_only_append_to_a_deque() -> None:
    """Anything else can deadlock in the middle of any code (ray#59643)."""
    found = {}
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == "__del__":
                found[name] = [ast.unparse(statement) for statement in node.body]
    assert found == {"raymq.refs": ["self._dropped.append(self.number)"]}


def test_nothing_that_comes_from_outside_is_asserted() -> None:
    """``python -O`` would take it for right."""
    assert [name for name, tree in TREES.items() if any(isinstance(node, ast.Assert) for node in ast.walk(tree))] == []


# --- public names


@pytest.mark.parametrize("name", raymq.__all__)
def test_public_names_are_there_and_documented(name: str) -> None:
    value: Any = getattr(raymq, name)
    if name == "__version__":
        assert value.count(".") == 2
        return
    assert value.__doc__, f"raymq.{name} has no docstring"
    if isinstance(value, type) and not issubclass(value, BaseException) and value.__module__.startswith("raymq"):
        public = {key: method for key, method in vars(value).items() if not key.startswith("_") and callable(method)}
        assert [key for key, method in public.items() if not method.__doc__] == []


def test_public_names_are_sorted_and_no_other() -> None:
    assert sorted(raymq.__all__) == raymq.__all__
    assert dir(raymq) == raymq.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        raymq.nothing  # noqa: B018


@pytest.mark.parametrize("name", [name for name in MODULES if "__main__" not in name and "local_ray" not in name])
def test_every_module_says_what_it_is(name: str) -> None:
    assert ast.get_docstring(TREES[name]), f"{name} has no docstring"


def test_every_package_says_that_it_is_typed() -> None:
    for folder in PACKAGES.values():
        assert (folder / "py.typed").is_file()


def test_modules_can_be_imported_on_their_own() -> None:
    """No circle that only works from one end."""
    for name in (
        "raymq.refs",
        "raymq.actors",
        "raymq.functions",
        "raymq.calling",
        "raymq.life",
        "raymq.session",
        "raymq.api",
        "raymq.exceptions",
        "raymq.protocol.channel",
    ):
        assert isinstance(importlib.import_module(name), ModuleType)
        assert name in loaded_by(f"import {name}")
