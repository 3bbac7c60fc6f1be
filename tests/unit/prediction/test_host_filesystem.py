"""The simulated file system opens each path with the same error as the kernel of this machine."""

import os
from itertools import product
from pathlib import Path

import pytest

from templater.model.entry import DIRECTORY, FILE, SYMLINK, Entry
from templater.prediction.errno_errors import ENOENT, Errno
from templater.prediction.host_filesystem import HostFilesystem
from templater.prediction.instance_files import Surroundings
from templater.rootfs.memory import MemoryRootfs

LINKS = {
    "to-file": "file", "to-folder": "folder", "dangling": "nowhere", "loop": "loop", "file-slash": "file/",
    "file-dot": "file/.", "in-file": "file//x", "folder-slash": "folder/", "nowhere-slash": "nowhere/",
}  # fmt: skip
NAMES = ("file", "folder", "missing", *LINKS)
ENDS = ("", "/", "/x", "//x", "/.", "/./x", "/..", "/../file")


def kernel(folder: Path, path: str, flags: int) -> str:
    """Return the error of open(2), as Go writes it, or ""."""
    folder.mkdir()
    (folder / "file").touch()
    (folder / "folder").mkdir()
    for name, target in LINKS.items():
        (folder / name).symlink_to(target)
    try:
        os.close(os.open(f"{folder}/{path}", flags))
    except OSError as error:
        return error.strerror.lower()
    return ""


def simulated(path: str, create: bool) -> str:
    tree = {
        "/file": Entry(FILE), "/folder": Entry(DIRECTORY, 0o755),
        **{f"/{name}": Entry(SYMLINK, target=target) for name, target in LINKS.items()},
    }  # fmt: skip
    filesystem = HostFilesystem(MemoryRootfs(tree), Surroundings())
    try:
        if create:
            filesystem.open_truncate(f"/{path}")
        elif filesystem.walk(f"/{path}")[1] is None:
            return ENOENT
    except Errno as error:
        return str(error)
    return ""


@pytest.mark.parametrize("create", [False, True])
def test_opening_a_path_fails_with_the_error_of_the_kernel(create: bool, tmp_path: Path) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC if create else os.O_RDONLY
    paths = [name + end for name, end in product(NAMES, ENDS)]
    found = {path: simulated(path, create) for path in paths}
    assert found == {path: kernel(tmp_path / str(n), path, flags) for n, path in enumerate(paths)}
