"""Behaviour specific to the root filesystem in memory; the property tests compare it with one on disk."""

import pytest

from templater.model.entry import DIRECTORY, FIFO, SYMLINK, Entry
from templater.model.errors import LimitError, RefusedError, TemplaterError, WriteError
from templater.model.plan import carry_out
from templater.rootfs.memory_rootfs import MemoryRootfs
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


def test_changing_a_copied_tree_does_not_change_the_original():
    tree = MemoryRootfs({"/a": "old"})
    tree.link("/a", "/b")
    twin = tree.copy()
    twin.write("/a", b"new")
    twin.mkdir("/d")
    assert (tree.read("/a", 9), tree.entry("/d"), tree.entry("/b").nlink) == (b"old", None, 2)
    assert twin.entry("/b").nlink == 1


def test_writing_to_a_mount_point_keeps_the_file_mode():
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


def test_the_error_about_a_missing_parent_mentions_the_parent():
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


def test_every_entry_kind_can_get_another_owner_and_mode() -> None:
    rootfs = MemoryRootfs(
        {"/d": Entry(DIRECTORY), "/f": "text", "/l": Entry(SYMLINK, target="f"), "/p": Entry(FIFO)}
    )
    for number, path in enumerate(("/", "/d", "/f", "/l", "/p"), start=1):
        rootfs.own(path, 0o107701, number, number + 10)
        entry = rootfs.entry(path)
        assert (entry.uid, entry.gid) == (number, number + 10)
        assert entry.mode == (0o777 if entry.kind == SYMLINK else 0o7701)


def test_a_rootfs_in_memory_refuses_the_same_changes_as_the_kernel():
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


def test_new_entries_belong_to_root_and_have_usual_modes():
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


def test_removing_a_directory_keeps_hard_links_from_outside():
    tree = MemoryRootfs({"/d/e/a": "x", "/d/b": "y"})
    tree.link("/d/e/a", "/c")
    tree.link("/d/e/a", "/d/c")
    assert tree.entry("/c").nlink == 3
    tree.remove("/d")
    assert (tree.entry("/c").nlink, tree.read("/c", 9)) == (1, b"x")
    assert [path for path, _ in tree.walk()] == ["/c"]


def test_renaming_a_file_to_its_hard_link_does_nothing():
    tree = MemoryRootfs({"/a": "x", "/f": "y"})
    tree.link("/a", "/b")
    tree.rename("/a", "/b")
    assert (tree.listdir("/"), tree.entry("/b").nlink) == (["a", "b", "f"], 2)
    tree.rename("/f", "/b")
    assert (tree.listdir("/"), tree.read("/b", 9), tree.entry("/a").nlink) == (["a", "b"], b"y", 1)


def test_a_copy_of_a_tree_in_memory_has_the_same_attributes():
    tree = MemoryRootfs(
        {"/d/f": "x", "/l": Entry(SYMLINK, target="d/f"), "/e": Entry(DIRECTORY, 0o700, 3, 4)}
    )
    tree.special("/p", FIFO, 0o600, 77)
    tree.mount("/d/f")
    tree.set_flag("/e", "immutable")
    twin = tree.copy()
    assert list(map(repr, twin.walk())) == list(map(repr, tree.walk()))
    entries = dict(twin.walk())
    assert (entries["/p"].rdev, entries["/p"].mode, entries["/l"].target) == (77, 0o600, "d/f")
    assert entries["/d/f"].is_mount and not entries["/p"].is_mount
    assert (twin.flag("/e"), twin.flag("/d"), twin.flag("/none")) == ("immutable", "", "")


def test_a_directory_is_listed_in_sorted_order():
    tree = MemoryRootfs({"/d/b/x": "1", "/d/a": "2", "/d/b.c": "3", "/e": "4"})
    below = ["/d/a", "/d/b", "/d/b/x", "/d/b.c"]
    assert [path for path, _ in tree.walk("/d")] == below
    assert tree.listdir("/d") == ["a", "b", "b.c"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda tree: tree.read("/f/x/y", 9), "'/f/x/y': '/f' is a file, not a directory"),
        (lambda tree: tree.listdir("/f"), "'/f' is a file, not a directory"),
        (lambda tree: tree.write("/d/f/x", b""), "'/d/f/x': '/d/f' is a file, not a directory"),
        (lambda tree: tree.read("/none", 9), "'/none' does not exist"),
        (lambda tree: tree.listdir("/none"), "'/none' does not exist"),
        (lambda tree: tree.read("/f", 3), "'/f' is larger than 3 bytes"),
        (lambda tree: tree.read("/d", 3), "'/d' is a directory, not a regular file"),
        (lambda tree: tree.symlink("/l", ""), "'/l': invalid symlink target ''"),
        (lambda tree: tree.symlink("/l", "a\0"), "'/l': invalid symlink target 'a\\x00'"),
        (lambda tree: tree.symlink("/f", "a"), "'/f' exists"),
        (lambda tree: tree.link("/d", "/l"), "can't create a hard link to '/d'"),
        (lambda tree: tree.link("/none", "/l"), "can't create a hard link to '/none'"),
        (lambda tree: tree.rename("/none", "/l"), "'/none' does not exist"),
        (lambda tree: tree.write("/", b""), "can't write to '/': it is the root directory itself"),
    ],
)
def test_an_error_contains_the_path_and_the_reason(call, message):
    tree = MemoryRootfs({"/f": "text", "/d/f": "x"})
    with pytest.raises(TemplaterError) as caught:
        call(tree)
    assert caught.value.message == message
    assert tree.read("/f", 4) == b"text" and tree.listdir("/") == ["d", "f"]
