"""Fixtures that several tests of image trees share."""

import shutil
from pathlib import Path

import pytest

from templater.distribution.tree import Tree
from tests.streams.server import make_certificates


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the certificate authority and the certificate of a server."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    return make_certificates(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Return an empty tree, which does not exist yet."""
    return Tree(str(tmp_path / "tree"))
