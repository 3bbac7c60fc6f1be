"""Reading by name, as on Windows: kinds of paths, and the words of each refusal."""

import os

import pytest

from templater.model.entry import DIRECTORY, FILE, SYMLINK
from templater.model.errors import InputError, LimitError, RefusedError, TemplaterError
from templater.rootfs import confined_without_descriptors
from templater.rootfs.confined_without_descriptors import ByName
from templater.rootfs.paths import MissingError


@pytest.fixture
def root(tmp_path):
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/f").write_text("text")
    (tmp_path / "l").symlink_to("d")
    os.mkfifo(tmp_path / "fifo")
    with ByName(str(tmp_path)) as opened:
        yield opened


def failed(function, *arguments):
    with pytest.raises(TemplaterError) as caught:
        function(*arguments)
    return type(caught.value), caught.value.message


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", DIRECTORY), ("/d", DIRECTORY), ("/d/f", FILE), ("/l", SYMLINK), ("/l/f", None), ("/d/f/x", None), ("/none", None), ("/none/x", None)],
)  # fmt: skip
def test_the_kind_of_a_path_is_found_without_following_links(path, kind, root):
    entry = root.entry(path)
    assert (entry and entry.kind) == kind
    if kind == SYMLINK:
        assert entry.target == "d"
    if kind == FILE:
        assert (entry.size, entry.is_mount) == (4, False)


def test_files_and_directories_are_read_by_name(root, tmp_path):
    assert root.read("/d/f", 4) == b"text"
    assert root.listdir("/d") == root.listdir("/d", most=2) == ["e", "f"]
    with pytest.raises(LimitError, match="'/d' has more than 1 entries"):
        root.listdir("/d", most=1)
    with root.below("/d") as below:
        assert (below.name, below.read("/f", 9)) == (f"{tmp_path}/d", b"text")


@pytest.mark.parametrize(
    ("call", "path", "error", "message"),
    [
        ("read", "/d/f", LimitError, "'/d/f' is larger than 3 bytes"),
        ("read", "/d", RefusedError, "'/d' is a directory, not a regular file"),
        ("read", "/fifo", RefusedError, "'/fifo' is a fifo, not a regular file"),
        ("read", "/none", MissingError, "'/none' does not exist"),
        ("read", "/l/f", RefusedError, "'/l/f': '/l' is a symlink, not a directory"),
        ("read", "/d/f/x", RefusedError, "'/d/f/x': '/d/f' is a file, not a directory"),
        ("listdir", "/d/f", RefusedError, "'/d/f' is a file, not a directory"),
        ("below", "/l", RefusedError, "'/l' is a symlink, not a directory"),
    ],
)
def test_an_unreadable_path_gives_an_error_with_the_reason(call, path, error, message, root):
    arguments = (path, 3) if call == "read" else (path,)
    found, words = failed(getattr(root, call), *arguments)
    assert words == message
    assert issubclass(found, error)


def test_a_file_is_refused_if_another_file_replaces_it_during_open(root, tmp_path, monkeypatch):
    real = os.open
    (tmp_path / "other").write_text("other")
    monkeypatch.setattr(
        confined_without_descriptors.os, "open", lambda path, flags: real(tmp_path / "other", flags)
    )
    assert failed(root.read, "/d/f", 9) == (RefusedError, "'/d/f' is a file, not a regular file")
    monkeypatch.setattr(
        confined_without_descriptors.os, "open", lambda path, flags: real(tmp_path / "gone", flags)
    )
    assert failed(root.read, "/d/f", 9) == (InputError, "'/d/f' can't be read: no such file or directory")
    assert failed(ByName, f"{tmp_path}/d/f") == (InputError, f"'{tmp_path}/d/f' is not a directory")


def test_a_system_error_names_the_path(root, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(confined_without_descriptors.os, "lstat", refuse)
    assert failed(root.entry, "/d") == (InputError, "can't get the status of '/d': permission denied")
    monkeypatch.undo()
    monkeypatch.setattr(confined_without_descriptors.os, "scandir", refuse)
    assert failed(root.listdir, "/d") == (InputError, "'/d' can't be read: permission denied")
