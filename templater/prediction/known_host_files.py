"""Views of the file system of the daemon's machine, in which only some files are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..model.entry import DIRECTORY, FILE, Entry, TemplateFile
from ..model.file_names import METADATA, ROOTFS, TEMPLATES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model.entry import RootfsView

Names = tuple[str, ...]


class Unknown(Exception):
    """Raised for a path that leads outside the known files of the daemon's machine."""


class UnknownTemplate(Unknown):
    """Raised for a template whose path leads outside the known files."""


class Surroundings(NamedTuple):
    """The daemon's machine.

    * ``view``: the machine's whole file system, or None if only the instance's files are known
    * ``shift``: the first id of the instance's id map, or 0 if the ids on disk are not shifted
    """

    view: RootfsView | None = None
    instance: str = "/var/lib/incus/containers/c1"
    umask: int = 0o022
    shift: int = 0
    map_size: int = 65536


class InstanceView:
    """A host's file system in which only the instance's directory is known."""

    def __init__(
        self, instance: str, rootfs: RootfsView, templates: Mapping[str, TemplateFile], metadata: bytes
    ) -> None:
        self.instance = instance
        self.rootfs = rootfs
        self.templates = templates
        self.metadata = metadata

    def entry(self, path: str) -> Entry | None:
        inside = below(path, f"{self.instance}/{ROOTFS}")
        if inside is not None:
            return self.rootfs.entry(inside) if inside != "/" else Entry(DIRECTORY, 0o755)
        inside = below(path, f"{self.instance}/{TEMPLATES}")
        if inside is not None:
            if inside == "/":
                return Entry(DIRECTORY, 0o755)
            file = self.templates.get(inside[1:])
            return file.entry if file is not None else None
        if path == f"{self.instance}/{METADATA}":
            return Entry(FILE, 0o644, size=len(self.metadata))
        if below(self.instance, path) is not None:
            return Entry(DIRECTORY, 0o755)
        if below(path, self.instance) is not None:
            return None
        raise Unknown(path)

    def flag(self, path: str) -> str:
        inside = below(path, f"{self.instance}/{ROOTFS}")
        asked = getattr(self.rootfs, "flag", None)
        return "" if inside is None or asked is None else str(asked(inside))

    def read(self, path: str, limit: int) -> bytes:
        inside = below(path, f"{self.instance}/{ROOTFS}")
        if inside is not None:
            return self.rootfs.read(inside, limit)
        inside = below(path, f"{self.instance}/{TEMPLATES}")
        if inside is not None:
            return self.templates[inside[1:]].data or b""
        return self.metadata


class UnknownRootfs:
    """A placeholder for a root filesystem that was not given; see ``HostFilesystem.assume_directories``."""

    def entry(self, path: str) -> Entry | None:
        return None

    def read(self, path: str, limit: int) -> bytes:
        raise Unknown(path)


def names_of(path: str) -> Names:
    return tuple(name for name in path.split("/") if name)


def below(path: str, root: str) -> str | None:
    """Return ``path`` relative to ``root``, or None if ``path`` is outside ``root``.

    If both paths are equal, return ``/``.
    """
    if root == "/" or path == root:
        return "/" if path == root else path
    return path[len(root) :] if path.startswith(root + "/") else None
