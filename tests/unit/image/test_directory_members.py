"""Directory trees as archive members."""

import errno
import os
import socket

import pytest

from templater.image import unpack as unpack_module
from templater.image.limits import Limits
from templater.image.read_whole_image import open_contents
from templater.model.entry import FIFO, SYMLINK
from templater.model.errors import LimitError, WriteError
from tests.rootfs_builders import as_root

LIMITS = Limits(held_bytes=40_000)


@pytest.fixture
def image(tmp_path):
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "metadata.yaml").write_text("architecture: x86_64\n")
    return tmp_path


def fill(directory, count=60):
    directory.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (directory / f"{number:0200d}").touch()


def names(image):
    return [member.name for member, _ in open_contents(str(image), limits=LIMITS).rootfs()]


def test_the_memory_for_names_in_open_directories_is_limited(image):
    """In an attack, two nested directories with 1.4 million long names took 622 MB."""
    fill(image / "rootfs/d")
    assert len(names(image)) == 62
    fill(image / "rootfs/d/a")
    with pytest.raises(
        LimitError, match=r"the names and attributes in '.*' need more than 40000 bytes of memory"
    ):
        names(image)


def test_the_memory_limit_ignores_the_entries_of_already_read_directories(image):
    for number in range(10):
        fill(image / f"rootfs/{number}")
    assert len(names(image)) == 611


@pytest.mark.parametrize("kind", ["hard links", "sockets"])
def test_the_memory_for_hard_links_and_sockets_is_limited(kind, image, monkeypatch):
    monkeypatch.chdir(image)
    for number in range(100):
        name = f"rootfs/{number:02d}/{'x' * 50}"
        os.mkdir(os.path.dirname(name))
        if kind == "sockets":
            with socket.socket(socket.AF_UNIX) as each:
                each.bind(name)
        else:
            open(name, "w").close()
            os.link(name, f"{name}2")
    with pytest.raises(LimitError, match="the names and attributes"):
        names(image)


def test_the_memory_for_template_names_is_limited(image):
    fill(image / "templates", 20)
    assert len(open_contents(str(image), limits=LIMITS).parts()) == 22
    fill(image / "templates", 50)
    with pytest.raises(LimitError, match="the names and attributes"):
        open_contents(str(image), limits=LIMITS).parts()


@as_root
def test_extended_attributes_are_kept_for_files_symlinks_and_fifos(image):
    (image / "rootfs/file").write_text("x")
    (image / "rootfs/link").symlink_to("none")
    os.mkfifo(image / "rootfs/pipe")
    for name in ("file", "link", "pipe"):
        os.setxattr(image / f"rootfs/{name}", "trusted.note", name.encode(), follow_symlinks=False)
    members = {member.name: member for member, _ in open_contents(str(image)).rootfs()}
    assert {name: members[name].xattrs for name in ("file", "link", "pipe")} == {
        "file": {"trusted.note": b"file"}, "link": {"trusted.note": b"link"}, "pipe": {"trusted.note": b"pipe"},
    }  # fmt: skip
    link = members["link"]
    assert (link.kind, link.mode, link.target, link.device) == (SYMLINK, 0o777, "none", (0, 0))
    assert (members["pipe"].kind, members["file"].size, members["file"].device) == (FIFO, 1, (0, 0))


def test_the_error_about_a_full_disk_contains_the_path(image, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (image / "rootfs/etc").mkdir()
    (image / "rootfs/etc/a").write_text("x")
    monkeypatch.setattr(unpack_module.TreeWriter, "_thing", full)
    contents = open_contents(str(image))
    with pytest.raises(WriteError) as caught:
        unpack_module.unpack(contents, contents.parts(), f"{tmp_path}/new")
    assert caught.value.message == "can't write '/etc/a': no space left on device"
    assert not (tmp_path / "new").exists() and not (tmp_path / ".new.unpacking").exists()
