"""A loader that reads templates from one directory and never opens a file outside that directory."""

import os
import stat

from ..model.entry import TEMPLATE_BYTES
from ..model.errors import InputError, LimitError, RefusedError

MAX_FILE = TEMPLATE_BYTES
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Folder:
    """A loader for the mode ``plain``. A template name is a path relative to the directory ``path``.

    The loader rejects names that contain ``..`` and names that lead through a symlink.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def read(self, name: str) -> bytes:
        """Return the contents of a template.

        Raises InputError if the file cannot be opened, LimitError for a large file, and RefusedError for an
        invalid name or a file that is not regular.
        """
        parts = name.split("/")
        if not name or "\0" in name or any(part in ("", ".", "..") for part in parts):
            raise RefusedError(f"template name {name!r} is not a path inside the template directory")
        descriptor = self.open(parts, name)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise RefusedError(f"template {name!r} is not a regular file")
            if status.st_size > MAX_FILE:
                raise LimitError(f"template {name!r} has more than {MAX_FILE} bytes")
            with os.fdopen(os.dup(descriptor), "rb") as file:
                return file.read(MAX_FILE)
        finally:
            os.close(descriptor)

    def open(self, parts: list[str], name: str) -> int:
        """Open a file and return its descriptor. Raises InputError if any part of its path is a symlink."""
        try:
            descriptor = os.open(self.path, DIRECTORY & ~os.O_NOFOLLOW)
            for index, part in enumerate(parts):
                flags = DIRECTORY if index + 1 < len(parts) else FILE
                try:
                    inner = os.open(part, flags, dir_fd=descriptor)
                finally:
                    os.close(descriptor)
                descriptor = inner
        except (OSError, UnicodeEncodeError) as error:
            raise InputError(f"can't open template {name!r}: {getattr(error, 'strerror', error)}") from None
        return descriptor
