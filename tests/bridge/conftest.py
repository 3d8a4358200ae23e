"""What the tests of the bridge share."""

from __future__ import annotations

import pytest

from tests.bridge.fake_ray import stand_in


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's part is played by ``Reference``."""
    stand_in(monkeypatch)
