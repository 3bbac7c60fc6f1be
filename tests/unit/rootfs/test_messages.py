"""The message and the hint of each error about a root filesystem."""

import contextlib
import errno
import os
import socket
import subprocess
import sys

import pytest

from templater.model.errors import BusyError, InputError, TemplaterError
from templater.rootfs import confined_directory, confined_root, regular_files, system_calls
from templater.rootfs.confined_root import Root, open_trusted_directory
from templater.rootfs.directory_rootfs import DirectoryRootfs
from templater.rootfs.regular_files import require_public
from templater.rootfs.resolve_beneath import OPENAT2, WALK
from templater.rootfs.system_calls import read_error, write_error
from templater.rootfs.trusted_paths import clean_path, open_folder, open_log
from tests.rootfs_builders import as_root

HINTS = {
    errno.ENOSPC: "the file system is full: free some space and try again",
    errno.EDQUOT: "the disk quota is used up: raise the quota or free some space, and try again",
    errno.EROFS: "the file system is mounted read-only: mount it writable first",
    errno.EPERM: "run templater as root, and check whether the file is immutable or append-only (lsattr)",
    errno.EACCES: "no permission: run templater as root or as the owner",
    errno.EIO: "the storage failed: look at the kernel's log (dmesg) before you try again",
    errno.EBUSY: "another file system is mounted at this path",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n)",
    errno.ENOTSUP: "the file system does not support this operation",
    errno.ENAMETOOLONG: "",
}


def failed(function, *arguments, **options):
    with pytest.raises(TemplaterError) as caught:
        function(*arguments, **options)
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize("number", HINTS, ids=errno.errorcode.get)
def test_the_error_of_a_system_call_has_a_hint(number):
    error = OSError(number, os.strerror(number))
    words = os.strerror(number)[:1].lower() + os.strerror(number)[1:]
    written, read = write_error("write", "/a", error), read_error("/a", error)
    assert (written.message, written.hint) == (f"can't write '/a': {words}", HINTS[number])
    assert read.message == f"'/a' can't be read: {words}"


@pytest.fixture(params=[OPENAT2, WALK])
def root(request, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("file")
    folder = os.path.relpath(tmp_path)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"{folder}/s")
    with Root(str(tmp_path), mechanism=request.param) as opened:
        yield opened


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/none", "'/none' does not exist"),
        ("/none/a", "'/none/a' does not exist"),
        ("/file/a", "'/file/a': '/file' is a file, not a directory"),
        ("/link/a", "'/link/a': '/link' is a symlink, not a directory"),
        ("/loop/a", "'/loop/a': '/loop' is a symlink, not a directory"),
        ("/s", "'/s' is a socket, not a regular file"),
    ],
)
def test_an_unreadable_path_gives_a_message(root, path, message):
    assert failed(root.read, path, 10) == (message, "")


@pytest.mark.parametrize(
    ("number", "follow", "message"),
    [
        (errno.ELOOP, True, "'/file' leads through a symlink loop or a magic link"),
        (errno.EAGAIN, False, "'/file' keeps changing while templater reads it"),
        (errno.ENXIO, False, "'/file' is a socket, or a device without a driver"),
        (errno.ENODEV, False, "'/file' is a socket, or a device without a driver"),
        (errno.ELOOP, False, "'/file' is a file, not a directory"),
        (errno.EXDEV, False, "'/file' changed while it was opened: invalid cross-device link"),
    ],
)
def test_a_failed_open_gives_an_error_with_the_cause(root, number, follow, message):
    assert root._trouble("/file", OSError(number, "x"), follow=follow).message == message


def hide(monkeypatch, start):
    """Let no path that begins with this text exist for ``open``."""
    real = os.open

    def opened(path, *words, **options):
        if str(path).startswith(start):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return real(path, *words, **options)

    monkeypatch.setattr(system_calls.os, "open", opened)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has leases")
@pytest.mark.parametrize("has_proc", [True, False])
def test_the_error_about_a_leased_file_mentions_the_lease(root, tmp_path, monkeypatch, has_proc):
    """The message was "'/file' is a file, not a directory"."""
    if not has_proc:
        hide(monkeypatch, "/proc/self/fd/")
    message = (
        "'/file' can't be opened: another process holds a lease of the file",
        "try again later, or end that process: lslocks shows it",
    )
    view = DirectoryRootfs(root)
    with leased(tmp_path / "file"), root.directory("/") as top:
        for call in (
            lambda: root.read("/file", 10),
            lambda: root.open("/file"),
            lambda: root.has_content("/file", b"x" * 10),
            lambda: view.flag("/file"),
            lambda: top.read("file", 10),
            lambda: top.open("file", write=True),
        ):
            with pytest.raises(BusyError) as caught:
                call()
            assert (caught.value.message, caught.value.hint) == message


@contextlib.contextmanager
def leased(path):
    """Let another process hold a lease of a file."""
    code = (
        "import fcntl, os, signal, sys\n"
        "signal.signal(signal.SIGIO, signal.SIG_IGN)\n"
        "fd = os.open(sys.argv[1], os.O_RDWR)\n"
        "fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n"
        "print(flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        if process.stdout.readline() != b"\n":
            pytest.skip("NOT RUN: needs a file system with leases")
        yield
        process.stdin.close()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EACCES, errno.ENAMETOOLONG, errno.ENOENT, errno.EIO])
def test_a_link_is_read_again_only_if_another_process_replaces_it(root, number, monkeypatch):
    attempts = []

    def failing(*names):
        attempts.append(names)
        raise OSError(number, "x")

    monkeypatch.setattr(confined_root.Root, "status_at", failing)
    if number == errno.ENOENT:
        assert root.entry_at(root.fd, "file") is None
    elif number == errno.EINVAL:
        assert failed(root.entry_at, root.fd, "file") == (
            "'file' keeps changing while templater reads it",
            "",
        )
    else:
        with pytest.raises(OSError) as caught:
            root.entry_at(root.fd, "file")
        assert caught.value.errno == number
    assert len(attempts) == (system_calls.ATTEMPTS if number == errno.EINVAL else 1)


def test_a_failed_open_of_a_root_directory_gives_a_message(tmp_path):
    none = f"{tmp_path}/none"
    assert failed(open_trusted_directory, none) == (
        f"'{none}' can't be opened as a directory: no such file or directory",
        "",
    )
    assert failed(open_trusted_directory, "a\0b") == ("'a\\x00b' can't be the name of a directory", "")
    assert failed(Root, str(tmp_path), mechanism="none") == (
        "unknown mechanism 'none'", f"set TEMPLATER_CONFINED to {OPENAT2} or {WALK}",
    )  # fmt: skip


def test_a_storage_error_during_a_read_mentions_the_file(root, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    message = "'/file' can't be read: input/output error", HINTS[errno.EIO]
    for options in ({}, {"follow": True}):
        with monkeypatch.context() as patch:
            patch.setattr(regular_files, "read_descriptor", fail)
            assert failed(root.read, "/file", 9, **options) == message
    with monkeypatch.context() as patch:
        patch.setattr(confined_directory.Directory, "listdir", fail)
        assert failed(root.entries, "/") == ("'/' can't be read: input/output error", HINTS[errno.EIO])


def test_a_write_without_progress_gives_an_error(monkeypatch):
    written = []

    def write(_, data):
        written.append(bytes(data))
        return 2 if len(written) < 3 else 0

    monkeypatch.setattr(system_calls.os, "write", write)
    regular_files.write_descriptor(9, b"abcd")
    with pytest.raises(OSError, match="Input/output error") as caught:
        regular_files.write_descriptor(9, b"ef")
    assert caught.value.errno == errno.EIO
    assert written == [b"abcd", b"cd", b"ef"]


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("..", "top"), ("../..", "top"), ("e/..", "in d"), ("../d/e", "in e"), ("./e/../../d", "in d"),
        ("/", "top"), ("/d/e/..", "in d"), ("../../d/./e//", "in e"), ("e/../e/../..", "top"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("mechanism", [OPENAT2, WALK])
def test_dots_in_link_targets_are_resolved_inside_the_root(target, found, mechanism, tmp_path):
    (tmp_path / "d/e").mkdir(parents=True)
    for folder, text in (("", "top"), ("d", "in d"), ("d/e", "in e")):
        (tmp_path / folder / "file").write_text(text)
    (tmp_path / "d/link").symlink_to(target)
    before = len(os.listdir("/proc/self/fd"))
    with Root(str(tmp_path), mechanism=mechanism) as root:
        assert root.read("/d/link/file", 9, follow=True).decode() == found
        assert "file" in root.listdir("/d/link", follow=True)
    assert len(os.listdir("/proc/self/fd")) == before


def test_mounts_are_recognised_by_their_device_if_proc_is_not_mounted(tmp_path, monkeypatch):
    hide(monkeypatch, "/proc/self/fdinfo")
    with Root("/", mechanism=WALK) as root:
        assert failed(root.read, "/proc/version", 999)[0] == "'/proc/version': '/proc' is a mount point"
        assert root.entry("/proc").is_mount and not root.entry("/etc").is_mount
        monkeypatch.delattr(system_calls.os, "O_PATH")
        assert root.entry("/proc").is_mount and not root.entry("/etc").is_mount


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "'' can't be opened as a directory: no such file or directory"),
        ("/a\0b", "'/a\\x00b' can't be the name of a directory"),
    ],
)
def test_an_invalid_directory_path_gives_a_message(path, message):
    with pytest.raises(InputError) as caught:
        open_folder(path)
    assert caught.value.message == message


@as_root
def test_root_refuses_a_link_at_the_log_path(tmp_path):
    (tmp_path / "link").symlink_to("target")
    with pytest.raises(OSError, match="symbolic links"):
        open_log(f"{tmp_path}/link")
    assert not (tmp_path / "target").exists()
    for text in (b"one\n", b"two\n"):
        fd = open_log(f"{tmp_path}/log")
        os.write(fd, text)
        os.close(fd)
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


@as_root
@pytest.mark.parametrize(
    ("owner", "above", "group", "file_owner", "mode", "problem"),
    [
        (0, 0o755, 0, 0, 0o600, ""),
        (0, 0o757, 0, 0, 0o600, "root"),
        (0, 0o1777, 0, 0, 0o600, "root"),
        (0, 0o775, 1234, 0, 0o600, "root"),
        (0, 0o755, 1234, 0, 0o600, ""),
        (0, 0o777, 0, 0, 0o604, ""),
        (0, 0o777, 0, 1234, 0o600, ""),
        (1234, 0o755, 1234, 0, 0o600, "uid 0"),
        (1234, 0o755, 1234, 0, 0o640, "uid 0"),
        (1234, 0o755, 1234, 0, 0o604, ""),
        (1234, 0o755, 1234, 1234, 0o600, ""),
        (1234, 0o755, 1234, 5678, 0o600, "uid 5678"),
    ],
)
def test_a_private_file_in_a_directory_of_other_users_is_refused(
    owner, above, group, file_owner, mode, problem, tmp_path
):
    folder, file = tmp_path / "d", tmp_path / "d/f"
    folder.mkdir()
    file.write_text("secret")
    os.chown(file, file_owner, 0)
    file.chmod(mode)
    os.chown(folder, owner, group)
    folder.chmod(above)
    why = f"its directory belongs to uid {owner}" if owner else "other users can write to its directory"
    way = "chown the file to the owner of the directory" if owner else "let only root write to the directory"
    expected = f"'{file}' is private to {problem}, but {why}", f"let all users read the file, or {way}"
    with open(file, "rb") as opened:
        directory = os.open(folder, os.O_RDONLY)
        try:
            if problem:
                assert failed(require_public, opened.fileno(), directory, str(file)) == expected
            else:
                require_public(opened.fileno(), directory, str(file))
        finally:
            os.close(directory)


def test_two_dots_after_a_symlink_are_refused_as_ambiguous(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a/b")
    for path in ("link/../b", "none/../a", "a/none/.."):
        place = f"{tmp_path}/{path}"
        said = f"'{place}' is missing or has '..' after a symlink", "give a path without '..'"
        assert failed(clean_path, place) == said
    assert clean_path(f"{tmp_path}/a/b/../b/.") == f"{tmp_path}/a/b"
    assert clean_path(f"{tmp_path}/link/") == f"{tmp_path}/link"
