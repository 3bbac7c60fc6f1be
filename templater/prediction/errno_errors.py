"""How a system call, a rule, or a whole start ends."""

from __future__ import annotations

ENOENT = "no such file or directory"
ENOTDIR = "not a directory"
EISDIR = "is a directory"
EEXIST = "file exists"
ELOOP = "too many levels of symbolic links"
ENXIO = "no such device or address"
ENAMETOOLONG = "file name too long"
EINVAL = "invalid argument"
EPERM = "operation not permitted"
EXDEV = "invalid cross-device link"
ESCAPES = "path escapes from parent"
EMPTY = "empty path"

NIL_PANIC = "panic: runtime error: invalid memory address or nil pointer dereference"


class Errno(Exception):
    """What a system call answers; its text is Go's."""

    def __str__(self) -> str:
        return str(self.args[0])


class Fails(Exception):
    """The start fails with this text."""


class Hangs(Exception):
    """The daemon waits in a system call, and so does the start."""
