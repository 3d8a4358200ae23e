"""What the README promises by name is there: options, errors, folders, links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import raymq

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def cells(column: int, head: str) -> list[str]:
    """The names in backticks in a column of the table whose first line begins so."""
    body = README.split(f"\n| {head} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [name for line in body for name in re.findall(r"`([^`]+)`", line.split("|")[column])]


def test_the_options_of_start_are_those_of_the_command() -> None:
    pytest.importorskip("click", reason="the thin client has no command line")
    from raymq_cli.commands import raymq as command

    start = command.commands["start"]  # type: ignore[attr-defined]
    shown = [option.opts[0] for option in start.params if not option.hidden]
    assert cells(1, "option of `raymq start`") == shown


def test_the_errors_of_connect_are_all_there_are() -> None:
    told = cells(1, "class")
    assert len(told) == len(set(told))
    assert set(told) == {kind.__name__ for kind in raymq.ConnectError.__subclasses__()}


def test_what_is_named_is_public() -> None:
    for name in re.findall(r"(?<![\w.])ray\.(\w+)", re.sub(r"(?s)```sh.*?```|ray\.io|ray\.util", "", README)):
        assert name in raymq.__all__, name


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "protocol.md"])
def test_links_and_folders_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    folders = re.findall(r"\| `([\w/]+/)` \|", text)
    files = re.findall(r"`((?:client|broker|worker_bridge|cli|tests)/[\w/]+\.\w+)`", text)
    assert [name for name in (*targets, *folders, *files) if not (ROOT / name).exists()] == []
