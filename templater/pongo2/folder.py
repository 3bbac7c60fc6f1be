"""Templates in a directory, by name, and never anything outside it."""

import os
import stat

from ..errors import InputError, LimitError, RefusedError

MAX_FILE = 4 << 20


class Folder:
    """A loader for the mode ``plain``. Names are relative paths; no symlink is followed."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def read(self, name: str) -> bytes:
        """The file of that name; InputError if there is none, RefusedError if it may not be read."""
        parts = name.split("/")
        if not name or "\0" in name or any(part in ("", ".", "..") for part in parts):
            raise RefusedError(f"template name {name!r} leaves the folder of templates")
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for index, part in enumerate(parts):
            kind = os.O_DIRECTORY if index + 1 < len(parts) else os.O_NONBLOCK
            try:
                inner = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | kind, dir_fd=descriptor)
            except OSError as error:
                raise InputError(f"no template {name!r}: {error.strerror}") from None
            finally:
                os.close(descriptor)
            descriptor = inner
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise RefusedError(f"template {name!r} is no regular file")
            if status.st_size > MAX_FILE:
                raise LimitError(f"template {name!r} has more than {MAX_FILE} bytes")
            return file.read(MAX_FILE)
