"""Run every attack with each of the mechanisms that keep templater inside a root filesystem."""

from pathlib import Path

import pytest

from tests.attacks.outside import Scene
from tests.rootfs_builders import MECHANISMS


@pytest.fixture(params=MECHANISMS)
def scene(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setenv("TEMPLATER_CONFINED", request.param)
    return Scene(tmp_path, request.param)
