"""Unpacking of images into directories, without following links or leaving the directory."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from ..model.entry import BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY, FIFO, FILE, SYMLINK
from ..model.errors import BusyError, InputError, LimitError, RefusedError, UsageError
from ..model.file_names import METADATA, ROOTFS, TEMPLATES
from ..model.progress import Progress, silent
from ..model.unprintable_characters import printable
from ..rootfs.confined_directory import Directory
from ..rootfs.confined_root import Root
from ..rootfs.id_map import IDENTITY, IdMap
from ..rootfs.system_calls import write_error
from ..rootfs.trusted_paths import is_replaceable, open_folder
from ..writing.deferred_signals import with_signals_deferred
from .directory_members import Data
from .limits import ATTRIBUTE_BYTES, DIRECTORY_BYTES, HeldBytes, refuse_deep
from .read_whole_image import Contents, Part
from .tar_reader import HARD_LINK, Member
from .xattrs import set_xattr

#: the name of the temporary directory inside the target, if the target is an existing empty directory
_INSIDE = ".unpacking"
_HELD = 64
_SPECIAL = {CHAR_DEVICE: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO}
#: limit on the size of a sparse file: the largest that common Linux file systems allow
_LARGEST_FILE = 1 << 44


@dataclass(frozen=True, slots=True)
class Policy:
    """The special files and attributes to create when unpacking. The defaults suit untrusted images."""

    #: devices and fifos
    special: bool = False
    #: setuid and setgid bits of files, and file capabilities
    privileges: bool = False
    #: all extended attributes, such as ACLs and trusted.*; user.* attributes are always created
    xattrs: bool = False
    #: whether files get the owners in the archive; if not, all files belong to the current user
    owners: bool = True


TRUSTED = Policy(special=True, privileges=True, xattrs=True)


@dataclass(slots=True)
class Unpacked:
    """The result of unpacking: totals, and the names of members that the policy left out or changed."""

    members: int = 0
    size: int = 0
    left_out: list[str] = field(default_factory=list)
    without_privileges: list[str] = field(default_factory=list)
    without_xattrs: list[str] = field(default_factory=list)


def unpack(
    contents: Contents,
    parts: Iterable[Part],
    path: str,
    *,
    policy: Policy = Policy(),
    ids: IdMap = IDENTITY,
    finish: Callable[[Root], None] = lambda folder: None,
    progress: Progress = silent,
) -> Unpacked:
    """Create the directory ``path`` from an image, completely or not at all.

    The function ``finish`` can add files before the temporary directory is renamed to ``path``.

    The owner of the directory above ``path`` can't make this function write to another directory.

    Raises UsageError if ``path`` exists and is not an empty directory of the current user.
    """
    path = path.rstrip("/") or path
    # An empty directory of the current user is filled instead of replaced: it can be a shell's working
    # directory.
    mode = _mode_if_own(path)
    left = [[], [_INSIDE]] if mode is not None else [[]]
    if os.path.lexists(path) and not (
        os.path.isdir(path) and not os.path.islink(path) and os.listdir(path) in left
    ):
        raise UsageError(f"'{path}' exists", hint="give a new directory, or an empty one")
    if mode is None and os.path.lexists(path):
        raise UsageError(
            f"'{path}' is a directory of another user",
            hint="remove this directory, or choose a new one",
        )
    # Refuse before the first write: removing the files again would take as long as writing them.
    DiskBudget(contents).add(contents.disk_size)
    above, name = os.path.split(path)
    if name in ("", ".", ".."):
        above, name = os.path.split(os.path.abspath(path))
    staged = f".{name}.unpacking"

    def fill(top: Root) -> Unpacked:
        done = _unpack_into(top, contents, parts, policy, ids, progress)
        top.named = True
        finish(top)
        return done

    # the directory above can belong to another user, so its names are used only relative to its descriptor
    with open_folder(above or ".") as root, root.directory("/") as parent:
        try:
            if mode is None:
                with _temporary(parent, staged, path) as top:
                    done = fill(top)
                    # An empty directory would be replaced, which takes minutes if it has many attributes.
                    if parent.lstat(name) is not None:
                        raise RefusedError(f"another process created '{printable(path)}'")
                    parent.rename(staged, parent, name)
            else:
                with _taken_over(parent, name, mode) as folder, _temporary(folder, _INSIDE, path) as top:
                    done = fill(top)
                    with top.directory("/") as directory:
                        _move(directory, folder)
        except OSError as error:
            raise write_error("make", path, error) from error
    return done


def _mode_if_own(path: str) -> int | None:
    """Return the mode of a directory that exists and belongs to the current user, or None."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return stat.S_IMODE(status.st_mode) if status.st_uid == os.geteuid() else None


@contextmanager
def _temporary(parent: Directory, name: str, path: str) -> Iterator[Root]:
    """Create a temporary directory for the files of ``path``. Remove it after an error."""
    with Root(path, fd=_make_beside(parent, name)) as top:
        try:
            yield top
        except BaseException:
            _remove(parent, name, top.fd)
            raise


@contextmanager
def _taken_over(parent: Directory, name: str, mode: int) -> Iterator[Directory]:
    """Lock an empty directory of the current user, and deny access to all other users.

    After an error, restore the directory's mode if the directory is empty again.
    """
    with Directory(parent.root, _take_over(parent, name, _INSIDE), parent.path_of(name)) as folder:
        try:
            yield folder
        except BaseException:
            if not folder.listdir():
                os.fchmod(folder.fd, mode)
            raise


def _move(directory: Directory, folder: Directory) -> None:
    """Move all files from the temporary directory to its parent directory, metadata.yaml last.

    After an error, move them back. Raises RefusedError if another process put files into ``folder``.
    """

    def move(name: str, source: Directory, target: Directory) -> None:
        # only root can move a read-only directory
        mode = stat.S_IMODE(os.stat(name, dir_fd=source.fd).st_mode) if name == ROOTFS else 0o700
        if not mode & 0o200:
            os.chmod(name, mode | 0o200, dir_fd=source.fd)
        source.rename(name, target, name)
        if not mode & 0o200:
            os.chmod(name, mode, dir_fd=target.fd)

    def move_all() -> None:
        if folder.listdir() != [_INSIDE]:
            raise RefusedError(f"another process put files into '{printable(folder.path)}'")
        os.fchmod(folder.fd, stat.S_IMODE(os.fstat(directory.fd).st_mode))
        moved: list[str] = []
        try:
            for name in sorted(directory.listdir(), key=lambda name: name == METADATA):
                move(name, directory, folder)
                moved.append(name)
        except OSError:
            for name in moved:
                with suppress(OSError):
                    move(name, folder, directory)
            raise
        folder.rmdir(_INSIDE)

    with_signals_deferred(move_all, drop_alarm=True)


def _remove(parent: Directory, name: str, folder: int) -> None:
    """Remove an open directory, with signals deferred.

    An exceeded limit sends its signal repeatedly, which would interrupt the removal.
    """

    def remove() -> None:
        shutil.rmtree(".", ignore_errors=True, dir_fd=folder)  # all that is in the directory
        with suppress(OSError):
            if parent.is_same(name, folder):  # another user can have exchanged the directory
                parent.rmdir(name)

    with_signals_deferred(remove)


def _make_beside(parent: Directory, name: str) -> int:
    """Create and lock a temporary directory, and return its descriptor.

    First remove the temporary directory of a crashed run. Raises RefusedError if another user may have
    created it.
    """
    left = parent.lstat(name)
    if left is not None:
        path = printable(parent.path_of(name))
        if left.st_uid != os.geteuid() or is_replaceable(parent.fd):
            raise RefusedError(
                f"'{path}' exists, and another user may have put it there",
                hint="if this is left over from an interrupted run of templater, remove it",
            )
        folder = _lock(parent, name)
        try:
            _remove(parent, name, folder)
        finally:
            os.close(folder)
    parent.mkdir(name, 0o700)
    return _take_over(parent, name)


def _take_over(parent: Directory, name: str, left: str = "") -> int:
    """Lock an empty directory of the current user, and deny access to all others. Return its descriptor.

    Ignore an entry named ``left``. Raises RefusedError if another user replaced the directory, or put a file
    into it.
    """
    fd = _lock(parent, name)
    try:
        # Do not ignore the entry ``left`` if another user can replace entries of the directory.
        left = "" if is_replaceable(fd) else left
        _require_empty(fd, parent.path_of(name), left)
        os.fchmod(fd, 0o700)
        for kind in ("default", "access"):  # it can inherit access rights from the directory above
            with suppress(OSError):
                os.removexattr(fd, f"system.posix_acl_{kind}")
        _require_empty(fd, parent.path_of(name), left)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _require_empty(fd: int, path: str, left: str) -> None:
    with os.scandir(fd) as entries:
        is_empty = all(entry.name == left for entry in entries)
    if not is_empty or os.fstat(fd).st_uid != os.geteuid():
        raise RefusedError(f"another user replaced '{printable(path)}'")


def _lock(parent: Directory, name: str) -> int:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent.fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        message = f"another process is unpacking into '{printable(parent.path_of(name))}'"
        raise BusyError(message, hint="wait until that process has finished") from None
    return fd


def _unpack_into(
    top: Root, contents: Contents, parts: Iterable[Part], policy: Policy, ids: IdMap, progress: Progress
) -> Unpacked:
    done = Unpacked()
    _write_parts(top, parts)
    with top.directory("/") as directory:
        directory.mkdir(ROOTFS, 0o755)
    with top.below("/" + ROOTFS) as root:
        writer = TreeWriter(root, policy, ids, done, DiskBudget(contents))
        try:
            for member, data in contents.rootfs():
                writer.add(member, _reported(data, done, member.name, progress))
                progress(done.members, done.size, member.name)
            writer.finish()
        finally:
            writer.close()
    # The container's root can have a mapped uid, so other users need access to the directory.
    # Setuid programs and devices of the host's root are an exception: no other user may reach them.
    exposed = (policy.privileges or policy.special) and ids.on_disk(0, 0)[0] == 0
    os.fchmod(top.fd, 0o700 if exposed else 0o711)
    return done


def _reported(data: Data, done: Unpacked, name: str, progress: Progress) -> Data:
    """Yield the pieces of a file, and report the number of unpacked bytes after each piece."""
    for offset, piece in data:
        yield offset, piece
        progress(done.members, done.size + offset + len(piece), name)


def _write_parts(top: Root, parts: Iterable[Part]) -> None:
    with top.directory("/") as directory:
        for part in parts:
            folder, _, name = part.member.name.rpartition("/")
            if part.member.kind == DIRECTORY:
                directory.mkdir(part.member.name, 0o755)
                continue
            if folder == TEMPLATES and directory.lstat(TEMPLATES) is None:
                directory.mkdir(TEMPLATES, 0o755)
            with top.directory("/" + folder) as place:
                _write_small(place, name, part)


def _write_small(place: Directory, name: str, part: Part) -> None:
    fd = place.create(name)
    try:
        view = memoryview(part.data)
        while view:
            view = view[os.write(fd, view) :]
        os.fchmod(fd, part.member.mode & 0o777)
        os.utime(fd, (part.member.mtime, part.member.mtime))
    finally:
        os.close(fd)


class DiskBudget:
    """A count of the disk space of unpacked members, limited to ``ratio`` times the archive's size.

    An empty file also uses space: an inode and a block.
    """

    def __init__(self, contents: Contents) -> None:
        self.name = contents.name
        self.limits = contents.limits
        self._packed = contents.packed_size
        self._used = 0

    def add(self, size: int) -> None:
        self._used += size
        limits = self.limits
        if self._packed and self._used > limits.ratio_from and self._used > self._packed * limits.ratio:
            raise LimitError(
                f"'{self.name}' would use too much disk space when unpacked: "
                f"more than {limits.ratio} times its size of {self._packed} bytes",
                hint="if you trust the image, raise the limit: --limit ratio=…",
            )


class TreeWriter:
    """A writer of members below a root to which no other process writes.

    It refuses two members with the same name, so that a link can't replace a checked directory.
    """

    def __init__(self, root: Root, policy: Policy, ids: IdMap, done: Unpacked, budget: DiskBudget) -> None:
        self._budget = budget
        self._memory = HeldBytes(budget.name, budget.limits)
        self._root = root
        self._policy = policy
        self._ids = ids
        self._done = done
        self._held: OrderedDict[str, Directory] = OrderedDict()
        #: the names in ``done.left_out``, for a fast search
        self._left_out: set[str] = set()
        self._directories: dict[str, Member] = {}

    def add(self, member: Member, data: Data) -> None:
        refuse_deep(member.name)
        self._budget.add(member.disk_size)
        folder, _, name = member.name.rpartition("/")
        try:
            if not member.name:
                self._top(member)
            elif member.kind == DIRECTORY:
                self._directory(self._place(folder), name, member)
            else:
                self._thing(self._place(folder), name, member, data)
        except FileExistsError:
            raise RefusedError(
                f"'{printable(member.name)}' occurs twice in the root filesystem",
                hint="pack the image again without repeated names: they can replace a directory with a link",
            ) from None
        except OSError as error:
            raise write_error("write", "/" + printable(member.name), error) from error
        self._done.members += 1
        self._done.size += member.stored

    def finish(self) -> None:
        """Set the modes and times of directories, the innermost first."""
        self.close()
        for member in reversed(self._directories.values()):
            with self._root.directory("/" + member.name) as directory:
                self._stamp(directory.fd, member)

    def close(self) -> None:
        for directory in self._held.values():
            directory.close()
        self._held.clear()

    def _place(self, folder: str) -> Directory:
        """Open a directory. If the archive has no member for the directory, create it."""
        held = self._held.get(folder)
        if held is not None:
            self._held.move_to_end(folder)
            return held
        refuse_deep(folder)  # the directory of a hard link's target is not yet checked
        try:
            held = self._root.directory("/" + folder)
        except InputError:
            held = self._make(folder)
        self._held[folder] = held
        if len(self._held) > _HELD:
            self._held.popitem(last=False)[1].close()
        return held

    def _make(self, folder: str) -> Directory:
        """Create the missing directories of a path in one walk, and open the path's last directory."""
        place = self._root.directory("/")
        path = ""
        for name in folder.split("/"):
            path = f"{path}/{name}" if path else name
            try:
                below = place.directory(name)
            except FileNotFoundError:
                self._budget.add(DIRECTORY_BYTES)
                self._directory(place, name, Member(path, DIRECTORY, 0o755))
                below = place.directory(name)
            finally:
                place.close()
            place = below
        return place

    def _top(self, member: Member) -> None:
        if member.kind != DIRECTORY:
            raise RefusedError(f"the root filesystem's top is a {member.kind}, not a directory")
        self._remember(member)

    def _directory(self, place: Directory, name: str, member: Member) -> None:
        try:
            place.mkdir(name, 0o700)
        except FileExistsError:
            entry = place.entry(name)
            if entry is None or entry.kind != DIRECTORY:
                raise
        self._remember(member)

    def _remember(self, member: Member) -> None:
        """Record a directory's attributes for ``finish``, which sets them after all files are written."""
        kept = {name: value for name, value in member.xattrs.items() if self._keeps(name, member)}
        self._memory.add(
            ATTRIBUTE_BYTES * len(kept), len(member.name), *map(len, kept), *map(len, kept.values())
        )
        self._directories[member.name] = replace(member, xattrs=kept)

    def _thing(self, place: Directory, name: str, member: Member, data: Data) -> None:
        if member.kind == FILE:
            self._file(place, name, member, data)
        elif member.kind == HARD_LINK:
            self._hard_link(place, name, member)
        elif member.kind == SYMLINK:
            self._symlink(place, name, member)
        elif member.kind in _SPECIAL:
            self._special(place, name, member)
        else:
            raise InputError(f"'{printable(member.name)}' is a {member.kind} and can't be unpacked")

    def _symlink(self, place: Directory, name: str, member: Member) -> None:
        place.symlink(member.target, name)
        if self._policy.owners:
            uid, gid = self._ids.on_disk(member.uid, member.gid)
            os.chown(name, uid, gid, dir_fd=place.fd, follow_symlinks=False)
        if member.xattrs:
            with _held_path(place, name, member, stat.S_IFLNK) as held:
                self._set_xattrs(held, member)
        os.utime(name, (member.mtime, member.mtime), dir_fd=place.fd, follow_symlinks=False)

    def _file(self, place: Directory, name: str, member: Member, data: Data) -> None:
        if member.size > _LARGEST_FILE:
            raise LimitError(
                f"'{printable(member.name)}' has {member.size} bytes, more than the limit of {_LARGEST_FILE}"
            )
        fd = place.create(name, 0o600)
        try:
            for offset, piece in data:
                _write_at(fd, piece, offset)
            os.ftruncate(fd, member.size)  # the file can end with a hole, for which the map has no piece
            self._stamp(fd, member)
        finally:
            os.close(fd)

    def _hard_link(self, place: Directory, name: str, member: Member) -> None:
        folder, _, first = member.target.rpartition("/")
        target = self._place(folder)
        entry = target.entry(first)
        if entry is None and member.target in self._left_out:
            self._leave_out(member)
            return
        if entry is None or entry.kind == DIRECTORY:
            what = f"is a {entry.kind}" if entry is not None else "does not precede the link in the archive"
            raise RefusedError(
                f"'{printable(member.name)}' is a hard link to '{printable(member.target)}', which {what}"
            )
        # A hard link to a symlink is a second name of the symlink itself. The symlink is not followed.
        target.link(first, self._place(member.name.rpartition("/")[0]), name)

    def _leave_out(self, member: Member) -> None:
        self._done.left_out.append(member.name)
        self._left_out.add(member.name)

    def _special(self, place: Directory, name: str, member: Member) -> None:
        if not self._policy.special:
            self._leave_out(member)
            return
        place.mknod(name, _SPECIAL[member.kind] | 0o600, os.makedev(*member.device))
        with _held_path(place, name, member, _SPECIAL[member.kind]) as held:
            if self._policy.owners:
                os.chown(held, *self._ids.on_disk(member.uid, member.gid))
            os.chmod(held, member.mode & 0o777)
            self._set_xattrs(held, member)
            os.utime(held, (member.mtime, member.mtime))

    def _stamp(self, fd: int, member: Member) -> None:
        """Set owner, mode, attributes and time, in an order in which no step undoes an earlier step."""
        if self._policy.owners:
            os.fchown(fd, *self._ids.on_disk(member.uid, member.gid))
        # The mode is set after the owner, because chown removes setuid bits.
        os.fchmod(fd, self._mode(member))
        self._set_xattrs(fd, member)
        os.utime(fd, (member.mtime, member.mtime))

    def _set_xattrs(self, file: int | str, member: Member) -> None:
        for attribute, value in member.xattrs.items():
            wanted = member.kind == DIRECTORY or self._keeps(attribute, member)
            if wanted and not set_xattr(file, attribute, value, member.name):
                self._done.without_xattrs.append(member.name)

    def _mode(self, member: Member) -> int:
        if member.kind == DIRECTORY or self._policy.privileges or not member.mode & 0o6000:
            return member.mode
        self._done.without_privileges.append(member.name)
        return member.mode & 0o1777

    def _keeps(self, attribute: str, member: Member) -> bool:
        """Return whether the policy allows an extended attribute. If not, record the member's name."""
        capability = attribute == "security.capability"
        if self._policy.privileges if capability else attribute.startswith("user.") or self._policy.xattrs:
            return True
        (self._done.without_privileges if capability else self._done.without_xattrs).append(member.name)
        return False


@contextmanager
def _held_path(place: Directory, name: str, member: Member, kind: int) -> Iterator[str]:
    """Open a just created file with O_PATH, and yield the path of its descriptor in /proc/self/fd.

    Raises RefusedError if another process has replaced the file by another kind of file.
    """
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.fd)
    try:
        if stat.S_IFMT(os.fstat(fd).st_mode) != kind:
            raise RefusedError(f"'{printable(member.name)}' was replaced while it was being created")
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _write_at(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
