"""A root filesystem with links, for each mechanism of the confined layer."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from templater.rootfs.confined_root import Root
from tests.rootfs_builders import MECHANISMS, a_directory

OUTSIDE = "the secret of the host"


@pytest.fixture(params=MECHANISMS)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Root]:
    (tmp_path / "host").mkdir()
    (tmp_path / "host/hostname").write_text(OUTSIDE)
    top = a_directory(tmp_path / "root", {"etc/hostname": "inside", "host/hostname": "inside too"})
    for link, target in {
        "abs": "/etc",
        "esc": "../../../../../host",
        "host_abs": str(tmp_path / "host"),
        "inner": "etc/hostname",
        "up": "etc/../etc/./hostname",
        "loop": "loop",
        "ring": "ring2",
        "ring2": "ring",
        "dangling": "/nothing/here",
        "self": "/proc/self/root",
    }.items():
        (top / link).symlink_to(target)
    os.mkfifo(top / "fifo")
    with Root(str(top), mechanism=request.param) as root:
        assert root.mechanism == request.param
        yield root
