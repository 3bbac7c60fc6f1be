"""Behaviour specific to the root filesystem in memory; the property tests compare it with one on disk."""

import pytest

from templater.model.entry import DIRECTORY, FIFO, SYMLINK, Entry
from templater.model.errors import LimitError, RefusedError, TemplaterError, WriteError
from templater.model.plan import carry_out
from templater.rootfs.memory import MemoryRootfs
from tests.rootfs_builders import a_plan


def test_a_rootfs_in_memory_is_built_from_texts_and_entries():
    tree = MemoryRootfs(
        {
            "/etc/hosts": "text",
            "/etc/l": Entry(SYMLINK, target="hosts"),
            "/f": Entry(FIFO),
            "/etc": Entry(DIRECTORY, 0o700),
        }
    )
    assert [(path, entry.kind) for path, entry in tree.walk()] == [
        ("/etc", "directory"), ("/etc/hosts", "file"), ("/etc/l", "symlink"), ("/f", "fifo"),
    ]  # fmt: skip
    assert tree.entry("/etc").mode == 0o700


def test_hard_links_in_memory_share_their_content_until_one_is_replaced():
    tree = MemoryRootfs({"/a": "old"})
    tree.link("/a", "/b")
    assert tree.entry("/a").nlink == 2
    tree.write("/b", b"new")
    assert (tree.read("/a", 9), tree.read("/b", 9), tree.entry("/a").nlink) == (b"old", b"new", 1)


def test_changing_a_copy_of_a_tree_in_memory_does_not_change_the_original():
    tree = MemoryRootfs({"/a": "old"})
    tree.link("/a", "/b")
    twin = tree.copy()
    twin.write("/a", b"new")
    twin.mkdir("/d")
    assert (tree.read("/a", 9), tree.entry("/d"), tree.entry("/b").nlink) == (b"old", None, 2)
    assert twin.entry("/b").nlink == 1


def test_writing_to_a_mount_point_in_memory_keeps_its_hard_links_and_mode():
    tree = MemoryRootfs({"/etc/hosts": "old"})
    tree.link("/etc/hosts", "/outside")
    tree.mount("/etc/hosts")
    tree.write("/etc/hosts", b"new", mode=0o600)
    assert (tree.read("/outside", 9), tree.entry("/etc/hosts").mode) == (b"new", 0o644)


def test_an_impossible_change_of_a_tree_in_memory_raises_an_error():
    tree = MemoryRootfs({"/d/f": "text", "/l": Entry(SYMLINK, target="d")})
    for call, kind in [
        (lambda: tree.write("/l/f", b""), RefusedError), (lambda: tree.write("/d", b""), RefusedError),
        (lambda: tree.write("/", b""), RefusedError), (lambda: tree.write("/no/f", b""), WriteError),
        (lambda: tree.mkdir("/d"), WriteError), (lambda: tree.remove("/x"), WriteError),
        (lambda: tree.rename("/d", "/d/e"), WriteError), (lambda: tree.link("/d", "/e"), WriteError),
        (lambda: tree.read("/d/f", 3), LimitError), (lambda: tree.mount("/x"), WriteError),
    ]:  # fmt: skip
        with pytest.raises(kind):
            call()


def test_the_error_about_a_missing_parent_names_the_parent():
    with pytest.raises(WriteError, match=r"^'/no/f': '/no' does not exist$"):
        MemoryRootfs().write("/no/f", b"")


def test_writing_a_file_in_memory_can_create_its_missing_parents():
    tree = MemoryRootfs({"/etc/hosts": "old"})
    carry_out(a_plan({"/etc/hosts": "new", "/srv/a/x": "y"}, tree, mode="0600").files(), tree)
    assert (tree.read("/etc/hosts", 9), tree.entry("/etc/hosts").mode) == (b"new", 0o644)
    assert (tree.entry("/srv/a").mode, tree.entry("/srv/a/x").mode) == (0o755, 0o600)


@pytest.mark.parametrize(
    "change",
    [
        lambda rootfs: rootfs.own("/etc/b", 0o600, 1, 1),
        lambda rootfs: rootfs.mount("/etc/b"),
        lambda rootfs: rootfs.set_flag("/etc/b", "immutable"),
    ],
)
def test_changing_the_attributes_of_a_missing_path_in_memory_is_refused(change) -> None:
    rootfs = MemoryRootfs({"/etc/a": "text"})
    with pytest.raises(WriteError, match=r"^'/etc/b' does not exist$"):
        change(rootfs)
    assert rootfs.entry("/etc/b") is None


def test_every_kind_of_name_in_memory_can_get_another_owner_and_mode() -> None:
    rootfs = MemoryRootfs(
        {"/d": Entry(DIRECTORY), "/f": "text", "/l": Entry(SYMLINK, target="f"), "/p": Entry(FIFO)}
    )
    for number, path in enumerate(("/", "/d", "/f", "/l", "/p"), start=1):
        rootfs.own(path, 0o107701, number, number + 10)
        entry = rootfs.entry(path)
        assert (entry.uid, entry.gid) == (number, number + 10)
        assert entry.mode == (0o777 if entry.kind == SYMLINK else 0o7701)


def test_a_rootfs_in_memory_refuses_what_the_kernel_refuses():
    tree = MemoryRootfs({"/d/a": "x", "/e": Entry(DIRECTORY, 0o755), "/f": "x"})
    for call, message in (
        (lambda: tree.overwrite("/d", b""), "'/d' is not a file"),
        (lambda: tree.overwrite("/none", b""), "'/none' is not a file"),
        (lambda: tree.rename("/e", "/d"), "'/d' is not empty"),
        (lambda: tree.rename("/f", "/d"), "'/d' is a directory"),
        (lambda: tree.rename("/d", "/d/x"), "'/d' can't be moved into itself"),
        (lambda: tree.remove("/none"), "'/none' does not exist"),
    ):
        with pytest.raises(WriteError) as caught:
            call()
        assert caught.value.message == message
    with pytest.raises(TemplaterError, match=r"'/f' is a file"):
        tree.make_parents("/f/x/y")
    assert repr(tree) == "MemoryRootfs(4 names)"
    tree.rename("/d", "/e")
    assert [path for path, _ in tree.walk()] == ["/e", "/e/a", "/f"]


def test_new_names_in_memory_have_the_usual_modes_and_belong_to_root():
    tree = MemoryRootfs({"/text": "x"})
    tree.write("/f", b"x")
    tree.mkdir("/d")
    tree.special("/p", FIFO)
    tree.make_parents("/a/b/c")
    tree.own("/d", 0o2750, 5, 6)
    tree.make_parents("/d/e/f")
    found = {path: (entry.mode, entry.uid, entry.gid, entry.rdev) for path, entry in tree.walk()}
    assert found == {
        "/a": (0o755, 0, 0, 0), "/a/b": (0o755, 0, 0, 0), "/d": (0o2750, 5, 6, 0), "/d/e": (0o2755, 0, 0, 0),
        "/f": (0o644, 0, 0, 0), "/p": (0o644, 0, 0, 0), "/text": (0o644, 0, 0, 0),
    }  # fmt: skip
