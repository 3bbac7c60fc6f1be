"""Functions and classes that read backup tarballs from ``incus export`` or ``lxc export``.

A backup contains ``backup/index.yaml`` and ``backup/container/…``. Snapshots (``backup/snapshots/…``)
are ignored, because the start of an instance does not use snapshots.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..image.archived_rootfs_in_memory import ImageRootfs, read_rootfs
from ..image.directory_members import Data
from ..image.limits import DEFAULT, Limits, refuse_deep
from ..image.name_checks import clean_name
from ..image.tar_reader import HARD_LINK, Member, open_archive
from ..image.tarball_image import TarballImage
from ..instances.description_file import read_instance
from ..model.entry import DIRECTORY, FILE
from ..model.errors import InputError, RefusedError, TemplaterError
from ..model.file_names import BACKUP_YAML, METADATA, ROOTFS
from ..model.source import Source
from ..parsing.instance_description import LIMITS
from ..parsing.metadata_yaml import read_metadata
from ..rootfs.id_map import shifted

INDEX = "backup/index.yaml"
#: if the root directory has this uid or a higher one, the ids of its files are shifted
FIRST_SHIFTED = 65536
#: the instance's directory in a backup, which is named after the instance's type
PARTS = ("backup/container/", "backup/virtual-machine/")
#: files that an optimized backup has instead of the instance's directory
OPTIMIZED = ("backup/container.bin", "backup/virtual-machine.bin")


class BackupImage(TarballImage):
    """The image in a backup: the instance's own metadata.yaml and templates."""

    def __init__(self, path: str, limits: Limits = DEFAULT) -> None:
        super().__init__(path, limits)
        self.index: Source | None = None
        self.backup_yaml: Source | None = None
        self.has_rootfs = False
        self._optimized = False

    def __repr__(self) -> str:
        return f"BackupImage({self.name!r})"

    def read_whole(self) -> None:
        """Read every member of the backup.

        Raises InputError if the backup is truncated, incomplete or optimized.
        """
        while self._step():
            pass
        if self._optimized:
            raise InputError(
                f"'{self.name}' is an optimized backup: its files are in the storage pool's own format",
                hint="export the instance again without --optimized-storage",
            )
        if self.index is None and self.backup_yaml is None:
            raise InputError(f"'{self.name}' has no backup/index.yaml: it is not a complete backup")
        self.read_metadata()

    @property
    def description(self) -> Source:
        """The instance's description in backup.yaml, which a daemon imports.

        If index.yaml has another name for the instance, the name in index.yaml wins, as on Incus 6.0.4.
        """
        found = self.backup_yaml or self.index
        assert found is not None
        return found

    def names(self) -> tuple[str, str]:
        """Return the instance's name in index.yaml, and its name in backup.yaml.

        If the backup has no index.yaml, the first name is "".
        """
        index = read_instance(self.index).name if self.index is not None else ""
        return index, read_instance(self.description).name

    def read_rootfs(self) -> ImageRootfs:
        """Read every path of the root filesystem, and the content of the files to which rules write."""
        rules = read_metadata(self.read_metadata()).rules
        return read_rootfs(
            _BackupContents(self.name, self.limits), [rule.path for rule in rules], self.limits
        )

    def _see(self, member: Member) -> None:
        name = clean_name(member)
        if name == INDEX:
            self.index = self._read_text(member, name)
        self._optimized = self._optimized or name in OPTIMIZED
        part = _part_of(name)
        if part is None:
            if name == METADATA:
                raise RefusedError(
                    f"'{self.name}' contains a backup and an image: 'backup/' and 'metadata.yaml'",
                    hint="pack the backup and the image in two archives",
                )
            return
        _move_inside(member, name, part)
        inside = self._layout.check(member)
        if inside == BACKUP_YAML:
            self.backup_yaml = self._read_text(member, name)
        elif inside == ROOTFS or inside.startswith(f"{ROOTFS}/"):
            self.has_rootfs = True
        else:
            self._keep(member, inside)

    def _read_text(self, member: Member, name: str) -> Source:
        if member.kind != FILE:
            raise RefusedError(f"'{self.name}': '{name}' is a {member.kind}, not a regular file")
        return Source(f"{self.name}/{name}", self._archive.read(member, LIMITS.bytes))


class _BackupContents:
    """The members of a backup's root filesystem, for ``BackupImage.read_rootfs``."""

    def __init__(self, path: str, limits: Limits) -> None:
        self.name = path
        self.limits = limits

    def rootfs(self) -> Iterator[tuple[Member, Data]]:
        archive = open_archive(self.name, self.limits)
        ids = shifted(0, 0)
        with archive.stream:
            for member in archive:
                name = clean_name(member)
                part = _part_of(name)
                top = "" if part is None else f"{part}rootfs"
                if part is None or f"{name}/".removeprefix(top)[:1] != "/":
                    continue
                if name == top and member.uid >= FIRST_SHIFTED:
                    ids = shifted(member.uid, member.gid)
                member.uid, member.gid = ids.in_container(member.uid, member.gid)
                _move_inside(member, name, f"{top}/")
                if name == top:
                    member.name = ""
                refuse_deep(member.name)
                yield member, archive.chunks(member) if member.kind == FILE else iter(())


def _part_of(name: str) -> str | None:
    return next((part for part in PARTS if name.startswith(part)), None)


def _move_inside(member: Member, name: str, part: str) -> None:
    """Remove the prefix ``part`` from the member's name. For a hard link, also remove it from the target."""
    member.name = name.removeprefix(part)
    if member.kind == HARD_LINK:
        member.target = member.target.removeprefix("./").removeprefix(part)


def is_backup(path: str, limits: Limits = DEFAULT) -> bool:
    """Return whether a file is an archive that begins with the first member of a backup."""
    try:
        archive = open_archive(path, limits)
        try:
            first = next(iter(archive), None)
        finally:
            archive.stream.close()
    except TemplaterError:
        return False
    return first is not None and (
        first.name.removeprefix("./").startswith("backup/")
        or (first.name.strip("./") == "backup" and first.kind == DIRECTORY)
    )


def open_backup(path: str, limits: Limits = DEFAULT) -> BackupImage:
    """Open a backup and read all of it. Raises InputError or RefusedError if it is invalid."""
    image = BackupImage(path, limits)
    image.read_whole()
    return image
