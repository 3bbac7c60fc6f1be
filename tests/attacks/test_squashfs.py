"""Small squashfs files that keep their reader busy, or fill its memory."""

import lzma
import os
import shutil
import socket
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from templater.image import second_file, sqfs2tar
from templater.image.describe import describe
from templater.image.limits import DEFAULT
from templater.image.open_file import OpenFile, kind_of_file
from templater.image.second_file import open_rootfs
from templater.image.squashfs_directories import check_directories
from templater.model.errors import InputError, LimitError, RefusedError

pytestmark = pytest.mark.skipif(shutil.which("sqfs2tar") is None, reason="NOT RUN: needs squashfs-tools-ng")


def block(data: bytes) -> bytes:
    """Return a compressed metadata block."""
    packed = zlib.compress(data)
    return struct.pack("<H", len(packed)) + packed


def stored(data: bytes) -> bytes:
    """Return a metadata block without compression."""
    return struct.pack("<H", len(data) | 0x8000) + data


def squashfs(
    path: Path,
    inodes: list[bytes],
    directories: bytes,
    fragments: int = 0,
    *,
    compression: int = 1,
    table: bytes = b"",
) -> str:
    """Write a squashfs file whose root is the last inode. All fragments are in one block of zeros.

    ``table`` has the blocks of directories, instead of one block with ``directories``.
    """
    body, root = stored(b"".join(inodes)), sum(map(len, inodes[:-1]))
    directory_table = 96 + len(body)
    body += table or block(directories)
    fragment_table = 2**64 - 1
    if fragments:
        place = 96 + len(body)
        body += block(bytes(8192))
        fragment_table = 96 + len(body)
        body += struct.pack("<Q", place) * (fragments // 512)
    ids = 96 + len(body)
    body += stored(bytes(4))
    id_table = 96 + len(body)
    body += struct.pack("<Q", ids)
    head = struct.pack("<4s4I6H", b"hsqs", len(inodes), 0, 131072, fragments, compression, 17, 0, 1, 4, 0)
    absent, size = 2**64 - 1, 96 + len(body)
    places = (root, size, id_table, absent, 96, directory_table, fragment_table, absent)
    path.write_bytes(head + struct.pack("<8Q", *places) + body)
    return str(path)


def directory_inode(number: int, size: int = 0, place: int = 0) -> bytes:
    head = struct.pack("<HHHHII", 1, 0o755, 0, 0, 0, number)
    return head + struct.pack("<IIHHI", 0, 2, size + 3, place, number + 1)


def nested(path: Path, depth: int) -> str:
    """Write directories, each of which has two names for the next directory: 2 ** depth paths in total."""
    inodes, directories = [directory_inode(1)], b""
    for number in range(2, depth + 2):
        place = sum(map(len, inodes[:-1]))
        names = struct.pack("<III", 1, 0, number - 1)
        names += b"".join(struct.pack("<HhHH", place, 0, 1, 0) + name for name in (b"a", b"b"))
        inodes.append(directory_inode(number, len(names), len(directories)))
        directories += names
    return squashfs(path, inodes, directories)


def one_directory(
    path: Path, *, cut: int = 0, count: int = 2, kind: int = 1, number: int = 1, flags: int = 0
) -> str:
    """Write a directory with two empty directories. The arguments make it inconsistent."""
    names = struct.pack("<III", count - 1, 0, 1)
    names += struct.pack("<HhHH", 0, number - 1, kind, 0) + b"a" + struct.pack("<HhHH", 32, 1, 1, 0) + b"b"
    inodes = [directory_inode(1), directory_inode(2), directory_inode(3, len(names) - cut)]
    made = squashfs(path, inodes, names)
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, 24, flags)
    if flags:
        struct.pack_into("<Q", data, 56, 96)
    path.write_bytes(data)
    return made


def with_owner(data: bytearray, inode: int) -> None:
    struct.pack_into("<H", data, inode + 6, 32768)


def with_number(data: bytearray, inode: int) -> None:
    struct.pack_into("<I", data, inode + 12, 60000)
    (directories,) = struct.unpack_from("<Q", data, 72)
    struct.pack_into("<I", data, directories + 2 + 8, 60000)


def with_nul(data: bytearray, inode: int) -> None:
    data[data.rindex(b"hostname") + 4] = 0


def with_slash(data: bytearray, inode: int) -> None:
    data[data.rindex(b"hostname") + 4] = ord("/")


def at(place: int, form: str, value: int) -> Callable[[bytearray, int], None]:
    return lambda data, inode: struct.pack_into(form, data, place, value)


def with_options(data: bytearray, inode: int) -> None:
    """Set the flag for compression options, although the file has no such options."""
    data[25] |= 4


def after(place: int, form: str, value: int) -> Callable[[bytearray, int], None]:
    """Change a number in the list of attributes. The end of the file has the list's position."""

    def change(data: bytearray, inode: int) -> None:
        (used,) = struct.unpack_from("<Q", data, 40)
        (start,) = struct.unpack_from("<Q", data, used - 8)
        struct.pack_into(form, data, start + 2 + place, value)

    return change


def beside(name: bytes, place: int, content: bytes) -> Callable[[bytearray, int], None]:
    """Change the type or size (before the name) or the value (after the name) of an attribute."""

    def change(data: bytearray, inode: int) -> None:
        start = data.index(name) + place
        data[start : start + len(content)] = content

    return change


WRONG_TABLE = "a table is empty, or ends at a wrong position"
WRONG_NAME, WRONG_VALUE = (f"the {part} of an extended attribute is invalid" for part in ("name", "value"))


@pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="NOT RUN: needs squashfs-tools")
@pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: only root may set attributes of every kind")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (None, ""),
        (with_owner, "the owner of an inode is outside of the table"),
        (with_number, "the number of an inode is invalid"),
        (with_nul, "a directory contains an invalid name"),
        (with_slash, "a directory contains an invalid name"),
        (at(4, "<I", 60000), WRONG_TABLE),  # the number of inodes
        (at(40, "<Q", 1 << 40), WRONG_TABLE),  # the size of the file
        (at(88, "<Q", 1 << 60), WRONG_TABLE),  # the table of the numbers of inodes
        (at(80, "<Q", 1 << 60), WRONG_TABLE),  # the table of ends of files
        (at(16, "<I", 65535), "a table has too many entries"),
        (at(26, "<H", 0), "a table has too many entries"),
        (at(26, "<H", 2), "a block of a table has an invalid size"),
        (at(72, "<Q", 96), "a table is in a wrong place"),
        (with_options, "a block can't be decompressed"),
        (after(8, "<I", 0), "the extended attributes overlap"),
        (after(0, "<Q", 1 << 16), "continue after the end of their table"),
        (beside(b"first", -4, b"\7"), "an extended attribute has an unknown type"),
        (beside(b"first", 0, b"\0"), WRONG_NAME),
        (beside(b"pipe-attribute", -4, b"\0"), "an attribute that only files can have"),
        (beside(b"capability", 10, b"\1"), WRONG_VALUE),
        (beside(b"capability", 14 + 3, b"\1"), WRONG_VALUE),
    ],
)  # fmt: skip
def test_templater_refuses_a_squashfs_file_if_unsquashfs_does(
    tmp_path: Path, change: Callable[[bytearray, int], None] | None, said: str
) -> None:
    """No daemon could unpack the image, and ``audit`` found nothing."""
    (tmp_path / "tree/etc").mkdir(parents=True)
    for name in ("etc/hostname", "sh"):
        (tmp_path / "tree" / name).write_text("x\n")
    os.mkfifo(tmp_path / "tree/pipe")
    for name, attribute, value in (
        ("etc/hostname", "user.first", b"1"),
        ("pipe", "trusted.pipe-attribute", b"2"),
        ("sh", "security.capability", CAPABILITY),
    ):
        os.setxattr(tmp_path / "tree" / name, attribute, value)
    path = tmp_path / "i.squashfs"
    plain = ["-noI", "-noD", "-noF", "-noX", "-noId", "-xattrs", "-quiet", "-no-progress"]
    subprocess.run(["mksquashfs", tmp_path / "tree", path, *plain], check=True, stdout=subprocess.DEVNULL)
    data = bytearray(path.read_bytes())
    if change is not None:
        change(data, struct.unpack_from("<Q", data, 64)[0] + 2)
        path.write_bytes(data)
    answer = subprocess.run(
        ["unsquashfs", "-n", "-d", tmp_path / "out", path], capture_output=True, check=False
    )
    if change is None:
        assert answer.returncode == 0, answer.stderr
        check_directories(str(path), DEFAULT)
        return
    assert answer.returncode != 0
    with pytest.raises((InputError, RefusedError), match=said):
        check_directories(str(path), DEFAULT)
    (tmp_path / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    subprocess.run(["tar", "-cf", "meta.tar", "metadata.yaml"], cwd=tmp_path, check=True)
    with pytest.raises((InputError, RefusedError), match=said):
        describe(str(tmp_path / "meta.tar"), str(path), squashfs=True)


@pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="NOT RUN: needs squashfs-tools")
@pytest.mark.parametrize("kind", ["xz", "lzma"])
@pytest.mark.parametrize("mebibytes", [24, 32, 48])
def test_file_block_that_needs_a_large_dictionary_is_refused(
    tmp_path: Path, kind: str, mebibytes: int
) -> None:
    """unsquashfs accepts dictionaries up to 32 MiB, and sqfs2tar accepts larger ones.

    So ``audit`` found nothing.
    """
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_bytes(b"hello world\n" * 20_000)
    path = tmp_path / "i.squashfs"
    command = ["mksquashfs", tmp_path / "tree", path, "-comp", kind, "-noI", "-noF", "-quiet", "-no-progress"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    data = bytearray(path.read_bytes())
    if kind == "lzma":
        struct.pack_into("<I", data, 96 + 1, mebibytes << 20)
    else:
        head = 96 + 12
        end = head + 4 * data[head]
        data[data.index(b"\x21\1", head, end) + 2] = {24: 25, 32: 26, 48: 27}[mebibytes]
        struct.pack_into("<I", data, end, zlib.crc32(data[head:end]))
    path.write_bytes(data)
    words = ["unsquashfs", "-n", "-d", tmp_path / "out", path]
    accepted = subprocess.run(words, capture_output=True, check=False).returncode == 0
    assert accepted == (mebibytes == 24)
    if accepted:
        check_directories(str(path), DEFAULT)
        return
    with pytest.raises(InputError, match="a block can't be decompressed: Memory usage limit exceeded"):
        check_directories(str(path), DEFAULT)


def with_attributes(path: Path, content: bytes, lists: list[tuple[int, int]]) -> str:
    """Write a file ``sh`` that has the first of some lists of extended attributes.

    ``lists`` has the reference and the number of the attributes of each list. A block has ``content``, and
    the next block has the lists.
    """
    file = struct.pack("<HHHHII", 9, 0o755, 0, 0, 0, 1) + struct.pack("<QQQIIII", 0, 0, 0, 1, 2**32 - 1, 0, 0)
    names = struct.pack("<IIIHhHH", 0, 0, 1, 0, 0, 2, 1) + b"sh"
    squashfs(path, [file, directory_inode(2, len(names))], names)
    data = path.read_bytes()
    start = len(data)
    data += stored(content)
    place = len(data)
    data += stored(b"".join(struct.pack("<QII", *each, 0) for each in lists))
    table = len(data)
    data += struct.pack("<QIIQ", start, len(lists), 0, place)
    path.write_bytes(
        data[:40] + struct.pack("<QQQ", len(data), *struct.unpack_from("<Q", data, 48), table) + data[64:]
    )
    return str(path)


CAPABILITY = struct.pack("<IIIII", 0x02000001, 0xFFFFFFFF, 0, 0x1FF, 0)


def of_user(root: int) -> bytes:
    """Return capabilities for the user namespaces whose root user has the user id ``root`` outside."""
    return struct.pack("<IIIIII", 0x03000001, 0xFFFFFFFF, 0, 0x1FF, 0, root)


def attribute(name: bytes, value: bytes, kind: int = 2, size: int | None = None) -> bytes:
    return (
        struct.pack("<HH", kind, len(name) if size is None else size)
        + name
        + struct.pack("<I", len(value))
        + value
    )


@pytest.mark.parametrize(
    ("content", "lists", "said"),
    [
        (attribute(b"capability", CAPABILITY), [(0, 1)], ""),
        (attribute(b"capability", of_user(0)), [(0, 1)], ""),
        (attribute(b"capability", of_user(2**32 - 2)), [(0, 1)], ""),
        (attribute(b"capability", of_user(2**32 - 1)), [(0, 1)], "the value of"),
        (attribute(b"capability", of_user(0) + b"\0"), [(0, 1)], "the value of"),
        (attribute(b"capability", bytes(8), 0x102), [(0, 1)], "continue after the end of their table"),
        (struct.pack("<I", 20) + CAPABILITY + attribute(b"capability", bytes(8), 0x102), [(24, 1)], ""),
        (struct.pack("<I", 20) + CAPABILITY + attribute(b"capability", bytes(7), 0x102), [(24, 1)], "the value of"),
        (
            (struct.pack("<I", 20) + CAPABILITY).ljust(99, b"\0") + struct.pack("<HH", 0x102, 18) + b"capability",
            [(99, 1)], "the extended attributes continue after the end of their table",
        ),
        (attribute(b"a", b"b"), [(8191, 1)], "the extended attributes continue after the end of their table"),
        (attribute(b"a", b"b")[:-1], [(0, 1)], "the extended attributes continue after the end of their table"),
        (attribute(b"a", b"b", size=1000), [(0, 1)], "the extended attributes continue after the end of their table"),
        (attribute(b"a", b"b") * 2, [(0, 2), (10, 1)], "the extended attributes overlap"),
        (attribute(b"a", b"b") * 2, [(10, 1), (0, 1)], ""),
        (attribute(b"a" * 247, b"b"), [(0, 1)], "the name of an extended attribute is invalid"),
        (attribute(b"a" * 246, b"b"), [(0, 1)], ""),
        (attribute(b"a%3D", b"b"), [(0, 1)], ""),
        (attribute(b"a=b", b"c"), [(0, 1)], "sqfs2tar can't write the name of an extended attribute that contains '='"),
    ],
)  # fmt: skip
def test_attack_60_an_extended_attribute_beyond_the_end_of_its_table_is_refused(
    tmp_path: Path, content: bytes, lists: list[tuple[int, int]], said: str
) -> None:
    """unsquashfs gave /bin/sh all capabilities. sqfs2tar read another name for the attribute."""
    path = with_attributes(tmp_path / "i.squashfs", content, lists)
    if not said:
        check_directories(path, DEFAULT)
        if shutil.which("unsquashfs") and os.geteuid() == 0:
            subprocess.run(
                ["unsquashfs", "-n", "-d", tmp_path / "out", path], check=True, capture_output=True
            )
        return
    with pytest.raises(InputError, match=said):
        check_directories(path, DEFAULT)


def test_the_number_of_extended_attributes_has_a_limit(tmp_path: Path) -> None:
    path = with_attributes(tmp_path / "i.squashfs", attribute(b"a", b"b") * 3, [(0, 2), (20, 1)])
    check_directories(path, DEFAULT._replace(members=3))
    with pytest.raises(LimitError, match="' has more than 2 extended attributes"):
        check_directories(path, DEFAULT._replace(members=2))
    with pytest.raises(LimitError, match="' has more than 1 lists of extended attributes"):
        check_directories(path, DEFAULT._replace(members=1))


def test_a_squashfs_directory_with_two_parents_is_refused(tmp_path: Path) -> None:
    """sqfs2tar needs quadratic time for 2 ** 24 paths."""
    path = nested(tmp_path / "i.squashfs", 24)
    with pytest.raises(RefusedError, match="a directory occurs in two places, so tools would read different"):
        check_directories(path, DEFAULT)
    with pytest.raises(RefusedError), open_rootfs(path):
        pass


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cut": 9}, "a directory has more names than its size allows"),
        ({"cut": 18}, "a directory has more names than its size allows"),
        ({"cut": -1}, "can't be read: "),
        ({"count": 3}, "a directory has more names than its size allows"),
        ({"count": 300}, "a header in a directory has too many names"),
        ({"kind": 2}, "the type or number of an inode differs from its directory entry"),
        ({"number": 2}, "the type or number of an inode differs from its directory entry"),
        ({"flags": 4}, "has the flag for check data: only some tools then skip a byte in each block"),
        ({"flags": 0x200}, "has extended attributes, although a flag says that it has none"),
    ],
)
def test_a_squashfs_file_is_refused_if_tools_read_it_differently(
    tmp_path: Path, change: dict[str, int], said: str
) -> None:
    """The kernel shows all names of a header, and sqfs2tar only names within the size of the directory."""
    check_directories(one_directory(tmp_path / "i.squashfs"), DEFAULT)
    with pytest.raises((RefusedError, InputError), match=said):
        check_directories(one_directory(tmp_path / "i.squashfs", **change), DEFAULT)


def zstd_with_two_frames(first: bytes, second: bytes) -> bytes:
    """ZSTD_decompress joins the frames."""
    zstd = pytest.importorskip("backports.zstd")
    return bytes(zstd.compress(first) + zstd.compress(second))


def lzma_with_a_large_size(first: bytes, second: bytes) -> bytes:
    """squashfs-tools read only the low four bytes of the size, so they end the block before ``second``."""
    packed = lzma.compress(first + second, lzma.FORMAT_ALONE)
    return packed[:5] + struct.pack("<II", len(first), 1) + packed[13:-1]


def pack_lzma(data: bytes) -> bytes:
    """Compress a block as squashfs-tools do."""
    packed = lzma.compress(data, lzma.FORMAT_ALONE)
    return packed[:5] + len(data).to_bytes(8, "little") + packed[13:]


@pytest.mark.parametrize(
    ("compression", "pack", "swapped"),
    [(6, zstd_with_two_frames, False), (2, lzma_with_a_large_size, True)],
)
def test_block_is_refused_if_tools_disagree_about_its_size(
    tmp_path: Path, compression: int, pack: Callable[[bytes, bytes], bytes], swapped: bool
) -> None:
    """An audit read the next block instead of the rest of the block, so it did not see the last name."""

    def listing(*numbers: int) -> bytes:
        entries = b"".join(
            struct.pack("<HhHHB", 32 * number, number, 1, 0, 97 + number) for number in numbers
        )
        return struct.pack("<III", len(numbers) - 1, 0, 1) + entries

    shown, hidden = listing(1), listing(1, 2)
    inodes = [*map(directory_inode, (1, 2, 3)), directory_inode(4, len(listing(0) + shown))]
    packed = pack(listing(0), shown if swapped else hidden)
    table = struct.pack("<H", len(packed)) + packed + stored(hidden if swapped else shown)
    path = squashfs(tmp_path / "i", inodes, b"", compression=compression, table=table)
    if shutil.which("unsquashfs"):
        listed = subprocess.run(["unsquashfs", "-l", path], capture_output=True, check=True).stdout
        assert b"squashfs-root/c" in listed
    with pytest.raises(
        InputError, match=r"a block can't be decompressed: the compressed data (is not|has an)"
    ):
        check_directories(path, DEFAULT)


def test_a_squashfs_file_with_the_flag_for_check_data_is_refused(tmp_path: Path) -> None:
    """unsquashfs skips one more byte of each block, so it made a device that sqfs2tar did not show.

    The block of inodes is LZO. It begins with a run of literals, whose length depends on the first byte that a
    tool reads. So the tools find different inodes at the position of the root.
    """
    run, copied = 19, 53
    place = run + copied  # of the root in the output of both tools
    files = [struct.pack("<HHHHIII", 6, 0o644, 0, 0, 0, 1, 1)]
    files += [struct.pack("<HHHHIIII", 4, 0o666, 0, 0, 0, 2, 1, 0x801)]
    first = place + 32
    shown = struct.pack("<IIIHhHH", 0, 0, 1, first, 0, 6, 1) + b"ok"
    hidden = struct.pack("<IIIHhHH", 0, 0, 2, first + copied - 6 + 20, 0, 4, 3) + b"evil"
    inodes = directory_inode(3, len(hidden), len(shown)).ljust(copied - 6, b"\0")
    inodes += directory_inode(3, len(shown)) + b"".join(files)
    inodes = inodes.ljust(255 - 6, b"\0")
    packed = bytes([0, 0, 1]) + bytes(run) + bytes([32, copied - 33, 0, 0]) + bytes([0, len(inodes) - 17])
    packed += inodes + bytes.fromhex("10100100")
    body = struct.pack("<H", len(packed)) + packed + b"\0"
    directory_table = 96 + len(body)
    body += stored(shown + b"\0" + hidden) + b"\0"
    body += stored(bytes(4)) + b"\0" + struct.pack("<Q", 96 + len(body))
    id_table = 96 + len(body) - 8
    head = struct.pack("<4s4I6H", b"hsqs", 3, 0, 131072, 0, 3, 17, 0x204, 1, 4, 0)
    absent = 2**64 - 1
    places = (place, 96 + len(body), id_table, absent, 96, directory_table, absent, absent)
    path = tmp_path / "i.squashfs"
    path.write_bytes(head + struct.pack("<8Q", *places) + body.ljust(4096, b"\0"))
    if shutil.which("unsquashfs"):
        listed = subprocess.run(["unsquashfs", "-ll", path], capture_output=True, check=False).stdout
        assert b"brw-rw-rw-" in listed
        assert b"/evil" in listed
    read = subprocess.run(["sqfs2tar", path], capture_output=True, check=True).stdout
    assert b"ok" in read
    assert b"evil" not in read
    with pytest.raises(RefusedError, match="has the flag for check data"):
        check_directories(str(path), DEFAULT)


def with_data(
    path: Path,
    word: int,
    size: int,
    data: bytes,
    *,
    compression: int = 1,
    fragment: tuple[int, int] = (2**32 - 1, 0),
    links: int = 1,
) -> str:
    """Write a file with one block of data, and then a block device.

    ``word`` describes the block in the inode. Several names can have the same inode.
    """
    inodes = [struct.pack("<HHHHII6I", 2, 0o644, 0, 0, 0, 1, 2**20, *fragment, size, word, 0)[:-4]]
    inodes += [struct.pack("<HHHHIIII", 4, 0o666, 0, 0, 0, 2, 1, 0x801)]
    names = struct.pack("<III", links, 0, 1)
    names += b"".join(struct.pack("<HhHHB", 0, 0, 2, 0, 97 + number) for number in range(links))
    names += struct.pack("<HhHHB", len(inodes[0]), 1, 4, 0, 97 + links)
    made = squashfs(
        path, [*inodes, directory_inode(3, len(names))], b"", compression=compression, table=stored(names)
    )
    os.truncate(path, 2**20)
    with path.open("ab") as file:
        file.write(data)
    return made


STORED = 1 << 24
DATA = bytes(range(256)) * 16


@pytest.mark.parametrize(
    ("compression", "data", "is_stored"),
    [
        (1, DATA[:88], True),
        (1, zlib.compress(DATA[:88]), False),
        (2, pack_lzma(DATA[:88]), False),
        (3, bytes([17 + 88]) + DATA[:88] + bytes.fromhex("110000"), False),
        (4, lzma.compress(DATA[:88]), False),
    ],
)
def test_a_squashfs_file_with_a_too_short_block_is_refused(
    tmp_path: Path, compression: int, data: bytes, is_stored: bool
) -> None:
    """sqfs2tar wrote too few bytes of a file, so readers took the next header for the end of the file."""
    path = with_data(tmp_path / "i", len(data) | STORED * is_stored, 600, data, compression=compression)
    read = subprocess.run(["sqfs2tar", path], capture_output=True, check=True).stdout
    members = subprocess.run(["tar", "tv"], input=read, capture_output=True, check=False).stdout
    assert members.count(b"\n") == 1
    with pytest.raises(
        RefusedError, match="the size of a block does not match the size of its file, so tools"
    ):
        check_directories(path, DEFAULT)


def two_files(
    path: Path, names: tuple[bytes, bytes] = (b"a", b"b"), numbers: tuple[int, int] = (1, 2)
) -> str:
    """Write a fifo and a socket."""
    inodes = [
        struct.pack("<HHHHIII", kind, 0o644, 0, 0, 0, number, 1)
        for kind, number in zip((6, 7), numbers, strict=True)
    ]
    entries = struct.pack("<III", 1, 0, numbers[0])
    for index, name in enumerate(names):
        entries += (
            struct.pack("<HhHH", 20 * index, numbers[index] - numbers[0], 6 + index, len(name) - 1) + name
        )
    return squashfs(path, [*inodes, directory_inode(3, len(entries))], entries)


@pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="NOT RUN: needs squashfs-tools")
@pytest.mark.parametrize("names", [1, 2])
def test_a_squashfs_file_with_a_socket_is_read_without_the_socket(tmp_path: Path, names: int) -> None:
    """unsquashfs makes sockets, so all daemons unpack a file with sockets.

    No command of templater could read such a file.
    """
    tree, path = tmp_path / "tree", tmp_path / "i.squashfs"
    tree.mkdir()
    (tree / "file").write_text("x")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tree / "s0"))
    for number in range(1, names):
        os.link(tree / "s0", tree / f"s{number}")
    subprocess.run(["mksquashfs", tree, path, "-quiet", "-no-progress"], check=True)
    if names > 1:
        with pytest.raises(InputError, match="a socket has several hard links"), open_rootfs(str(path)):
            pass
        return
    with open_rootfs(str(path)) as archive:
        assert [member.name for member in archive] == ["./", "./file"]


#: a name for which sqfs2tar writes an extended header
LONG = "n" * 120


def packed_with_sockets(path: Path, sockets: list[str], files: list[str], capable: list[str]) -> str:
    """Write a squashfs file. ``capable`` contains the names of the members with capabilities."""
    tree = path.with_suffix(".tree")
    for name in files:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name[:1])
    lines = [f"{name} i 644 0 0 s" for name in sockets]
    lines += [f"{name} x security.capability=0x{CAPABILITY.hex()}" for name in capable]
    given = [word for line in lines for word in ("-p", line)]
    subprocess.run(["mksquashfs", tree, path, "-quiet", "-no-progress", *given], check=True)
    return str(path)


@pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="NOT RUN: needs squashfs-tools")
@pytest.mark.parametrize(
    ("sockets", "files", "capable", "expected"),
    [
        ([f"a{LONG}"], ["b"], [], {"./b": False}),
        (["a"], ["b"], ["a"], {"./b": False}),
        ([f"a{LONG}"], [f"b{LONG}"], [f"b{LONG}"], {f"./b{LONG}": True}),
        ([f"z{LONG}"], ["b"], [f"z{LONG}"], {"./b": False}),
        (
            ["d/s", f"d/e/s{LONG}", f"d/z{LONG}", "s"],
            ["a", f"d/e/f{LONG}", "d/e/t", "d/f", f"f{LONG}"],
            ["d/s", f"d/e/s{LONG}", f"d/e/f{LONG}", "d/f", "s", "d/e"],
            {"./a": False, "./d/": False, "./d/e/": True, f"./d/e/f{LONG}": True, "./d/e/t": False,
             "./d/f": True, f"./f{LONG}": False},
        ),
    ],
)  # fmt: skip
def test_file_after_a_socket_keeps_its_name_and_attributes(
    tmp_path: Path, sockets: list[str], files: list[str], capable: list[str], expected: dict[str, bool]
) -> None:
    """sqfs2tar writes extended headers for a socket before it skips the socket.

    So a socket with a long name could rename the link after it, and no command saw the real name.
    """
    path = packed_with_sockets(tmp_path / "i.squashfs", sockets, files, capable)
    with open_rootfs(path) as archive:
        found = {member.name: bool(member.xattrs) for member in archive}
        assert found.pop("./") is False
    assert found == expected
    with open_rootfs(path) as archive:
        copied = b"".join(data for _ in archive for data in archive.raw()) + bytes(1024)
    names = subprocess.run(["tar", "t"], input=copied, capture_output=True, check=True).stdout
    assert names.decode().split() == ["./", *expected]


@pytest.mark.parametrize("names", [(b"a", b"a"), (b"b", b"a"), (b"\xff", b"a"), (b"ab", b"a")])
def test_a_squashfs_directory_with_unsorted_names_is_refused(
    tmp_path: Path, names: tuple[bytes, bytes]
) -> None:
    """In an unsorted directory, the kernel stops its search at a later name. unsquashfs refuses the file."""
    check_directories(two_files(tmp_path / "i"), DEFAULT)
    check_directories(two_files(tmp_path / "i", (b"a", b"\xff")), DEFAULT)
    with pytest.raises(RefusedError, match="the names of a directory are not sorted, so tools would read"):
        check_directories(two_files(tmp_path / "i", names), DEFAULT)


@pytest.mark.parametrize("numbers", [(1, 1), (1, 3), (3, 2)])
def test_two_squashfs_inodes_with_the_same_number_are_refused(
    tmp_path: Path, numbers: tuple[int, int]
) -> None:
    """sqfs2tar shows the second inode as a hard link of the first inode, so an audit did not see a device."""
    with pytest.raises(RefusedError, match="two inodes have the same number, so tools would read"):
        check_directories(two_files(tmp_path / "i", numbers=numbers), DEFAULT)


@pytest.mark.parametrize("size", [50, 95, 96, 98, 100, 120])
def test_a_truncated_squashfs_file_gives_one_clear_error(tmp_path: Path, size: int) -> None:
    path = Path(one_directory(tmp_path / "i.squashfs"))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match="can't be read: "):
        check_directories(str(path), DEFAULT)


def many_names(path: Path, directories: int) -> str:
    """Write 256 names of one fifo in each of many directories."""
    fifo = struct.pack("<HHHHII", 6, 0o644, 0, 0, 0, 1) + struct.pack("<I", 1)
    names = struct.pack("<III", 255, 0, 1)
    names += b"".join(struct.pack("<HhHH", 0, 0, 6, 2) + b"%03d" % number for number in range(256))
    inodes = [fifo, *(directory_inode(number + 2, len(names)) for number in range(directories))]
    top = struct.pack("<III", directories - 1, 0, 2)
    top += b"".join(
        struct.pack("<HhHH", 20 + 32 * number, number, 1, 2) + b"%03d" % number
        for number in range(directories)
    )
    inodes.append(directory_inode(directories + 2, len(top), len(names)))
    return squashfs(path, inodes, names + top)


def test_the_number_of_names_in_a_squashfs_file_has_a_limit(tmp_path: Path) -> None:
    path = many_names(tmp_path / "i.squashfs", 4)
    check_directories(path, DEFAULT._replace(members=1028))
    with pytest.raises(LimitError, match="has more than 1027 members"):
        check_directories(path, DEFAULT._replace(members=1027))


def test_a_squashfs_fragment_table_above_the_memory_limit_is_refused(tmp_path: Path) -> None:
    path = squashfs(tmp_path / "i.squashfs", [directory_inode(1)], b"", fragments=512 * 40_000)
    with (tmp_path / "i.squashfs").open("rb+") as file:
        file.seek(4)
        file.write(struct.pack("<I", 512 * 40_000))  # as many inodes
    with (
        pytest.raises(LimitError, match="more than the limit of 178 MiB of memory"),
        open_rootfs(path) as archive,
    ):
        list(archive)


def test_the_time_limit_depends_on_the_size_without_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sqfs2tar searches hard links in quadratic time. Its output is much longer than the file."""
    monkeypatch.setattr(sqfs2tar, "SQUASHFS_SECONDS", 0)
    path = many_names(tmp_path / "i.squashfs", 200)
    os.truncate(path, 600 << 20)
    with (
        pytest.raises(LimitError, match="sqfs2tar used more than 0 s of processor time and was stopped"),
        open_rootfs(path) as archive,
    ):
        list(archive)


def test_the_processor_time_of_sqfs2tar_is_limited_before_its_first_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sqfs2tar reads the whole tree before it writes. A file of 5.5 MB took more than a minute."""
    given: list[int] = []
    monkeypatch.setattr(
        sqfs2tar.unpacker_process, "start", lambda words, path, fd, bounds, content: given.append(bounds.cpu)
    )
    path = tmp_path / "i.squashfs"
    path.write_bytes(b"x" * (3 << 20))
    os.truncate(path, 600 << 20)
    sqfs2tar.start_sqfs2tar(OpenFile(str(path)))
    assert given == [9]


def test_replaced_squashfs_file_is_opened_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sqfs2tar read a private image of root through a link that appeared after the first open."""
    path = one_directory(tmp_path / "own")
    two_files(tmp_path / "private", (b"c", b"d"))

    def replaced(file: str) -> str:
        kind = kind_of_file(file)
        os.unlink(path)
        os.symlink(tmp_path / "private", path)
        return kind

    monkeypatch.setattr(second_file, "kind_of_file", replaced)
    with open_rootfs(path) as archive:
        assert [member.name.strip("./") for member in archive] == ["", "a", "b"]
    assert os.path.islink(path)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gensquashfs") is None, reason="NOT RUN: needs squashfs-tools-ng")
def test_a_large_root_filesystem_is_read_within_the_limits(tmp_path: Path) -> None:
    """The memory limit for each name must be large enough."""
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
