"""What all tests share: the option that rewrites recordings, the markers, and what must not be skipped."""

import os
from collections.abc import Generator, Iterator
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """An attack that this machine can't make is skipped on a laptop, with ``NOT RUN: why``; in CI it fails."""
    report = yield
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    if report.skipped and "NOT RUN" in reason and os.environ.get("CI"):
        report.outcome = "failed"
    return report


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
