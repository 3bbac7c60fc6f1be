"""Reproducible building of unified and split images: equal contents give equal bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from ..model.errors import UsageError, WriteError, reason
from ..model.progress import Progress, silent
from ..model.unprintable_characters import printable
from ..parsing.file_kind import SQUASHFS
from .atomic_output import Output, publish_all
from .compress import compressing, compression_named
from .directory_members import Data
from .file_extensions import extension
from .members_of_new_image import dotted, part_members, rootfs_members, unified_members
from .mksquashfs import squash, storable
from .read_whole_image import Contents, Part
from .tar_of_new_image import bounded_writer, protect, write_tar
from .tar_reader import Member
from .tar_writer import Format

Layout = Literal["unified", "split"]


@dataclass(frozen=True, slots=True)
class Packing:
    """The format of an image to build. ``rootfs`` of a split image is "tar" or "squashfs"."""

    layout: Layout = "unified"
    compression: str = "xz"
    level: int | None = None
    rootfs: Literal["tar", "squashfs"] = "tar"
    tar: Format = "pax"
    #: SOURCE_DATE_EPOCH: the creation time of a squashfs file
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Built:
    """A built image: its files, metadata first, and the fingerprint that the daemons will show."""

    files: tuple[str, ...]
    size: int
    fingerprint: str
    members: int
    #: names of files that lost extended attributes, because mksquashfs can't store these attributes
    without_xattrs: tuple[str, ...] = ()


def build(
    contents: Contents,
    parts: list[Part],
    target: str,
    packing: Packing,
    *,
    replace: bool = False,
    private: bool = False,
    progress: Progress = silent,
) -> Built:
    """Build an image from ``parts`` (metadata.yaml and templates) and the root filesystem of ``contents``.

    * ``target``: a file name, or a directory for files with the names that the daemons use
    * ``private``: whether only the current user may read the files
    * ``replace``: whether to overwrite existing files

    Raises UsageError if a file exists and ``replace`` is false, or if ``target`` or ``packing`` is invalid.
    """
    # The files get their names when all files are complete.
    kind = compression_named(packing.compression)
    if target == "-":
        raise UsageError(
            "an image can't be written to standard output",
            hint="give a file name; use ./- for a file named '-'",
        )
    if target.endswith("/"):
        _make_directory(target)
    directory = target if os.path.isdir(target) else os.path.dirname(target)
    if os.path.isdir(target):
        replace = True  # files here are named by fingerprint, so an existing file has the same content
    elif not replace:
        _refuse_existing(file_names(target, "", packing.layout, kind))
    if packing.layout == "unified":
        if packing.rootfs == "squashfs":
            raise UsageError(
                "a unified image is one tarball", hint="add --format split for a squashfs root filesystem"
            )
        with Output(directory, private=private) as output:
            members = _pack(output, kind, packing, contents, unified_members(contents, parts), progress)
            fingerprint = output.sha256.hexdigest()
            (file,) = file_names(target, fingerprint, packing.layout, kind)
            protect(contents, output)
            output.publish(file, replace=replace)
            return Built((file,), output.size, fingerprint, members)
    with Output(directory, private=private) as first, Output(directory, private=private) as second:
        members = _pack(first, kind, packing, contents, part_members(parts), progress)
        lost: list[str] = []
        if packing.rootfs == "squashfs":
            rootfs = storable(rootfs_members(contents), lost)
            members += squash(second, packing.compression, contents, rootfs, _made(parts, packing), progress)
        else:
            members += _pack(second, kind, packing, contents, dotted(rootfs_members(contents)), progress)
        fingerprint = _joined(first, second)
        rootfs_kind = SQUASHFS if packing.rootfs == "squashfs" else kind
        names = file_names(target, fingerprint, packing.layout, kind, rootfs_kind)
        protect(contents, first, second)
        # The metadata file gets its name last, because a root filesystem alone is not an image.
        publish_all((first, second), names, replace=replace)
        return Built(names, first.size + second.size, fingerprint, members, tuple(lost))


def _make_directory(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise WriteError(f"'{printable(path)}' can't be created: {reason(error)}") from error


def _refuse_existing(names: Iterable[str]) -> None:
    for name in names:
        if os.path.lexists(name):
            raise UsageError(f"'{name}' exists", hint="add --reuse to replace the file")


def file_names(
    target: str, fingerprint: str, layout: Layout, kind: str, rootfs_kind: str = ""
) -> tuple[str, ...]:
    """Return the paths of an image's files.

    * In a directory ``target``, the names contain the fingerprint.
    * Otherwise, the paths are TARGET and, for a split image, TARGET.root.
    """
    # Incus: cmd/incus/image.go, cmdImageExport
    if os.path.isdir(target):
        if layout == "unified":
            return (os.path.join(target, fingerprint + extension(kind)),)
        return (
            os.path.join(target, f"meta-{fingerprint}{extension(kind)}"),
            os.path.join(target, fingerprint + extension(rootfs_kind)),
        )
    return (target,) if layout == "unified" else (target, target + ".root")


def _pack(
    output: Output,
    kind: str,
    packing: Packing,
    contents: Contents,
    members: Iterator[tuple[Member, Data]],
    progress: Progress,
) -> int:
    with compressing(kind, output.write, packing.level) as packer:
        return write_tar(
            bounded_writer(packer.write, contents, output), packing.tar, contents, members, progress
        )


def _joined(first: Output, second: Output) -> str:
    """Return a split image's fingerprint: the sha256 of the concatenation of both files."""
    from .fingerprint import of_descriptors

    return of_descriptors(first.fd, second.fd)


def _made(parts: Iterable[Part], packing: Packing) -> int:
    """Return the creation time for a squashfs file. Equal builds get the same time."""
    times = (int(part.member.mtime) for part in parts)
    return packing.epoch if packing.epoch is not None else max(0, *times)
