"""Read access below a directory on systems without directory descriptors, such as Windows.

The module must never write: after a check by name, another process can replace a directory by a link. The
module is for previews, not for running containers.
"""

import os
import stat

from ..model.entry import DIRECTORY, FILE, SYMLINK, Entry
from ..model.errors import InputError, TemplaterError, reason
from ..oslite import Closing
from .confined_root import too_many_names
from .paths import MissingError, components, no_directory, not_regular
from .regular_files import read_descriptor
from .system_calls import entry_of, kind_of

_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


class ByName(Closing):
    """A read-only replacement for ``confined_root.Root``, without the methods `directory` and `follow`."""

    def __init__(self, path: str) -> None:
        if not os.path.isdir(path):
            raise InputError(f"{path!r} is not a directory")
        self.name = path

    def close(self) -> None:
        """Do nothing, because this class keeps no descriptor open."""

    def entry(self, path: str) -> "Entry | None":
        names = components(path)
        place = self.name
        for index, name in enumerate(["", *names]):
            place = os.path.join(place, name) if name else place
            try:
                status = os.lstat(place) if name else os.stat(place)
                last = index == len(names)
                if last:
                    link = stat.S_ISLNK(status.st_mode)
                    return entry_of(status, os.readlink(place) if link else "", is_mount=False)
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                raise InputError(f"can't get the status of {path!r}: {reason(error)}") from None
            if not stat.S_ISDIR(status.st_mode):
                return None
        return None

    def read(self, path: str, limit: int, *, public: bool = False) -> bytes:
        self._require(path, FILE)
        fd = -1
        try:
            before = os.lstat(self._place(path))
            fd = os.open(self._place(path), _READ)
            after = os.fstat(fd)
            if not stat.S_ISREG(after.st_mode) or (before.st_ino, before.st_dev) != (
                after.st_ino,
                after.st_dev,
            ):
                raise not_regular(path, kind_of(after.st_mode))
            return read_descriptor(fd, limit, path)
        except OSError as error:
            raise InputError(f"{path!r} can't be read: {reason(error)}") from None
        finally:
            if fd >= 0:
                os.close(fd)

    def listdir(self, path: str, *, most: "int | None" = None) -> "list[str]":
        self._require(path, DIRECTORY)
        names: list[str] = []
        try:
            with os.scandir(self._place(path)) as entries:
                for entry in entries:
                    names.append(entry.name)
                    if most is not None and len(names) > most:
                        raise too_many_names(path, most)
        except OSError as error:
            raise InputError(f"{path!r} can't be read: {reason(error)}") from None
        return sorted(names)

    def below(self, path: str) -> "ByName":
        self._require(path, DIRECTORY)
        return ByName(self._place(path))

    def _place(self, path: str) -> str:
        return os.path.join(self.name, *components(path))

    def _require(self, path: str, kind: str) -> None:
        found = self.entry(path)
        if found is None:
            raise self._obstacle(path)
        if found.kind != kind:
            raise not_regular(path, found.kind) if kind == FILE else no_directory(path, path, found.kind)

    def _obstacle(self, path: str) -> TemplaterError:
        walked = ""
        for name in components(path):
            walked += "/" + name
            found = self.entry(walked)
            if found is None:
                break
            if found.kind != DIRECTORY:
                return no_directory(path, walked, SYMLINK if found.kind == SYMLINK else found.kind)
        return MissingError(f"{path!r} does not exist")
