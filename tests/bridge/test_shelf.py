"""What a session keeps by name."""

from __future__ import annotations

import pytest

from raymq_bridge import shelf as module
from raymq_bridge.shelf import Shelf


def test_kept_until_it_is_no_longer() -> None:
    shelf = Shelf()
    shelf.keep("loss", 1)
    shelf.keep("model", 2)
    shelf.keep("loss", 3)
    assert (shelf.kept("loss"), shelf.names(), len(shelf)) == (3, ["loss", "model"], 2)
    shelf.unkeep("loss")
    assert shelf.names() == ["model"]
    with pytest.raises(KeyError, match="'loss'; it has 'model'"):
        shelf.kept("loss")
    with pytest.raises(KeyError, match="'loss'"):
        shelf.unkeep("loss")


def test_an_error_names_a_few() -> None:
    shelf = Shelf()
    with pytest.raises(KeyError, match="no names at all"):
        shelf.kept("x")
    for number in range(11):
        shelf.keep(str(number), number)
    with pytest.raises(KeyError, match=r"it has '0', .*'9', \.\.\."):
        shelf.kept("x")


@pytest.mark.parametrize("name", ["", "x" * 201, 7, None])
def test_names_that_are_none(name: object) -> None:
    with pytest.raises(ValueError, match="1 to 200 characters"):
        Shelf().keep(name, 1)  # type: ignore[arg-type]


def test_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_MAX", 2)
    shelf = Shelf()
    shelf.keep("a", 1)
    shelf.keep("b", 2)
    shelf.keep("a", 3)
    with pytest.raises(ValueError, match="as many as it may"):
        shelf.keep("c", 4)


def test_all_of_it_can_be_asked_for() -> None:
    assert list(Shelf().operations) == ["keep", "kept", "unkeep", "kept_names"]
