"""Small images and trees to publish."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from templater.distribution.client_image_list import Image, list_images
from templater.distribution.list_stream import read_products
from templater.distribution.stream_interface import LocalStream
from templater.distribution.tree import Tree
from templater.distribution.verify import verify
from templater.distribution.verify_report import Report

#: 2026-01-01 00:00 UTC
CREATED = 1767225600
DAY = 86400
SQUASHFS = b"hsqs" + bytes(92)
QCOW2 = b"QFI\xfb" + bytes(508)


def squashfs(number: int, size: int = 96) -> bytes:
    """The beginning of a squashfs file, which differs for each number."""
    return b"hsqs" + bytes(44) + b"%0*d" % (size - 48, number)


def tarball(members: Mapping[str, bytes | None]) -> bytes:
    """A tar archive; None makes a directory."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            if data is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            else:
                member.size = len(data)
            archive.addfile(member, io.BytesIO(data or b""))
    return made.getvalue()


def metadata_yaml(**fields: object) -> bytes:
    """``os``, ``release``, ``variant`` … are properties; ``created`` and ``arch`` are facts."""
    created, arch = fields.pop("created", CREATED), fields.pop("arch", "x86_64")
    properties = {"os": "Tiny", "release": "1", **fields}
    lines = [f"architecture: {arch}", f"creation_date: {created}", "properties:"]
    lines += [f'  {name}: "{value}"' for name, value in properties.items() if value is not None]
    return ("\n".join(lines) + "\n").encode()


def split_image(
    folder: Path, *, root: bytes = SQUASHFS, name: str = "image", **fields: object
) -> tuple[str, str]:
    """Write a metadata tarball and a root filesystem."""
    folder.mkdir(parents=True, exist_ok=True)
    first, second = folder / f"{name}.tar", folder / f"{name}.root"
    first.write_bytes(tarball({"metadata.yaml": metadata_yaml(**fields), "templates": None}))
    second.write_bytes(root)
    return str(first), str(second)


def unified_image(folder: Path, *, rootfs: str = "rootfs", **fields: object) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "unified.tar"
    members: dict[str, bytes | None] = {"metadata.yaml": metadata_yaml(**fields)}
    if rootfs == "rootfs":
        members |= {"rootfs": None, "rootfs/etc": None, "rootfs/etc/hostname": b"tiny\n"}
    else:
        members[rootfs] = QCOW2
    path.write_bytes(tarball(members))
    return str(path)


def checked(tree: Tree) -> Report:
    """Assert that a tree verifies. Files that no item names are allowed."""
    report = verify(LocalStream(tree))
    assert not [each for each in report.problems if each.code != "stray"], report.problems
    return report


def listed(tree: Tree, client: str) -> list[Image]:
    """Return the images that a client lists, in its order."""
    return list_images(read_products(LocalStream(tree)), client)[0]
