"""A mounted file of an apply. It is overwritten in place, because a mount point can't be replaced.

Several containers can share the file, also by different paths. So an apply locks all mounted files before it
changes any file, and every apply locks them in the same order.

Then the apply copies the old content of all mounted files to files without names, in the directory that
``Journal.old_contents`` opens. Only after that, it overwrites the first file. So if the kernel kills the
process while it makes the copies, for example for its use of memory, no file has changed.

A rollback writes the old content. It must not need space that another container could have taken. So each
file is cut to the size of its new content only after everything else has succeeded. A rollback can still
fail, because some file systems, such as btrfs, need new blocks whenever a file is overwritten. A process that
does not use locks can also have changed the bytes that the apply has written. Then the file with the old
content gets a name.
"""

from ..model.errors import RefusedError, WriteError
from ..model.plan import UPDATE
from ..oslite import os
from ..rootfs.file_system_type import is_overlay
from ..rootfs.held_files import close, is_on_btrfs
from ..rootfs.open_directory import NO_UNNAMED
from ..rootfs.regular_files import write_descriptor
from ..rootfs.system_calls import again, write_error
from .lock import lock_mounted
from .recovery import attempt, unlink_if_there
from .staged_file import PIECE, StagedFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.plan import Change, Plan
    from ..rootfs.confined import Root
    from ..rootfs.open_directory import Directory
    from .recovery import Journal
    from .target_directories import TargetDirectories

#: the start of the name of a file with the old content of a mounted file that could not be restored
OLD = "old-"
#: the same if another process had changed the mounted file
CHANGED = "old-changed-"
#: a size that is not larger than the blocks of most file systems
BLOCK = 4096


class MountedFile(StagedFile):
    """A mounted file, which is overwritten in place."""

    __slots__ = ("identity", "is_cut", "is_needed", "is_written", "save_in", "saved")

    def __init__(self, change: "Change", directories: "TargetDirectories") -> None:
        super().__init__(change, directories)
        #: the directory for the old content, or None if the old content is kept in memory
        self.save_in: Directory | None = None
        #: the end of the name that the old content can get
        self.identity = ""
        #: the file without a name that has the old content
        self.saved = -1
        self.is_written = False
        self.is_cut = False
        #: whether a rollback has begun or failed, so that nothing else has the old content
        self.is_needed = False

    def close(self) -> None:
        if self.saved >= 0:
            if self.save_in is not None and not self.is_needed:
                attempt(self.save_in.unlink_if_same, OLD + self.identity, self.saved)
            close(self.saved)
            self.saved = -1
        super().close()  # releases the lock, which all containers respect that can use the same name

    def stage(self, require_time: "Callable[[], None]") -> None:
        """Count the attributes of the file, and read the file if it is on an overlay.

        If the file is in a lower layer, the kernel copies it when templater opens it to write. No time limit
        ends this system call, and the kernel may have to decompress far more data than the file has. So this
        function first reads the file in pieces, within the time limit. The kernel then copies the content
        from memory.
        """
        assert self.old is not None
        self._count_old()
        fd = self.parent.open(self.name)
        try:
            self.directories.attributes.count(fd, self.change.real)
            if self.is_on_overlay:
                self._read_pieces(fd, self.old.st_size, lambda piece: None, require_time)
        finally:
            close(fd)

    def _on_overlay(self) -> bool:
        fd = self.parent.look(self.name)
        try:
            return is_overlay(fd)
        finally:
            close(fd)

    def open(self) -> "tuple[int, int]":
        """Open the file. Return its device and inode number, which are the same for all mounts of a file.

        On an overlay, the numbers can change when the file is opened: the kernel then copies a file of a
        lower layer. Raises RefusedError if the file was replaced.
        """
        assert self.old is not None
        before = self.parent.lstat(self.name)
        self.fd = self.parent.open(self.name, write=True)
        now = os.fstat(self.fd)
        planned = before if self.is_on_overlay else now
        if planned is None or (planned.st_dev, planned.st_ino) != (self.old.st_dev, self.old.st_ino):
            raise self._changed("was replaced")
        return now.st_dev, now.st_ino

    def lock(self, until: float) -> None:
        """Lock the open file. Raises BusyError if another process has the lock until ``until``."""
        lock_mounted(self.fd, self.change.real, until)

    def save(self, place: "Directory | None", require_time: "Callable[[], None]") -> None:
        """Copy the old content, for a rollback. Raises RefusedError if the file was replaced.

        ``place`` is the directory for the copy. Without it, the copy is in memory.
        """
        self.save_in = place
        self.directories.check(self.change)
        if not self.parent.is_same(self.name, self.fd):
            raise self._changed("was replaced")
        self.identity = _identity(self.fd)
        size = self.directories.room_for(os.fstat(self.fd).st_size, self.change)
        saved = self.saved = self._create_unnamed()
        self._read_pieces(self.fd, size, lambda piece: write_descriptor(saved, piece), require_time)
        if is_on_btrfs(self.fd):  # the overwrite and the rollback can use up the space that a name needs
            self._name_saved(OLD)

    def _create_unnamed(self) -> int:
        if self.save_in is not None:
            try:
                return self.save_in.create_unnamed()
            except OSError as error:
                if error.errno not in NO_UNNAMED:
                    raise
        return os.memfd_create("templater", os.MFD_CLOEXEC)

    def commit(self) -> None:
        """Overwrite the start of the file with the new content.

        If the old content is longer, ``cut`` removes its rest later. Raises RefusedError if another process
        has changed the file since ``save``, because a rollback would restore an older content.
        """
        if os.fstat(self.fd).st_size != os.fstat(self.saved).st_size or not self._has_old(0):
            raise self._changed("was changed")
        self.committed = True
        again(os.lseek, self.fd, 0, 0)
        write_descriptor(self.fd, self.content)
        self.is_written = True

    def require_unchanged(self) -> None:
        """Raise RefusedError if another process has changed the file since ``commit``.

        Processes that do not use locks can share the file. The content shows such a change better than the
        modification time: some file systems store only whole seconds, and ``touch`` changes only the time.
        """
        new = len(self.content)
        expected = max(new, os.fstat(self.saved).st_size)
        if os.fstat(self.fd).st_size != expected or not self._has_new_start() or not self._has_old(new):
            raise RefusedError(f"another process changed {self.change.real!r} while templater was writing it")

    def cut(self) -> bool:
        """Cut the file to the size of its new content. Return False if it already has this size.

        Raises RefusedError like ``require_unchanged``.
        """
        self.require_unchanged()
        is_longer = os.fstat(self.fd).st_size > len(self.content)
        if is_longer:
            os.ftruncate(self.fd, len(self.content))
            self.is_cut = True
        return is_longer

    def _has_new_start(self) -> bool:
        content = self.content
        return self._has(0, len(content), lambda at, size: content[at : at + size])

    def _has_old(self, start: int) -> bool:
        """Return whether the file has the saved old content from the offset ``start`` on."""
        end = os.fstat(self.saved).st_size
        return self._has(start, end, lambda at, size: again(os.pread, self.saved, size, at))

    def _has(self, at: int, end: int, expected: "Callable[[int, int], bytes]") -> bool:
        """Return whether the bytes between two offsets are those that ``expected(offset, size)`` returns."""
        while at < end:
            piece = again(os.pread, self.fd, min(PIECE, end - at), at)
            if not piece or piece != expected(at, len(piece)):
                return False
            at += len(piece)
        return True

    def put_back(self) -> None:
        """Restore the old content. Keep the bytes that another process has appended or changed behind it.

        Raises WriteError if the old content cannot be restored completely. It then has a name.
        """
        self.is_needed = True
        try:
            if self._restore():
                self.is_needed = False
                return
            failed = WriteError(f"can't put back {self.change.real!r}: another process has changed it")
            saved = self._name_saved(CHANGED, replace=True)
        except OSError as error:
            failed = write_error("put back", self.change.real, error)
            saved = self._name_saved(OLD)
            if saved:
                attempt(self._mark_incomplete)
        raise WriteError(f"{failed.message}{saved}", hint=failed.hint) from None

    def _restore(self) -> bool:
        """Restore the overwritten bytes. Return whether the file now has its whole old content.

        If another process has changed these bytes, or has appended others to the new content, do nothing.
        """
        old, size, new = os.fstat(self.saved).st_size, os.fstat(self.fd).st_size, len(self.content)
        if self.is_written:
            is_extended = size > new and (self.is_cut or old < new)
            if is_extended or not self._has_new_start():
                return False
        at, end = 0, old if size == new else min(old, new)
        while at < end:  # a block that is not overwritten can be a hole, which must not take space
            piece = again(os.pread, self.saved, min(end - at, BLOCK), at)
            if again(os.pread, self.fd, len(piece), at) != piece:
                again(os.lseek, self.fd, at, 0)
                write_descriptor(self.fd, piece)
            at += len(piece)
        if size == new or not self.is_written:
            os.ftruncate(self.fd, old)
        return self._has_old(new)

    def _mark_incomplete(self) -> None:
        """Give the file with the old content the modification time of the target, see ``left_incomplete``."""
        assert self.save_in is not None
        time = os.fstat(self.fd).st_mtime_ns
        again(os.utime, OLD + self.identity, ns=(time, time), dir_fd=self.save_in.fd)

    def remove_earlier(self) -> None:
        """Remove the old contents that earlier applies have named: this apply has written the whole file."""
        if self.save_in is not None:
            for start in (OLD, CHANGED):
                unlink_if_there(self.save_in, start + self.identity)

    def _name_saved(self, start: str, *, replace: bool = False) -> str:
        """Give the file with the old content a name. Return a phrase with its path, or "" if that fails.

        ``start`` is the start of the name. Without ``replace``, keep a file with this name that an earlier
        apply has left: the target has been incomplete since then, so only that file has the complete old
        content.
        """
        if self.save_in is None:
            return ""
        name = start + self.identity
        try:
            if replace:
                unlink_if_there(self.save_in, name)
            self.save_in.name_unnamed(self.saved, name)
        except FileExistsError:
            pass
        except OSError:  # for example, the file system of the directory has no files without names
            return ""
        return f"; its old content is in {self.save_in.path_of(name)!r}"


def left_incomplete(plan: "Plan", root: "Root", journal: "Journal") -> "set[str]":
    """Return the real paths of mounted files that are as a rollback left them that could not restore them."""
    found: set[str] = set()
    changes = [change for change in plan.changes if change.in_place and change.action == UPDATE]
    place = journal.old_contents() if changes else journal.directory
    for change in changes:
        fd = root.open(change.real)
        try:
            old = place.lstat(OLD + _identity(fd))
            if old is not None and old.st_mtime_ns == os.fstat(fd).st_mtime_ns:
                found.add(change.real)
        finally:
            close(fd)
    return found


def _identity(fd: int) -> str:
    """Return an identity of an open file that is the same for all containers, and after the host boots."""
    return f"{os.fstatvfs(fd).f_fsid:x}-{os.fstat(fd).st_ino:x}"


def require_space(mounted: "list[MountedFile]") -> None:
    """Raise WriteError if btrfs may have too little space to overwrite the files, and to restore them.

    btrfs writes each overwritten block to a new place. It counts the saved contents only when it writes them.
    """
    from ..rootfs.disk_sync import can_order

    needed = 0
    for target in mounted:
        if can_order(target.fd):
            old, space = os.fstat(target.saved).st_size, os.fstatvfs(target.fd)
            needed += len(target.content) + old * (2 if can_order(target.saved) else 1)
            if needed > space.f_bavail * space.f_frsize:
                raise WriteError(
                    f"can't put in place {target.change.real!r}: btrfs needs {needed} bytes of free space to"
                    " overwrite mounted files, and to restore them after an error",
                    hint="free some space and try again",
                )
