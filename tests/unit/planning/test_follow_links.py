"""Paths as a container resolves them."""

import pytest

from templater.model.entry import DIRECTORY, FIFO, FILE, OVERFLOW_ID, SYMLINK, Entry
from templater.model.errors import LimitError, RefusedError
from templater.planning.follow_links import MAX_LINKS, Steps, clean, resolve
from templater.rootfs.memory_rootfs import MemoryRootfs


def link(target: str) -> Entry:
    return Entry(SYMLINK, 0o777, target=target)


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("/etc/a", "/etc/a"),
        ("etc/a", "/etc/a"),
        ("//etc///a", "/etc/a"),
        ("/etc/./a", "/etc/a"),
        ("/etc/a/", "/etc/a"),
        ("/etc/a/.", "/etc/a"),
        ("/nodir/../srv/a", "/srv/a"),
        ("~/a", "/~/a"),
        ("/etc/a\nb", "/etc/a\nb"),
        ("/etc/\udcff", "/etc/\udcff"),
    ],
)
def test_a_target_path_is_normalised_without_following_links(path: str, cleaned: str) -> None:
    assert clean(path) == cleaned


@pytest.mark.parametrize("path", ["/../x", "../x", "/etc/../../x", "/..//rootfs/etc/a", "..", "a/../../x"])
def test_a_path_must_not_leave_the_root_even_temporarily(path: str) -> None:
    with pytest.raises(RefusedError, match="leaves the root"):
        clean(path)


@pytest.mark.parametrize("path", ["", "/", ".", "/.", "/etc/.."])
def test_the_root_directory_is_refused_as_target(path: str) -> None:
    with pytest.raises(RefusedError, match="root directory itself"):
        clean(path)


@pytest.mark.parametrize("path", ["/etc/a\0b", "/" + "x" * 256, "/" + "ü" * 128, "/x" * 2500])
def test_a_path_is_refused_if_the_kernel_would_reject_it(path: str) -> None:
    with pytest.raises(RefusedError):
        clean(path)


def test_paths_may_be_as_long_as_the_kernel_allows() -> None:
    """Linux: NAME_MAX is 255, and PATH_MAX 4096 with the zero byte at the end."""
    for longest in ("/" + "x" * 255, "/a" * 2046 + "/bb"):
        assert clean(longest) == longest
        with pytest.raises(
            RefusedError, match=r"is too long: the kernel allows 255 bytes for a name and 4095 in total$"
        ):
            clean(longest + "x")


@pytest.mark.parametrize(
    ("tree", "path", "message", "hint"),
    [
        ({"/a": link("b"), "/b": link("a")}, "/a", "too many symlinks at '/a'", "the links form a loop"),
        ({"/a": link("/b/")}, "/a", "'/a' points to a directory: '/b/'", ""),
        ({"/a": link("b/.")}, "/a", "'/a' points to a directory: 'b/.'", ""),
        ({"/a": link("b/../c")}, "/a/x", "a symlink leads through '/b', which does not exist", ""),
        ({"/a": "x"}, "/a/b", "'/a' is a file, not a directory", ""),
        (
            {"/tmp": Entry(DIRECTORY, 0o1777), "/tmp/a": Entry(SYMLINK, 0o777, uid=7, target="/b")}, "/tmp/a",
            "'/tmp/a' is a symlink owned by uid 7, in a directory that every user can write to",
            "remove the link; with fs.protected_symlinks, Linux does not follow the link, either",
        ),
    ],
)  # fmt: skip
def test_the_error_for_an_unreachable_target_gives_the_reason(
    tree: "dict[str, str | Entry]", path: str, message: str, hint: str
) -> None:
    error = resolve(MemoryRootfs(tree), path).error
    assert error is not None
    assert (type(error), error.message, error.hint) == (RefusedError, message, hint)


@pytest.mark.parametrize(
    "entry", [Entry(SYMLINK, 0o777, target="/b"), Entry(SYMLINK, 0o777, uid=3, target="/b")]
)
def test_a_link_in_a_world_writable_directory_is_refused(entry: Entry) -> None:
    tree = {"/tmp": Entry(DIRECTORY, 0o1777, uid=3), "/tmp/a": entry, "/b": Entry(FILE, uid=3)}
    with pytest.raises(RefusedError, match="'/tmp/a' is a symlink that a user may have created") as caught:
        raise resolve(MemoryRootfs(tree), "/tmp/a").error or AssertionError
    assert caught.value.hint == "remove the link, or use the path of its target in the rule"


def test_the_path_of_a_plain_file_resolves_to_itself() -> None:
    resolved = resolve(MemoryRootfs({"/etc/a": "x"}), "/etc/a")
    assert resolved.real == "/etc/a"
    assert resolved.entry is not None and resolved.entry.size == 1
    assert resolved.links == () and resolved.missing == () and resolved.error is None


def test_resolving_a_path_finds_missing_parents_in_order() -> None:
    resolved = resolve(MemoryRootfs({"/etc": Entry(DIRECTORY, 0o755)}), "/etc/n1/n2/a")
    assert resolved.missing == ("/etc/n1", "/etc/n1/n2")
    assert resolved.entry is None and resolved.named is None


def test_an_absolute_link_is_resolved_from_the_root() -> None:
    rootfs = MemoryRootfs({"/var/run": link("/run"), "/run/a": "x"})
    resolved = resolve(rootfs, "/var/run/a")
    assert resolved.real == "/run/a"
    assert resolved.links == (("/var/run", "/run"),)


def test_dot_dot_in_a_link_stops_at_the_root_directory() -> None:
    rootfs = MemoryRootfs({"/etc/a": link("../../../../srv/real"), "/srv/real": "x"})
    assert resolve(rootfs, "/etc/a").real == "/srv/real"


def test_a_chain_of_links_is_followed_to_its_end() -> None:
    rootfs = MemoryRootfs(
        {"/etc/d": link("../srv/e"), "/srv/e": link("f"), "/srv/f/a": link("b"), "/srv/f/b": "x"}
    )
    resolved = resolve(rootfs, "/etc/d/a")
    assert resolved.real == "/srv/f/b"
    assert [place for place, _ in resolved.links] == ["/etc/d", "/srv/e", "/srv/f/a"]


def test_a_dangling_link_resolves_to_its_missing_target() -> None:
    rootfs = MemoryRootfs(
        {"/etc/resolv.conf": link("../run/resolve/stub.conf"), "/run": Entry(DIRECTORY, 0o755)}
    )
    resolved = resolve(rootfs, "/etc/resolv.conf")
    assert resolved.dangling
    assert resolved.real == "/run/resolve/stub.conf"
    assert resolved.missing == ("/run/resolve",)


def test_resolving_below_a_dangling_link_finds_missing_directories() -> None:
    resolved = resolve(MemoryRootfs({"/lnk": link("srv/new")}), "/lnk/a")
    assert resolved.real == "/srv/new/a"
    assert resolved.missing == ("/srv", "/srv/new")
    assert not resolved.dangling


def test_dot_dot_after_a_missing_directory_is_an_error() -> None:
    resolved = resolve(MemoryRootfs({"/lnk": link("nodir/../x")}), "/lnk")
    assert resolved.error is not None and "'/nodir', which does not exist" in str(resolved.error)


def test_a_link_target_with_a_trailing_slash_is_an_error() -> None:
    resolved = resolve(MemoryRootfs({"/lnk": link("new/")}), "/lnk")
    assert resolved.error is not None and "points to a directory" in str(resolved.error)


def test_a_link_loop_is_an_error() -> None:
    resolved = resolve(MemoryRootfs({"/a": link("b"), "/b": link("a")}), "/a")
    assert resolved.error is not None and "too many symlinks" in str(resolved.error)
    assert resolved.named is not None and len(resolved.links) == MAX_LINKS + 1


@pytest.mark.parametrize(("kind", "entry"), [("file", "x"), ("fifo", Entry(FIFO, 0o644))])
def test_a_path_below_a_non_directory_is_an_error(kind: str, entry: "str | Entry") -> None:
    resolved = resolve(MemoryRootfs({"/etc/a": entry}), "/etc/a/b/c")
    assert resolved.error is not None and str(resolved.error) == f"'/etc/a' is a {kind}, not a directory"


@pytest.mark.parametrize(("length", "shown"), [(199, "/" + "a" * 199), (200, "/" + "a" * 199 + "…")])
def test_a_message_shows_at_most_200_characters_of_a_path(length: int, shown: str) -> None:
    path = "/" + "a" * length
    error = resolve(MemoryRootfs({path: "x"}), path + "/b").error
    assert str(error) == f"'{shown}' is a file, not a directory"


def test_resolving_a_path_returns_its_mount_points() -> None:
    rootfs = MemoryRootfs({"/data": Entry(DIRECTORY, 0o755, is_mount=True), "/data/a": "x"})
    assert resolve(rootfs, "/data/a").mounts == ("/data",)


@pytest.mark.parametrize(
    ("mode", "owner", "uid", "message"),
    [
        (0o1777, 0, 1000, "is a symlink owned by uid 1000, in a directory that every user can write to"),
        (0o1772, 0, 1000, "is a symlink owned by uid 1000, in a directory that every user can write to"),
        (0o1777, 1000, 1000, "is a symlink that a user may have created"),
        (0o1777, 1000, 0, "is a symlink that a user may have created"),
        (0o1777, 0, 0, "is a symlink that a user may have created"),
        (0o1755, 0, 1000, None),
    ],
)
@pytest.mark.parametrize("path", ["/tmp/l", "/tmp/l/x"])
def test_the_kernel_rule_for_sticky_directories_applies_to_links(
    path: str, mode: int, owner: int, uid: int, message: str | None
) -> None:
    """fs.protected_symlinks: a user of the container linked /tmp/app.conf to a file elsewhere."""
    rootfs = MemoryRootfs(
        {
            "/tmp": Entry(DIRECTORY, mode, uid=owner),
            "/tmp/l": Entry(SYMLINK, 0o777, uid=uid, target="/srv/a" if path == "/tmp/l" else "/srv"),
            "/srv": Entry(DIRECTORY, 0o755, uid=owner or uid),
            "/srv/a": Entry(FILE, uid=owner or uid),
        }
    )
    error = resolve(rootfs, path).error
    assert (error is None) == (message is None)
    assert message is None or message in str(error)


@pytest.mark.parametrize(
    ("target", "climbs"),
    [("b/../../x", True), ("b/../x", False), ("../../../x", True), ("../../x", False), ("/../x", False)],
)
def test_path_resolution_finds_relative_links_to_places_above_the_root(target: str, climbs: bool) -> None:
    """In the target of the first link, ``b`` looks like a directory one level down.

    But ``b`` is a link to ``/y`` in the root directory.
    """
    rootfs = MemoryRootfs({"/a/a/l": link(target), "/a/a/b": link("../../y"), "/y": Entry(DIRECTORY, 0o755)})
    assert [place for place, _ in resolve(rootfs, "/a/a/l").climbing] == ["/a/a/l"] * climbs


@pytest.mark.parametrize(
    ("target", "is_refused"),
    [
        ("/etc/ld.so.preload", True), ("../../etc/new/dir/a", True), ("/home/v/a", True),
        ("/home/u/real", False), ("/home/u/new/dir/a", False), ("roots", True), ("through-root", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_parent", [False, True])
def test_links_of_users_are_not_followed_to_foreign_files(
    target: str, is_refused: bool, is_parent: bool
) -> None:
    """CVE-2018-6954 of systemd-tmpfiles: a link in the home directory led to a file that root trusts."""
    made = {"/home/u/new": Entry(DIRECTORY, uid=1000)} if "new/dir" in target and not is_refused else {}
    rootfs = MemoryRootfs(
        {
            "/home/u": Entry(DIRECTORY, 0o755, uid=1000), "/home/v": Entry(DIRECTORY, 0o755, uid=1001),
            "/home/u/real": Entry(DIRECTORY if is_parent else FILE, uid=1000), "/etc/passwd": "x",
            "/home/u/roots": Entry(DIRECTORY if is_parent else FILE),
            "/home/u/through-root": Entry(SYMLINK, target="/home/u/real"),
            "/home/u/l": Entry(SYMLINK, uid=1000, target=target), **made,
        }
    )  # fmt: skip
    error = resolve(rootfs, "/home/u/l/a" if is_parent else "/home/u/l").error
    assert (error is not None) == is_refused, error
    assert error is None or "symlink that a user may have created" in str(error)


@pytest.mark.parametrize(
    ("owner", "gid", "mode", "link_uid"),
    [
        (1000, 1000, 0o755, 0),
        (1000, 1000, 0o755, 1001),
        (0, 1000, 0o777, 0),
        (0, 1000, 0o775, 1000),
        (0, 0, 0o775, 0),
        (0, 1000, 0o1777, 1000),
        (0, 0, 0o1777, 0),
        (0, 1000, 0o3775, 1001),
    ],
)
def test_a_possibly_moved_link_to_a_file_of_root_is_refused(
    owner: int, gid: int, mode: int, link_uid: int
) -> None:
    """The user moved a link of root: that needs no right on the link.

    A directory of root's group can have an ACL for the user, or the user can have root's group. A sticky
    directory stops a user from moving root's link out of it, not into it.
    """
    folder = Entry(DIRECTORY, mode, uid=owner, gid=gid)
    rootfs = MemoryRootfs({"/d": folder, "/d/l": Entry(SYMLINK, uid=link_uid, target="/etc/a")})
    assert resolve(rootfs, "/d/l").error is not None


@pytest.mark.parametrize(
    ("uid", "gid", "mode", "is_refused"),
    [
        (1000, 1000, 0o755, True),
        (0, 1000, 0o775, True),
        (0, 0, 0o777, True),
        (0, 0, 0o1777, False),  # a sticky directory protects root's directories in it
        (0, 0, 0o755, False),
    ],
)
@pytest.mark.parametrize("target", ["/etc/a", "../../../etc/a"])
def test_a_link_below_a_user_writable_directory_is_refused(
    uid: int, gid: int, mode: int, is_refused: bool, target: str
) -> None:
    """A user swapped root's directory ``app`` with a directory of links, while templater followed the path."""
    rootfs = MemoryRootfs(
        {
            "/home/u": Entry(DIRECTORY, mode, uid=uid, gid=gid),
            "/home/u/app": Entry(DIRECTORY, 0o755),
            "/home/u/app/l": Entry(SYMLINK, target=target),
            "/home/u/app/l2": Entry(SYMLINK, target="/srv/l"),
            "/srv/l": Entry(SYMLINK, target="/etc/a"),
            "/etc/a": "x",
        }
    )
    for name in ("l", "l2"):
        error = resolve(rootfs, f"/home/u/app/{name}").error
        assert (error is not None) == is_refused, error
        assert error is None or "'/home/u/app/" in str(error)


def test_unmapped_users_do_not_count_as_the_same_user() -> None:
    """The link's directory belonged to uid 33, and the target to root. The kernel showed both as 65534."""
    rootfs = MemoryRootfs(
        {
            "/srv/u": Entry(DIRECTORY, 0o755, uid=OVERFLOW_ID),
            "/srv/u/l": Entry(SYMLINK, uid=OVERFLOW_ID, target="/etc/a"),
            "/etc/a": Entry(FILE, uid=OVERFLOW_ID),
        }
    )
    assert "symlink that a user may have created" in str(resolve(rootfs, "/srv/u/l").error)


@pytest.mark.parametrize("way", ["/home/u/out/etc", "/home/u/up/etc"])
def test_only_the_directories_above_a_link_decide_whether_it_is_followed(
    way: str,
) -> None:
    """All other directories on the way to the target do not count."""
    rootfs = MemoryRootfs(
        {
            "/home/u": Entry(DIRECTORY, 0o755, uid=1000),
            "/home/u/out": Entry(SYMLINK, target="/srv"),
            "/home/u/up": Entry(SYMLINK, target="../../srv"),
            "/srv": Entry(DIRECTORY, 0o755, uid=1000),
            "/srv/etc": Entry(SYMLINK, target="/opt/u/l"),
            "/opt/u": Entry(DIRECTORY, 0o755),
            "/opt/u/l": Entry(SYMLINK, target="real"),
            "/opt/u/real": Entry(FILE, uid=1000),
        }
    )
    resolved = resolve(rootfs, way)
    assert (resolved.error, resolved.real) == (None, "/opt/u/real")


def test_links_of_root_may_lead_to_files_of_users() -> None:
    rootfs = MemoryRootfs({"/etc/a": Entry(SYMLINK, target="/srv/a"), "/srv/a": Entry(FILE, uid=1000)})
    assert resolve(rootfs, "/etc/a").error is None


@pytest.mark.parametrize(
    ("target", "is_refused"),
    [
        ("/etc/passwd", True),
        ("../../etc/a", True),
        ("/data/inner/a", True),
        ("b", False),
        ("/data/c/d", False),
    ],
)
def test_a_link_must_not_lead_out_of_its_mounted_file_system(target: str, is_refused: bool) -> None:
    """Another container that shares the volume may have made the link."""
    rootfs = MemoryRootfs(
        {
            "/data": Entry(DIRECTORY, 0o755, is_mount=True), "/etc/passwd": "x",
            "/data/inner": Entry(DIRECTORY, 0o755, is_mount=True),
            "/data/dir/l": Entry(SYMLINK, target=target),
        }
    )  # fmt: skip
    error = resolve(rootfs, "/data/dir/l").error
    assert (error is not None) == is_refused, error
    assert error is None or (error.message, error.hint) == (
        "'/data/dir/l' is a symlink that leads out of the mount point '/data'",
        "remove the link; other containers may share the mounted file system",
    )


def test_all_paths_share_one_limit_on_directories_and_links() -> None:
    steps = Steps()
    rootfs = MemoryRootfs({"/a": Entry(DIRECTORY, 0o755)})
    steps.left = 3
    assert resolve(rootfs, "/a/b", steps).error is None
    found = resolve(rootfs, "/a/b", steps)
    assert isinstance(found.error, LimitError)
    assert found.error.message == (
        "the paths of all rules together lead through too many directories and links"
    )
