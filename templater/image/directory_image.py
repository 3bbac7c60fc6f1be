"""Readers of unpacked images and of instance directories."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..model.entry import DIRECTORY, FILE, TemplateFile
from ..model.errors import InputError, LimitError, RefusedError, TemplaterError
from ..model.file_names import METADATA, TEMPLATES
from ..model.source import Source
from ..model.unprintable_characters import printable
from ..rootfs.confined_root import Root
from ..rootfs.directory_rootfs import open_root
from .limits import DEFAULT, Limits
from .name_checks import bad_template_name, refuse_kind

if TYPE_CHECKING:
    from ..rootfs.confined_without_descriptors import ByName


def identity_of(top: Root | ByName) -> tuple[int, int] | None:
    """Return the device and the inode number of an open directory, or None on Windows."""
    if not isinstance(top, Root):
        return None
    status = os.fstat(top.fd)
    return status.st_dev, status.st_ino


def replaced_error(path: str) -> RefusedError:
    return RefusedError(
        f"another process replaced the directory '{printable(path)}'", hint="run the command again"
    )


# Opening the directory again lets `templater watch` see files that an editor has replaced.
class DirectoryImage:
    """An unpacked image or an instance directory. Each method opens the directory again.

    If ``identity`` is given, the directory must have this device and inode number at each call.
    """

    complete = True

    def __init__(
        self, path: str, limits: Limits = DEFAULT, *, identity: tuple[int, int] | None = None
    ) -> None:
        self.name = path
        self.limits = limits
        self.identity = identity

    def __repr__(self) -> str:
        return f"DirectoryImage({self.name!r})"

    def read_metadata(self) -> Source:
        with self._open() as top:
            entry = top.entry("/" + METADATA)
            if entry is None:
                raise self._no_metadata(top)
            refuse_kind(entry.kind, METADATA, self.name)
            data = top.read("/" + METADATA, self.limits.metadata_bytes, public=True)
        return Source(os.path.join(self.name, METADATA), data)

    def read_templates(self, names: Iterable[str]) -> Mapping[str, TemplateFile]:
        wanted = dict.fromkeys(names)
        found: dict[str, TemplateFile] = {}
        total = 0
        with self._open() as top:
            there = self._has_templates(top)
            for name in wanted:
                file = bad_template_name(name) or (self._template(top, name) if there else TemplateFile())
                found[name] = file
                total += len(file.data or b"")
                if total > self.limits.templates_bytes:
                    most = self.limits.templates_bytes
                    raise LimitError(f"'{self.name}': its templates have more than {most} bytes")
        return found

    def read_to_end(self) -> Mapping[str, TemplateFile]:
        """Return all files of ``templates/``."""
        return self.read_templates(self.template_names())

    def template_names(self) -> list[str]:
        with self._open() as top:
            return top.listdir("/" + TEMPLATES) if self._has_templates(top) else []

    def _open(self) -> Root | ByName:
        top = open_root(self.name)
        if self.identity is not None and identity_of(top) != self.identity:
            top.close()
            raise replaced_error(self.name)
        return top

    def _has_templates(self, top: Root | ByName) -> bool:
        entry = top.entry("/" + TEMPLATES)
        if entry is not None and entry.kind != DIRECTORY:
            raise RefusedError(f"'{self.name}': 'templates' is a {entry.kind}, not a directory")
        return entry is not None

    def _template(self, top: Root | ByName, name: str) -> TemplateFile:
        path = f"/{TEMPLATES}/{name}"
        entry = top.entry(path)
        if entry is None:
            return TemplateFile()
        if entry.kind != FILE:
            return TemplateFile(
                entry, None, RefusedError(f"the template '{printable(name)}' is a {entry.kind}")
            )
        try:
            return TemplateFile(entry, top.read(path, self.limits.template_bytes, public=True))
        except LimitError:
            most = self.limits.template_bytes
            error = LimitError(f"the template '{printable(name)}' is larger than {most} bytes")
            return TemplateFile(entry, None, error)
        except TemplaterError as error:
            return TemplateFile(entry, None, error)

    def _no_metadata(self, top: Root | ByName) -> InputError:
        names = top.listdir("/")
        below = [name for name in names if top.entry(f"/{name}/{METADATA}") is not None]
        if below:
            return InputError(
                f"'{self.name}' has no metadata.yaml, but its subdirectory '{printable(below[0])}' has one",
                hint=f"give '{os.path.join(self.name, below[0])}'",
            )
        if "etc" in names:
            return InputError(
                f"'{self.name}' has no metadata.yaml: it looks like a root filesystem",
                hint="give the directory with metadata.yaml, templates and rootfs",
            )
        return InputError(f"'{self.name}' has no metadata.yaml: it is not an image")
