"""Cleanup of temporary files that a killed run of ``apply`` leaves in a root filesystem.

Each run holds a lock, so the next run can remove temporary files safely.

**Places.** A run gives old files temporary names in the root directory of the root filesystem. For a target
on another file system or btrfs subvolume, the temporary name is in the target's directory. If another user
owns the root directory or the chosen directory, the temporary name is in a private directory inside the
chosen directory.

A new file has a temporary name for a moment, in the directory of the target.

**Names.** A temporary file has the name ``.templater-TOKEN-INODE-N``. A run removes a file with such a name
in three cases:

* INODE is the inode number of the file.
* INODE is 0, and the file is empty.
* The journal has the TOKEN.

A temporary directory has the INODE 0. If the journal has tokens, a run removes only directories with these
tokens.

**Journal.** For an instance directory, a ``Journal`` lists the directories and tokens of unfinished runs. A
finished run removes its journal. Without a journal file, the next run searches no directory.

**Overlays.** On an overlay, a run with a journal uses 0 as INODE. The next run tries each possible name, and
searches no directory. A run without a journal removes no leftovers on an overlay.

**Limits.** A search stops after ``MOST_NAMES`` names, ``MOST_LEFTOVERS`` removals or ``MOST_SECONDS``, and
skips directories above ``MOST_BYTES``. The next run continues the search.
"""

import errno
from time import monotonic

from ..model.entry import common_depth, parents_below
from ..model.errors import LimitError, TemplaterError, WriteError
from ..model.file_names import JOURNAL
from ..oslite import os, stat
from ..rootfs.close_in_another_process import close, is_on_btrfs
from ..rootfs.confined_directory import MAX_OF_OWNER, Directory, ForeignFileError
from ..rootfs.confined_root import Root
from ..rootfs.regular_files import write_descriptor
from ..rootfs.resolve_beneath import mount_id
from ..rootfs.system_calls import again, write_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import ParamSpec

    from .attributes import CopiedAttributes

    Arguments = ParamSpec("Arguments")

PREFIX = ".templater-"
#: the number of temporary names in the root directory that a run makes for each changed file
_NAMES_PER_CHANGE = 2
#: the number of temporary names that a run uses in every directory: ``TargetDirectories.first_name`` and
#: ``private_name``
_SHARED_NAMES = 2
#: the maximum length of the number of changes in a journal
_MOST_DIGITS = 6
_JOURNAL_STAGED = ".new"
#: size limit of a journal in bytes, for reading and writing
MAX_JOURNAL = 16 << 20
#: limit on the lines of a journal: a run writes a line for each rule
MAX_LINES = 100_000
#: the maximum number of names that one search reads
MOST_NAMES = 100_000
#: the maximum number of files and directories that one search removes; on btrfs, every 64 removals start
#: another process
MOST_LEFTOVERS = 10_000
#: the maximum seconds of one search. A user of the container can make each removal wait for the disk, and can
#: make the paths of leftovers long.
MOST_SECONDS = 2.0
#: the maximum size of a directory to search: at most 350,000 names on ext4
MOST_BYTES = 4 << 20
#: The maximum size of all directories that one search or one rollback removes: overlayfs reads all names of a
#: directory before it removes the directory. A run makes at most 2,000 directories, which have one block of 4
#: KiB each while empty.
MOST_REMOVED = 8 << 20


class Journal:
    """A record, outside the root filesystem, of the temporary files that a killed run would leave.

    The function ``open_lasting(make)`` opens or creates a directory that outlives the instance. It can return
    None.
    """

    __slots__ = ("directory", "lasting", "name", "open_lasting", "staged")

    def __init__(
        self,
        directory: Directory,
        name: str = JOURNAL,
        open_lasting: "Callable[[bool], Directory | None] | None" = None,
    ) -> None:
        self.directory = directory
        self.name = name
        self.open_lasting = open_lasting
        self.lasting: Directory | None = None
        #: the name of a new journal until its rename
        self.staged = name + _JOURNAL_STAGED

    def old_contents(self, *, make: bool) -> "list[Directory]":
        """Return the directories in which a rollback saves the old contents of mounted files, best first.

        A rollback uses them only if it can't restore a file. ``make`` tells whether to create a missing
        directory. Call ``close`` afterwards.
        """
        if self.lasting is None and self.open_lasting is not None:
            self.lasting = self.open_lasting(make)
        return [self.directory] if self.lasting is None else [self.lasting, self.directory]

    def close(self) -> None:
        if self.lasting is not None:
            self.lasting.close()
            self.lasting = None

    def read(self) -> "list[str] | None":
        """Return the tokens and directories of earlier runs, or None if every run cleaned up.

        Raises LimitError if the journal is too large.
        """
        found = None
        # After a power cut, a journal of a run with fsync can still have its temporary name, because the run
        # syncs only the content. A run without fsync can leave an empty journal. On btrfs, a run syncs
        # neither. If the temporary files are on the same btrfs, the journal reaches the disk before their
        # names.
        for name in (self.name, self.name + _JOURNAL_STAGED):
            path = self.directory.path_of(name)
            try:
                # A journal is ignored if its owner is not root, this process's user or the owner of the
                # directory.
                data = self.directory.read_own(name, MAX_JOURNAL, of_owner=MAX_OF_OWNER)
            except ForeignFileError:
                continue
            except OSError as error:
                raise write_error("read the journal", path, error) from None
            if data is None:
                continue
            if data.count(b"\0") >= MAX_LINES:
                raise LimitError(
                    f"the journal {path!r} has more than {MAX_LINES} lines", hint="remove this file"
                )
            lines = [line.decode("utf-8", "surrogateescape") for line in data.split(b"\0") if line]
            found = lines if found is None else list(dict.fromkeys((*found, *lines)))
        return found

    def write(self, lines: "list[str]", *, durable: bool = True) -> None:
        """Replace the journal atomically and, if ``durable``, sync it.

        Raises LimitError above ``MAX_JOURNAL`` bytes or ``MAX_LINES`` lines.
        """
        path = self.directory.path_of(self.name)
        data = "\0".join(lines).encode("utf-8", "surrogateescape")
        if len(data) > MAX_JOURNAL or len(lines) > MAX_LINES:
            raise LimitError(
                f"the journal {path!r} would be larger than {MAX_JOURNAL} bytes or {MAX_LINES} lines"
            )
        try:
            self.directory.unlink_left(self.staged)
            if durable:
                from ..rootfs.disk_sync import create_to_sync, sync_and_name

                fd = create_to_sync(self.directory, self.staged)
            else:
                fd = self.directory.create(self.staged)
            try:
                write_descriptor(fd, data)
                if durable:
                    sync_and_name("write the journal", path, fd, self.directory, self.staged)
            finally:
                close(fd)
            self.directory.rename(self.staged, self.directory, self.name)
        except (OSError, WriteError) as error:
            attempt(unlink_if_there, self.directory, self.staged)
            if isinstance(error, WriteError):
                raise
            raise write_error("write the journal", path, error) from None

    def clear(self) -> None:
        unlink_if_there(self.directory, self.name)
        self.directory.unlink_left(self.staged)


def sweep(
    root: Root, targets: "Iterable[str]", journal: "Journal | None", *, is_replaced: bool = False,
    held: "Iterable[int]" = (),
) -> "list[str]":  # fmt: skip
    """Remove the leftovers of killed runs. Return [], or the journal's lines if a leftover may remain.

    * ``targets``: without ``journal``, search every directory above these paths
    * ``journal``: search the directories that the journal lists, and every directory above them
    * ``is_replaced``: keep the journal's file, because the caller will replace it
    * ``held``: descriptors of the directories that the caller has locked
    """
    lines = journal.read() if journal is not None else []
    # A search could take long: a user of the container can fill a directory with millions of names.
    if lines is None:
        return []
    tokens = dict(_read_token(line) for line in lines if not line.startswith("/"))
    paths = {line + "/" for line in lines} if journal is not None else {*targets}
    owner = again(os.fstat, journal.directory.fd).st_uid if journal is not None else 0
    search = Search(root, tokens, is_foreign=owner not in (0, os.geteuid()))
    try:
        search.locked = {identity(fd) for fd in held}
    except OSError as error:
        raise write_error("lock", "/", error) from None
    clean = search.clear("/") is not False
    before = missing = "\0"
    # sorted, so that each directory is searched once, and directories below a missing directory are skipped
    for path in sorted(path for path in paths if path.startswith("/")):
        if path.startswith(missing):
            continue
        for place in parents_below(path, common_depth(before, path)):
            cleared = search.clear(place)
            if cleared is None:
                missing = place + "/"
                break
            clean = clean and cleared
        before = path
    if not clean:
        return lines
    if journal is not None and not is_replaced:
        attempt(journal.clear)
    return []


class Search:
    """A search for leftovers.

    * ``left``: the number of names that the search may still read
    * ``removals``: the number of files and directories that the search may still remove
    * ``room``: the maximum total size in bytes of the directories that the search may still remove
    * ``until``: the time at which the search ends
    * ``tokens``: maps the token of each earlier run to the number of changes of the run
    * ``is_foreign``: whether another user could have chosen the tokens
    """

    __slots__ = (
        "attributes", "is_foreign", "left", "locked", "removals", "room", "root", "tokens", "until",
    )  # fmt: skip

    def __init__(self, root: Root, tokens: "Mapping[str, int]", *, is_foreign: bool = False) -> None:
        self.root = root
        self.tokens = tokens
        self.is_foreign = is_foreign
        self.left = MOST_NAMES
        self.removals = MOST_LEFTOVERS
        self.until = monotonic() + MOST_SECONDS
        self.room = MOST_REMOVED
        #: the directories that the caller has locked
        self.locked: set[tuple[int, int]] = set()
        #: the attributes of the directories that overlayfs copies before a removal; None before the first
        self.attributes: CopiedAttributes | None = None

    def clear(self, place: str) -> "bool | None":
        """Remove the leftovers in a directory.

        Return True if no leftover remains, False if some may remain, and None if ``place`` is not a
        directory.
        """
        if not self.left or monotonic() > self.until:
            return False
        try:
            directory = self.root.directory(place)
        except TemplaterError:
            return None
        with directory:
            lock = -1
            try:
                lock = again(os.open, ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory.fd)
                return self._is_free(lock) and self._clear(directory, place)
            except OSError:
                return False
            finally:
                if lock >= 0:
                    close(lock)

    def _is_free(self, fd: int) -> bool:
        """Lock a directory. Return False if another run has locked the directory."""
        import fcntl

        # The lock of the root filesystem is not enough: the directory can be a volume, to which a run of
        # another container writes at the same time.
        if identity(fd) not in self.locked:
            try:
                again(fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:  # the file system has no locks
                pass
        return True

    def _clear(self, directory: Directory, place: str) -> bool:
        # overlayfs reads the directories of all layers before it returns the first name, and reports the size
        # of the upper layer only. If a lower layer has millions of names, a search would delay each start.
        if _is_overlay(directory.fd):
            return self._clear_in_overlay(directory, place)
        if again(os.fstat, directory.fd).st_size > MOST_BYTES:
            return False
        names, self.left = directory.names_with(PREFIX, self.left)
        # A run on another root filesystem may still need its temporary files.
        if self._may_be_shared(directory):
            names = [name for name in names if _token_of(name) in self.tokens]
        stuck = [name for name in names if not self.remove(directory, name)]
        return self.left > 0 and not stuck

    def _may_be_shared(self, directory: Directory) -> bool:
        """Return whether the directory may also be in another root filesystem, which has its own lock."""
        root = self.root
        return root.cross_mounts and again(mount_id, directory.fd) != again(mount_id, root.fd)

    def _clear_in_overlay(self, directory: Directory, place: str) -> bool:
        """Remove the leftovers in a directory of an overlay. Return True if no leftover remains."""
        from .attributes import CopiedAttributes

        if self.attributes is None:
            self.attributes = CopiedAttributes()
        # To remove a file of a lower layer, overlayfs first copies the directory with all extended
        # attributes. No time limit can end this copy.
        if place != "/":
            try:
                self.attributes.count(directory.fd, place)
            except LimitError:
                self.left = 0  # so nothing below this directory is removed either
                return False
        # Try the possible names, and do not list the directory.
        cleared = [
            self._remove_numbered(directory, token, _most_names(changes, everywhere=place != "/"))
            for token, changes in self.tokens.items()
        ]
        return all(cleared)

    def _remove_numbered(
        self, directory: Directory, token: str, most: int, *, is_inside: bool = False
    ) -> bool:
        """Remove temporary files with the numbers below ``most``. Return whether none of them remains."""
        stuck = False
        for number in range(most):
            if not self.left:
                return False
            self.left -= 1
            stuck |= not self.remove(directory, temporary_name(token, 0, number), is_inside=is_inside)
        return not stuck

    def remove(self, directory: Directory, name: str, *, is_inside: bool = False) -> bool:
        """Remove a temporary file or directory of an earlier run. First empty a private directory.

        Return False if the next run must try again. Otherwise, return True, even if the name must stay.
        ``is_inside`` tells whether ``directory`` is itself private.
        """
        if not self.removals or monotonic() > self.until:
            return False
        token, inode = _token_of(name), name[len(PREFIX) :].partition("-")[2].partition("-")[0]
        try:
            status = directory.lstat(name)
            if status is None or not inode.isdecimal():
                return True
            if stat.S_ISDIR(status.st_mode):
                # The container's root user could have made many directories with other tokens, which are slow
                # to remove.
                if inode != "0" or (self.tokens and token not in self.tokens):
                    return True
                if is_private(status) and not is_inside and not self._empty(directory, name, token):
                    return False
                if self._may_be_merged(directory, status):
                    return True
                self.removals -= 1
                return self.remove_directory(directory, name)
            if not stat.S_ISREG(status.st_mode):
                return True
            empty = inode == "0" and status.st_size == 0
            # A forged name does no harm: a process that can give a file this name could also remove the file.
            # A known token suffices, because an overlay over two file systems assigns new inode numbers.
            if empty or token in self.tokens or int(inode) == status.st_ino:
                self.removals -= 1
                directory.unlink(name)
        except OSError as error:
            return error.errno in (errno.ENOENT, errno.ENOTEMPTY)
        return True

    def _empty(self, directory: Directory, name: str, token: str) -> bool:
        """Remove the temporary files in a private directory. Return whether none remains."""
        with directory.directory(name) as private:
            status = again(os.fstat, private.fd)
            if not is_private(status) or status.st_size > MOST_BYTES:
                return False
            if _is_overlay(private.fd):
                most = _most_names(self.tokens.get(token, 0))
                return self._remove_numbered(private, token, most, is_inside=True)
            names, self.left = private.names_with(PREFIX, self.left)
            stuck = [each for each in names if not self.remove(private, each, is_inside=True)]
        return self.left > 0 and not stuck

    def _may_be_merged(self, directory: Directory, status: "os.stat_result") -> bool:
        """Return whether a subdirectory with this status may exist in several layers of an overlay."""
        # overlayfs reports the link count 1 for such a subdirectory, and is slow to remove it.
        if status.st_nlink != 1 or not _is_overlay(directory.fd):
            return False
        # On btrfs, every subdirectory has the link count 1.
        # If another user owns the journal, an empty directory on btrfs can remain: it looks like a merged
        # directory.
        return self.is_foreign or not is_on_btrfs(directory.fd)

    def remove_directory(self, directory: Directory, name: str) -> bool:
        """Remove an empty directory, at once or later. Return False if the removal would take too long.

        Raises OSError if an immediate removal fails.
        """
        status = directory.lstat(name)
        if status is not None:
            if status.st_size > self.room:
                return False
            self.room -= status.st_size
            # In a hook or a command, another process removes the directory later, and ignores errors.
            # The directory can remain if the process that removes it is killed, or if a hook in a PID
            # namespace has many directories to remove.
            directory.rmdir_at_end(name)
        return True


def identity(fd: int) -> "tuple[int, int]":
    """Return the device and the inode number of an open file."""
    status = again(os.fstat, fd)
    return status.st_dev, status.st_ino


def _is_overlay(fd: int) -> bool:
    # imported here, because most starts have no unfinished run
    from ..rootfs.file_system_type import is_overlay

    return is_overlay(fd)


def is_private(status: "os.stat_result") -> bool:
    """Return whether only this process's user can use a file or directory."""
    return status.st_uid == os.geteuid() and not status.st_mode & 0o077


def _most_names(changes: int, *, everywhere: bool = False) -> int:
    """Return how many temporary names a run with this number of changes can have made in the root directory.

    If ``everywhere`` is true, return the number for each directory below the root directory instead.
    """
    # The number of changes is unknown if ``changes`` is 0.
    if not changes:
        return 0
    return _SHARED_NAMES if everywhere else changes * _NAMES_PER_CHANGE + _SHARED_NAMES


def _token_of(name: str) -> str:
    return name[len(PREFIX) :].partition("-")[0]


def temporary_name(token: str, inode: int, number: int) -> str:
    # A mark in a trusted.* xattr could not replace the inode number: it needs root, and some file systems do
    # not support it.
    return f"{PREFIX}{token}-{inode}-{number}"


def private_name(token: str) -> str:
    """Return the name that all private directories of a run have."""
    return temporary_name(token, 0, 1)


def kept_name(name: str) -> str:
    """Return a new name for a file with a temporary name. No run removes a file with the new name."""
    return f"{PREFIX}old-content-{name[len(PREFIX) :]}"


def token_line(token: str, changes: int) -> str:
    """Return a line for the journal, which records the token of a run and the number of its changes."""
    return f"{token}-{changes}"


def _read_token(line: str) -> "tuple[str, int]":
    """Parse a line that ``token_line`` wrote to a journal. Return the token and the number of changes.

    For any other line, return the line and 0.
    """
    # Another user can own the journal, and a token with a slash would lead out of the directory.
    token, _, changes = line.partition("-")
    if line.isascii() and token.isalnum() and changes.isdecimal() and len(changes) <= _MOST_DIGITS:
        return token, int(changes)
    return line, 0


def attempt(
    call: "Callable[Arguments, object]", *args: "Arguments.args", **options: "Arguments.kwargs"
) -> str:
    """Call a function of a rollback or cleanup. Return its error message, or "" if it succeeds."""
    try:
        call(*args, **options)
    except (OSError, WriteError) as error:
        return str(error)
    except MemoryError:
        return "not enough memory"
    return ""


def unlink_if_there(directory: Directory, name: str) -> None:
    try:  # noqa: SIM105 - importing contextlib slows down the start
        directory.unlink(name)
    except FileNotFoundError:
        pass


def is_there(directory: Directory, name: str) -> bool:
    """Return whether a name exists, or True if that cannot be determined."""
    try:
        return directory.lstat(name) is not None
    except OSError:
        return True


def above(path: str) -> str:
    return path[: path.rindex("/")] or "/"
