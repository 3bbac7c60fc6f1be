"""Descriptions of images: their layout, files, metadata, rules and templates."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..model.entry import DIRECTORY, FILE, TemplateFile
from ..model.errors import InputError
from ..model.file_names import DISK, INSTANCE, ROOTFS, STATE_FOLDER
from ..model.metadata import TRIGGERS, Metadata
from ..model.source import Source
from ..parsing.file_kind import COMPRESSIONS, QCOW2, SQUASHFS
from ..parsing.metadata_yaml import read_metadata
from .directory_image import DirectoryImage
from .fingerprint import fingerprint
from .limits import DEFAULT, Limits
from .name_checks import clean_name
from .open_file import kind_of_file, reading, refuse_same_file, size_of
from .second_file import SecondFileCheck, open_rootfs
from .tarball_image import TarballImage

#: image properties that the daemons enforce when an instance starts
ENFORCED = (
    "requirements.secureboot",
    "requirements.nesting",
    "requirements.privileged",
    "requirements.cgroup",
    "requirements.cdrom_agent",
    "requirements.cdrom_cloud_init",
)


@dataclass(frozen=True, slots=True)
class Packed:
    """A file of an image: its packed and unpacked sizes in bytes, and its number of archive members.

    ``unpacked`` and ``members`` are None for a disk image or a squashfs file.
    """

    path: str
    kind: str
    compression: str
    size: int
    unpacked: int | None = None
    members: int | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A rule of an image, with its target path, triggers and template."""

    path: str
    template: str
    triggers: tuple[str, ...]
    create_only: bool
    #: size of the template in bytes, or None for a missing template
    size: int | None
    #: mode, uid and gid as written in metadata.yaml; "" if missing
    mode: str = ""
    uid: str = ""
    gid: str = ""


@dataclass(slots=True)
class Description:
    """An image's description.

    ``layout`` is "unified", "split", "metadata" (the first part of a split image), "directory" or "instance".
    """

    source: str
    layout: str
    metadata: Metadata
    targets: tuple[Target, ...]
    templates: Mapping[str, int]
    #: templates that no rule names
    unused: tuple[str, ...] = ()
    rootfs: str | None = None
    files: tuple[Packed, ...] = ()
    fingerprint: str | None = None
    warnings: tuple[str, ...] = field(default=())


def describe(
    path: str, rootfs: str | None = None, limits: Limits = DEFAULT, *, squashfs: bool = False
) -> Description:
    """Describe an image after reading its archives completely. Raises TemplaterError for an unreadable image.

    ``rootfs`` is the second file of a split image. If ``squashfs`` is true, also read the members of a
    squashfs file.
    """
    if os.path.isdir(path):
        if rootfs is not None:
            raise InputError(f"'{path}' is a directory and can't be combined with a second image file")
        return _directory(path, limits)
    return _tarball(path, rootfs, limits, squashfs)


def describe_definition(
    path: str, metadata: Source, templates: Mapping[str, TemplateFile], notes: Iterable[str]
) -> Description:
    """Describe the image that distrobuilder would build from a definition."""
    return _described(path, "definition", metadata, templates, warnings=notes)


def _directory(path: str, limits: Limits) -> Description:
    image = DirectoryImage(path, limits)
    there = set(os.listdir(path))
    rootfs = "directory" if ROOTFS in there else QCOW2 if DISK in there else None
    layout = "instance" if INSTANCE in there or STATE_FOLDER in there else "directory"
    return _described(path, layout, image.read_metadata(), image.read_to_end(), rootfs=rootfs)


def _tarball(path: str, rootfs: str | None, limits: Limits, squashfs: bool) -> Description:
    image = TarballImage(path, limits)
    templates = image.read_to_end()
    metadata = image.read_metadata()
    first = Packed(
        path,
        "tar",
        _compression(image.compression),
        size_of(path),
        image.unpacked_size,
        image.members,
    )
    kinds = image.kinds
    if ROOTFS in kinds or DISK in kinds:
        kind = "directory" if ROOTFS in kinds else QCOW2
        message = f"'{path}' already contains a root filesystem, so '{rootfs}' is not part of this image"
        warnings = (message,) if rootfs else ()
        return _described(path, "unified", metadata, templates, kind, (first,), fingerprint(path), warnings)
    if rootfs is None:
        return _described(path, "metadata", metadata, templates, None, (first,))
    refuse_same_file(path, rootfs)
    second = _second(rootfs, limits, squashfs)
    return _described(
        path, "split", metadata, templates, second.kind, (first, second), fingerprint(path, rootfs)
    )


def _second(path: str, limits: Limits, squashfs: bool) -> Packed:
    kind = kind_of_file(path)
    size = size_of(path)
    if kind == QCOW2:
        return Packed(path, QCOW2, "none", size)
    if kind == SQUASHFS and not squashfs:
        return Packed(path, SQUASHFS, _squashfs_compression(path), size)
    with open_rootfs(path, limits) as archive:
        second = SecondFileCheck(path)
        for member in archive:
            second.add(clean_name(member))
        archive.finish()
        second.finish()
        if kind == SQUASHFS:
            return Packed(path, SQUASHFS, _squashfs_compression(path), size)
        return Packed(path, "tar", _compression(kind), size, archive.stream.position, archive.count)


def _squashfs_compression(path: str) -> str:
    """Return the compression of a squashfs file. Bytes 20 and 21 have the number of the compression."""
    with reading(path) as file:
        number = int.from_bytes(file.read(22)[20:22], "little")
    return {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}.get(number, "unknown")


def _compression(kind: str) -> str:
    return kind if kind in COMPRESSIONS else "none"


def _described(
    path: str,
    layout: str,
    source: Source,
    templates: Mapping[str, TemplateFile],
    rootfs: str | None = None,
    files: tuple[Packed, ...] = (),
    fingerprint: str | None = None,
    warnings: Iterable[str] = (),
) -> Description:
    metadata = read_metadata(source)
    sizes = {name: file.entry.size for name, file in sorted(templates.items()) if file.entry is not None}
    targets = tuple(
        Target(
            rule.path,
            rule.template,
            tuple(trigger for trigger in TRIGGERS if trigger in rule.when)
            + tuple(trigger for trigger in rule.when if trigger not in TRIGGERS),
            rule.create_only,
            sizes.get(rule.template),
            rule.mode,
            rule.uid,
            rule.gid,
        )
        for rule in metadata.rules
    )
    named = {rule.template for rule in metadata.rules}
    unused = tuple(name for name in sizes if name not in named)
    odd = [
        f"the template '{name}' is a {file.entry.kind}: the daemons refuse it"
        for name, file in sorted(templates.items())
        if file.entry is not None and file.entry.kind not in (FILE, DIRECTORY)
    ]
    return Description(
        path, layout, metadata, targets, sizes, unused, rootfs, files, fingerprint, (*warnings, *odd)
    )


def data(found: Description) -> dict[str, object]:
    """Return a description as a JSON object, with null for missing values."""
    metadata = found.metadata
    return {
        "source": found.source,
        "layout": found.layout,
        "fingerprint": found.fingerprint,
        "architecture": metadata.architecture,
        "creation_date": metadata.creation_date or None,
        "expiry_date": metadata.expiry_date or None,
        "properties": dict(metadata.properties),
        "enforced": [name for name in metadata.properties if name in ENFORCED],
        "rootfs": found.rootfs,
        "files": [
            {
                "path": file.path,
                "kind": file.kind,
                "compression": file.compression,
                "size": file.size,
                "unpacked": file.unpacked,
                "members": file.members,
            }
            for file in found.files
        ],
        "rules": [
            {
                "path": target.path,
                "template": target.template,
                "when": list(target.triggers),
                "create_only": target.create_only,
                "mode": target.mode,
                "uid": target.uid,
                "gid": target.gid,
                "size": target.size,
            }
            for target in found.targets
        ],
        "templates": dict(found.templates),
        "unused": list(found.unused),
        "warnings": list(found.warnings),
    }
