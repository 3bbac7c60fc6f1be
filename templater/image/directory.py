"""An image as a directory: an unpacked image, or an instance directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping

from ..errors import InputError, LimitError, RefusedError, TemplaterError
from ..source import Source, printable
from ..views import BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY, FIFO, FILE, SOCKET, SYMLINK, Entry, TemplateFile
from .limits import DEFAULT, Limits
from .names import bad_template_name, refuse_kind
from .tarball import METADATA, TEMPLATES

_KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFIFO: FIFO,
    stat.S_IFSOCK: SOCKET,
    stat.S_IFCHR: CHAR_DEVICE,
    stat.S_IFBLK: BLOCK_DEVICE,
}
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_FILE = (
    os.O_RDONLY
    | _NO_FOLLOW
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_DIRECTORY = os.O_RDONLY | _NO_FOLLOW | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)


class DirectoryImage:
    """Opened anew for each call, so that a watcher sees what an editor replaced."""

    def __init__(self, path: str, limits: Limits = DEFAULT) -> None:
        self.name = path
        self.limits = limits
        if not os.path.isdir(path):
            raise InputError(f"'{path}' is no directory")

    def read_metadata(self) -> Source:
        with _Folder.top(self.name) as top:
            entry = top.entry(METADATA)
            if entry is None:
                raise self._no_metadata()
            refuse_kind(entry.kind, METADATA, self.name)
            data = top.read(METADATA, self.limits.metadata_bytes)
        return Source(os.path.join(self.name, METADATA), data)

    def read_templates(self, names: Iterable[str]) -> Mapping[str, TemplateFile]:
        wanted = dict.fromkeys(names)
        with _Folder.top(self.name) as top:
            folder = self._templates(top)
            if folder is None:
                return {name: bad_template_name(name) or TemplateFile() for name in wanted}
            with folder:
                return {name: bad_template_name(name) or self._template(folder, name) for name in wanted}

    def template_names(self) -> list[str]:
        with _Folder.top(self.name) as top:
            folder = self._templates(top)
            if folder is None:
                return []
            with folder:
                return sorted(folder.names())

    def _templates(self, top: _Folder) -> _Folder | None:
        entry = top.entry(TEMPLATES)
        if entry is None:
            return None
        if entry.kind != DIRECTORY:
            raise RefusedError(f"'{self.name}': 'templates' is a {entry.kind}, not a directory")
        return top.folder(TEMPLATES)

    def _template(self, folder: _Folder, name: str) -> TemplateFile:
        entry = folder.entry(name)
        if entry is None:
            return TemplateFile()
        if entry.kind != FILE:
            return TemplateFile(
                entry, None, RefusedError(f"the template '{printable(name)}' is a {entry.kind}")
            )
        try:
            return TemplateFile(entry, folder.read(name, self.limits.template_bytes))
        except TemplaterError as error:
            return TemplateFile(entry, None, error)

    def _no_metadata(self) -> InputError:
        below = [
            name
            for name in sorted(os.listdir(self.name))
            if os.path.isfile(os.path.join(self.name, name, METADATA))
        ]
        if below:
            return InputError(
                f"'{self.name}' has no metadata.yaml, but '{printable(below[0])}/' in it has one",
                hint=f"give '{os.path.join(self.name, below[0])}'",
            )
        if os.path.isdir(os.path.join(self.name, "etc")):
            return InputError(
                f"'{self.name}' has no metadata.yaml: it looks like a root filesystem",
                hint="give the directory that holds metadata.yaml and templates beside rootfs",
            )
        return InputError(f"'{self.name}' has no metadata.yaml: it is no image")


class _Folder:
    """A directory held open; names in it are looked up without following a link."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path

    @classmethod
    def top(cls, path: str) -> _Folder:
        try:
            # the image's own path may lead over a link: whoever gave it chose that
            return cls(os.open(path, _DIRECTORY & ~_NO_FOLLOW), path)
        except OSError as error:
            raise InputError(f"'{path}' can't be opened: {error.strerror}") from error

    def __enter__(self) -> _Folder:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def entry(self, name: str) -> Entry | None:
        try:
            found = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(name, error) from error
        return _entry(found)

    def folder(self, name: str) -> _Folder:
        try:
            return _Folder(os.open(name, _DIRECTORY, dir_fd=self._fd), os.path.join(self._path, name))
        except OSError as error:
            raise self._unreadable(name, error) from error

    def names(self) -> list[str]:
        return os.listdir(self._fd)

    def read(self, name: str, limit: int) -> bytes:
        """Checks the kind of what was opened: it may have changed since the look at it."""
        try:
            fd = os.open(name, _FILE, dir_fd=self._fd)
        except OSError as error:
            raise self._unreadable(name, error) from error
        with os.fdopen(fd, "rb") as file:
            kind = _entry(os.fstat(file.fileno())).kind
            if kind != FILE:
                raise RefusedError(f"'{os.path.join(self._path, name)}' is a {kind}, not a regular file")
            data = file.read(limit + 1)
        if len(data) > limit:
            raise LimitError(f"'{os.path.join(self._path, name)}' has more than the limit of {limit} bytes")
        return data

    def _unreadable(self, name: str, error: OSError) -> InputError:
        return InputError(f"'{os.path.join(self._path, name)}' can't be read: {error.strerror}")


def _entry(found: os.stat_result) -> Entry:
    return Entry(
        _KINDS.get(stat.S_IFMT(found.st_mode), "file of unknown kind"),
        stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_size, found.st_nlink,
        rdev=getattr(found, "st_rdev", 0),
    )  # fmt: skip
