"""Fixtures with folders for live tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from . import harness


@pytest.fixture
def folder() -> Iterator[Path]:
    yield from harness.new_folder()
