"""Folders, certificates, images and a daemon for live tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from templater.distribution.tree import Tree
from tests.streams.server import make_certificates

from . import harness
from .images import make_tree, need_programs
from .incus import Incus, an_incus


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


@pytest.fixture(scope="module")
def trusting_incus(certificates: Path) -> Iterator[Incus]:
    """Run a daemon that trusts the certificate authority of `certificates`."""
    before = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = str(certificates / "ca.pem")  # the daemon itself downloads the image
    try:
        yield from an_incus()
    finally:
        if before is None:
            del os.environ["SSL_CERT_FILE"]
        else:
            os.environ["SSL_CERT_FILE"] = before
