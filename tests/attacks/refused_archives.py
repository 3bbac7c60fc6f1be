"""Archives that the daemons don't import, or that GNU tar can't unpack, although other programs can read them."""

import io
import tarfile
from pathlib import Path

FACTS = b"architecture: x86_64\ncreation_date: 1700000000\n"


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **records: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.pax_headers = kind, link, records
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    return info


def folder(name: str) -> tarfile.TarInfo:
    return member(name, tarfile.DIRTYPE)


def archive(
    path: Path, members: list[tarfile.TarInfo], metadata: str = "metadata.yaml", facts: bytes = FACTS
) -> str:
    """Write an image whose first member is its metadata.yaml.

    Incus reads the first members with Go at the import, and does not read the others before it unpacks them.
    """
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        first = member(metadata)
        first.size = len(facts)
        tar.addfile(first, io.BytesIO(facts))
        for info in members:
            tar.addfile(info)
    return str(path)


ROOTFS = [folder("rootfs"), folder("rootfs/etc"), member("rootfs/etc/motd")]
#: archives that GNU tar can't unpack
UNPACKED = {
    "a member below a file": [*ROOTFS, member("rootfs/etc/motd/x")],
    "a file over a directory": [*ROOTFS, member("rootfs/etc")],
    "a symlink over a directory": [*ROOTFS, member("rootfs/etc", tarfile.SYMTYPE, "x")],
    "a hard link to a directory": [*ROOTFS, member("rootfs/h", tarfile.LNKTYPE, "rootfs/etc")],
    "a hard link without a target": [*ROOTFS, member("rootfs/h", tarfile.LNKTYPE, "rootfs/none")],
    "a hard link to itself": [*ROOTFS, member("rootfs/h", tarfile.LNKTYPE, "rootfs/h")],
    "a hard link to the top": [*ROOTFS, member("rootfs/h", tarfile.LNKTYPE, "./")],
    "an empty symlink": [*ROOTFS, member("rootfs/s", tarfile.SYMTYPE)],
    "a long symlink": [*ROOTFS, member("rootfs/s", tarfile.SYMTYPE, "x" * 4096)],
    "a long name": [*ROOTFS, member("rootfs/" + "n" * 256)],
    "a long name in UTF-8": [*ROOTFS, member("rootfs/" + "é" * 128)],
    "a large uid": [*ROOTFS, member("rootfs/x", uid="4294967296")],
    "a large gid": [*ROOTFS, member("rootfs/x", gid="4294967296")],
    "a file over an implied directory": [folder("rootfs"), member("rootfs/a/b"), member("rootfs/a")],
    "a file with a final dot": [*ROOTFS, member("rootfs/f/.")],
    "a symlink with a final dot": [*ROOTFS, member("rootfs/s/./", tarfile.SYMTYPE, "x")],
    "a hard link with a final dot": [*ROOTFS, member("rootfs/h/.", tarfile.LNKTYPE, "rootfs/etc/motd")],
    "a hard link to a name with a final dot": [
        *ROOTFS,
        member("rootfs/h", tarfile.LNKTYPE, "rootfs/etc/motd/."),
    ],
    "a hard link to a name with a final slash": [
        *ROOTFS,
        member("rootfs/h", tarfile.LNKTYPE, "rootfs/etc/motd/"),
    ],
    "mtime nan": [*ROOTFS, member("rootfs/x", mtime="nan")],
    "mtime 1e9": [*ROOTFS, member("rootfs/x", mtime="1e9")],
    "mtime with a sign": [*ROOTFS, member("rootfs/x", mtime="+5")],
    "mtime with an underscore": [*ROOTFS, member("rootfs/x", mtime="1_0")],
    "atime without a number": [*ROOTFS, member("rootfs/x", atime="zz")],
    "ctime without a number": [*ROOTFS, member("rootfs/x", ctime="zz")],
}
#: archives that GNU tar can't unpack, but that can be packed again without the names' final dots
DOTTED = {
    "a directory in a file": [*ROOTFS, folder("rootfs/etc/motd/.")],
    "a directory in an absolute symlink": [
        *ROOTFS,
        member("rootfs/s", tarfile.SYMTYPE, "/x"),
        folder("rootfs/s/./"),
    ],
}
DEV = [*ROOTFS, folder("rootfs/dev"), member("rootfs/dev/a")]
#: archives that only Incus can't unpack, because it skips the members below rootfs/dev
UNPACKED_BY_INCUS = {
    name: [*ROOTFS, folder("rootfs/dev"), member(name), member("rootfs/h", tarfile.LNKTYPE, "rootfs/dev/a")]
    for name in ("rootfs/dev/a", "./rootfs/dev/a", "/rootfs/dev/a", "rootfs/dev//a", "rootfs/dev/./a")
}
#: archives that Incus unpacks without some of their members, and that LXD can't unpack
SKIPPED_BY_INCUS = {
    "a member below a file in dev": [*DEV, member("rootfs/dev/a/b")],
    "a hard link without a target in dev": [*DEV, member("rootfs/dev/h", tarfile.LNKTYPE, "rootfs/none")],
}
#: similar archives that the daemons import and unpack
ACCEPTED = {
    "ordinary": ROOTFS,
    "dotted": [folder("./rootfs"), member("./rootfs/etc/motd")],
    "directories with a final dot": [
        folder("rootfs/."),
        folder("rootfs/a/."),
        folder("rootfs/a/./"),
        member("rootfs/a/x"),
    ],
    "a directory over a file": [*ROOTFS, folder("rootfs/etc/motd")],
    "a file over an empty directory": [folder("rootfs/a"), member("rootfs/a")],
    "the longest names": [*ROOTFS, member("rootfs/" + "n" * 255), member("rootfs/" + "é" * 127)],
    "the longest symlink": [*ROOTFS, member("rootfs/s", tarfile.SYMTYPE, "x" * 4095)],
    "the largest uid": [*ROOTFS, member("rootfs/x", uid="4294967295")],
    "times": [*ROOTFS, member("rootfs/x", mtime="-1.5", atime="0005.", ctime="9223372036854775807")],
    "a hard link": [*ROOTFS, member("rootfs/h", tarfile.LNKTYPE, "./rootfs/etc/motd")],
    "hard links in dev": [*DEV, member("rootfs/dev/h", tarfile.LNKTYPE, "rootfs/dev/a")],
    "hard links to similar names": [
        *ROOTFS,
        *(member(name) for name in ("rootfs/devices/a", "x/rootfs/dev/a", "rootfs/a/dev/a")),
        member("rootfs/h", tarfile.LNKTYPE, "rootfs/devices/a"),
        member("rootfs/i", tarfile.LNKTYPE, "rootfs/a/dev/a"),
    ],
}
#: archives that the daemons import and unpack, because Incus compares the names as they are written
ODDLY_WRITTEN = {
    name: [*ROOTFS, member(name), member("rootfs/h", tarfile.LNKTYPE, "rootfs/dev/a")]
    for name in ("rootfs/./dev/a", "rootfs//dev/a", "././rootfs/dev/a", ".//rootfs/dev/a")
}
#: members, the name of metadata.yaml, and the message of templater, for archives that no daemon imports
NOT_IMPORTED = [
    (ROOTFS, "././metadata.yaml", "the daemons don't find '././metadata.yaml'"),
    (ROOTFS, ".//metadata.yaml", "the daemons don't find './/metadata.yaml'"),
    ([member("././rootfs/a")], "metadata.yaml", "the daemons don't find '././rootfs/a'"),
    ([member(".//rootfs/a")], "metadata.yaml", "the daemons don't find './/rootfs/a'"),
    ([member("/rootfs/a")], "metadata.yaml", "the daemons don't find '/rootfs/a'"),
    ([member("rootfs")], "metadata.yaml", "'rootfs' is a file, not a directory"),
    ([member("rootfs", tarfile.SYMTYPE, "/")], "metadata.yaml", "'rootfs' is a symlink, not a directory"),
    (
        [*ROOTFS, member("metadata.yaml", tarfile.LNKTYPE, "rootfs/etc/motd")],
        "other",
        "'metadata.yaml' is a hard link, not a file",
    ),
    ([*ROOTFS, folder("metadata.yaml")], "other", "'metadata.yaml' is a directory, not a file"),
]


def without_magic(path: Path) -> str:
    """Change the first header of an archive to the format v7, which has no magic bytes."""
    data = bytearray(path.read_bytes())
    data[257:265] = bytes(8)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data)
    return str(path)


def like_a_compressed_file(path: Path, start: str) -> str:
    """Write an image whose first member has a name that begins like a compressed file."""
    facts = member("metadata.yaml")
    facts.size = len(FACTS)
    with tarfile.open(path, "w") as tar:
        tar.addfile(member(f"{start}x"))
        tar.addfile(facts, io.BytesIO(FACTS))
        for info in ROOTFS:
            tar.addfile(info)
    return str(path)
