"""A mounted file that ``apply`` overwrites in place, because a mount point can't be replaced.

**Locks.** Several containers can share the file, also by different paths. So a run locks all mounted files
before it changes any file. Every run takes these locks in the same order.

**Copies.** The run then copies the old contents to files without names, in a directory of
``Journal.old_contents``. It overwrites the first file only after all copies are complete. If the kernel kills
the process before that, no file has changed.

**Rollback.** A rollback must not need space that another container could have taken. So templater cuts each
file to its new size only after everything else has succeeded. A rollback can still fail for two reasons:

* Some file systems, such as btrfs, need new blocks whenever a file is overwritten.
* A process that ignores locks can have changed the bytes that templater has written.

In both cases, templater gives the copy of the old content a name.

**Incomplete files.** After a failed rollback, the file can contain a mixture of the old and the new text.
Later runs keep no copy of such a mixture, until another process changes the file. To detect this change,
templater computes the copy's modification time from the file's own modification time, see ``_mark_of``.

The modification time also shows to which file the copy belongs. The name does not suffice: after a user
duplicates a disk image, the copies have equal names for both images. So a run that writes the whole file
removes only a copy with the computed modification time.
"""

from ..model.errors import RefusedError, WriteError
from ..model.plan import UPDATE
from ..oslite import birth_time, os
from ..rootfs.close_in_another_process import close, is_on_btrfs
from ..rootfs.confined_directory import NO_UNNAMED
from ..rootfs.file_system_type import is_overlay
from ..rootfs.regular_files import write_descriptor
from ..rootfs.system_calls import again, write_error
from .apply_locks import lock_mounted
from .remove_leftovers import attempt
from .staged_file import PIECE, StagedFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.plan import Change, Plan
    from ..rootfs.confined_directory import Directory
    from ..rootfs.confined_root import Root
    from .remove_leftovers import Journal
    from .target_directories import TargetDirectories

#: the prefix of the names of copies; a copy has the old content of a mounted file that could not be restored
OLD = "old-"
#: the maximum number of copies of one file; each further copy replaces the last copy
MOST_COPIES = 9
#: the number of different marks. A mark is a modification time that every file system can store, see
#: ``_mark_of``.
MARKS = 2**31 - 1
#: a size in bytes: the blocks of most file systems are not smaller
BLOCK = 4096


class MountedFile(StagedFile):
    """A mounted file, which is overwritten in place."""

    __slots__ = (
        "is_cut", "is_incomplete", "is_needed", "is_on_overlay", "is_written", "kept_in", "kept_name",
        "saved", "saved_in",
    )  # fmt: skip

    def __init__(self, change: "Change", directories: "TargetDirectories") -> None:
        super().__init__(change, directories)
        self.is_on_overlay = False
        #: the directory of this run's copy; None if the copy is in memory
        self.saved_in: Directory | None = None
        #: the name for the copy of the old content
        self.kept_name = ""
        #: the directory in which a copy has the name ``kept_name``, or None if no copy has this name yet
        self.kept_in: Directory | None = None
        #: the descriptor of this run's copy of the old content
        self.saved = -1
        #: whether an earlier rollback left the file incomplete; ``kept_name`` is then the name of the copy
        #: from that rollback
        self.is_incomplete = False
        self.is_written = False
        self.is_cut = False
        #: whether only this run's copy has the old content, because a rollback has begun or failed
        self.is_needed = False

    def close(self) -> None:
        if self.saved >= 0:
            if self.kept_in is not None and not self.is_needed:
                attempt(self.kept_in.unlink_if_same, self.kept_name, self.saved)
            close(self.saved)
            self.saved = -1
        super().close()  # releases the lock: until then, no other container uses the name

    def stage(self, require_time: "Callable[[], None]") -> None:
        """Count the attributes of the file. If the file is on an overlay, also read the file."""
        assert self.old is not None
        self.is_on_overlay = self._on_overlay()
        self._count_old(is_copied=self.is_on_overlay)
        fd = self.parent.open(self.name)
        try:
            self.directories.attributes.count(fd, self.change.real)
            if self.is_on_overlay:
                # When templater opens a file of a lower layer to write, the kernel copies the file without a
                # time limit. After this read, the kernel copies from memory.
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

        Raises RefusedError if the file was replaced.
        """
        assert self.old is not None
        before = self.parent.lstat(self.name)
        self.fd = self.parent.open(self.name, write=True)
        now = os.fstat(self.fd)
        # On an overlay, opening a file of a lower layer copies the file, which can change these numbers.
        planned = before if self.is_on_overlay else now
        if planned is None or (planned.st_dev, planned.st_ino) != (self.old.st_dev, self.old.st_ino):
            raise self._changed("was replaced")
        return now.st_dev, now.st_ino

    def lock(self, until: float) -> None:
        """Lock the open file.

        Raises BusyError if another process still has the lock at the time ``until``.
        """
        lock_mounted(self.fd, self.change.real, until)

    def save(self, places: "list[Directory]", require_time: "Callable[[], None]") -> None:
        """Copy the old content, for a rollback. Raises RefusedError if the file was replaced.

        Use the first of ``places`` in which templater can write the copy. Use memory if ``places`` is empty,
        or if the last place does not support files without names.
        """
        self.directories.check(self.change)
        if not self.parent.is_same(self.name, self.fd):
            raise self._changed("was replaced")
        self.kept_in, self.kept_name = _marked_in(self.fd, places)
        self.is_incomplete = self.kept_in is not None
        size = self.directories.room_for(os.fstat(self.fd).st_size, self.change)
        for place in (*places, None):
            try:
                again(os.lseek, self.fd, 0, 0)
                self.saved = _create(place)
                self._read_pieces(self.fd, size, self._write_saved, require_time)
                break
            except OSError as error:
                if place is None or (place is places[-1] and error.errno not in NO_UNNAMED):
                    raise
                if self.saved >= 0:
                    close(self.saved)
                    self.saved = -1
        self.saved_in = place
        if is_on_btrfs(self.fd):  # the overwrite and the rollback can use up the space that a name needs
            attempt(self._name_saved)

    def _write_saved(self, piece: bytes) -> None:
        write_descriptor(self.saved, piece)

    def commit(self) -> None:
        """Overwrite the start of the file with the new content.

        If the old content is longer, ``cut`` removes its rest later. Raises RefusedError if another process
        has changed the file since ``save``.
        """
        # A rollback would undo the change of another process.
        if os.fstat(self.fd).st_size != os.fstat(self.saved).st_size or not self._has_old(0):
            raise self._changed("was changed")
        self.committed = True
        again(os.lseek, self.fd, 0, 0)
        write_descriptor(self.fd, self.content)
        self.is_written = True

    def require_unchanged(self) -> None:
        """Raise RefusedError if another process has changed the file since ``commit``."""
        # Compare the content, because the modification time is not reliable: some file systems store only
        # whole seconds.
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
        """Restore the overwritten bytes.

        Raises WriteError if the file then does not have its whole old content. The message shows the path of
        the old content's copy, if possible.
        """
        self.is_needed = True
        try:
            if self._restore():
                self.is_needed = False
                if self.is_incomplete:
                    attempt(self._mark)
                return
            failed = WriteError(f"can't restore {self.change.real!r}: another process has changed it")
            attempt(self._name_saved)
        except OSError as error:
            failed = write_error("restore", self.change.real, error)
            attempt(self._name_saved)
            attempt(self._mark)
        place = "" if self.kept_in is None else repr(self.kept_in.path_of(self.kept_name))
        kept = place and f"; its old content is in {place}"
        raise WriteError(f"{failed.message}{kept}", hint=failed.hint) from None

    def _restore(self) -> bool:
        """Restore the overwritten bytes. Return whether the file now has its whole old content.

        Do nothing if another process has changed these bytes, or has appended bytes to the new content.
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

    def _name_saved(self) -> None:
        """Give a name to the copy of the old content that this run has made.

        Do nothing if the copy is in memory, or if an earlier run has kept a copy.
        """
        if self.kept_in is not None or self.saved_in is None:
            return
        names = _names(self.fd)
        self.kept_name = next((name for name in names if self.saved_in.lstat(name) is None), names[-1])
        self.saved_in.unlink_left(self.kept_name)
        self.saved_in.name_unnamed(self.saved, self.kept_name)
        self.kept_in = self.saved_in

    def _mark(self) -> None:
        """Give the named copy the modification time that ``_marked_in`` expects. Sync the copy first."""
        if self.kept_in is not None:
            # Without the sync, an empty copy could count as the old content after a power cut.
            # If the sync fails, set the time anyway, because no other file has the old content.
            attempt(again, os.fsync, self.saved)
            mark = _mark_of(self.fd)
            again(os.utime, self.kept_name, (mark, mark), dir_fd=self.kept_in.fd, follow_symlinks=False)

    def remove_earlier(self) -> None:
        """Remove the copy of this file's old content that an earlier run has kept."""
        # The copy is no longer needed, because this run has written the whole file.
        if self.is_incomplete and self.kept_in is not None:
            self.kept_in.unlink_left(self.kept_name)


def _create(place: "Directory | None") -> int:
    if place is None:
        return os.memfd_create("templater", os.MFD_CLOEXEC)
    return place.create_unnamed()


def left_incomplete(plan: "Plan", root: "Root", journal: "Journal") -> "set[str]":
    """Return the real paths of mounted files that an earlier rollback could not restore.

    Omit files that another process has changed after the rollback.
    """
    found: set[str] = set()
    changes = [change for change in plan.changes if change.in_place and change.action == UPDATE]
    places = journal.old_contents(make=False) if changes else []
    try:
        for change in changes:
            fd = root.open(change.real)
            try:
                if _marked_in(fd, places)[0] is not None:
                    found.add(change.real)
            except OSError as error:
                raise write_error("look at", change.real, error) from None
            finally:
                close(fd)
    finally:
        journal.close()
    return found


def _marked_in(fd: int, places: "list[Directory]") -> "tuple[Directory | None, str]":
    """Return the directory and the name of the copy that a failed rollback of a file has kept.

    Return (None, "") if no copy exists, or if the file was written after the rollback.
    """
    mark = _mark_of(fd)
    for place in places:
        for name in _names(fd):
            kept = place.lstat(name)
            if kept is not None and kept.st_mtime == mark:
                return place, name
    return None, ""


def _names(fd: int) -> "list[str]":
    """Return the names that copies of an open file can have."""
    first = OLD + _identity(fd)
    return [first, *(f"{first}-{number}" for number in range(2, MOST_COPIES + 1))]


def _mark_of(fd: int) -> int:
    """Return the modification time that marks a copy as the old content of an incomplete file."""
    # If a user restores the file with ``cp -a``, the file's modification time changes, and the copy no longer
    # counts.
    # Some file systems store only whole seconds, such as ext4 with inodes of 128 bytes.
    return os.fstat(fd).st_mtime_ns % MARKS


def _identity(fd: int) -> str:
    """Return an identifier of an open file, which is the same for all containers, but not always unique."""
    # If a user copies a disk image, a file has equal identifiers in both images. A reboot of the host can
    # change the identifier on XFS and FUSE, but not on most other file systems.
    # A new file can get the inode number of a removed file, but has another time of creation. Some file
    # systems do not record this time.
    status = os.fstat(fd)
    return f"{os.fstatvfs(fd).f_fsid or status.st_dev:x}-{status.st_ino:x}-{birth_time(fd)}".rstrip("-")


def require_space(mounted: "list[MountedFile]") -> None:
    """Raise WriteError if btrfs may have too little space to overwrite and restore the files."""
    from ..rootfs.disk_sync import can_order

    # btrfs writes each overwritten block to a new place. Until btrfs has written the saved contents to the
    # disk, it reports the space for these contents as free.
    needed = 0
    for target in mounted:
        if can_order(target.fd):
            old, space = os.fstat(target.saved).st_size, os.fstatvfs(target.fd)
            needed += len(target.content) + old * (2 if can_order(target.saved) else 1)
            if needed > space.f_bavail * space.f_frsize:
                raise WriteError(
                    f"can't overwrite {target.change.real!r}: btrfs needs {needed} bytes of free space to"
                    " overwrite mounted files, and to restore them after an error",
                    hint="free some space and try again",
                )
