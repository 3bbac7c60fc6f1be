"""New folders, and the destination that writes a plan's files to a new folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..model.errors import RefusedError
from ..model.unprintable_characters import printable
from ..oslite import HAS_DESCRIPTORS, Closing
from ..rootfs.paths import MissingError
from ..rootfs.trusted_paths import make_folder

if TYPE_CHECKING:
    from ..model.plan import Change
    from ..rootfs.confined_directory import Directory


class NewFolder(Closing):
    """A new or empty folder for new files. A new folder gets ``mode``.

    Except on Windows, files are created in this folder even if another process replaces the folder at the
    path.
    """

    def __init__(self, path: str, mode: int = 0o777) -> None:
        self.path = path
        if HAS_DESCRIPTORS:
            self._root = make_folder(path, mode)
        else:
            os.makedirs(path, mode, exist_ok=True)

    def close(self) -> None:
        if HAS_DESCRIPTORS:
            self._root.close()

    def is_empty(self) -> bool:
        return not os.listdir(self._root.fd if HAS_DESCRIPTORS else self.path)

    def close_to_others(self) -> None:
        """Let only this process's user enter the folder. Raises RefusedError for another user's folder."""
        if not HAS_DESCRIPTORS:  # Windows has no modes
            return
        status = os.fstat(self._root.fd)
        if status.st_uid != os.geteuid():
            raise RefusedError(
                f"'{printable(self.path)}' belongs to another user (uid {status.st_uid}),"
                " who could read the files",
                hint="choose a new folder",
            )
        if status.st_mode & 0o077:
            os.fchmod(self._root.fd, status.st_mode & 0o7700)

    def create(self, path: str, mode: int = 0o666) -> int:
        """Create a file and the folders above it. Return its descriptor, for writing."""
        folder, _, name = path.strip("/").rpartition("/")
        if HAS_DESCRIPTORS:
            with self._folder(folder) as directory:
                return directory.create(name, mode)
        self.make(folder)
        return os.open(os.path.join(self.path, folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)

    def make(self, path: str) -> None:
        """Create a folder in this folder, if it is missing."""
        if HAS_DESCRIPTORS:
            self._folder(path).close()
        else:
            os.makedirs(os.path.join(self.path, path), exist_ok=True)

    def _folder(self, path: str) -> Directory:
        try:
            return self._root.directory("/" + path)
        except MissingError:
            above, _, name = path.rpartition("/")
            with self._folder(above) as directory:
                directory.mkdir(name, 0o777)
                return directory.directory(name)


class FolderDestination(Closing):
    """A new or empty folder that only the caller can enter. Files have no setuid and setgid bits.

    Raises RefusedError if the folder is not empty, or belongs to another user.
    """

    def __init__(self, path: str) -> None:
        # The files can contain secrets.
        self._folder = NewFolder(path, 0o700)
        try:
            self._require_empty(path)
            self._folder.close_to_others()
            self._require_empty(path)  # until now, other users could have made folders in it
        except BaseException:
            self.close()
            raise

    def _require_empty(self, path: str) -> None:
        if not self._folder.is_empty():
            raise RefusedError(
                f"'{printable(path)}' is not empty",
                hint="choose a new folder, or use `templater apply` for a rootfs",
            )

    def close(self) -> None:
        self._folder.close()

    def carry_out(self, change: Change) -> None:
        with open(self._folder.create(change.real, 0o600), "wb") as file:
            file.write(change.content or b"")
            if HAS_DESCRIPTORS:  # Windows has no modes
                os.fchmod(file.fileno(), change.mode & 0o1777)
