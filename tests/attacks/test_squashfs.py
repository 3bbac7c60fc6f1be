"""Small squashfs files that keep their reader busy, or fill its memory."""

import os
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from templater.image import contents
from templater.image.contents import open_rootfs
from templater.image.limits import DEFAULT
from templater.model.errors import LimitError

pytestmark = pytest.mark.skipif(shutil.which("sqfs2tar") is None, reason="NOT RUN: needs squashfs-tools-ng")


def block(data: bytes) -> bytes:
    """A compressed metadata block."""
    packed = zlib.compress(data)
    return struct.pack("<H", len(packed)) + packed


def squashfs(path: Path, inodes: list[bytes], directories: bytes, fragments: int = 0) -> str:
    """Write a squashfs file whose root is the last inode. All fragments are in one block of zeros."""
    body, root = block(b"".join(inodes)), sum(map(len, inodes[:-1]))
    directory_table = 96 + len(body)
    body += block(directories)
    fragment_table = 2**64 - 1
    if fragments:
        place = 96 + len(body)
        body += block(bytes(8192))
        fragment_table = 96 + len(body)
        body += struct.pack("<Q", place) * (fragments // 512)
    ids = 96 + len(body)
    body += block(bytes(4))
    id_table = 96 + len(body)
    body += struct.pack("<Q", ids)
    head = struct.pack("<4s4I6H", b"hsqs", len(inodes), 0, 131072, fragments, 1, 17, 0, 1, 4, 0)
    absent, size = 2**64 - 1, 96 + len(body)
    places = (root, size, id_table, absent, 96, directory_table, fragment_table, absent)
    path.write_bytes(head + struct.pack("<8Q", *places) + body)
    return str(path)


def directory_inode(number: int, size: int = 0, place: int = 0) -> bytes:
    head = struct.pack("<HHHHII", 1, 0o755, 0, 0, 0, number)
    return head + struct.pack("<IIHHI", 0, 2, size + 3, place, number + 1)


def nested(path: Path, depth: int) -> str:
    """In each directory, two names lead to the same next directory: together 2 ** depth paths."""
    inodes, directories = [directory_inode(1)], b""
    for number in range(2, depth + 2):
        place = sum(map(len, inodes[:-1]))
        names = struct.pack("<III", 1, 0, number - 1)
        names += b"".join(struct.pack("<HhHH", place, 0, 1, 0) + name for name in (b"a", b"b"))
        inodes.append(directory_inode(number, len(names), len(directories)))
        directories += names
    return squashfs(path, inodes, directories)


def test_directories_with_shared_inodes_are_read(tmp_path: Path) -> None:
    with open_rootfs(nested(tmp_path / "i.squashfs", 3)) as archive:
        assert len(list(archive)) == 2 + 4 + 8 + 1


def test_millions_of_paths_in_a_tiny_file_hit_the_memory_limit(tmp_path: Path) -> None:
    path = nested(tmp_path / "i.squashfs", 24)
    with (
        pytest.raises(LimitError, match="more than the limit of 64 MiB of memory"),
        open_rootfs(path, DEFAULT._replace(members=1000)) as archive,
    ):
        list(archive)


def test_a_fragment_table_of_shared_blocks_hits_the_memory_limit(tmp_path: Path) -> None:
    path = squashfs(tmp_path / "i.squashfs", [directory_inode(1)], b"", fragments=512 * 40_000)
    with (
        pytest.raises(LimitError, match="more than the limit of 254 MiB of memory"),
        open_rootfs(path) as archive,
    ):
        list(archive)


@pytest.mark.slow
def test_a_quadratic_search_for_hard_links_hits_the_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size of the file does not matter: the reader skips all that follows the file system."""
    monkeypatch.setattr(contents, "SQUASHFS_SECONDS", 0.1)
    monkeypatch.setattr(
        contents, "SQUASHFS_BYTES_PER_SECOND", 1 << 40
    )  # a fast machine may read all names soon
    path = nested(tmp_path / "i.squashfs", 18)
    os.truncate(path, 600 << 20)
    with (
        pytest.raises(LimitError, match="sqfs2tar used more than 0 s of processor time and was stopped"),
        open_rootfs(path) as archive,
    ):
        list(archive)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gensquashfs") is None, reason="NOT RUN: needs squashfs-tools-ng")
def test_a_large_root_filesystem_is_read_within_the_limits(tmp_path: Path) -> None:
    """The memory for each name has to be enough."""
    folders = "".join(f"dir /usr-{n} 0755 0 0\n" for n in range(200))
    links = "".join(
        f"slink /usr-{n % 200}/library-of-a-package-{n}.so 0777 0 0 ../somewhere/library-{n}.so\n"
        for n in range(50_000)
    )
    (tmp_path / "names").write_text(folders + links)
    path = str(tmp_path / "i.squashfs")
    subprocess.run(["gensquashfs", "-q", "-F", tmp_path / "names", path], check=True)
    with open_rootfs(path, DEFAULT._replace(members=50_201)) as archive:
        assert sum(1 for _ in archive) == 50_201
