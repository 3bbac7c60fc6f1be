"""What all tests share: the option that rewrites recordings, and the markers."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.rootfs_builders import Mounts

MARKERS = {
    "live": "starts a real container runtime or daemon",
    "slow": "takes more than a few seconds",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="rewrite goldens and sessions; review the diff")


def pytest_configure(config: pytest.Config) -> None:
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    """Whether recordings are being rewritten."""
    return bool(request.config.getoption("--update"))


@pytest.fixture
def mounts() -> "Iterator[Mounts]":
    """Mounts that are taken away again after the test; needs root."""
    from tests.rootfs_builders import Mounts

    made = Mounts()
    try:
        yield made
    finally:
        made.end()
