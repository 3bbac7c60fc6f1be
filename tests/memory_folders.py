"""Folders in memory, where fsync and removals take no time, for tests that kill writers hundreds of times.

A kill does not lose what a program has written, on any file system. Only a power failure would.
"""

import os
import tempfile
from functools import cache


@cache
def directory_in_memory() -> str | None:
    """Return a directory in memory whose files may have attributes of users, or None."""
    try:
        with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
            os.setxattr(file.name, "user.note", b"kept")
    except (OSError, AttributeError):
        return None
    return "/dev/shm"
