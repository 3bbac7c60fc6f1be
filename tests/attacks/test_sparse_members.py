"""Sparse files in archives, compared with GNU tar, with which LXD and Incus unpack an image.

If templater and GNU tar read different contents or members, an image could hide a template from ``audit``.
"""

import itertools
import random
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from templater.image.tar_reader import open_archive
from templater.model.errors import TemplaterError
from tests.image_archives import file, header, padded, record

pytestmark = pytest.mark.skipif(shutil.which("tar") is None, reason="NOT RUN: needs GNU tar")

Pieces = list[tuple[int, int]]
Records = list[tuple[str, bytes]]
MAGIC = {"ustar": b"ustar\x0000", "gnu": b"ustar  \0", "v7": bytes(8), "star": b"ustar\x0000"}
FORMATS = ("old", "0.0", "0.1", "1.0")
STAR_TIMES = b"00000000000 " * 2
MAPS: tuple[Pieces, ...] = (
    [(0, 512)],
    [(0, 512), (1024, 512)],
    [(512, 1024), (2048, 100)],
    [(0, 512), (512, 512), (3000, 0)],
    [(2000, 0)],
    [(512 * k, 512) for k in range(0, 60, 2)],
    [(0, 1), (1, 512)],
    [(0, 100), (1000, 50), (2000, 0)],
    [(0, 511), (512, 513)],
    [(0, 512), (100, 0), (1024, 512)],
    [(0, 512), (0, 0)],
    [(0, 0), (700, 512), (1400, 0), (1500, 5)],
    [],
)


def block(kind: bytes, size: int, magic: str, patches: dict[int, bytes]) -> bytes:
    """Return the header of the member f. ``patches`` has bytes by their offsets in the header."""
    made = bytearray(header("f", kind, size))
    made[257:265] = MAGIC[magic]
    if magic == "star":
        made[476:500] = STAR_TIMES
    for at, data in patches.items():
        made[at : at + len(data)] = data
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(made)
    return bytes(made)


def extended(records: Records) -> bytes:
    body = b"".join(record(*pair) for pair in records)
    return header("pax", tarfile.XHDTYPE, len(body)) + padded(body)


def records_of(layout: str, pieces: Pieces, size: int) -> Records:
    real = b"%d" % size
    if layout == "1.0":
        return [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", real)]
    records = [("GNU.sparse.size", real), ("GNU.sparse.numblocks", b"%d" % len(pieces))]
    if layout == "0.1":
        return [*records, ("GNU.sparse.map", b",".join(b"%d,%d" % piece for piece in pieces))]
    for offset, length in pieces:
        records += [("GNU.sparse.offset", b"%d" % offset), ("GNU.sparse.numbytes", b"%d" % length)]
    return records


def old_map(pieces: Pieces, size: int) -> tuple[dict[int, bytes], bytes]:
    """Return the map of the old format: patches of the header, and the blocks after the header."""
    entries = [b"%011o\0%011o\0" % piece for piece in pieces]
    blocks = [entries[at : at + 21] for at in range(4, len(entries), 21)]
    rest = b"".join(
        b"".join(part).ljust(504, b"\0") + bytes([part is not blocks[-1]]) + bytes(7) for part in blocks
    )
    start = {386: b"".join(entries[:4]), 482: bytes([bool(blocks)]), 483: b"%011o\0" % size}
    return start, rest


def member(
    layout: str, magic: str, pieces: Pieces, size: int, data: bytes, records: Records | None = None
) -> bytes:
    if layout == "old":
        patches, rest = old_map(pieces, size)
        return block(b"S", len(data), magic, patches) + rest + padded(data)
    if layout == "1.0":
        numbers = [len(pieces), *itertools.chain(*pieces)]
        data = padded(b"".join(b"%d\n" % number for number in numbers)) + data
    if records is None:
        records = records_of(layout, pieces, size)
    return extended(records) + block(b"0", len(data), magic, {}) + padded(data)


def content(pieces: Pieces) -> bytes:
    """Return data with the total size of the pieces. Each line of the data has a different number."""
    size = sum(length for _, length in pieces)
    return b"".join(b"%07d\n" % number for number in range(size // 8 + 1))[:size]


def read(path: Path) -> dict[str, bytes] | None:
    """Return the members and contents that templater reads, or None if it refuses the archive."""
    try:
        archive = open_archive(str(path))
        found = {member.name: archive.read(member, 1 << 20) for member in archive}
        archive.finish()
    except TemplaterError:
        return None
    return found


def unpack(path: Path) -> dict[str, bytes] | None:
    """Return the members and contents that GNU tar reads, or None if GNU tar fails."""
    target = path.with_suffix(".d")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    words = ["tar", "--numeric-owner", "-xf", path, "-C", target]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        return None
    return {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()}


def agrees(path: Path, *members: bytes) -> bool:
    """Return whether templater reads the archive. Fail if GNU tar reads different content."""
    path.write_bytes(b"".join(members) + bytes(10240))
    mine = read(path)
    if mine is not None:
        assert mine == unpack(path)
    return mine is not None


#: a member that holds another archive: a reader that continues at a wrong block finds its members
AFTER = file("after", file("hidden", b"x") * 8)


@pytest.mark.parametrize("magic", MAGIC)
@pytest.mark.parametrize("layout", FORMATS)
def test_attack_75_each_sparse_format_is_refused_or_read_correctly(
    tmp_path: Path, layout: str, magic: str
) -> None:
    read_maps = []
    for number, pieces in enumerate(MAPS):
        end = max((offset + length for offset, length in pieces), default=0)
        for size in (end, end + 512):
            if agrees(tmp_path / "i.tar", member(layout, magic, pieces, size, content(pieces)), AFTER):
                read_maps.append((number, size - end))
    usual = [(number, 0) for number in (*range(6), 11)]
    if layout in ("old", "1.0"):
        usual.append((12, 0))  # an empty file without pieces
    assert read_maps == (usual if magic == ("gnu" if layout == "old" else "ustar") else [])


def unordered(records: Records, choose: random.Random) -> Records:
    """Return the records of a sparse file with up to two changes."""
    made = list(records)
    for _ in range(choose.randint(0, 2)):
        at = choose.randrange(len(made))
        key, value = made[at]
        what = choose.randrange(6)
        if what == 0:
            made.insert(choose.randrange(len(made) + 1), made.pop(at))
        elif what == 1 and len(made) > 1:
            made.pop(at)
        elif what == 2:
            made[at] = (
                choose.choice(("", " ", "\t")) + key,
                choose.choice((b"0", b"1", b"2", b"512", b"01", value)),
            )
        elif what == 3:
            made.insert(at, (key, choose.choice((b"0", b"1", b"3", b"0,1", b"0,512", value))))
        elif what == 4:
            other = choose.choice(
                ("major", "minor", "map", "size", "realsize", "numblocks", "offset", "name")
            )
            made.insert(at, (f"GNU.sparse.{other}", choose.choice((b"0", b"1", b"512", b"0,512"))))
        else:
            made.append(("size", choose.choice((b"512", b"1024", b"2048"))))
    return made


@pytest.mark.slow
def test_attack_75_random_sparse_members_are_refused_or_read_correctly(
    tmp_path: Path,
) -> None:
    choose, count = random.Random(20261129), 0
    for _ in range(3000):
        layout = choose.choice(FORMATS)
        offset, pieces = 0, []
        for _ in range(choose.choice((1, 2, 3, 5, 6, 27))):
            offset += choose.choice((0, 0, 1, 512, 700))
            pieces.append((offset, choose.choice((0, 512, 512, 1024, 1))))
            offset += pieces[-1][1]
        size = offset + choose.choice((0, 0, 0, 1, 512))
        data = content(pieces)
        if layout == "old":
            made = bytearray(member("old", "gnu", pieces, size, data))
            if choose.random() < 0.7:
                at = choose.choice((386, 398, 410, 422, 434, 446, 481, 482, 483, 512, 524, 536, 1016))
                if at < len(made):
                    made[at] = choose.choice(b"\0\1 017\x80\xff-+o")
            made[148:156] = b" " * 8
            made[148:156] = b"%06o\0 " % sum(made[:512])
            members = bytes(made)
        else:
            records = unordered(records_of(layout, pieces, size), choose)
            members = member(layout, "ustar", pieces, size, data, records)
        count += agrees(tmp_path / "i.tar", members, AFTER)
    assert count > 300


FILES: tuple[Pieces, ...] = (
    [(0, 4096), (65536, 4096)],
    [(65536, 100)],
    [(8192, 4096)],
    [],
    [(65536 * k, 4096) for k in range(60)],
)


def sparse_file(path: Path, pieces: Pieces, size: int) -> None:
    with path.open("wb") as out:
        for offset, length in pieces:
            out.seek(offset)
            out.write(b"x" * length)
        out.truncate(size)


@pytest.mark.parametrize(
    "words",
    [
        ["--format=gnu"],
        *(["--format=posix", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0")),
    ],
    ids=lambda words: words[-1],
)
@pytest.mark.parametrize("way", ["seek", "raw"])
def test_templater_reads_sparse_files_that_gnu_tar_writes(tmp_path: Path, words: list[str], way: str) -> None:
    expected = {}
    for number, pieces in enumerate(FILES):
        end = max((offset + length for offset, length in pieces), default=0)
        for size in (end, end + 70_001):
            path = tmp_path / f"{number}-{size}"
            sparse_file(path, pieces, size)
            expected[path.name] = path.read_bytes()
    words = ["tar", "--sparse", f"--hole-detection={way}", *words, "-cf", "i.tar", *expected]
    subprocess.run(words, cwd=tmp_path, check=True)
    assert (tmp_path / "i.tar").stat().st_size < sum(map(len, expected.values())) / 2
    archive = open_archive(str(tmp_path / "i.tar"))
    assert {member.name: archive.read(member, 1 << 23) for member in archive} == expected
    archive.finish()
