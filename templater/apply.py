"""Carry out a plan: stage every file, then put all of them in place, or leave everything as it was.

**What is on disk at any moment.** A new content is written to a file without a name (O_TMPFILE) in
the target's own directory, so it has the owner, mode, ACLs and labels it should have before anybody
can see it. A new file is then linked to its name: one call, nothing to clean up. To replace a file,
two names are needed for a moment, one for the new content and one that keeps the old, so that a
commit that fails half way can be undone without needing any space: renames only. Each target is
old or new at every instant; mount points, which can't be replaced, are the one exception.

**What a crash leaves, and how it is known.** A killed apply can leave such names behind. They lie
in the root directory of the root filesystem (beside the target only where it is another file
system), and each is told by what it is, not by how it is called: ``.templater-TOKEN-INODE-N`` is
ours when the file of that name *is* the inode INODE (or is still empty, where INODE is 0). No file
is called so by accident, and whoever can forge it could as well remove it. The next apply clears them,
under the lock that every apply holds, and does its own work afresh; so the job is finished by
planning again, never by trusting what was left. An instance directory adds a ``Journal``: it says
which directories and tokens the last run used, so that nothing is missed even when the next plan has
other targets or the file system numbers its inodes anew (an overlay over two file systems).
Considered and not taken: a marker in a trusted.* xattr (root only, and not on every file system), and
patterns of names alone.

**Attributes.** An existing file keeps owner, mode, ACLs and extended attributes, but for those that
vouch for its content (``security.capability``, which a write drops too, and IMA's and EVM's hashes) and
those in which overlayfs keeps its own books. Flags of chattr and the birth time are the new file's.
"""

import errno
import fcntl
import os
import stat
import time

from .changes import CREATE, UPDATE, WRITE
from .errors import BusyError, InputError, RefusedError, TemplaterError, UsageError, WriteError
from .rootfs import components, not_regular
from .rootfs.confined import (
    Directory,
    MissingError,
    Root,
    again,
    close,
    kind_of,
    read_descriptor,
    write_error,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import ParamSpec

    from .changes import Change, Plan
    from .rootfs.directory import DirectoryRootfs

    Arguments = ParamSpec("Arguments")

PREFIX = ".templater-"

#: a new content never inherits these: see the module's text
_OF_THE_CONTENT = ("security.capability", "security.ima", "security.evm")
_OF_OVERLAYFS = ("trusted.overlay.", "user.overlay.")

#: a system or file system without O_TMPFILE says one of these
_NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS)
#: reasons to have a name beside the target and not in the root directory
_ELSEWHERE = (errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)

_JOURNAL_STAGED = ".new"
_POLL = 0.02
_MANY_FILES = 200


def apply(
    plan: "Plan",
    rootfs: "DirectoryRootfs",
    *,
    wait: float = 10.0,
    journal: "Journal | None" = None,
    durable: bool = True,
) -> "list[Change]":
    """Write a plan's files; gives back the changes for which something was written.

    Nothing is written unless every rule can be carried out. ``wait`` is for how many seconds to wait
    for another apply on the same root filesystem. ``durable=False`` leaves it to the kernel when
    things reach the disk: atomic against a kill, not against a power cut.
    """
    changes = _to_write(plan)
    root = rootfs.root
    if not isinstance(root, Root):
        raise UsageError("this system has no directory descriptors, and nothing is written without them")
    if len(changes) > _MANY_FILES:
        _allow_many_files()
    lock = _lock(root, wait)
    try:
        work = _Work(rootfs, root, journal, durable)
        work.sweep(change.real for change in plan.changes)
        return work.carry_out(changes)
    finally:
        close(lock)


def _to_write(plan: "Plan") -> "list[Change]":
    failed = plan.failed
    if failed:
        first = failed[0].error
        if len(failed) == 1 and first is not None:
            raise first
        raise _plan_has_failed(failed)
    changes = [change for change in plan.files() if change.action in (CREATE, UPDATE, WRITE)]
    for change in changes:
        if change.action == WRITE:
            raise UsageError("this plan was made without a root filesystem and can't be applied to one")
    return changes


def _plan_has_failed(failed: "list[Change]") -> TemplaterError:
    """One error for several, of the first one's kind and place; the others are its notes."""
    errors = [change.error for change in failed if change.error is not None]
    others = tuple(str(error) for error in errors[1:])
    if not errors:
        return UsageError(f"{failed[0].path!r} can't be written, so nothing is")
    first = errors[0]
    return type(first)(first.message, first.span, first.hint, (*first.notes, *others))


class Journal:
    """What the run that is going on will leave behind if it is killed, kept outside the root filesystem."""

    __slots__ = ("directory", "name")

    def __init__(self, directory: Directory, name: str = "journal") -> None:
        self.directory = directory
        self.name = name

    def read(self) -> "list[str]":
        """Tokens and directories of earlier runs; nothing when they all ended well."""
        try:
            fd = self.directory.open(self.name)
        except FileNotFoundError:
            return []
        try:
            data = read_descriptor(fd, 1 << 24, self.name)
        finally:
            close(fd)
        return [line.decode("utf-8", "surrogateescape") for line in data.split(b"\0") if line]

    def write(self, lines: "list[str]") -> None:
        """Replaced atomically, and on the disk before this returns: what it announces happens afterwards."""
        staged = self.name + _JOURNAL_STAGED
        try:
            _unlink_if_there(self.directory, staged)
            fd = self.directory.create(staged)
            try:
                _write_all(fd, "\0".join(lines).encode("utf-8", "surrogateescape"))
                again(os.fsync, fd)
            finally:
                close(fd)
            self.directory.rename(staged, self.directory, self.name)
        except OSError as error:
            _attempt(_unlink_if_there, self.directory, staged)
            raise write_error("write the journal", self.directory.path_of(self.name), error) from None

    def clear(self) -> None:
        for name in (self.name, self.name + _JOURNAL_STAGED):
            _unlink_if_there(self.directory, name)


class _File:
    """One target, and how far we are with it."""

    __slots__ = ("backup", "before", "change", "committed", "fd", "inode", "name", "old", "parent", "staged")

    def __init__(self, change: "Change", parent: Directory, name: str) -> None:
        self.change = change
        self.parent = parent
        self.name = name
        self.old: os.stat_result | None = None
        self.fd = -1
        self.inode = 0
        #: where the new content and the old one have names meanwhile
        self.staged: tuple[Directory, str] | None = None
        self.backup: tuple[Directory, str] | None = None
        #: what a mount point held, from the moment it is being written
        self.before: bytes | None = None
        self.committed = False


class _Work:
    """One apply, under the lock: everything that has to be put in place, or undone."""

    def __init__(
        self, rootfs: "DirectoryRootfs", root: Root, journal: "Journal | None", durable: bool
    ) -> None:
        self.ids = rootfs.ids
        self.root = root
        self.journal = journal
        self.durable = durable
        self.token = os.urandom(6).hex()
        self.count = 0
        self.unnamed = hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd")
        self.directories: dict[str, Directory] = {}
        self.made: list[tuple[Directory, str]] = []
        self.files: list[_File] = []
        self.left: list[str] = []

    def carry_out(self, changes: "list[Change]") -> "list[Change]":
        try:
            if not changes:
                return []
            self._announce(changes)
            for change in changes:
                self._step("write", change.real, self._stage, change)
            for file in sorted(self.files, key=lambda file: file.change.in_place):
                self._step("put in place", file.change.real, self._commit, file)
            self._sync()
        except BaseException as error:
            troubles = self._undo()
            if isinstance(error, TemplaterError):
                error.notes = (*error.notes, *troubles)
            raise
        else:
            self._drop_backups()
            return [file.change for file in self.files]
        finally:
            self._close()

    def _step(
        self, action: str, path: str, call: "Callable[Arguments, None]", *args: "Arguments.args",
        **options: "Arguments.kwargs",
    ) -> None:  # fmt: skip
        try:
            call(*args, **options)
        except OSError as error:
            raise write_error(action, path, error) from None

    # before: what an earlier run left

    def sweep(self, targets: "Iterable[str]") -> None:
        """Clear what a killed run left; what can't be cleared stays in the journal."""
        lines = self.journal.read() if self.journal is not None else []
        tokens = {line for line in lines if not line.startswith("/")}
        places = {line for line in lines if line.startswith("/")} | {"/"}
        places |= {place for path in targets for place in _all_above(path)}
        clean = True
        for place in sorted(places):
            clean = self._sweep_directory(place, tokens) and clean
        if not clean:
            self.left = lines
        elif self.journal is not None:
            _attempt(self.journal.clear)

    def _sweep_directory(self, place: str, tokens: "set[str]") -> bool:
        try:
            directory = self.root.directory(place)
        except TemplaterError:
            return True  # not there, or not a directory any more
        with directory:
            names = [name for name in directory.listdir() if name.startswith(PREFIX)]
            return not [name for name in names if not _remove_leftover(directory, name, tokens)]

    def _announce(self, changes: "list[Change]") -> None:
        if self.journal is not None:
            places = {_above(path) for change in changes for path in (change.real, *change.new_parents)}
            self.journal.write([*self.left, self.token, *sorted(places)])

    # staging

    def _stage(self, change: "Change") -> None:
        for path in change.new_parents:
            self._make_directory(path)
        names = components(change.real)
        if not names:
            raise RefusedError("'/' is the root itself")
        file = _File(change, self._directory(_above(change.real)), names[-1])
        content = change.content or b""
        file.old = file.parent.lstat(file.name)
        if file.old is None:
            if change.action == UPDATE:
                raise _changed(change, "is gone")
            self._stage_new(file, content)
        elif not self._already(file, content):
            self._stage_replacement(file, content)

    def _already(self, file: _File, content: bytes) -> bool:
        """The target has this content and is left alone; or it is not what the plan was made for."""
        assert file.old is not None
        path = file.change.real
        if not stat.S_ISREG(file.old.st_mode):
            raise not_regular(path, kind_of(file.old.st_mode))
        if file.parent.is_mount(file.name, file.old):
            self._require_in_place(file.change)
        elif file.change.in_place:
            raise _changed(file.change, "is no mount point any more")
        if file.old.st_size == len(content) and _content(file) == content:
            return True
        if file.change.action == CREATE:
            raise _changed(file.change, "has appeared")
        return False

    def _require_in_place(self, change: "Change") -> None:
        if not self.root.cross_mounts:
            raise RefusedError(
                f"{change.real!r} is a mount point, which can't be replaced",
                hint="it can be written through, into what is mounted there, if crossing mounts is asked for",
            )
        if not change.in_place:
            raise _changed(change, "has become a mount point")

    def _stage_new(self, file: _File, content: bytes) -> None:
        self.files.append(file)
        self._open_staged(file)
        _write_all(file.fd, content)
        os.fchown(file.fd, *self.ids.on_disk(file.change.uid, file.change.gid))
        os.fchmod(file.fd, file.change.mode & 0o777)
        self._sync_content(file)

    def _stage_replacement(self, file: _File, content: bytes) -> None:
        assert file.old is not None
        self.files.append(file)
        if file.change.in_place:
            return
        self._open_staged(file)
        _write_all(file.fd, content)
        self._carry_over(file)
        self._sync_content(file)
        if file.staged is None:
            file.staged = self._link_somewhere(file.inode, file.parent, self._name_of_unnamed(file))
        file.backup = self._link_somewhere(file.old.st_ino, file.parent, _name_of_old(file))

    def _open_staged(self, file: _File) -> None:
        if self.unnamed:
            try:
                file.fd = file.parent.create_unnamed()
                file.inode = os.fstat(file.fd).st_ino
            except OSError as error:
                if error.errno not in _NO_UNNAMED:
                    raise
            else:
                return
        name = self._next_name(0)
        file.staged = file.parent, name
        file.fd = file.parent.create(name)
        file.inode = os.fstat(file.fd).st_ino
        named = self._next_name(file.inode)
        file.parent.rename(name, file.parent, named)
        file.staged = file.parent, named

    def _carry_over(self, file: _File) -> None:
        """Owner, attributes, then the mode: a new owner drops bits of it, an ACL changes it."""
        old = file.parent.open(file.name)
        try:
            status = os.fstat(old)
            if file.old is None or status.st_ino != file.old.st_ino:
                raise _changed(file.change, "was replaced")
            os.fchown(file.fd, status.st_uid, status.st_gid)
            _copy_attributes(old, file.fd)
            os.fchmod(file.fd, stat.S_IMODE(status.st_mode))
        finally:
            close(old)

    def _link_somewhere(
        self, inode: int, beside: Directory, link: "Callable[[Directory, str], None]"
    ) -> "tuple[Directory, str]":
        """A passing name in the root directory, or beside the target where that can't be."""
        name = self._next_name(inode)
        top = self._directory("/")
        try:
            link(top, name)
        except OSError as error:
            if error.errno not in _ELSEWHERE or beside.path == top.path:
                raise
            link(beside, name)
            return beside, name
        return top, name

    def _name_of_unnamed(self, file: _File) -> "Callable[[Directory, str], None]":
        return lambda directory, name: directory.name_unnamed(file.fd, name)

    def _make_directory(self, path: str) -> None:
        """Complete before it has its name: a kill never leaves one with the wrong owner."""
        parent = self._directory(_above(path))
        name = components(path)[-1]
        found = parent.lstat(name)
        if found is not None:
            if not stat.S_ISDIR(found.st_mode):
                raise RefusedError(f"{path!r} has become a {kind_of(found.st_mode)} since the plan was made")
            return
        staged = self._next_name(0)
        parent.mkdir(staged, 0o700)
        self.made.append((parent, staged))
        with parent.directory(staged) as made:
            os.fchown(made.fd, *self.ids.on_disk(0, 0))
            os.fchmod(made.fd, 0o755)
        parent.rename(staged, parent, name)
        self.made[-1] = parent, name

    # committing

    def _commit(self, file: _File) -> None:
        if file.change.in_place:
            self._write_in_place(file)
        elif file.old is None:
            self._commit_new(file)
        else:
            self._commit_replacement(file)

    def _commit_new(self, file: _File) -> None:
        try:
            if file.staged is None:
                file.parent.name_unnamed(file.fd, file.name)
            else:
                file.staged[0].link(file.staged[1], file.parent, file.name)
        except FileExistsError:
            raise _changed(file.change, "has appeared") from None
        file.committed = True

    def _commit_replacement(self, file: _File) -> None:
        assert file.old is not None
        assert file.staged is not None
        now = file.parent.lstat(file.name)
        if now is None or now.st_ino != file.old.st_ino:
            raise _changed(file.change, "was replaced")
        file.committed = True  # even if the call reports an error: undo looks at what is there
        file.staged[0].rename(file.staged[1], file.parent, file.name)
        now = file.parent.lstat(file.name)
        if now is None or now.st_ino != file.inode:
            raise RefusedError(
                f"somebody swapped the new content of {file.change.real!r} while it was put there"
            )

    def _write_in_place(self, file: _File) -> None:
        fd = file.parent.open(file.name, write=True)
        file.fd = fd
        status = os.fstat(fd)
        if file.old is None or (status.st_dev, status.st_ino) != (file.old.st_dev, file.old.st_ino):
            raise _changed(file.change, "was replaced")
        file.before = read_descriptor(fd, status.st_size, file.change.real)
        file.committed = True
        _overwrite(fd, file.change.content or b"")
        self._sync_content(file)

    def _sync_content(self, file: _File) -> None:
        if self.durable:
            again(os.fsync, file.fd)

    def _sync(self) -> None:
        """The names, once each directory; a failure here still undoes everything."""
        if not self.durable:
            return
        touched = {id(file.parent): file.parent for file in self.files}
        touched |= {id(parent): parent for parent, _ in self.made}
        for directory in touched.values():
            self._step("put in place", directory.path, directory.sync)

    # after

    def _undo(self) -> "list[str]":
        """Everything as it was; gives back what could not be undone, in words."""
        troubles = [_attempt(_put_back, file) for file in reversed(self.files) if file.committed]
        for directory, name in self._passing_names():
            _attempt(_unlink_if_there, directory, name)
        for parent, name in reversed(self.made):
            _attempt(parent.rmdir, name)
        if not any(troubles):
            self._clear_journal()
        return [trouble for trouble in troubles if trouble]

    def _drop_backups(self) -> None:
        """The work is done, so a name that can't be removed is no failure: the next run clears it."""
        for directory, name in self._passing_names():
            _attempt(_unlink_if_there, directory, name)
        self._clear_journal()

    def _clear_journal(self) -> None:
        if self.journal is not None and not any(_is_there(*place) for place in self._passing_names()):
            _attempt(self.journal.clear)

    def _passing_names(self) -> "list[tuple[Directory, str]]":
        places = [place for file in self.files for place in (file.staged, file.backup)]
        return [place for place in places if place is not None]

    def _close(self) -> None:
        for file in self.files:
            if file.fd >= 0:
                close(file.fd)
        for directory in self.directories.values():
            directory.close()

    # shared

    def _directory(self, path: str) -> Directory:
        found = self.directories.get(path)
        if found is None:
            found = self.directories[path] = self._open_directory(path)
        return found

    def _open_directory(self, path: str) -> Directory:
        try:
            return self.root.directory(path)
        except MissingError:
            raise RefusedError(f"{path!r} is gone since the plan was made", hint="plan again") from None
        except InputError as error:
            raise WriteError(error.message, hint=error.hint) from None

    def _next_name(self, inode: int) -> str:
        self.count += 1
        return f"{PREFIX}{self.token}-{inode}-{self.count}"


def _name_of_old(file: _File) -> "Callable[[Directory, str], None]":
    return lambda directory, name: file.parent.link(file.name, directory, name)


def _above(path: str) -> str:
    return path[: path.rindex("/")] or "/"


def _all_above(path: str) -> "Iterator[str]":
    while len(path) > 1 and path.startswith("/"):
        path = _above(path)
        yield path


def _changed(change: "Change", what: str) -> RefusedError:
    return RefusedError(f"{change.real!r} {what} since the plan was made", hint="plan again")


def _content(file: _File) -> bytes:
    fd = file.parent.open(file.name)
    try:
        return read_descriptor(fd, os.fstat(fd).st_size, file.change.real)
    finally:
        close(fd)


def _write_all(fd: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        written = os.write(fd, rest)
        if not written:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rest = rest[written:]


def _overwrite(fd: int, content: bytes) -> None:
    """As few moments with mixed content as the kernel allows: all bytes at once, then the length."""
    os.lseek(fd, 0, os.SEEK_SET)
    _write_all(fd, content)
    os.ftruncate(fd, len(content))


def _put_back(file: _File) -> None:
    try:
        _put_back_at_once(file)
    except OSError as error:
        raise write_error("put back", file.change.real, error) from None


def _put_back_at_once(file: _File) -> None:
    if file.before is not None:
        _overwrite(file.fd, file.before)
        return
    now = file.parent.lstat(file.name)
    if now is None or now.st_ino != file.inode:
        return  # it never got there, or somebody else took the name: not ours to touch
    if file.backup is None:
        file.parent.unlink(file.name)
    else:
        file.backup[0].rename(file.backup[1], file.parent, file.name)


def _copy_attributes(old: int, new: int) -> None:
    if not hasattr(os, "listxattr"):
        return
    try:
        names = again(os.listxattr, old)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return
        raise
    for name in names:
        if name not in _OF_THE_CONTENT and not name.startswith(_OF_OVERLAYFS):
            value = again(os.getxattr, old, name)
            if name != "security.selinux" or _differs(new, name, value):
                again(os.setxattr, new, name, value)


def _differs(fd: int, name: str, value: bytes) -> bool:
    """A label that is right already needs no permission to be set."""
    try:
        return os.getxattr(fd, name) != value
    except OSError:
        return True


def _attempt(
    call: "Callable[Arguments, None]", *args: "Arguments.args", **options: "Arguments.kwargs"
) -> str:
    """Go on whatever fails while undoing or clearing away; the failure in words, or nothing."""
    try:
        call(*args, **options)
    except (OSError, WriteError) as error:
        return str(error)
    return ""


def _unlink_if_there(directory: Directory, name: str) -> None:
    if _is_there(directory, name):
        directory.unlink(name)


def _is_there(directory: Directory, name: str) -> bool:
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


# the lock


def _lock(root: Root, wait: float) -> int:
    """One apply at a time on a root filesystem, whoever runs it and from where."""
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root.fd)
    try:
        until = time.monotonic() + wait
        while not _locked(fd):
            if time.monotonic() >= until:
                raise BusyError(
                    f"{root.name!r} is being written by {_holder(fd)}",
                    hint="wait until it is done, or wait longer",
                )
            time.sleep(_POLL)
    except BaseException:
        close(fd)
        raise
    return fd


def _locked(fd: int) -> bool:
    try:
        again(fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise write_error("lock", "/", error) from None
    return True


def _holder(fd: int) -> str:
    """Who holds the lock, as /proc/locks tells it."""
    status = os.fstat(fd)
    device = status.st_dev
    wanted = f"{os.major(device):02x}:{os.minor(device):02x}:{status.st_ino}".encode()
    try:
        for line in _slurp("/proc/locks").splitlines():
            words = line.split()
            if len(words) > 5 and words[1] == b"FLOCK" and words[5] == wanted:
                pid = words[4].decode()
                return f"process {pid} ({_slurp(f'/proc/{pid}/comm').decode('utf-8', 'replace').strip()})"
    except OSError:
        pass
    return "another process"


def _slurp(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read_descriptor(fd, 1 << 24, path)
    finally:
        close(fd)


def _allow_many_files() -> None:
    """A staged file has no name and so holds its descriptor: as many as the system lets us."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
