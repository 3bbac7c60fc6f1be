"""Errors of system calls with Go's texts, and exceptions that end a simulated start."""

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
    """Raised if a simulated system call fails. The message is Go's error text."""

    def __str__(self) -> str:
        return str(self.args[0])


class Fails(Exception):
    """Raised if a simulated start fails. The message is the daemon's error text."""


class Hangs(Exception):
    """Raised if the daemon would wait forever in a system call, so that the start hangs."""
