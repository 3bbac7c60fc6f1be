"""The message and the hint of each refusal of an image's files, and the limits of the readers at their boundary."""

import gc
import gzip
import os
import random
import tarfile
from types import SimpleNamespace

import pytest

from templater.image import build as image_build
from templater.image import (
    decompress,
    members_outside_rootfs,
    mksquashfs,
    open_file,
    read_whole_image,
    tar_of_new_image,
    unpack,
)
from templater.image.decompress import ByteStream, open_stream
from templater.image.directory_members import _chunks
from templater.image.limits import DEFAULT, DIRECTORY_BYTES, refuse_deep
from templater.image.read_whole_image import DirectoryContents, SplitContents, UnifiedContents
from templater.image.second_file import SecondFileCheck
from templater.image.tar_header_fields import Header
from templater.image.tar_reader import HARD_LINK, Member, open_archive
from templater.image.unpack import DiskBudget, TreeWriter
from templater.model.entry import CHAR_DEVICE, DIRECTORY, FIFO, FILE, SYMLINK
from templater.model.errors import (
    InputError,
    LimitError,
    RefusedError,
    TemplaterError,
    UsageError,
    WriteError,
)
from templater.parsing.file_kind import HEAD
from tests.streams.builders import tarball


def failed(function, *arguments, **options):
    with pytest.raises(TemplaterError) as caught:
        function(*arguments, **options)
    return type(caught.value), caught.value.message, caught.value.hint


# read_whole_image


def test_a_directory_without_the_parts_of_an_image_is_refused(tmp_path):
    read = DirectoryContents(str(tmp_path))
    assert failed(read.parts) == (InputError, f"'{tmp_path}' has no metadata.yaml: it is not an image", "")
    missing = f"'{tmp_path}' has no 'rootfs' directory"
    hint = "put the container's files in a directory 'rootfs', which may be empty, beside metadata.yaml"
    assert failed(lambda: list(read.rootfs())) == (InputError, missing, hint)
    (tmp_path / "rootfs.img").write_text("")
    assert failed(lambda: list(read.rootfs()))[2] == "images of virtual machines can't be packed"


PACK = "put all templates directly into 'templates': the daemons ignore subdirectories"


@pytest.mark.parametrize(
    ("kind", "name", "message", "hint"),
    [
        (FIFO, "metadata.yaml", "'i': 'metadata.yaml' is a fifo, not a regular file", ""),
        (DIRECTORY, "templates/a", "'i': 'templates/a' is a directory below 'templates'", PACK),
        (FILE, "templates/a/b", "'i': 'templates/a/b' is in a directory below 'templates'", PACK),
    ],
)
def test_a_special_file_outside_the_root_filesystem_is_refused(kind, name, message, hint):
    assert failed(members_outside_rootfs.refuse_special, Member(name, kind), "i") == (
        RefusedError,
        message,
        hint,
    )
    for name, kind in (("templates", DIRECTORY), ("templates/a", FILE), ("a/b", FILE)):
        members_outside_rootfs.refuse_special(Member(name, kind), "i")


@pytest.mark.parametrize("target", ["/etc/x", "a/../b", "..", "", "."])
def test_a_hard_link_leaving_the_root_filesystem_is_refused(target, tmp_path):
    message = f"'a' is a hard link to '{target}', which is outside the root filesystem"
    assert failed(read_whole_image._clean_target, Member("a", HARD_LINK, target=target)) == (
        RefusedError,
        message,
        "",
    )
    (tmp_path / "p").touch()
    inside = UnifiedContents(str(tmp_path / "p"), DEFAULT)._inside
    assert failed(inside, Member("a", HARD_LINK, target="rootfs"))[1] == message.replace(
        f"'{target}'", "'rootfs'"
    )
    assert failed(inside, Member("a", HARD_LINK, target="x/y"))[1] == message.replace(f"'{target}'", "'x/y'")
    assert inside(Member("a", HARD_LINK, target="./rootfs//b/./c")) == "b/c"


def test_a_complete_image_is_refused_as_the_second_file(tmp_path):
    check = SecondFileCheck("p")
    check.add("metadata.yaml")
    check.finish()
    check.add("rootfs/etc")
    message = "'p' is a complete image, not the root filesystem of another image"
    hint = "give only this image, or give the second file of the split image"
    assert failed(check.finish) == (UsageError, message, hint)
    (tmp_path / "a").write_bytes(b"")
    same = f"{tmp_path}/a"
    message = f"the image '{same}' and its root filesystem '{same}' are the same file"
    hint = "for a split image, give both files: the metadata tarball, then the root filesystem"
    assert failed(SplitContents, same, same) == (UsageError, message, hint)
    open_file.refuse_same_file(same, f"{tmp_path}/missing")


def test_the_first_file_of_split_images_contains_no_rootfs(tmp_path):
    whole = {"metadata.yaml": b"a: 1", "rootfs": None}
    (tmp_path / "u").write_bytes(tarball(whole))
    (tmp_path / "m").write_bytes(tarball({"metadata.yaml": b"a: 1"}))
    (tmp_path / "r").write_bytes(tarball({"etc": None}))
    unified, meta, root = (f"{tmp_path}/{name}" for name in "umr")
    message = f"'{unified}' already contains a root filesystem, so '{root}' is not part of this image"
    assert failed(SplitContents(unified, root).parts) == (UsageError, message, "give only the image")
    assert [part.member.name for part in SplitContents(meta, root).parts()] == ["metadata.yaml"]
    message = f"'{meta}' has no root filesystem"
    hint = "for a split image, give both files: the metadata tarball, then the root filesystem"
    assert failed(lambda: list(UnifiedContents(meta, DEFAULT).rootfs())) == (InputError, message, hint)


def test_the_parts_of_an_image_are_read_in_order(tmp_path):
    names = {
        "templates/b": b"12",
        "backup.yaml": b"1",
        "templates/a": b"3",
        "metadata.yaml": b"4567",
        "rootfs": None,
    }
    (tmp_path / "u").write_bytes(tarball(names))
    read = UnifiedContents(f"{tmp_path}/u", DEFAULT._replace(templates_bytes=7))
    assert [part.member.name for part in read.parts()] == ["metadata.yaml", "templates/a", "templates/b"]
    message = f"'{tmp_path}/u': its templates have more than 6 bytes"
    assert failed(UnifiedContents(f"{tmp_path}/u", DEFAULT._replace(templates_bytes=6)).parts) == (
        LimitError,
        message,
        "",
    )
    message = "'metadata.yaml' has 4 bytes, more than the limit of 3"
    assert failed(UnifiedContents(f"{tmp_path}/u", DEFAULT._replace(metadata_bytes=3)).parts)[1] == message
    assert read.disk_size == DIRECTORY_BYTES


def test_each_piece_of_sparse_data_increases_the_disk_size():
    """templater wrote 1,782 MiB for an archive whose members counted as 235 MiB."""
    member = Member("rootfs/a", FILE, size=1 << 20, sparse=((0, 512), (8192, 512)), stored=1024)
    assert member.disk_size == 3 * 4096 + 1024
    assert Member("rootfs/a", FILE, size=1024, stored=1024).disk_size == 4096 + 1024


@pytest.mark.parametrize("holes", [False, True])
def test_blocks_of_zeros_become_holes_only_in_sqfs2tar_output(holes):
    size = read_whole_image._SQUASHFS_BLOCK
    pieces = [(0, bytes(size)), (size, b"1" * size), (2 * size, bytes(3))]
    archive = SimpleNamespace(chunks=lambda member, size=0: iter(pieces))
    found = list(read_whole_image._data_of(Member("a", FILE), archive, holes=holes))
    assert found == ([pieces[1]] if holes else pieces)
    assert list(read_whole_image._data_of(Member("a", FIFO), archive, holes=holes)) == []


# decompress


@pytest.fixture
def stream(tmp_path):
    (tmp_path / "i").write_bytes(gzip.compress(b"abc" * 1000))
    with open_stream(f"{tmp_path}/i") as opened:
        opened.path = "p"
        yield opened


@pytest.mark.parametrize(
    ("error", "kind", "message", "hint"),
    [
        (ValueError("Memory usage"), LimitError, "'p' needs more than 3 MiB to decompress", "pack the file again with a smaller dictionary or window"),
        (ValueError("bad data"), InputError, "'p' is damaged: gzip: bad data", ""),
        (EOFError(), InputError, "'p' is damaged: gzip: EOFError", ""),
    ],
)  # fmt: skip
def test_each_decompressor_error_has_the_expected_text(error, kind, message, hint, stream):
    stream.limits = DEFAULT._replace(window_bytes=3 << 20)
    found = stream._damaged(error)
    assert (type(found), found.message, found.hint) == (kind, message, hint)


def test_the_size_and_the_ratio_of_decompressed_data_have_limits(stream):
    stream.limits = DEFAULT._replace(unpacked_bytes=1000, ratio=10, ratio_from=500)
    stream._packed, stream._holes, stream._unpacked = 60, 0, 0
    stream._check_size(600)
    stream._packed, stream._unpacked = 6, 0
    stream._check_size(500)
    assert failed(stream._check_size, 1) == (
        LimitError, "'p' unpacks to more than 10 times its size: 501 bytes from 6", "if you trust the image, raise the limit: --limit ratio=…",
    )  # fmt: skip
    stream._packed, stream._holes, stream._unpacked = 60, 54, 0
    assert "501 bytes from 6" in failed(stream._check_size, 501)[1], "holes do not count"
    stream._packed, stream._holes, stream._unpacked = 150, 50, 0
    stream._check_size(1000)
    assert failed(stream._check_size, 1) == (LimitError, "'p' unpacks to more than 1000 bytes", "")


@pytest.mark.parametrize(
    ("tail", "result"),
    [
        (b"", b"abc"),
        (bytes(5000), b"abc"),
        (gzip.compress(b"def", mtime=0), b"abcdef"),
        (
            bytes(9) + gzip.compress(b"def", mtime=0),
            "'p' is damaged: gzip: NUL bytes follow the compressed data, so other programs refuse the file"
            " or ignore the data after these bytes",
        ),
        (b"text", "'p' is damaged: gzip: at least 4 bytes of other data follow the compressed data"),
        (b"BZh91AY&SY", "'p' is damaged: gzip: at least 10 bytes of other data follow the compressed data"),
    ],
)
def test_only_zeros_or_another_stream_may_follow_compressed_data(tail, result, tmp_path):
    (tmp_path / "i").write_bytes(gzip.compress(b"abc") + tail)
    with open_stream(f"{tmp_path}/i") as opened:
        opened.path = "p"
        if isinstance(result, str):
            assert failed(opened.read, 100) == (InputError, result, "")
        else:
            assert opened.read(100) == result
            assert opened.position == len(result)


def test_eight_bytes_are_enough_to_detect_uncompressed_data_after_gzip(tmp_path, monkeypatch):
    """The detection reads no further bytes of the other data."""
    packed = gzip.compress(random.Random(1).randbytes(HEAD))
    monkeypatch.setattr(decompress, "_CHUNK", len(packed) + 8 - HEAD)
    (tmp_path / "i").write_bytes(packed + b"8 bytes " + b"and more")
    with open_stream(f"{tmp_path}/i") as opened:
        assert "gzip: at least 8 bytes of other data" in failed(opened.read, 2 * HEAD)[1]


def test_truncated_files_and_many_empty_streams_are_refused(tmp_path, monkeypatch):
    (tmp_path / "i").write_bytes(gzip.compress(b"abc" * 100)[:-3])
    message = f"'{tmp_path}/i' is damaged: gzip: the compressed data ends early: the file was cut short"
    with open_stream(f"{tmp_path}/i") as opened:
        assert failed(opened.read, 1 << 20) == (InputError, message, "")
    monkeypatch.setattr(decompress, "_MANY_STREAMS", 3)
    (tmp_path / "i").write_bytes(gzip.compress(b"") * 3)
    with open_stream(f"{tmp_path}/i") as opened:
        assert opened.read(9) == b""
    (tmp_path / "i").write_bytes(gzip.compress(b"") * 4)
    with open_stream(f"{tmp_path}/i") as opened:
        assert failed(opened.read, 9) == (
            LimitError, f"'{tmp_path}/i' has more than 3 gzip streams, most of them empty", "pack the file again as one stream",
        )  # fmt: skip
    filled = gzip.compress(bytes(4 * decompress._LEAST_STREAM))
    (tmp_path / "i").write_bytes(filled + gzip.compress(b"") * 3)
    with open_stream(f"{tmp_path}/i") as opened:
        assert len(opened.read(1 << 30)) == 4 * decompress._LEAST_STREAM


def test_a_compressed_file_must_contain_a_tar_archive(tmp_path):
    block = bytearray(tarfile.TarInfo("a").tobuf())
    block[:3] = b"BZh"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / "i").write_bytes(bytes(block) * 2)
    kind, message, hint = failed(open_stream, f"{tmp_path}/i")
    assert (kind, hint) == (RefusedError, "pack the image again")
    assert message.startswith(f"'{tmp_path}/i' is ")
    assert message.endswith(
        " and a tar archive: some daemons read the compressed image from it, and others read the tar archive"
    )
    (tmp_path / "i").write_bytes(b"\x1f\x8b" + bytes(600))
    (tmp_path / "e").write_bytes(gzip.compress(b""))
    message = f"'{tmp_path}/e' is not a tar archive: the decompressed file is empty"
    assert failed(open_archive, f"{tmp_path}/e")[:2] == (InputError, message)
    (tmp_path / "e").write_bytes(gzip.compress(b"text" * 200))
    message = f"'{tmp_path}/e' is not a tar archive: the decompressed file is a text file"
    assert failed(open_archive, f"{tmp_path}/e")[:2] == (InputError, message)


def test_bytes_can_be_read_and_peeked_and_skipped_across_blocks(tmp_path):
    data = bytes(range(256)) * 1000
    for packed in (gzip.compress(data), bytes(tarfile.TarInfo("a").tobuf()) + data):
        (tmp_path / "i").write_bytes(packed)
        begin = 512 if packed[:1] == b"a" else 0
        with open_stream(f"{tmp_path}/i") as opened:
            assert opened.skip(begin) == begin
            assert opened.peek(5) == data[:5] == opened.read(5)
            assert opened.skip(200_000) == 200_000
            assert (opened.position, opened.read(3)) == (begin + 200_005, data[200_005:200_008])
            assert opened.peek(1 << 20)[:4] == data[200_008:200_012]
            assert opened.skip(1 << 20) == len(data) - 200_008
            assert (opened.read(1), opened.peek(1), opened.skip(1)) == (b"", b"", 0)
            assert opened.position == begin + len(data)


def test_zeros_are_skipped_up_to_the_next_nonzero_byte(tmp_path):
    for tail, place in ((b"x", 5512), (b"", None)):
        (tmp_path / "i").write_bytes(bytes(tarfile.TarInfo("a").tobuf()) + bytes(5000) + tail)
        with open_stream(f"{tmp_path}/i") as opened:
            opened.read(512)
            assert opened.skip_zeros() == place
            assert opened.position == 5512
            assert opened.packed_position == 5512 + len(tail)


def test_a_read_error_contains_the_file_name(tmp_path):
    (tmp_path / "i").write_bytes(gzip.compress(os.urandom(3000)))
    fd = os.open(tmp_path / "i", os.O_RDONLY)
    opened = ByteStream("p", fd)
    os.close(fd)
    opened._head, opened._fd = b"", 10**6
    assert failed(opened.read, 10**6) == (InputError, "'p' can't be read: bad file descriptor", "")
    opened._fd = -1


# tar headers


def changed(place, data, **fields):
    info = tarfile.TarInfo("a")
    for name, value in fields.items():
        setattr(info, name, value)
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[place : place + len(data)] = data
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (bytes(tarfile.TarInfo("a").tobuf()).replace(b"a", b"b", 1), "bad checksum"),
        (changed(499, b"x"), "a header has unexpected text after its time fields"),
        (changed(369, b"x"), "a header has unexpected text after its time fields"),
        (changed(257, b"ustar\x0000", type=b"S"), "a sparse member's header is not in the format of GNU tar"),
        (
            changed(257, b"xstar\x0000" + bytes(80) + b"p"),
            "a header has a name prefix, but its format has no prefixes",
        ),
        (
            changed(257, b"ustar\x0000" + bytes(81) + b"p"),
            "a header has text after its name prefix",
        ),
        (changed(100, b"+1"), "invalid header"),
        (changed(345, b"9" * 11), "invalid header"),
        (changed(100, b"0000008\0"), "invalid header"),
    ],
)
def test_an_ambiguous_tar_header_is_refused(block, message):
    with pytest.raises(ValueError) as caught:
        Header(block)
    assert str(caught.value) == message


def test_the_fields_of_a_tar_header_are_read():
    header = Header(
        changed(257, b"ustar\x0000" + bytes(80) + b"pre", type=b"0", uid=7, gid=8, mode=0o751, mtime=9)
    )
    assert (header.name, header.uid, header.gid, header.mode, header.mtime) == ("pre/a", 7, 8, 0o751, 9)
    assert (header.device, header.size, header.linkname) == ((0, 0), 0, "")
    assert Header(changed(345, b"00000000012\0" * 2)).name == "a"
    assert Header(changed(329, b"0000012\x000000013\0")).device == (10, 11)
    assert Header(changed(124, b"\x80" + bytes(9) + b"\1\2")).size == 258
    assert Header(changed(124, b"\xff" * 12)).size == -1
    assert Header(changed(124, b"\0".rjust(12))).size == 0


# unpack


@pytest.mark.parametrize(
    ("used", "packed", "message"),
    [
        ([600], 60, ""),
        (
            [601],
            60,
            "'n' would use too much disk space when unpacked: more than 10 times its size of 60 bytes",
        ),
        (
            [500, 1],
            50,
            "'n' would use too much disk space when unpacked: more than 10 times its size of 50 bytes",
        ),
        ([500], 1, ""),
        ([10**9], 0, ""),
    ],
)
def test_the_disk_space_of_unpacked_members_has_a_limit(used, packed, message):
    limits = DEFAULT._replace(ratio=10, ratio_from=500)
    budget = DiskBudget(SimpleNamespace(name="n", limits=limits, packed_size=packed))
    for size in used[:-1]:
        budget.add(size)
    if message:
        hint = "if you trust the image, raise the limit: --limit ratio=…"
        assert failed(budget.add, used[-1]) == (LimitError, message, hint)
    else:
        budget.add(used[-1])


@pytest.fixture
def writer(tmp_path):
    from templater.rootfs.confined_root import Root

    (tmp_path / "root").mkdir()
    done = SimpleNamespace(members=0, size=0, left_out=[], without_xattrs=[], without_privileges=[])
    policy = SimpleNamespace(owners=False, special=False, privileges=False, xattrs=False)
    budget = DiskBudget(SimpleNamespace(name="n", limits=DEFAULT, packed_size=1 << 20))
    with Root(f"{tmp_path}/root") as root:
        made = TreeWriter(root, policy, SimpleNamespace(), done, budget)
        made.done = done
        yield made
        made.close()


TWICE = "pack the image again without repeated names: they can replace a directory with a link"


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ([Member("", FILE)], (RefusedError, "the root filesystem's top is a file, not a directory", "")),
        ([Member("a", FILE)] * 2, (RefusedError, "'a' occurs twice in the root filesystem", TWICE)),
        ([Member("a", FILE), Member("a", DIRECTORY)], (RefusedError, "'a' occurs twice in the root filesystem", TWICE)),
        ([Member("a", "odd thing")], (InputError, "'a' is a odd thing and can't be unpacked", "")),
        ([Member("a", HARD_LINK, target="b")], (RefusedError, "'a' is a hard link to 'b', which does not precede the link in the archive", "")),
        ([Member("b", DIRECTORY), Member("a", HARD_LINK, target="b")], (RefusedError, "'a' is a hard link to 'b', which is a directory", "")),
        ([Member("a", FILE, size=unpack._LARGEST_FILE + 1)], (LimitError, f"'a' has {unpack._LARGEST_FILE + 1} bytes, more than the limit of {unpack._LARGEST_FILE}", "")),
    ],
)  # fmt: skip
def test_an_invalid_member_is_not_unpacked(members, error, writer):
    for member in members[:-1]:
        writer.add(member, iter(()))
    assert failed(writer.add, members[-1], iter(())) == error
    assert writer.done.members == len(members) - 1


def test_devices_and_links_to_them_are_not_unpacked_without_root_privileges(writer, tmp_path):
    for member in (
        Member("d", DIRECTORY, 0o751),
        Member("d", DIRECTORY, 0o750),
        Member("d/c", CHAR_DEVICE, device=(1, 3)),
        Member("h", HARD_LINK, target="d/c"),
        Member("i", HARD_LINK, target="h"),
        Member(
            "e/f/g", FILE, 0o4755, size=5, stored=2, xattrs={"security.capability": b"x", "trusted.a": b"y"}
        ),
        Member("e/f/h", HARD_LINK, target="e/f/g"),
        Member("l", SYMLINK, target="/x"),
    ):
        writer.add(member, iter([(1, b"ab")] if member.size else []))
    writer.finish()
    done = writer.done
    assert (done.members, done.size, done.left_out) == (8, 2, ["d/c", "h", "i"])
    assert sorted(done.without_privileges) == ["e/f/g", "e/f/g"]
    assert done.without_xattrs == ["e/f/g"]
    root = tmp_path / "root"
    assert (root / "e/f/g").read_bytes() == b"\0ab\0\0"
    assert (root / "e/f/g").stat().st_mode & 0o7777 == 0o755
    assert (root / "e/f/h").stat().st_nlink == 2
    assert (root / "d").stat().st_mode & 0o7777 == 0o750
    assert (root / "e").stat().st_mode & 0o7777 == 0o755
    assert os.readlink(root / "l") == "/x"


def test_a_name_may_have_at_most_500_parent_directories():
    refuse_deep("d/" * 500 + "x")
    with pytest.raises(LimitError) as refused:
        refuse_deep("d/" * 501 + "x")
    assert refused.value.message == f"'{'d/' * 50}…' is more than 500 directories deep"


# build


@pytest.mark.parametrize(("holes", "most"), [(False, 8 * 100 + 7 + (1 << 20)), (True, 30)])
def test_the_size_of_a_built_image_has_a_limit(holes, most):
    limits = SimpleNamespace(ratio=3, ratio_from=20, templates_bytes=7)
    contents = SimpleNamespace(name="i", packed_size=10, bytes_read=100, limits=limits, has_secrets=False)
    written = []
    write = tar_of_new_image.bounded_writer(
        written.append, contents, None, **({"holes": True} if holes else {})
    )
    write(b"x")
    write(bytes(most - 1))
    message = (
        f"'i' has 10 bytes (100 bytes when decompressed), so the new image may not have {most + 1} bytes"
    )
    hint = "the image has huge sparse files; if you trust it, unpack it and build a new image"
    assert failed(write, b"x") == (LimitError, message, hint)
    assert sum(map(len, written)) == most
    contents.packed_size = 0  # a directory
    write(b"x")
    contents.packed_size, limits.ratio_from = 10, 40
    assert tar_of_new_image._most_written(contents, holes=True) == 40


def test_reading_a_shrinking_file_gives_an_error(tmp_path):
    (tmp_path / "f").write_bytes(b"0123456789")
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    try:
        pieces = list(_chunks(fd, Member("f", FILE, size=10)))
        assert pieces == [(0, b"0123456789")]
        assert list(_chunks(fd, Member("f", FILE, size=10, sparse=((2, 3), (7, 1))))) == [
            (2, b"234"),
            (7, b"7"),
        ]
        message = "'f' became smaller while templater read it"
        hint = "stop the program that writes to the file, and try again"
        assert failed(list, _chunks(fd, Member("f", FILE, size=11))) == (InputError, message, hint)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (
            "cat >/dev/null; echo ' out of  disk' >&2; exit 3",
            (WriteError, "mksquashfs failed: out of  disk", ""),
        ),
        ("echo no >&2; exec <&-; exit 3", (WriteError, "mksquashfs failed: no", "")),
        (None, (UsageError, "the program 'mksquashfs' is missing", "run: apt install squashfs-tools")),
    ],
)
def test_an_error_of_mksquashfs_is_reported(script, error, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    if script is not None:
        (tmp_path / "bin/mksquashfs").write_text(f"#!/bin/sh\nPATH=/bin:/usr/bin\n{script}\n")
        (tmp_path / "bin/mksquashfs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    (tmp_path / "i/rootfs").mkdir(parents=True)
    (tmp_path / "i/rootfs/large").write_bytes(os.urandom(1 << 20))  # more than a pipe holds
    (tmp_path / "i/metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    packing = image_build.Packing(layout="split", rootfs="squashfs", compression="none")
    (tmp_path / "o").mkdir()
    contents = read_whole_image.open_contents(str(tmp_path / "i"))
    assert failed(image_build.build, contents, contents.parts(), f"{tmp_path}/o/x", packing) == error
    assert os.listdir(tmp_path / "o") == []


@pytest.mark.parametrize(
    ("compression", "used"),
    [
        *((name, name) for name in ("gzip", "lz4", "lzo", "xz", "zstd", "lzma")),
        ("bzip2", "xz"),
        ("none", "xz"),
    ],
)
@pytest.mark.parametrize("epoch", [None, 7, -1, 1 << 32])
def test_mksquashfs_gets_options_for_the_compression_and_the_time(
    compression, used, epoch, tmp_path, monkeypatch
):
    started = []
    monkeypatch.setattr(
        mksquashfs.subprocess, "Popen", lambda words, **options: started.append((words, options))
    )
    output = SimpleNamespace(path="/out", descriptors=(3, 4))
    packing = image_build.Packing(layout="split", rootfs="squashfs", compression=compression, epoch=epoch)
    made = image_build._made(
        [SimpleNamespace(member=Member("m", FILE, mtime=time)) for time in (5.5, 9.5)], packing
    )
    assert made == (9 if epoch is None else epoch)
    top = Member("", DIRECTORY, 0o1755, 12, 34, mtime=1.5)
    mksquashfs._mksquashfs(output, compression, made, top)
    mksquashfs._mksquashfs(output, compression, made, None)
    common = ["mksquashfs", "-", "/out", "-tar", "-noappend", "-no-progress", "-quiet", "-comp", used]
    common += ["-mem", "256M", "-mkfs-time", {None: "9", 7: "7", -1: "0", 1 << 32: str(2**32 - 1)}[epoch]]
    of_top = ["-root-mode", "1755", "-root-uid", "12", "-root-gid", "34", "-root-time", "1"]
    assert [words for words, _ in started] == [common + of_top, common]
    options = started[0][1]
    assert options["env"] == {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    assert options["pass_fds"] == (3, 4)


@pytest.mark.parametrize("top", [True, False])
def test_the_size_of_a_built_image_includes_its_squashfs_file(top, tmp_path, monkeypatch):
    """mksquashfs gets the members as a tar archive, and writes to the descriptor of the output."""
    (tmp_path / "bin").mkdir()
    script = f'#!/bin/sh\nPATH=/bin:/usr/bin\ncat >{tmp_path}/stream\necho squashed >"$2"\n'
    (tmp_path / "bin/mksquashfs").write_text(script)
    (tmp_path / "bin/mksquashfs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    (tmp_path / "i/rootfs").mkdir(parents=True)
    (tmp_path / "i/rootfs/f").write_text("text")
    (tmp_path / "i/metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    (tmp_path / "o").mkdir()
    contents = read_whole_image.open_contents(str(tmp_path / "i"))
    if not top:  # an archive can lack a member for the top directory
        rootfs = contents.rootfs
        monkeypatch.setattr(contents, "rootfs", lambda: (each for each in rootfs() if each[0].name))
    packing = image_build.Packing(layout="split", rootfs="squashfs", compression="none")
    progress = []
    built = image_build.build(
        contents, contents.parts(), f"{tmp_path}/o/x", packing, progress=lambda *words: progress.append(words)
    )
    sizes = [os.path.getsize(file) for file in built.files]
    assert built.size == sum(sizes) and sizes[1] == len("squashed\n")
    with tarfile.open(tmp_path / "stream") as stream:
        assert [member.name for member in stream] == ["f"]
    assert built.members == 2 and built.without_xattrs == ()
    assert [words[0] for words in progress if words[2] == "f"][-1] == 1


def test_unpacking_fails_if_another_process_replaces_a_new_device_or_link(tmp_path):
    """Another process must not get the owner and the mode of the device for its own file."""
    fd = os.open(tmp_path, os.O_RDONLY)
    place = SimpleNamespace(fd=fd, mknod=lambda name, *_: (tmp_path / name).touch(0o600))
    policy = unpack.Policy(special=True, owners=False)
    writer = SimpleNamespace(_policy=policy, _set_xattrs=lambda *_: None)
    try:
        member = Member("n", FIFO, 0o666)
        message = "'n' was replaced while it was being created"
        assert failed(TreeWriter._special, writer, place, "n", member) == (RefusedError, message, "")
        assert (tmp_path / "n").stat().st_mode & 0o777 == 0o600
        place.mknod = lambda name, mode, _: os.mkfifo(tmp_path / name, mode & 0o777)
        TreeWriter._special(writer, place, "m", Member("m", FIFO, 0o4764, mtime=7))
        assert oct((tmp_path / "m").stat().st_mode) == "0o10764"
        assert (tmp_path / "m").stat().st_mtime == 7
        place.symlink = lambda target, name: (tmp_path / name).touch()
        member = Member("n", SYMLINK, xattrs={"security.capability": b"a"})
        assert failed(TreeWriter._symlink, writer, place, "n", member) == (RefusedError, message, "")
    finally:
        os.close(fd)


def test_only_a_limited_number_of_directories_is_open_while_unpacking(writer, tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "_HELD", 3)
    gc.collect()  # garbage of other tests can have descriptors
    before = len(os.listdir("/proc/self/fd"))
    for number in range(6):
        writer.add(Member(f"d{number}/f", FILE), iter(()))
        writer.add(Member("d0/d/g", FILE) if not number else Member(f"d0/d/g{number}", FILE), iter(()))
        assert len(os.listdir("/proc/self/fd")) - before <= 3
    writer.finish()
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(list((tmp_path / "root").rglob("*"))) == 7 + 12


def test_a_unified_image_cannot_have_a_squashfs_root_filesystem(tmp_path):
    (tmp_path / "i/rootfs").mkdir(parents=True)
    (tmp_path / "i/metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    contents = read_whole_image.open_contents(str(tmp_path / "i"))
    packing = image_build.Packing(layout="unified", rootfs="squashfs", compression="none")
    assert failed(image_build.build, contents, contents.parts(), f"{tmp_path}/x", packing) == (
        UsageError, "a unified image is one tarball", "add --format split for a squashfs root filesystem",
    )  # fmt: skip
    assert os.listdir(tmp_path) == ["i"]
