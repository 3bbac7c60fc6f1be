"""Both mechanisms of the confined layer have to give the same answers."""

import contextlib
import os
import socket
import threading
from pathlib import Path

import pytest

from templater.model.entry import DIRECTORY, FIFO, FILE, SOCKET, SYMLINK
from templater.model.errors import InputError, LimitError, RefusedError
from templater.rootfs import directory_rootfs
from templater.rootfs.confined_root import Root
from templater.rootfs.confined_without_descriptors import ByName
from templater.rootfs.directory_rootfs import open_root
from tests.rootfs_builders import MECHANISMS, as_root


def test_a_file_below_the_root_is_read(root):
    assert root.read("/etc/hostname", 100) == b"inside"


def test_the_entry_of_the_root_path_is_a_directory(root):
    assert root.entry("/").kind == DIRECTORY
    names = root.listdir("/")
    assert "etc" in names
    assert root.listdir("/", most=len(names)) == names
    with pytest.raises(LimitError, match=f"'/' has more than {len(names) - 1} entries"):
        root.listdir("/", most=len(names) - 1)


def test_an_entry_has_the_attributes_that_lstat_returns(root):
    assert root.entry("/etc/hostname").kind == FILE
    assert root.entry("/etc/hostname").size == 6
    assert (root.entry("/abs").kind, root.entry("/abs").target) == (SYMLINK, "/etc")
    assert root.entry("/fifo").kind == FIFO


@pytest.mark.parametrize("path", ["/no", "/no/where", "/etc/hostname/below", "/abs/hostname", "/fifo/x"])
def test_a_path_below_a_file_or_link_has_no_entry(root, path):
    assert root.entry(path) is None


@pytest.mark.parametrize("link", ["abs", "esc", "host_abs", "loop"])
def test_the_error_about_a_symlink_in_a_parent_mentions_the_symlink(root, link):
    with pytest.raises(RefusedError, match=f"'/{link}' is a symlink, not a directory"):
        root.read(f"/{link}/hostname", 100)
    with pytest.raises(RefusedError, match=f"'/{link}' is a symlink"):
        root.listdir(f"/{link}")


@pytest.mark.parametrize("link", ["inner", "up", "dangling", "loop", "self"])
def test_the_read_method_refuses_a_symlink_at_the_end(root, link):
    with pytest.raises(RefusedError, match=f"'/{link}' is a symlink, not a regular file"):
        root.read(f"/{link}", 100)


@pytest.mark.parametrize("path", ["/abs/hostname", "/inner", "/up", "/esc/hostname"])
def test_reading_follows_links_as_in_a_chroot(root, path):
    wanted = b"inside too" if path.startswith("/esc") else b"inside"
    assert root.read(path, 100, follow=True) == wanted


def test_dot_dot_in_a_link_stops_at_the_root_directory(root):
    assert root.read("/esc/hostname", 100, follow=True) == b"inside too"


@pytest.mark.parametrize("path", ["/loop", "/loop/x", "/ring/x"])
def test_following_a_symlink_loop_gives_an_error(root, path):
    with pytest.raises(RefusedError, match="symlink loop"):
        root.read(path, 100, follow=True)


@pytest.mark.parametrize("path", ["/dangling", "/host_abs/hostname"])
def test_following_a_dangling_link_finds_no_entry(root, path):
    with pytest.raises(InputError, match="does not exist"):
        root.read(path, 100, follow=True)


@pytest.mark.parametrize("path", ["/fifo", "/etc"])
def test_only_regular_files_below_the_root_are_read(root, path):
    for follow in (False, True):
        with pytest.raises(RefusedError, match="not a regular file"):
            root.read(path, 100, follow=follow)


def test_reading_a_socket_is_refused(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "root")  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")
        assert root.entry("/sock").kind == SOCKET
        with pytest.raises(RefusedError, match=r"^'/sock' is a socket, not a regular file$"):
            root.read("/sock", 100)


@as_root
@pytest.mark.parametrize("kind", ["char", "block"])
def test_reading_a_device_is_refused(root, tmp_path, kind):
    import stat

    mode = stat.S_IFCHR if kind == "char" else stat.S_IFBLK
    os.mknod(tmp_path / "root/dev", 0o666 | mode, os.makedev(1, 3) if kind == "char" else os.makedev(7, 99))
    with pytest.raises(RefusedError, match=f"'/dev' is a {kind} device"):
        root.read("/dev", 100)


@pytest.mark.parametrize(
    "path", ["etc", "", "//etc", "/etc/", "/./etc", "/etc/../etc", "/a\0b", "/" + "n" * 256]
)
def test_unnormalised_paths_are_refused(root, path):
    for call in (root.entry, root.listdir, root.directory, lambda p: root.read(p, 1)):
        with pytest.raises(RefusedError):
            call(path)


def test_a_file_above_the_read_limit_is_refused(root, tmp_path):
    assert root.read("/etc/hostname", 6) == b"inside"
    with pytest.raises(LimitError, match=r"^'/etc/hostname' is larger than 5 bytes$"):
        root.read("/etc/hostname", 5)


def test_the_read_limit_applies_to_proc_files_with_size_zero():
    with Root("/proc/self") as proc, pytest.raises(LimitError):
        proc.read("/status", 10)


def test_the_error_about_a_missing_file_contains_its_path(root):
    with pytest.raises(InputError, match=r"^'/etc/none' does not exist$"):
        root.read("/etc/none", 1)


def test_a_path_cannot_lead_out_of_a_nested_root(root):
    with root.below("/etc") as etc:
        assert etc.read("/hostname", 100) == b"inside"
        assert etc.name.endswith("/root/etc")
        with pytest.raises(RefusedError):
            etc.entry("/../host")


@pytest.mark.parametrize("link", ["/abs", "/host_abs", "/esc"])
def test_opening_a_symlink_as_a_nested_root_is_refused(root, link):
    with pytest.raises(RefusedError, match="is a symlink, not a directory"):
        root.below(link)


def test_reading_below_a_root_leaves_no_file_descriptor_open(root):
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for path in ("/etc/hostname", "/abs/x", "/loop", "/etc", "/fifo", "/no/x", "/inner"):
        for follow in (False, True):
            root.entry(path, follow=follow)
            for call in (lambda p, f: root.read(p, 100, follow=f), lambda p, f: root.listdir(p, follow=f)):
                with contextlib.suppress(RefusedError, InputError):
                    call(path, follow)
    assert count() == before


def test_a_non_directory_as_root_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("x")
    for name in ("file", "none", "nul\0"):
        with pytest.raises(InputError):
            Root(str(tmp_path / name))


@pytest.mark.slow  # a race
def test_a_swapped_directory_does_not_lead_outside_the_root(root, tmp_path):
    """A short version of the races in tests/attacks: read in a loop while /etc is swapped."""
    top = tmp_path / "root"
    (top / "other").symlink_to(tmp_path / "host")
    stop = threading.Event()

    def flip() -> None:
        while not stop.is_set():
            os.rename(top / "etc", top / "spare")
            os.rename(top / "other", top / "etc")
            os.rename(top / "etc", top / "other")
            os.rename(top / "spare", top / "etc")

    flipping = threading.Thread(target=flip)
    flipping.start()
    try:
        seen = set()
        for _ in range(2000):
            with contextlib.suppress(RefusedError, InputError):
                seen.add(root.read("/etc/hostname", 100))
    finally:
        stop.set()
        flipping.join()
    assert seen <= {b"inside"}


def by_name(path: Path) -> ByName:
    return ByName(str(path))


def test_the_same_files_can_be_read_with_and_without_directory_descriptors(root, tmp_path):
    stand_in = by_name(tmp_path / "root")
    for path in ("/", "/etc", "/etc/hostname", "/abs", "/abs/hostname", "/fifo", "/loop", "/no", "/no/x"):
        assert repr(stand_in.entry(path)) == repr(root.entry(path)), path
        for call in ("read", "listdir"):
            arguments = (path, 100) if call == "read" else (path,)
            assert outcome(stand_in, call, arguments) == outcome(root, call, arguments), (call, path)


def outcome(reader: Root | ByName, call: str, arguments: tuple[object, ...]) -> object:
    try:
        return getattr(reader, call)(*arguments)
    except (RefusedError, InputError, LimitError) as error:
        return type(error)


def test_the_open_root_function_works_without_directory_descriptors(tmp_path, monkeypatch):
    monkeypatch.setattr(directory_rootfs, "HAS_DESCRIPTORS", False)
    assert isinstance(open_root(str(tmp_path)), ByName)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_mount_point_is_crossed_only_on_request(mechanism):
    for make in (Root, open_root, directory_rootfs.open_tree):
        with make("/") as root:
            root.mechanism = mechanism
            with pytest.raises(RefusedError) as caught:
                root.read("/proc/version", 999)
        assert caught.value.message == "'/proc/version': '/proc' is a mount point"
        with make("/", cross_mounts=True) as root:
            root.mechanism = mechanism
            assert root.read("/proc/version", 999).startswith(b"Linux")
    with directory_rootfs.DirectoryRootfs("/") as rootfs, pytest.raises(RefusedError):
        rootfs.read("/proc/version", 999)


def test_a_child_program_inherits_no_descriptor_of_a_root_filesystem(root):
    with root.directory("/etc") as directory, root.below("/etc") as below:
        opened = [root.open("/etc/hostname"), directory.open("hostname"), directory.create("new")]
        inherited = [os.get_inheritable(fd) for fd in (root.fd, directory.fd, below.fd, *opened)]
        for fd in opened:
            os.close(fd)
    assert not any(inherited)
