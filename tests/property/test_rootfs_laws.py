"""Laws of root filesystems, with paths from a pool of colliding spellings and places."""

import contextlib
import io
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from templater.image.memory_rootfs_tar import write_tar
from templater.model.entry import FIFO, FILE, Entry
from templater.model.errors import TemplaterError
from templater.model.plan import carry_out
from templater.planning.decide_changes import KEEP, SKIP
from templater.rootfs.confined_root import Root
from templater.rootfs.directory_rootfs import DirectoryRootfs
from templater.rootfs.memory_rootfs import MemoryRootfs
from templater.rootfs.system_calls import entry_of
from templater.writing.apply_plan import apply
from tests.rootfs_builders import MECHANISMS, a_plan, a_rule, snapshot, strays

NAMES = ["a", "b", "c"]
TARGETS = [
    "a", "/a", "b", "/b", "a/b", "/a/b", "..", "../..", "../../../../../canary", "/canary", ".", "/",
    "./a", "a/../b", "b/", "c/..", "../a", "/a/./b/../c", "nothing/here", "/proc/self/root",
]  # fmt: skip
CLEAN = ["/a", "/b", "/c", "/a/a", "/a/b", "/b/a", "/b/b", "/a/b/c"]
ODD = ["/", "", "a", "//a", "/a/", "/a//b", "/./a", "/a/../b", "/a\0", "/..", "/" + "n" * 256, "/caf\udce9"]
#: spellings that metadata.yaml might use
SPELLINGS = [
    *CLEAN, "a", "a/b", "//a", "/a/", "./a/./b", "/a/../b", "/a/b/../../c", "../a", "/../b", "a/b/c/",
]  # fmt: skip
TEXTS = ["", "x", "y", "longer than the others", "\udcff\0\r\n"]

paths = st.sampled_from(CLEAN + ODD)
steps = st.one_of(
    st.tuples(st.just("mkdir"), st.sampled_from(CLEAN)),
    st.tuples(st.just("write"), st.sampled_from(CLEAN), st.sampled_from(TEXTS)),
    st.tuples(st.just("symlink"), st.sampled_from(CLEAN), st.sampled_from(TARGETS)),
    st.tuples(st.just("link"), st.sampled_from(CLEAN), st.sampled_from(CLEAN)),
    st.tuples(st.just("fifo"), st.sampled_from(CLEAN)),
    st.tuples(st.just("remove"), st.sampled_from(CLEAN)),
    st.tuples(st.just("rename"), st.sampled_from(CLEAN), st.sampled_from(CLEAN)),
)
#: initial entries, so that the first step can already collide
STARTS = [
    [],
    [("mkdir", "/a"), ("write", "/a/b", "x"), ("link", "/a/b", "/c"), ("symlink", "/b", "a")],
    [("write", "/a", "y"), ("link", "/a", "/b"), ("symlink", "/c", "/a")],
    [
        ("mkdir", "/a"),
        ("mkdir", "/a/b"),
        ("write", "/a/b/c", "x"),
        ("symlink", "/b", "/a/b"),
        ("mkdir", "/c"),
    ],
    [("mkdir", "/a"), ("symlink", "/b", "../../../../../canary"), ("symlink", "/a/a", "/canary")],
]
histories = st.builds(lambda start, more: start + more, st.sampled_from(STARTS), st.lists(steps, max_size=8))


class OnDisk:
    """The steps of a history through the confined layer, as a program in a chroot would do them."""

    def __init__(self, root: Root) -> None:
        self.root = root

    def take(self, step: tuple[str, ...]) -> None:
        what, path, *rest = step
        above, _, name = path.rpartition("/")
        with self.root.directory(above or "/") as directory:
            if what == "mkdir":
                directory.mkdir(name)
                os.chmod(name, 0o755, dir_fd=directory.fd, follow_symlinks=True)
            elif what == "write":
                found = directory.entry(name)
                if found is not None and found.kind != "file":
                    raise FileExistsError(path)
                fd = directory.create(".new", 0o644)
                os.fchmod(fd, 0o644)
                os.write(fd, rest[0].encode("utf-8", "surrogateescape"))
                os.close(fd)
                directory.rename(".new", directory, name)
            elif what == "symlink":
                directory.symlink(rest[0], name)
            elif what == "fifo":
                directory.mknod(name, stat.S_IFIFO | 0o644)
                os.chmod(name, 0o644, dir_fd=directory.fd)
            elif what == "remove":
                remove(directory.fd, name)
            else:
                to, _, new = rest[0].rpartition("/")
                with self.root.directory(to or "/") as target:
                    if what == "rename":
                        directory.rename(name, target, new)
                    elif stat.S_ISDIR(os.stat(name, dir_fd=directory.fd, follow_symlinks=False).st_mode):
                        raise IsADirectoryError(path)
                    else:
                        directory.link(name, target, new)


def remove(parent: int, name: str) -> None:
    if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        shutil.rmtree(name, dir_fd=parent)
    else:
        os.unlink(name, dir_fd=parent)


def in_memory(tree: MemoryRootfs, step: tuple[str, ...]) -> None:
    what, path, *rest = step
    if what == "write":
        tree.write(path, rest[0].encode("utf-8", "surrogateescape"))
    elif what == "fifo":
        tree.special(path, FIFO)
    else:
        getattr(tree, what)(path, *rest)


def outcome(call: Callable[[], object]) -> object:
    """Return a call's result or its kind of error; the error text is ignored."""
    try:
        seen = call()
        return [getattr(seen, slot) for slot in Entry.__slots__] if isinstance(seen, Entry) else repr(seen)
    except TemplaterError as error:
        return type(error).__name__


def agrees(views: list[object], path: str) -> None:
    for call in (
        lambda view: view.entry(path),
        lambda view: view.read(path, 1000),
        lambda view: view.read(path, 3),
        lambda view: view.listdir(path),
    ):
        first, *others = [outcome(lambda: call(view)) for view in views]
        assert all(other == first for other in others), (path, first, others)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@settings(deadline=None)
@given(history=histories, seen=st.lists(paths, min_size=1, max_size=6))
def test_memory_and_disk_and_tar_give_the_same_tree(mechanism, history, seen):
    tree = MemoryRootfs()
    with tempfile.TemporaryDirectory() as folder, Root(folder, mechanism=mechanism) as root:
        os.chmod(folder, 0o755)
        disk = OnDisk(root)
        for step in history:
            # the test user is not root of this folder in memory: make the owners equal
            refused = outcome(lambda: in_memory(tree, step))
            try:
                disk.take(step)
            except (OSError, TemplaterError) as error:
                assert refused != "None", (step, "in memory it worked, on disk", error)
            else:
                assert refused == "None", (step, "on disk it worked, in memory", refused)
            agrees([tree, DirectoryRootfs(root)], step[1])
        assert archived(tree) == {path[1:]: (*held, entry.target) for path, entry, held in contents(tree)}
        for path in {*seen, *CLEAN}:
            agrees([tree, DirectoryRootfs(root)], path)


def contents(tree: MemoryRootfs) -> Iterator[tuple[str, Entry, tuple[object, ...]]]:
    """Return every entry of a tree with its mode, owner and content."""
    for path, entry in tree.walk():
        content = tree.read(path, 1 << 20) if entry.kind == FILE else b""
        yield path, entry, (entry.mode, entry.uid, entry.gid, content)


def archived(tree: MemoryRootfs) -> dict[str, tuple[object, ...]]:
    """Return the same tree after packing, as Python's own tarfile reads it."""
    buffer = io.BytesIO()
    write_tar(tree, buffer.write)
    buffer.seek(0)
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(fileobj=buffer) as packed:
        for member in packed:
            if member.islnk():
                found[member.name] = found[member.linkname]
                continue
            file = packed.extractfile(member) if member.isreg() else None
            content = b"" if file is None else file.read()
            target = member.linkname if member.issym() else ""
            found[member.name] = (member.mode, member.uid, member.gid, content, target)
    return found


rules = st.builds(
    a_rule,
    st.sampled_from(SPELLINGS),
    create_only=st.booleans(),
    mode=st.sampled_from(["", "0600", "755", "0o444", "nonsense"]),
)
writes = st.lists(
    st.tuples(rules, st.sampled_from([text.encode("utf-8", "surrogateescape") for text in TEXTS]))
)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@settings(deadline=None)
@given(history=histories, files=writes)
def test_writing_to_paths_with_links_changes_nothing_outside_the_root(mechanism, history, files):
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        (top / "canary").mkdir()
        (top / "canary/a").write_text("untouched")
        (top / "deep/root").mkdir(parents=True)
        (top / "deep/root").chmod(0o755)
        outside = snapshot_but(top, "deep/root")
        with Root(str(top / "deep/root"), mechanism=mechanism) as root:
            disk = OnDisk(root)
            for step in history:
                attempt(lambda: disk.take(step))
            rootfs = DirectoryRootfs(root)
            plan = a_plan(files, rootfs)
            before = snapshot(top / "deep/root", times=True)
            try:
                apply(plan, rootfs, durable=False)
            except TemplaterError:
                assert snapshot(top / "deep/root", times=True) == before
            else:
                after_apply(top / "deep/root", rootfs, files)
        assert snapshot_but(top, "deep/root") == outside
        assert strays(top) == []


def after_apply(top: Path, rootfs: DirectoryRootfs, files: list[tuple[object, bytes]]) -> None:
    """A second plan has only KEEP or SKIP, and applying it changes no inode and no time."""
    again = a_plan(files, rootfs)
    assert {change.action for change in again.changes} <= {KEEP, SKIP}
    before = snapshot(top, times=True)
    assert apply(again, rootfs, durable=False) == []
    assert snapshot(top, times=True) == before


@settings(deadline=None)
@given(history=histories, files=writes)
def test_applying_in_memory_and_on_disk_gives_the_same_tree(history, files):
    tree = MemoryRootfs()
    with tempfile.TemporaryDirectory() as folder, Root(folder) as root:
        os.chmod(folder, 0o755)
        for step in history:
            if outcome(lambda: in_memory(tree, step)) == "None":
                OnDisk(root).take(step)
        plan = a_plan(files, tree)
        rootfs = DirectoryRootfs(root)
        assert [repr(change) for change in plan.changes] == [
            repr(change) for change in a_plan(files, rootfs).changes
        ]
        if not plan.failed:
            apply(plan, rootfs, durable=False)
            carry_out(plan.files(), tree)
        for path in CLEAN:
            agrees([tree, rootfs], path)


@settings(deadline=None)
@given(history=histories)
def test_equal_directory_trees_give_equal_archives(history):
    first, second = MemoryRootfs(), MemoryRootfs()
    for step in history:
        if outcome(lambda: in_memory(first, step)) == "None":
            in_memory(second, step)
    archives = []
    for tree in (first, second.copy()):
        buffer = io.BytesIO()
        write_tar(tree, buffer.write)
        archives.append(buffer.getvalue())
    assert archives[0] == archives[1]


def snapshot_but(top: Path, folder: str) -> dict[str, tuple[object, ...]]:
    return {
        name: seen
        for name, seen in snapshot(top).items()
        if name != folder and not name.startswith(folder + "/")
    }


def attempt(call: Callable[[], None]) -> None:
    with contextlib.suppress(OSError, TemplaterError):
        call()


def test_the_size_and_link_count_of_a_directory_are_ignored(tmp_path):
    seen = entry_of(os.stat(tmp_path), "", is_mount=False)
    assert (seen.nlink, seen.size) == (1, 0)
