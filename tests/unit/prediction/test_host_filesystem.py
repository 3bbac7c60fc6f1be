"""The simulated file system opens each path with the same error as the kernel of this machine."""

import errno
import os
from itertools import product
from pathlib import Path

import pytest

from templater.model.entry import APPEND_ONLY, DIRECTORY, FILE, IMMUTABLE, SYMLINK, Entry
from templater.prediction import errno_errors
from templater.prediction.errno_errors import ELOOP, ENOENT, EPERM, Errno
from templater.prediction.go_os_root import Root
from templater.prediction.host_filesystem import HostFilesystem, Node
from templater.prediction.known_host_files import Surroundings
from templater.rootfs.memory_rootfs import MemoryRootfs

LINKS = {
    "to-file": "file", "to-folder": "folder", "dangling": "nowhere", "loop": "loop", "file-slash": "file/",
    **{f"chain{n}": f"chain{n - 1}" if n > 1 else "file" for n in range(1, 42)}, "file-dot": "file/.", "in-file": "file//x", "folder-slash": "folder/", "nowhere-slash": "nowhere/",
}  # fmt: skip
NAMES = ("file", "folder", "missing", "n" * 255, "n" * 256, "é" * 127, "é" * 128, *LINKS)
ENDS = ("", "/", "/x", "//x", "/.", "/./x", "/..", "/../file")


def make_links(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "folder").mkdir()
    for name, target in LINKS.items():
        (folder / name).symlink_to(target)


def kernel(folder: Path, path: str, flags: int) -> str:
    """Return the error of open(2), as Go writes it, or "". A new file is deleted again.

    If other processes rename files meanwhile, Linux sometimes walks a path again, and counts its links twice.
    """
    before = {name: os.listdir(name) for name in (folder, folder / "folder")}
    for attempt in range(10):
        try:
            os.close(os.open(f"{folder}/{path}", flags))
            break
        except OSError as error:
            if error.errno != errno.ELOOP or attempt == 9:
                return error.strerror.lower()
    for name, names in before.items():
        for new in set(os.listdir(name)) - set(names):
            (name / new).unlink()
    return ""


def with_links() -> HostFilesystem:
    tree = {
        "/file": Entry(FILE), "/folder": Entry(DIRECTORY, 0o755),
        **{f"/{name}": Entry(SYMLINK, target=target) for name, target in LINKS.items()},
    }  # fmt: skip
    return HostFilesystem(MemoryRootfs(tree), Surroundings())


def simulated(path: str, create: bool) -> str:
    filesystem = with_links()
    try:
        if create:
            filesystem.open_truncate(f"/{path}")
        elif filesystem.walk(f"/{path}")[1] is None:
            return ENOENT
    except Errno as error:
        return str(error)
    return ""


def test_the_os_root_type_of_go_follows_at_most_eight_links() -> None:
    filesystem = with_links()
    root = Root(filesystem, filesystem.top)
    assert root.stat("chain8").kind == FILE
    with pytest.raises(Errno, match=ELOOP):
        root.stat("chain9")


@pytest.mark.parametrize(
    "name",
    ["ENOENT", "ENOTDIR", "EISDIR", "EEXIST", "ELOOP", "ENXIO", "ENAMETOOLONG", "EINVAL", "EPERM", "EXDEV"],
)
def test_system_errors_have_the_same_texts_as_this_machine(name: str) -> None:
    assert getattr(errno_errors, name) == os.strerror(getattr(errno, name)).lower()


@pytest.mark.slow
@pytest.mark.parametrize("create", [False, True])
def test_opening_a_path_fails_with_the_error_of_the_kernel(create: bool, tmp_path: Path) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC if create else os.O_RDONLY
    paths = [name + end for name, end in product(NAMES, ENDS)]
    found = {path: simulated(path, create) for path in paths}
    make_links(tmp_path)
    assert found == {path: kernel(tmp_path, path, flags) for path in paths}


def test_ids_are_shifted_only_in_the_root_filesystem() -> None:
    surroundings = Surroundings(shift=1000)
    tree = {path: Entry(DIRECTORY, 0o2755, 3, 4) for path in ("/etc", f"{surroundings.instance}/rootfs/etc")}
    filesystem = HostFilesystem(MemoryRootfs(tree), surroundings)
    found = {path: filesystem.stat(path) for path in tree}
    assert [(node.uid, node.gid) for node in found.values()] == [(3, 4), (1003, 1004)]
    place = filesystem.open_truncate(f"{surroundings.instance}/rootfs/etc/new")
    made = filesystem.node(place)
    assert made is not None and (made.uid, made.gid, made.mode) == (0, 1004, 0o644), "a setgid parent"


class Flagged(MemoryRootfs):
    """A root filesystem in which the name of a file or directory is its flag."""

    def flag(self, path: str) -> str:
        name = path.rpartition("/")[2]
        return name if name in (IMMUTABLE, APPEND_ONLY) else ""


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/plain", ""), (f"/{IMMUTABLE}", EPERM), (f"/{APPEND_ONLY}", EPERM),
        (f"/a/{IMMUTABLE}/new", EPERM), (f"/a/{APPEND_ONLY}/new", ""),
    ],
)  # fmt: skip
def test_a_write_fails_if_a_file_flag_forbids_it(path: str, error: str) -> None:
    files = {f"/{name}": "text" for name in ("plain", IMMUTABLE, APPEND_ONLY)}
    folders = {f"/a/{name}": Entry(DIRECTORY, 0o755) for name in (IMMUTABLE, APPEND_ONLY)}
    filesystem = HostFilesystem(Flagged({**files, **folders}), Surroundings())
    if error:
        with pytest.raises(Errno, match=error):
            filesystem.open_truncate(path)
        assert not filesystem.journal
    else:
        assert filesystem.content(filesystem.open_truncate(path)) == b""


def test_the_content_of_a_file_is_the_last_written_text() -> None:
    filesystem = HostFilesystem(MemoryRootfs({"/a": "old"}), Surroundings())
    place, _ = filesystem.walk("/a")
    assert filesystem.content(place) == b"old"
    filesystem.write(place, b"new")
    assert filesystem.content(place) == b"new"
    filesystem.undo(0)
    assert filesystem.content(place) == b"old"


def test_only_the_parents_of_the_targets_are_assumed_to_be_directories() -> None:
    filesystem = HostFilesystem(MemoryRootfs({"/root": Entry(DIRECTORY, 0o755)}), Surroundings(shift=7))
    filesystem.assume_directories("/root", ["etc/a/b", "//x/./y/../z"])
    known = ("/root/etc", "/root/etc/a", "/root/x")
    for path in known:
        assert filesystem.stat(path) == Node(DIRECTORY, 0o755, 7, 7)
    for path in ("/etc", "/root/etc/a/b", "/root/x/y", "/root/x/z"):
        with pytest.raises(Errno, match=ENOENT):
            filesystem.stat(path)
