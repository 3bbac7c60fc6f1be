"""Folders, certificates, images and daemons for live tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from templater.distribution.tree import Tree
from tests.streams.server import make_certificates

from . import harness
from .daemon import Daemon
from .images import make_tree, need_programs
from .incus import Incus, an_incus
from .lxd import Lxd, an_lxd


@pytest.fixture
def folder() -> Iterator[Path]:
    yield from harness.new_folder()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_programs("incus")
    return make_certificates(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture(scope="module")
def image_tree(certificates: Path) -> Iterator[Tree]:
    need_programs("incus", "mksquashfs")
    for folder in harness.new_folder():
        yield make_tree(folder)


@contextmanager
def trusting(certificates: Path) -> Iterator[None]:
    """Make all programs trust the test's certificate authority, including a daemon that downloads images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
        yield


@pytest.fixture(scope="module")
def trusting_incus(certificates: Path) -> Iterator[Incus]:
    with trusting(certificates):
        yield from an_incus()


@pytest.fixture(scope="module")
def trusting_lxd(certificates: Path) -> Iterator[Lxd]:
    with trusting(certificates):
        yield from an_lxd()


@pytest.fixture(params=["trusting_incus", "trusting_lxd"], ids=["incus", "lxd"])
def trusting_daemon(request: pytest.FixtureRequest) -> Daemon:
    """Return an Incus or LXD that trusts the certificate authority of the fixture `certificates`."""
    return request.getfixturevalue(request.param)
