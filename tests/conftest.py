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
    """What this machine can't test is skipped on a laptop, with its reason. CI has everything: there it fails."""
    report = yield
    skipped = report.skipped and isinstance(report.longrepr, tuple)  # and no xfail
    if skipped and os.environ.get("CI") and "recorded with" not in report.longrepr[2]:
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
