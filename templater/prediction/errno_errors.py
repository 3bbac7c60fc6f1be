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
    """An error of a system call, with Go's error text."""

    def __str__(self) -> str:
        return str(self.args[0])


class Fails(Exception):
    """A failure of the start, with the daemon's error text."""


class Hangs(Exception):
    """A system call in which the daemon waits forever. The start hangs."""
