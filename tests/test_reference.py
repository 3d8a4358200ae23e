"""docs/reference.md has a row for each public name of the Ray that is installed, and promises nothing that is not there."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from raymq.absent import ABSENT, reason

TEXT = (Path(__file__).parents[1] / "docs" / "reference.md").read_text()
SECTIONS = ("ray", "ray.util", "ray.util.state", "ray.experimental", "ray.exceptions")
ANSWERS = ("works", "works, differently", "not on a client")

ROWS: list[tuple[str, str, str, str]] = [
    (section, *match)
    for section in SECTIONS
    for match in re.findall(
        r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", TEXT.split(f"\n## {section}\n")[1].split("\n## ")[0], re.MULTILINE
    )
]
"""Section, name, answer, and what is said of it."""


def told(section: str) -> list[str]:
    return [name for where, name, *_ in ROWS if where == section]


def public(module: ModuleType) -> set[str]:
    """The public names of a module of Ray's, and the public modules in it."""
    if hasattr(module, "__all__"):
        names = set(module.__all__)
    else:  # what its own code defines
        found = set()
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Assign):
                found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        # A class or a list of this module's; not an object of somebody else's class, such as a logger.
        here = {name for name in found if getattr(vars(module)[name], "__module__", module.__name__) == module.__name__}
        names = {name for name in here if not name.startswith("_")}
    within = {entry.name for entry in pkgutil.iter_modules(getattr(module, "__path__", ()))}
    return names | {name for name in within if name.isidentifier() and not name.startswith("_")}


@pytest.mark.parametrize("section", SECTIONS)
def test_each_public_name_of_ray_has_one_row_and_no_other_name(section: str) -> None:
    pytest.importorskip("ray", reason="no Ray is installed here to compare with")
    names = told(section)
    assert len(names) == len(set(names))
    assert sorted(set(names) ^ public(import_module(section))) == []


def test_every_line_of_a_table_is_a_row() -> None:
    lines = [line for line in TEXT.splitlines() if line.startswith("|")]
    heads = [line for line in lines if line.startswith(("| name |", "|---|"))]
    assert len(lines) == len(ROWS) + len(heads)
    assert len(heads) == 2 * len(SECTIONS)


@pytest.mark.parametrize(("section", "name", "answer", "remark"), ROWS, ids=[f"{row[0]}.{row[1]}" for row in ROWS])
def test_a_row_tells_the_truth(section: str, name: str, answer: str, remark: str) -> None:
    module = section.replace("ray", "raymq", 1)
    assert answer in ANSWERS
    assert remark.strip().endswith(".")
    within = f"{section}.{name}".partition(".")[2]
    if answer == "not on a client":
        assert remark == reason(within)
    else:
        assert within not in ABSENT
        assert hasattr(import_module(module), name) or import_module(f"{module}.{name}")


def test_what_is_not_on_a_client_is_in_the_tables() -> None:
    rows = {f"{section}.{name}".partition(".")[2] for section, name, answer, _ in ROWS if answer == ANSWERS[-1]}
    assert rows == set(ABSENT)


@pytest.mark.parametrize("name", ["cancel", "get", "get_actor", "kill", "put", "timeline", "wait"])
def test_arguments_have_ray_s_names(name: str) -> None:
    """In the module and in both kinds of session; those that begin with an underscore are told of in the table."""
    theirs = inspect.signature(getattr(pytest.importorskip("ray"), name)).parameters
    wanted = [(one.name, one.kind) for one in theirs.values() if not one.name.startswith("_")]
    raymq = import_module("raymq")
    for ours in (getattr(raymq, name), getattr(raymq.Session, name), getattr(raymq.AsyncSession, name)):
        given = inspect.signature(ours).parameters.values()
        assert [(one.name, one.kind) for one in given if one.name != "self"] == wanted
