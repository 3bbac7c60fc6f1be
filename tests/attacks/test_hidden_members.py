"""Archives whose members GNU tar or Go's archive/tar read differently from a careless reader.

The daemons unpack with GNU tar and read metadata.yaml with Go. Each archive here hid a second metadata.yaml, a
link or a device from `audit`. templater refuses every archive that these programs read differently.
"""

import io
import random
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from templater.checks.audit_report import audit_report
from templater.image.tar_reader import open_archive
from templater.model.errors import InputError, RefusedError, TemplaterError

PREFIX = b"rootfs/usr/share/doc"


def header(
    name: bytes, size: int = 0, kind: bytes = b"0", *, link: bytes = b"", prefix: bytes = b"",
    magic: bytes = b"ustar\x0000", size_field: bytes = b"", trailer: bytes = b"",
) -> bytes:  # fmt: skip
    block = bytearray(512)
    for place, data in (
        (0, name), (100, b"0000644\0"), (108, b"0000000\0" * 2), (124, size_field or b"%011o\0" % size),
        (136, b"00000000000\0"), (148, b" " * 8), (156, kind), (157, link), (257, magic), (345, prefix),
        (508, trailer),
    ):  # fmt: skip
        block[place : place + len(data)] = data
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def record(key: bytes, value: bytes) -> bytes:
    body = b"=".join((key, value)) + b"\n"
    length = len(body) + 2
    while len(b"%d %s" % (length, body)) != length:
        length += 1
    return b"%d %s" % (length, body)


def pax(*pairs: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    data = b"".join(record(*pair) for pair in pairs)
    return header(b"PaxHeaders/x", len(data), kind) + padded(data)


def long_name(name: bytes, kind: bytes = b"L") -> bytes:
    return header(b"././@LongLink", len(name), kind, magic=b"ustar  \0") + padded(name)


GOOD = b"architecture: x86_64\ncreation_date: 1\ntemplates:\n  /etc/a: {when: [create], template: t}\n"
EVIL = GOOD.replace(b"/etc/a", b"/etc/ld.so.preload")
BEGINNING = (
    header(b"metadata.yaml", len(GOOD)) + padded(GOOD) + header(b"templates/t", 2) + padded(b"x\n")
    + header(b"rootfs/", kind=b"5")
)  # fmt: skip
SECOND = header(b"metadata.yaml", len(EVIL)) + padded(EVIL)
LINK = header(b"templates/evil", kind=b"2", link=b"../../shadow")
HIDDEN = SECOND + LINK
INNOCENT = b"rootfs/innocent"

ARCHIVES = {
    "a prefix without its format": header(b"metadata.yaml", len(EVIL), prefix=PREFIX, magic=bytes(8)) + padded(EVIL),
    "a prefix behind a zero": header(b"metadata.yaml", len(EVIL), prefix=b"\0x") + padded(EVIL),
    "a prefix in the old format": header(b"evil", kind=b"2", link=b"/x", prefix=b"templates", magic=b"ustar  \0"),
    "a prefix that is too long for the format star": header(b"evil", prefix=PREFIX * 7, trailer=b"tar\0"),
    "a prefix that Go reads as a prefix and two times": header(b"evil", prefix=(PREFIX * 7)[:131] + b"00000000000 " * 2, trailer=b"tar\0"),
    "a time in the format star that GNU tar can't read": header(b"evil", prefix=b"x".ljust(131, b"\0") + b"0zzzzzzzzzz 00000000000 "),
    "a sparse type with a prefix": header(b"evil", kind=b"S", prefix=b"templates"),
    "a sparse name of a link": pax((b"GNU.sparse.name", b"templates/evil")) + header(b"rootfs/a", kind=b"2", link=b"x"),
    "a sparse name of a file": pax((b"GNU.sparse.name", b"metadata.yaml")) + header(b"rootfs/b", len(EVIL)) + padded(EVIL),
    "a piece that ends inside a block": pax((b"GNU.sparse.size", b"513"), (b"GNU.sparse.numblocks", b"2"), (b"GNU.sparse.map", b"0,1,1,512"))
    + header(b"rootfs/a", 513) + padded(b"\n" + EVIL.ljust(512)),
    **{
        f"sparse records before a header in the format {name}":
        pax((b"GNU.sparse.size", b"512"), (b"GNU.sparse.numblocks", b"1"), (b"GNU.sparse.map", b"0,512"))
        + header(b"rootfs/a", 512, magic=magic, prefix=prefix) + bytes(512)
        for name, magic, prefix in (
            ("gnu", b"ustar  \0", b""), ("v7", bytes(8), b""),
            ("star", b"ustar\x0000", b"x".ljust(131, b"\0") + b"00000000000 " * 2),
        )
    },
    **{
        name: pax(*((b"GNU.sparse." + key, value) for key, value in records))
        + header(b"rootfs/a", 512) + bytes(512) + header(b"rootfs/decoy", len(HIDDEN)) + HIDDEN
        for name, records in {
            "a map before the number of its pieces": ((b"size", b"512"), (b"map", b"0,512"), (b"numblocks", b"1")),
            "a map in two formats": ((b"size", b"512"), (b"numblocks", b"1"), (b"map", b"0,512"), (b"major", b"1")),
            "a repeated record of a map": ((b"size", b"512"), (b"numblocks", b"1"), (b"map", b"0,512"), (b"numblocks", b"1")),
            "an empty piece before the end": ((b"size", b"512"), (b"numblocks", b"2"), (b"map", b"0,512,1,0")),
            "a length before its offset": ((b"size", b"512"), (b"numblocks", b"1"), (b"numbytes", b"0"), (b"offset", b"512")),
        }.items()
    },
    "a sparse size of a directory": pax((b"GNU.sparse.size", b"512")) + header(b"rootfs/d", kind=b"5")
    + header(b"rootfs/decoy", len(HIDDEN)) + HIDDEN,
    "a real size of a fifo": pax((b"GNU.sparse.realsize", b"512")) + header(b"rootfs/d", kind=b"6")
    + header(b"rootfs/decoy", len(HIDDEN)) + HIDDEN,
    "a dump directory": pax((b"GNU.dumpdir", b"Yx\0\0")) + header(b"rootfs/q"),
    "a header of Solaris": pax((b"path", INNOCENT), kind=b"X") + SECOND,
    "two pax headers": pax((b"path", INNOCENT)) + pax((b"comment", b"x")) + SECOND,
    "a blank before the name of a record": pax((b" path", b"templates/t")) + header(b"rootfs/q", 2) + padded(b"y\n"),
    "a tab before the name of a record": pax((b"\tlinkpath", b"/etc/shadow")) + header(b"rootfs/q", kind=b"2", link=b"x"),
    "a file that looks like an old directory": long_name(b"templates/evil\0") + header(b"x/", kind=b"\0"),
    "an empty path": pax((b"path", b"")) + SECOND,
    "an empty target": pax((b"linkpath", b"")) + header(b"rootfs/l", kind=b"2", link=b"../../x"),
    "pax, then a long name": pax((b"path", b"metadata.yaml")) + long_name(INNOCENT + b"\0")
    + header(b"rootfs/q", len(EVIL)) + padded(EVIL),
    "a long name, then pax": long_name(b"metadata.yaml\0") + pax((b"path", INNOCENT))
    + header(b"rootfs/q", len(EVIL)) + padded(EVIL),
    "two long names": long_name(INNOCENT + b"\0") + long_name(b"metadata.yaml\0") + header(b"q", len(EVIL)) + padded(EVIL),
    "a long name that goes on behind its size": header(b"././@LongLink", 1, b"K", magic=b"ustar  \0")
    + padded(b"x/../../../etc/shadow") + header(b"rootfs/q", kind=b"2", link=b"y"),
    "an empty long name": long_name(b"\0") + SECOND,
    "a long name of no bytes": long_name(b"") + SECOND,
    "a global header behind a long name": long_name(INNOCENT + b"\0") + pax((b"comment", b"x"), kind=b"g") + SECOND,
    "a global header behind pax": pax((b"path", INNOCENT)) + pax((b"comment", b"x"), kind=b"g") + SECOND,
    "a global header that makes GNU tar forget an earlier one": pax((b"uid", b"1000"), kind=b"g")
    + pax((b"comment", b"x"), kind=b"g") + header(b"rootfs/a"),
    "a global header that Go returns as metadata.yaml": header(b"./metadata.yaml", 13, b"g") + padded(b"13 comment=x\n"),
    "a global header that Go returns as a part of the root filesystem": header(b"rootfs/", 13, b"g") + padded(b"13 comment=x\n"),
    "a global header with two ids": pax((b"uid", b"1000"), (b"uid", b"0"), kind=b"g") + header(b"rootfs/a"),
    "a size that begins with a zero byte": header(b"rootfs/a", size_field=b"\0001000\0\0\0\0\0\0\0"[:12])
    + header(b"rootfs/decoy", len(HIDDEN)) + HIDDEN,
    "a size with an underscore": header(b"rootfs/a", size_field=b"0000001_000\0") + HIDDEN,
    "a file without a name": header(b"", len(EVIL)) + padded(EVIL),
    **{
        f"a file whose name ends in '/' in {place}": beginning + HIDDEN
        for place, beginning in {
            "its header": header(b"rootfs/y/", len(HIDDEN)),
            "a header with a prefix": header(b"y//", len(HIDDEN), prefix=b"rootfs"),
            "a header of a contiguous file": header(b"rootfs/y/./", len(HIDDEN), b"7"),
            "a pax record": pax((b"path", b"rootfs/y/")) + header(b"y", len(HIDDEN)),
            "a pax record of an old file": pax((b"path", b"rootfs/y/")) + header(b"y", len(HIDDEN), b"\0"),
            "a long name": long_name(b"rootfs/y/\0") + header(b"y", len(HIDDEN)),
            "a sparse file's record": pax(
                (b"GNU.sparse.name", b"rootfs/y/"), (b"GNU.sparse.size", b"%d" % len(HIDDEN)),
                (b"GNU.sparse.numblocks", b"1"), (b"GNU.sparse.map", b"0,%d" % len(HIDDEN)),
            ) + header(b"y", len(HIDDEN)),
        }.items()
    },
}  # fmt: skip


def write(path: Path, members: bytes) -> str:
    path.write_bytes(BEGINNING + members + bytes(1024))
    return str(path)


@pytest.mark.parametrize("members", ARCHIVES.values(), ids=ARCHIVES)
def test_attack_75_an_ambiguous_archive_gives_a_finding_and_is_refused(
    tmp_path: Path, members: bytes
) -> None:
    path = write(tmp_path / "i.tar", members)
    with pytest.raises((InputError, RefusedError)):
        for member in open_archive(path):
            from templater.image.name_checks import clean_name

            clean_name(member)
    found = audit_report(path, None, at_least="medium")
    assert found["findings"], "audit says nothing"


def test_an_ordinary_archive_with_long_names_is_read(tmp_path: Path) -> None:
    for number, layout in enumerate((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)):
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w", format=layout) as archive:
            for name, target in (("a" * 150, ""), ("b" * 150, "c" * 150)):
                info = tarfile.TarInfo(f"rootfs/{name}")
                if target:
                    info.type, info.linkname = tarfile.SYMTYPE, target
                archive.addfile(info)
        path = tmp_path / f"{number}.tar"
        path.write_bytes(made.getvalue())
        assert [len(member.name) for member in open_archive(str(path))] == [157, 157]


NAMES = (b"metadata.yaml", b"templates/t", b"rootfs/a", b"a/b/", b"x" * 100, b"", b"./")
KEYS = (
    b"path",
    b"linkpath",
    b"size",
    b"comment",
    b"GNU.sparse.name",
    b"GNU.sparse.size",
    b"GNU.sparse.map",
    b"hdrcharset",
    b" path",
    b"\tlinkpath",
)
VALUES = (b"templates/evil", b"", b"0", b"1", b"512", b"a/", b"BINARY", b"0,1")


def made_up(choose: random.Random) -> bytes:
    """Return an archive of random headers, most of them odd."""
    members = b""
    for _ in range(choose.randint(1, 4)):
        for _ in range(choose.choice((0, 0, 1, 1, 2))):
            if choose.random() < 0.5:
                pairs = [(choose.choice(KEYS), choose.choice(VALUES)) for _ in range(choose.randint(0, 3))]
                members += pax(*pairs, kind=choose.choice((b"x", b"x", b"g", b"X")))
            else:
                name = choose.choice((b"templates/long\0", b"long", b"\0", b"", b"L" * 300 + b"\0"))
                members += long_name(name, choose.choice((b"L", b"K")))
        kind = choose.choice((b"0", b"0", b"\0", b"1", b"2", b"5", b"6", b"7", b"S"))
        data = choose.choice((b"", b"q", b"q" * 600)) if kind in b"0\x007" else b""
        options = {
            "prefix": choose.choice((b"", b"", b"pre", b"/", b"\0x", PREFIX * 7)),
            "trailer": choose.choice((b"", b"", b"tar\0")),
            "magic": choose.choice((b"ustar\x0000", b"ustar\x0000", b"ustar  \0", bytes(8), b"ustar\0xx")),
        }
        if choose.random() < 0.1:
            options["size_field"] = choose.choice(
                (b"%o" % len(data), b" %010o\0" % len(data), b"\0%010o\0" % len(data))
            )
        members += header(choose.choice(NAMES), len(data), kind, link=choose.choice((b"", b"l/k")), **options)
        members += padded(data)
    return members + bytes(1024)


@pytest.mark.skipif(shutil.which("tar") is None, reason="NOT RUN: needs GNU tar")
@pytest.mark.slow
def test_attack_75_gnu_tar_and_templater_read_the_same_members(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    choose, compared = random.Random(20261127), 0
    for _ in range(800):
        path = tmp_path / "i.tar"
        path.write_bytes(header(b"first", 1) + padded(b"z") + made_up(choose))
        try:
            archive = open_archive(str(path))
            mine = [member.name.rstrip("/") for member in archive]
            archive.finish()
        except TemplaterError:
            continue
        answer = subprocess.run(
            ["tar", "-tPf", path],
            capture_output=True,
            check=False,
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        )
        if answer.returncode == 0:
            compared += 1
            assert [name for name in mine if name] == [
                name.rstrip("/") for name in answer.stdout.decode().splitlines() if name.rstrip("/")
            ]
    assert compared > 50


@pytest.mark.skipif(shutil.which("tar") is None, reason="NOT RUN: needs GNU tar")
@pytest.mark.parametrize(
    ("begin", "end"), [(b"", b""), (b"", b"\0"), (b"\0", b""), (b"\0\0", b""), (b"  \0", b""), (b"\0", b"\0")]
)
@pytest.mark.parametrize("kind", [b"0", b"3"])
@pytest.mark.parametrize(
    ("start", "size"), [(100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (329, 8), (337, 8)]
)
def test_attack_75_templater_refuses_a_blank_number_field_if_gnu_tar_refuses_it(
    tmp_path: Path, kind: bytes, start: int, size: int, begin: bytes, end: bytes
) -> None:
    """GNU tar ended with an error, so no daemon could unpack the image, and ``audit`` found nothing."""
    block = bytearray(header(b"a", 0, kind))
    block[start : start + size] = begin + end.rjust(size - len(begin))
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path = tmp_path / "i.tar"
    path.write_bytes(block + bytes(1024))
    answer = subprocess.run(["tar", "-tvf", path], capture_output=True, check=False)
    if answer.returncode == 0:
        assert [member.name for member in open_archive(str(path))] == ["a"]
    else:
        assert b"Blanks in header" in answer.stderr
        with pytest.raises(InputError):
            list(open_archive(str(path)))


@pytest.mark.skipif(shutil.which("tar") is None, reason="NOT RUN: needs GNU tar")
@pytest.mark.slow
def test_attack_75_templater_and_gnu_tar_agree_on_the_owners_in_accepted_archives(
    tmp_path: Path,
) -> None:
    """At a second global header, GNU tar forgets the first global header.

    If a header has two records with the same key, GNU tar uses the first record.
    """
    choose, compared = random.Random(20261129), 0
    for _ in range(600):
        members = b""
        for number in range(choose.randint(1, 4)):
            for kind in choose.choice((b"", b"x", b"g", b"gx", b"gg")):
                keys = choose.choices(
                    (b"uid", b"gid", b"mtime", b"comment", b"uname"), k=choose.randint(0, 3)
                )
                pairs = [(key, choose.choice((b"0", b"7", b"1000", b"007", b"4294967295"))) for key in keys]
                members += pax(*pairs, kind=bytes([kind]))
            members += header(b"f%d" % number)
        path = tmp_path / "i.tar"
        path.write_bytes(members + bytes(1024))
        try:
            mine = [[member.name, f"{member.uid}/{member.gid}"] for member in open_archive(str(path))]
        except TemplaterError:
            continue
        compared += 1
        answer = subprocess.run(
            ["tar", "--numeric-owner", "-tvf", path], capture_output=True, check=True, text=True
        )
        assert mine == [[row[-1], row[1]] for row in map(str.split, answer.stdout.splitlines())]
    assert compared > 50
