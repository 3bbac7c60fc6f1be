"""Archives that tools read differently, damaged archives, and archives at and above each limit."""

import tarfile

import pytest

from templater.image.limits import DEFAULT
from templater.image.name_checks import clean_name
from templater.image.open_image import open_image
from templater.image.tar_reader import Member, open_archive
from templater.image.tar_writer import TarWriter
from templater.model.entry import DIRECTORY, FILE
from templater.model.errors import InputError, LimitError, RefusedError, TemplaterError
from tests.image_archives import header, padded, pax, sparse_map

BLOCK = 512
END = bytes(2 * BLOCK)
SPARSE_1 = {"GNU.sparse.major": b"1", "GNU.sparse.minor": b"0", "GNU.sparse.realsize": b"8"}
UNORDERED = "'IMAGE' is damaged: a sparse file's map is out of order, at byte {} of the archive"
MALFORMED = "'IMAGE' is damaged: a sparse file's map is malformed, at byte {} of the archive"
UNFIT = "'IMAGE' is damaged: a sparse file's map does not match the file's size, at byte {} of the archive"
AMBIGUOUS = "'IMAGE' has {}: tools read different members from it"
ODD_PIECE = AMBIGUOUS.format("a sparse file with a data segment that ends inside a block")
UNUSUAL = AMBIGUOUS.format("a sparse file that is described in an unknown format")
COUNT = "'IMAGE' is damaged: a sparse file's map has the wrong number of entries, at byte 1024 of the archive"
NO_END = AMBIGUOUS.format("a sparse file whose map ends before the end of the file")
MISPLACED = AMBIGUOUS.format("a sparse file with misplaced records")
BEHIND = AMBIGUOUS.format("a sparse file with data after the end of its map")
FULL = b"x" * BLOCK
HOLES = b"\0" + FULL + b"\0\0bc\0\0"


def file(data=b"", name="f", **fields):
    return header(name, size=len(data), **fields) + padded(data)


def long_name(data, kind=tarfile.GNUTYPE_LONGNAME, size=None):
    return header("././@LongLink", kind, len(data) if size is None else size) + padded(data)


def old_sparse(entries, size, real, more=b"\0"):
    """The header of a sparse file in the old GNU format, which has up to four entries of its map."""
    block = bytearray(header("f", tarfile.GNUTYPE_SPARSE, size))
    pairs = b"".join(b"%011o\0%011o\0" % pair if isinstance(pair, tuple) else pair for pair in entries)
    block[386 : 386 + len(pairs)] = pairs
    block[482:483] = more
    block[483:495] = b"%011o\0" % real
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def read(path, data, limits=DEFAULT):
    """Return the members, each with its whole content."""
    path.write_bytes(data)
    archive = open_archive(str(path), limits)
    found = [(member, archive.read(member, 1 << 20)) for member in archive]
    archive.finish()
    return found


def a_path(length):
    """A path of this length, whose parts are short."""
    return (b"/" + b"a" * 49) * (length // 50) + b"a" * (length % 50)


def refusal(path, data, limits=DEFAULT):
    with pytest.raises(TemplaterError) as refused:
        read(path, data, limits)
    return type(refused.value), refused.value.message.replace(str(path), "IMAGE")


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
        (
            pax({"uid": b"1"}, tarfile.XGLTYPE) + pax({"uid": b"2"}) + pax({"gid": b"1"}, tarfile.XGLTYPE), RefusedError,
            AMBIGUOUS.format("a global header between a member and its extended header"),
        ),
        (
            # GNU tar forgets the first global header at the second
            pax({"uid": b"1"}, tarfile.XGLTYPE) + pax({"comment": b"c"}, tarfile.XGLTYPE) + file(), RefusedError,
            AMBIGUOUS.format("a global header that does not repeat the earlier record 'uid'"),
        ),
        (
            pax({"uid": b"1"}) + pax({"gid": b"1"}), RefusedError,
            AMBIGUOUS.format("two extended headers that set the same field"),
        ),
        (
            pax({"path": b"a"}) + long_name(b"b\0"), RefusedError,
            AMBIGUOUS.format("two extended headers that set the same field"),
        ),
        (pax({"path": b""}), RefusedError, AMBIGUOUS.format("an extended header with an empty name")),
        (
            long_name(b"a\0b"), RefusedError, AMBIGUOUS.format("a long name with text after its end"),
        ),
        (
            long_name(b"abc", size=2), RefusedError, AMBIGUOUS.format("a long name with text after its end"),
        ),
        (pax({"uid": b"1"}), InputError, "'IMAGE' is cut short: the data ends after an extended header, at byte 1536 of the archive"),
        (
            pax({"path": b"x"}, tarfile.XGLTYPE), RefusedError,
            "'IMAGE' has a global header that sets 'path' for every member",
        ),
        (pax({"uid": b"x"}) + file(), InputError, "'IMAGE' is damaged: the pax record 'uid' is not a number, at byte 512 of the archive"),
        (
            pax({"uid": b"1" * 21}) + file(), InputError,
            "'IMAGE' is damaged: the pax record 'uid' is not a number, at byte 512 of the archive",
        ),
        (
            pax({"uid": b"x"}, tarfile.XGLTYPE) + pax({"uid": b"1"}) + file(), InputError,
            "'IMAGE' is damaged: the pax record 'uid' is not a number, at byte 512 of the archive",
        ),
        (
            pax({"gid": b"4294967296"}, tarfile.XGLTYPE), InputError,
            "'IMAGE' is damaged: the uid, gid or time of a member is outside the range of Linux, at byte 512 of the archive",
        ),
        (
            pax({"GNU.volume.size": b"UTF-8"}, tarfile.XGLTYPE) + file(), RefusedError,
            AMBIGUOUS.format("an extended header with the record 'GNU.volume.size'"),
        ),
        (
            pax({"mtime": b"1" * 20}) + file(), InputError,
            "'IMAGE' is damaged: the pax record 'mtime' is not a time, at byte 512 of the archive",
        ),
        (header("l", tarfile.SYMTYPE), RefusedError, "'l' is a symlink without a target"),
        (header("l", tarfile.LNKTYPE), RefusedError, "'l' is a hard link without a target"),
        (header("a\0"[:1], b"X"), RefusedError, "'IMAGE': 'a' is a member of unknown type b'X'"),
        (header("d", tarfile.DIRTYPE, 5), InputError, "'IMAGE' is damaged: a directory has data, at byte 0 of the archive"),
        (
            pax({"GNU.volume": b"x"}) + file(), RefusedError,
            AMBIGUOUS.format("a header with the record 'GNU.volume' for a file"),
        ),
        (
            pax({"GNU.sparse.size": b"1"}) + header("d", tarfile.DIRTYPE), RefusedError,
            AMBIGUOUS.format("a header with the record 'GNU.sparse.size' for a directory"),
        ),
        (pax({"path": b"a\0b"}) + file(), RefusedError, "'a\\x00b': a name contains a NUL byte"),
        (
            header("c", tarfile.CHRTYPE, devmajor=1 << 12), InputError,
            "'IMAGE' is damaged: a device number is outside the range of Linux, at byte 0 of the archive",
        ),
        (
            header("c", tarfile.BLKTYPE, devminor=1 << 20), InputError,
            "'IMAGE' is damaged: a device number is outside the range of Linux, at byte 0 of the archive",
        ),
        # records of pax
        (header("pax", tarfile.XHDTYPE, 5) + padded(b"abcde"), InputError, "'IMAGE' is damaged: a pax header has a malformed record, at byte 512 of the archive"),
        (header("pax", tarfile.XHDTYPE, 8) + padded(b"9 uid=1\n"), InputError, "'IMAGE' is damaged: a pax header has a malformed record, at byte 512 of the archive"),
        (header("pax", tarfile.XHDTYPE, 8) + padded(b"8 uid:1\n"), InputError, "'IMAGE' is damaged: a pax header has a malformed record, at byte 512 of the archive"),
        (header("pax", tarfile.XHDTYPE, 8) + padded(b"8 uid=11"), InputError, "'IMAGE' is damaged: a pax header has a malformed record, at byte 512 of the archive"),
        (header("pax", tarfile.XHDTYPE, 9) + padded(b"8 uid=1\n") + file(), InputError, "'IMAGE' is damaged: a pax header has a malformed record, at byte 512 of the archive"),
        (header("pax", tarfile.XGLTYPE, 512) + padded(b"8 uid=1\n") + file(), InputError, "'IMAGE' is damaged: a pax header has a malformed record, at byte 512 of the archive"),
        (file(uid=-1), InputError, "'IMAGE' is damaged: the uid, gid or time of a member is outside the range of Linux, at byte 0 of the archive"),
        (file(gid=-1), InputError, "'IMAGE' is damaged: the uid, gid or time of a member is outside the range of Linux, at byte 0 of the archive"),
        # sparse files
        (sparse_map(b"0,1", 1) + old_sparse([(0, 1)], 1, 1), RefusedError, AMBIGUOUS.format("a sparse file that is described in two formats")),
        (pax({**SPARSE_1, "GNU.sparse.map": b"0,1"}) + file(b"x"), RefusedError, UNUSUAL),
        (pax({"GNU.sparse.size": b"1"}) + file(b"x"), RefusedError, UNUSUAL),
        (sparse_map(b"4,1,0,1", 8) + file(b"xy"), InputError, UNORDERED.format(1024)),
        (sparse_map(b"0,512,516,5", 520) + file(b"x" * 517), InputError, UNFIT.format(1024)),
        (sparse_map(b"0,512,516,4", 520) + file(b"x" * 515), InputError, UNFIT.format(1024)),
        (sparse_map(b"0,1,1,512", 513) + file(b"x" * 513), RefusedError, ODD_PIECE),
        (sparse_map(b"0,512,600,511,2000,1", 2001) + file(b"x" * 1024), RefusedError, ODD_PIECE),
        (pax({**SPARSE_1, "GNU.sparse.realsize": b"513"}) + file(padded(b"2\n0\n1\n1\n512\n") + b"x" * 513), RefusedError, ODD_PIECE),
        (old_sparse([(0, 1), (1, 512), (513, 0)], 513, 513) + padded(b"x" * 513), RefusedError, ODD_PIECE),
        (sparse_map(b"0,1,4", 8) + file(b"1"), InputError, MALFORMED.format(1024)),
        (sparse_map(b"0,x", 8) + file(b"1"), InputError, MALFORMED.format(1024)),
        (sparse_map(b"0," + b"1" * 21, 8) + file(b"1"), InputError, MALFORMED.format(1024)),
        (pax(SPARSE_1) + file(b"1\n0\n"), InputError, MALFORMED.format(1024)),
        (pax(SPARSE_1) + file(b"1\n0\n".ljust(BLOCK)), InputError, MALFORMED.format(1536)),
        (pax(SPARSE_1) + file(b"x\n0\n".ljust(BLOCK)), InputError, MALFORMED.format(1536)),
        (pax({**SPARSE_1, "GNU.sparse.minor": b"1"}) + file(b"1\n8\n0\n"), RefusedError, UNUSUAL),
        (sparse_map(b"8,0", 8, realsize=b"9") + file(), RefusedError, UNUSUAL),
        (pax({"GNU.sparse.size": b"8", "GNU.sparse.numblocks": b"2", "GNU.sparse.map": b"8,0"}) + file(), InputError, COUNT),
        (pax({"GNU.sparse.size": b"8", "GNU.sparse.map": b"8,0", "GNU.sparse.numblocks": b"1"}) + file(), RefusedError, UNUSUAL),
        (sparse_map(b"0,512,1,0", 512) + file(FULL), InputError, UNORDERED.format(1024)),
        (sparse_map(b"0,512", 513) + file(FULL), RefusedError, NO_END),
        (sparse_map(b"0,512", 512, numbytes=b"0") + file(FULL), RefusedError, MISPLACED),
        (sparse_map(b"8,0", 8, offset=b"0,1", numbytes=b"1,0") + file(FULL), RefusedError, MISPLACED),
        (old_sparse([(0, 512), b"\0", (512, 0)], 512, 512) + FULL, RefusedError, BEHIND),
        (old_sparse([(0, 512)], 512, 512, b"\1") + FULL, RefusedError, BEHIND),
        (old_sparse([b"\0" * 12 + b"%011o\0" % 512], 512, 512) + FULL, RefusedError, BEHIND),
        (old_sparse([(0, 512), b"\xff" * 24], 512, 512) + FULL, InputError, MALFORMED.format(0)),
        (old_sparse([b"x" * 24], 1, 1) + padded(b"x"), InputError, MALFORMED.format(0)),
        (old_sparse([(0, 1), (1, 0), (1, 0), (1, 0)], 1, 1, b"\1"), InputError, "'IMAGE' is cut short: the data ends inside a sparse file's map, at byte 512 of the archive"),
        # the end
        (file(b"x")[:-1], InputError, "'IMAGE' is cut short: the data ends inside a member, at byte 1023 of the archive"),
        (file(b"x" * 9)[:515], InputError, "'IMAGE' is cut short: the data ends inside a member, at byte 515 of the archive"),
        (file() + b"x" * 511, InputError, "'IMAGE' is cut short: the data ends inside a header, at byte 1023 of the archive"),
        (pax({"uid": b"1"})[:700], InputError, "'IMAGE' is cut short: the data ends inside an extended header, at byte 700 of the archive"),
        (file() + bytes(513), InputError, "'IMAGE' is cut short: the data ends inside the end mark, at byte 1024 of the archive"),
        (file() + bytes(1023), InputError, "'IMAGE' is cut short: the data ends inside the end mark, at byte 1024 of the archive"),
        (file() + bytes(512) + b"x", RefusedError, AMBIGUOUS.format("an end mark of only one block, before other data")),
        (file() + bytes(512) + file(), RefusedError, AMBIGUOUS.format("an end mark of only one block, before other data")),
        (file(), InputError, "'IMAGE' is cut short: the data ends before the end mark, at byte 512 of the archive"),
        (b"", InputError, "'IMAGE' is empty"),
    ],
)  # fmt: skip
def test_a_damaged_or_ambiguous_archive_is_refused(tmp_path, data, kind, said):
    cut = ("cut short" in said and "after an extended" not in said) or "end mark" in said
    assert refusal(tmp_path / "image", data if cut or not data else data + END) == (kind, said)


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("path", False), ("linkpath", False), ("size", False), ("GNU.sparse.map", False), ("GNU.sparse.name", False),
        ("SCHILY.xattr.user.a", False), ("SCHILY.acl.access", False), ("LIBARCHIVE.xattr.user.a", False),
        ("RHT.security.selinux", False), ("comment", True), ("uid", True), ("gid", True), ("mtime", True),
    ],
)  # fmt: skip
def test_a_global_header_must_not_set_names_or_attributes(key, allowed, tmp_path):
    data = pax({key: b"1"}, tarfile.XGLTYPE) + file() + END
    if allowed:
        assert [member.name for member, _ in read(tmp_path / "image", data)] == ["f"]
    else:
        kind, said = refusal(tmp_path / "image", data)
        assert kind is RefusedError and key in said


@pytest.mark.parametrize(
    ("make", "limits", "most", "kind", "said"),
    [
        (
            lambda n: file() * n, {"members": 3}, 3, LimitError, "'IMAGE' has more than 3 members",
        ),
        (
            lambda n: long_name(a_path(n)) + file(), {"header_bytes": 2000}, 2000, LimitError,
            "'IMAGE' has an extended header of 2001 bytes, more than the limit of 2000",
        ),
        (
            # a short extended header counts with its two blocks, because its reading takes as long
            lambda n: (pax({"comment": b"a"}) + long_name(a_path(600)) + file()) * n, {"held_bytes": 5120},
            2, LimitError, "the names and attributes in 'IMAGE' need more than 5120 bytes of memory",
        ),
        (
            lambda n: pax({"path": a_path(n)}) + file(), {"name_bytes": 300}, 300, LimitError,
            "'IMAGE' has a member whose name or target exceeds 300 characters",
        ),
        (
            lambda n: pax({"linkpath": b"a" * n}) + header("l", tarfile.SYMTYPE), {"name_bytes": 300}, 300, LimitError,
            "'IMAGE' has a member whose name or target exceeds 300 characters",
        ),
        (
            lambda n: pax({"path": b"d/" + b"a" * n}) + file(), {}, 255, RefusedError,
            f"the name '{'a' * 40}…' is longer than 255 bytes",
        ),
        (
            lambda n: pax({"path": "é".encode() * n}) + file(), {}, 127, RefusedError,
            f"the name '{'é' * 40}…' is longer than 255 bytes",
        ),
        (
            lambda n: pax({"path": a_path(n)}) + file(), {}, 4095, RefusedError,
            f"'/{'a' * 39}…' is longer than 4095 bytes",
        ),
        (
            lambda n: pax({"linkpath": "é".encode() * n}) + header("l", tarfile.SYMTYPE), {}, 2047, RefusedError,
            f"'{'é' * 40}…' is longer than 4095 bytes",
        ),
        (
            lambda n: pax({"uid": b"%d" % n}) + file(), {}, 2**32 - 1, InputError,
            "'IMAGE' is damaged: the uid, gid or time of a member is outside the range of Linux, at byte 512 of the archive",
        ),
        (
            lambda n: pax({"gid": b"%d" % n}, tarfile.XGLTYPE) + file(), {}, 2**32 - 1, InputError,
            "'IMAGE' is damaged: the uid, gid or time of a member is outside the range of Linux, at byte 512 of the archive",
        ),
        (
            lambda n: pax({"mtime": b"%d" % n}) + file(), {}, 2**63 - 1, InputError,
            "'IMAGE' is damaged: the pax record 'mtime' is not a time, at byte 512 of the archive",
        ),
        (
            lambda n: pax({f"SCHILY.xattr.{'a' * n}": b"v"}) + file(), {}, 255, LimitError,
            f"'f' has the extended attribute '{'a' * 100}' with a value of 1 bytes: "
            "Linux allows 65536 bytes for a value, and 255 bytes for a name",
        ),
        (
            lambda n: pax({"SCHILY.xattr.user.a": b"v" * n}) + file(), {}, 65536, LimitError,
            "'f' has the extended attribute 'user.a' with a value of 65537 bytes: "
            "Linux allows 65536 bytes for a value, and 255 bytes for a name",
        ),
        (
            lambda n: pax({f"comment.{k}": b"" for k in range(n)}, tarfile.XGLTYPE) + file(), {}, 100, RefusedError,
            "'IMAGE' has more than 100 records in its global headers",
        ),
        (
            lambda n: (pax({}, tarfile.XGLTYPE) + file()) * n, {}, 100, RefusedError,
            "'IMAGE' has more than 100 records in its global headers",
        ),
        (
            lambda n: pax({"uid": b"1"}, tarfile.XGLTYPE) * n + file(), {}, 100, RefusedError,
            "'IMAGE' has more than 100 records in its global headers",
        ),
        (
            lambda n: file(b"x" * n), {}, 1 << 20, LimitError,
            "'f' has 1048577 bytes, more than the limit of 1048576",
        ),
        (
            lambda n: pax({**SPARSE_1, "GNU.sparse.realsize": b"0"}) + file(padded(b"%03d\n" % (64 * n - 1) + b"000\n000\n" * (64 * n - 1))),
            {"header_bytes": 3 * BLOCK}, 3,
            LimitError, "'IMAGE' has a sparse file whose map has too many entries",
        ),
    ],
    ids=["members", "header", "all headers", "name", "target", "part of a name", "bytes", "path", "bytes of a target", "uid", "gid", "time", "attribute", "value", "globals", "empty globals", "in a row", "size", "map"],
)  # fmt: skip
def test_only_an_archive_above_a_limit_is_refused(tmp_path, make, limits, most, kind, said):
    given = DEFAULT._replace(**limits)
    assert read(tmp_path / "image", make(most) + END, given)
    assert refusal(tmp_path / "image", make(most + 1) + END, given) == (kind, said)


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (sparse_map(b"1,512,515,2,519,0", 519) + file(FULL + b"bc"), HOLES),
        (sparse_map(b"0,512,512,2", 514) + file(FULL + b"bc"), FULL + b"bc"),
        (pax({**SPARSE_1, "GNU.sparse.realsize": b"519"}) + file(padded(b"3\n1\n512\n515\n2\n519\n0\n") + FULL + b"bc"), HOLES),
        (old_sparse([(1, 512), (515, 2), (519, 0)], 514, 519) + padded(FULL + b"bc"), HOLES),
        (
            old_sparse([(k, 512) for k in (0, 514, 1028, 1542)], 2049, 2060, b"\1")
            + padded(b"%011o\0%011o\0" * 2 % (2056, 1, 2060, 0)) + padded(FULL * 4 + b"e"),
            (FULL + b"\0\0") * 4 + b"e\0\0\0",
        ),
    ],
    ids=["pax 0.1", "no holes", "pax 1.0", "old", "old with a second block"],
)  # fmt: skip
def test_a_sparse_file_is_read_with_its_holes(tmp_path, data, content):
    ((member, found),) = read(tmp_path / "image", data + END)
    assert (found, member.size) == (content, len(content))
    assert member.stored - sum(length for _, length in member.sparse) in (0, BLOCK)


def test_only_a_global_pax_header_applies_to_all_members(tmp_path):
    own = pax({"path": b"long/name", "gid": b"7", "mtime": b"1.5", "SCHILY.xattr.user.a": b"v"})
    data = pax({"uid": b"5", "comment": b"c"}, tarfile.XGLTYPE) + own + file(b"x") + file(b"y", "g") + END
    (first, _), (second, _) = read(tmp_path / "image", data)
    assert (first.name, first.uid, first.gid, first.mtime, first.xattrs) == (
        "long/name", 5, 7, 1.5, {"user.a": b"v"},
    )  # fmt: skip
    assert (second.name, second.uid, second.gid, second.xattrs) == ("g", 5, 0, {})


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("a%3Db", "a=b"), ("c%3dd", "c%3dd"), ("e%25f", "e%f"), ("g%zz", "g%zz"), ("h%", "h%"), ("i%2", "i%2"),
        ("j%253D", "j%3D"), ("k%00x", "k%00x"), ("l%3", "l%3"), ("m%2525", "m%25"),
    ],
)  # fmt: skip
def test_names_of_attributes_are_decoded_as_in_gnu_tar(tmp_path, written, name):
    """Recorded from GNU tar 1.35."""
    records = {f"SCHILY.xattr.user.{written}": b"v=w"}
    ((member, _),) = read(tmp_path / "image", pax(records) + file() + END)
    assert member.xattrs == {f"user.{name}": b"v=w"}


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a=b", b"29 SCHILY.xattr.user.a%3Db=v\n"), ("a%3Db", b"31 SCHILY.xattr.user.a%253Db=v\n"),
        ("p%", b"28 SCHILY.xattr.user.p%25=v\n"), ("=", b"27 SCHILY.xattr.user.%3D=v\n"),
        ("%3", b"28 SCHILY.xattr.user.%253=v\n"), ("q%25", b"30 SCHILY.xattr.user.q%2525=v\n"),
    ],
)  # fmt: skip
def test_names_of_attributes_are_encoded_as_in_gnu_tar(tmp_path, name, written):
    """Recorded from GNU tar 1.35."""
    data = bytearray()
    writer = TarWriter(data.extend)
    writer.add(Member("f", FILE, xattrs={f"user.{name}": b"v"}))
    writer.close()
    assert written in data
    ((member, _),) = read(tmp_path / "image", data)
    assert member.xattrs == {f"user.{name}": b"v"}


@pytest.mark.parametrize(
    ("time", "read_as"),
    [
        (b"-99999999999", -99999999999), (b"100000000000", 0), (b"-100000000000", 0), (b"%d" % -(2**63), 0),
        (b"5.", 5), (b"-1.5", -1.5), (b"0005", 5), (b"5.25" + b"0" * 99, 5.25),
    ],
)  # fmt: skip
def test_a_tar_time_outside_the_calendar_range_is_read_as_zero(tmp_path, time, read_as):
    ((member, _),) = read(tmp_path / "image", pax({"mtime": time}) + file() + END)
    assert member.mtime == read_as


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE])
@pytest.mark.parametrize("key", ["mtime", "atime", "ctime"])
@pytest.mark.parametrize(
    "time", [b"nan", b"1e9", b"+5", b"1_0", b" 5", b"5 ", b".5", b"-", b"", b"5.x", b"zz"]
)
def test_a_time_is_refused_if_gnu_tar_cannot_read_it(tmp_path, time, key, kind):
    """Recorded from GNU tar 1.35: "Malformed extended header: invalid atime=zz"."""
    said = f"'IMAGE' is damaged: the pax record '{key}' is not a time, at byte 512 of the archive"
    assert refusal(tmp_path / "image", pax({key: time}, kind) + file() + END) == (InputError, said)


@pytest.mark.parametrize(("field", "largest"), [("uid", 2**32 - 1), ("gid", 2**32 - 1), ("mtime", 2**63 - 1)])
@pytest.mark.parametrize("replaced", [b"", pax({"uid": b"1", "gid": b"1", "mtime": b"1"})])
def test_a_header_with_a_too_large_number_is_refused(tmp_path, field, largest, replaced):
    """GNU tar also reads numbers that pax records replace: "Archive value is out of uid_t range"."""

    def member(number):
        info = tarfile.TarInfo("f")
        setattr(info, field, number)
        return replaced + info.tobuf(tarfile.GNU_FORMAT) + END

    assert read(tmp_path / "image", member(largest))
    said = "the uid, gid or time of a member is outside the range of Linux"
    assert said in refusal(tmp_path / "image", member(largest + 1))[1]


@pytest.mark.parametrize(
    ("name", "kind", "clean"),
    [
        ("a", FILE, "a"), ("a/b", FILE, "a/b"), ("./a", FILE, "a"), ("a//b", FILE, "a/b"), ("a//b/./c", FILE, "a/b/c"), ("a/", DIRECTORY, "a"),
        (".", DIRECTORY, ""), ("", DIRECTORY, ""), ("./", DIRECTORY, ""), ("a..b", FILE, "a..b"), (".a", FILE, ".a"),
        ("/a", FILE, "'/a': a member's name must not be absolute"),
        ("a/../b", FILE, "'a/../b': a member's name must not contain '..'"),
        ("..", DIRECTORY, "'..': a member's name must not contain '..'"),
        ("a/..", DIRECTORY, "'a/..': a member's name must not contain '..'"),
        ("a/", FILE, "'a/' ends in '/' but is a file"),
        ("./", FILE, "the archive contains a file without a name"),
        ("", FILE, "the archive contains a file without a name"),
    ],
)  # fmt: skip
def test_the_name_of_a_tar_member_is_normalised_or_refused(name, kind, clean):
    if " " not in clean:
        assert clean_name(Member(name, kind)) == clean
        return
    with pytest.raises(RefusedError) as refused:
        clean_name(Member(name, kind))
    assert refused.value.message == clean


@pytest.mark.parametrize(
    ("time", "records"), [(-5, {"mtime": "-5"}), (1 << 33, {"mtime": str(1 << 33)}), (7, {})]
)
def test_an_out_of_range_time_is_written_as_a_pax_record(tmp_path, time, records):
    with open(tmp_path / "i.tar", "wb") as output:
        writer = TarWriter(output.write, "pax")
        writer.add(Member("f", FILE, 0o644, mtime=time), ())
        writer.close()
    with tarfile.open(tmp_path / "i.tar") as tar:
        (found,) = tar.getmembers()
    assert (found.mtime, found.pax_headers) == (time, records)


def test_the_total_size_of_templates_in_archives_is_limited(tmp_path):
    limits = DEFAULT._replace(templates_bytes=3)
    path = tmp_path / "i.tar"
    path.write_bytes(
        file(b"architecture: a\n", name="metadata.yaml")
        + b"".join(file(b"ab", name=f"templates/{name}") for name in "xy")
        + END
    )
    with pytest.raises(LimitError) as caught:
        open_image(str(path), limits).read_templates(["x", "y"])
    assert caught.value.message == f"'{path}': its templates have more than 3 bytes"


@pytest.mark.parametrize("size", [1, 2, 512, 513, 516, 519, 600])
def test_the_beginning_of_a_file_is_read_with_its_holes(tmp_path, size):
    sparse = sparse_map(b"1,512,515,2,519,0", 519) + file(FULL + b"bc")
    (tmp_path / "image").write_bytes(sparse + file(b"next", "g") + file(b"", "h") + END)
    archive = open_archive(str(tmp_path / "image"), DEFAULT)
    found = [archive.head(member, size) for member in archive]
    archive.finish()
    assert found == [HOLES[:size], b"next"[:size], b""]


@pytest.mark.parametrize("size", [1, 3, 512, 1 << 20])
def test_a_member_is_copied_with_its_headers_and_its_padding(tmp_path, size):
    members = [pax({"uid": b"7"}) + file(b"x" * 700), file(b"", "g"), header("d", tarfile.DIRTYPE)]
    (tmp_path / "image").write_bytes(b"".join(members) + END)
    archive = open_archive(str(tmp_path / "image"), DEFAULT)
    assert [b"".join(archive.raw(size)) for _ in archive] == members
    archive.finish()


@pytest.mark.parametrize(
    ("after", "position", "is_archive"),
    [
        (b"", None, False), (bytes(700), None, False), (b"x", 1536, False), (bytes(5) + b"x" * 600, 1541, False),
        (file(name="z") + END, 1536, True), (b"\x1f\x8b" + bytes(600), 1536, True),
    ],
)  # fmt: skip
def test_data_after_the_end_of_an_archive_is_detected(tmp_path, after, position, is_archive):
    (tmp_path / "image").write_bytes(file() + END + after)
    archive = open_archive(str(tmp_path / "image"), DEFAULT)
    assert len(list(archive)) == 1
    archive.finish()
    assert (archive.trailing_position, archive.trailing_archive) == (position, is_archive)


def test_images_have_the_documented_limits():
    assert DEFAULT._asdict() == {
        "metadata_bytes": 1 << 20, "template_bytes": 4 << 20, "templates_bytes": 12 << 20, "members": 300_000,
        "header_bytes": 1 << 20, "name_bytes": 4096, "held_bytes": 128 << 20, "unpacked_bytes": 256 << 30,
        "ratio": 200, "ratio_from": 256 << 20, "window_bytes": 128 << 20,
    }  # fmt: skip
