"""What a killed apply leaves in a root filesystem, and how the next one knows and clears it.

Names that exist only while an apply runs lie in the root directory of the root filesystem (beside
the target only where that is another file system), and each is told by what it is, not by how it is
called: ``.templater-TOKEN-INODE-N`` is ours when the file of that name *is* the inode INODE (or is
still empty, where INODE is 0). No file has such a name by accident, and a process that can forge it could as
well remove it. The next apply clears them, under the lock that every apply holds, and does its own
work afresh: the job is finished by planning again, never by trusting what was left.

An instance directory adds a ``Journal``: it says which directories and tokens the last run used, so
that nothing is missed even when the next plan has other targets or the file system numbers its
inodes anew (an overlay over two file systems). Considered and not taken: a marker in a trusted.*
xattr (root only, and not on every file system), and patterns of names alone.
"""

import errno

from ..model.entry import common_depth, parents_below
from ..model.errors import LimitError, TemplaterError, WriteError
from ..oslite import os, stat
from ..rootfs.confined import Directory, Root, again, close, read_descriptor, write_descriptor, write_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import ParamSpec

    Arguments = ParamSpec("Arguments")

PREFIX = ".templater-"
_JOURNAL_STAGED = ".new"
#: bytes of a journal; one that could not be read again is not written either
MAX_JOURNAL = 16 << 20


class Journal:
    """What the run that is going on will leave behind if it is killed, kept outside the root filesystem."""

    __slots__ = ("directory", "name")

    def __init__(self, directory: Directory, name: str = "journal") -> None:
        self.directory = directory
        self.name = name

    def read(self) -> "list[str]":
        """Tokens and directories of earlier runs; nothing when they all ended well."""
        path = self.directory.path_of(self.name)
        try:
            fd = self.directory.open(self.name)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise write_error("read the journal", path, error) from None
        try:
            data = read_descriptor(fd, MAX_JOURNAL, path)
        finally:
            close(fd)
        return [line.decode("utf-8", "surrogateescape") for line in data.split(b"\0") if line]

    def write(self, lines: "list[str]", *, durable: bool = True) -> None:
        """Replace the journal atomically. It is on the disk before this returns.

        Raises LimitError above ``MAX_JOURNAL`` bytes.
        """
        path = self.directory.path_of(self.name)
        data = "\0".join(lines).encode("utf-8", "surrogateescape")
        if len(data) > MAX_JOURNAL:
            raise LimitError(f"the journal {path!r} would be larger than {MAX_JOURNAL} bytes")
        staged = self.name + _JOURNAL_STAGED
        try:
            unlink_if_there(self.directory, staged)
            fd = self.directory.create(staged)
            try:
                write_descriptor(fd, data)
                if durable:
                    again(os.fsync, fd)
            finally:
                close(fd)
            self.directory.rename(staged, self.directory, self.name)
        except OSError as error:
            attempt(unlink_if_there, self.directory, staged)
            raise write_error("write the journal", path, error) from None

    def clear(self) -> None:
        for name in (self.name, self.name + _JOURNAL_STAGED):
            unlink_if_there(self.directory, name)


def sweep(root: Root, targets: "Iterable[str]", journal: "Journal | None") -> "list[str]":
    """Clear what killed runs left; return the journal's lines if something of theirs stays.

    The directories above each target are searched, and those that the journal names with all above them.
    """
    lines = journal.read() if journal is not None else []
    tokens = {line for line in lines if not line.startswith("/")}
    paths = {*targets, *(line + "/" for line in lines)}
    clean = _sweep_directory(root, "/", tokens) is not False
    before = missing = "\0"
    # sorted, so that a directory comes once, and nothing is looked for below one that is missing
    for path in sorted(path for path in paths if path.startswith("/")):
        if path.startswith(missing):
            continue
        for place in parents_below(path, common_depth(before, path)):
            cleared = _sweep_directory(root, place, tokens)
            if cleared is None:
                missing = place + "/"
                break
            clean = clean and cleared
        before = path
    if not clean:
        return lines
    if journal is not None:
        attempt(journal.clear)
    return []


def _sweep_directory(root: Root, place: str, tokens: "set[str]") -> "bool | None":
    """Return whether the directory is clear of leftovers; None if it is missing or not a directory."""
    try:
        directory = root.directory(place)
    except TemplaterError:
        return None
    with directory:
        try:
            names = [name for name in directory.listdir() if name.startswith(PREFIX)]
        except OSError:
            return False  # what can't be looked for now is looked for next time
        return not [name for name in names if not _remove_leftover(directory, name, tokens)]


def attempt(call: "Callable[Arguments, None]", *args: "Arguments.args", **options: "Arguments.kwargs") -> str:
    """Go on whatever fails while undoing or clearing away; the failure in words, or nothing."""
    try:
        call(*args, **options)
    except (OSError, WriteError) as error:
        return str(error)
    return ""


def unlink_if_there(directory: Directory, name: str) -> None:
    try:  # noqa: SIM105 - contextlib is not worth its import here
        directory.unlink(name)
    except FileNotFoundError:
        pass


def is_there(directory: Directory, name: str) -> bool:
    try:
        return directory.lstat(name) is not None
    except OSError:
        return True


def _remove_leftover(directory: Directory, name: str, tokens: "set[str]") -> bool:
    """Remove a name of ours that an earlier run left; True unless it is ours and stays."""
    token, _, rest = name[len(PREFIX) :].partition("-")
    inode = rest.partition("-")[0]
    try:
        status = directory.lstat(name)
        if status is None or not inode.isdecimal():
            return True
        if stat.S_ISDIR(status.st_mode):
            if inode == "0":
                directory.rmdir(name)  # which takes away empty ones only
            return True
        if not stat.S_ISREG(status.st_mode):
            return True
        empty = inode == "0" and status.st_size == 0
        if empty or token in tokens or int(inode) == status.st_ino:
            directory.unlink(name)
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ENOTEMPTY)
    return True


def above(path: str) -> str:
    return path[: path.rindex("/")] or "/"
