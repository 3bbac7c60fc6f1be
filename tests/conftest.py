"""What all tests share: the option that rewrites recordings, and the markers."""

import pytest

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
