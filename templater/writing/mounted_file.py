"""A mounted file of an apply. It is overwritten in place, because a mount point can't be replaced.

Several containers can share the file, also by different paths. So an apply locks all mounted files before it
changes any file, and every apply locks them in the same order.

Then the apply copies the old content of all mounted files to files without names, in templater's state
directory if there is one. Only after that, it overwrites the first file. So if the kernel kills the process
while it makes the copies, for example for its use of memory, no file has changed.

A rollback writes the old content. It must not need space that another container could have taken. So each
file is cut to the size of its new content only after everything else has succeeded. A rollback can still
fail, because some file systems, such as btrfs, need new blocks whenever a file is overwritten. Then the file
with the old content gets a name.
"""

from ..model.errors import RefusedError, WriteError
from ..oslite import blake2b, fsencode, os
from ..rootfs.confined import NO_UNNAMED, again, write_descriptor, write_error
from ..rootfs.file_system_type import is_overlay
from ..rootfs.held_files import close
from .lock import lock_mounted
from .staged_file import PIECE, StagedFile, version_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.plan import Change
    from ..rootfs.confined import Directory
    from .target_directories import TargetDirectories

#: the start of the name of a file with the old content of a mounted file that could not be restored
OLD = "old-"


class MountedFile(StagedFile):
    """A mounted file, which is overwritten in place.

    ``save_in`` is the state directory, which can hold the old content for a rollback. It is None if the apply
    has no state directory: the old content is then kept in memory.
    """

    __slots__ = ("save_in", "saved")

    def __init__(
        self, change: "Change", directories: "TargetDirectories", save_in: "Directory | None"
    ) -> None:
        super().__init__(change, directories)
        self.save_in = save_in
        #: the file without a name that has the old content
        self.saved = -1

    @property
    def identity(self) -> "tuple[int, int]":
        """The device and inode number, which are the same for all mounts of a file."""
        assert self.old is not None
        return self.old.st_dev, self.old.st_ino

    def close(self) -> None:
        super().close()
        if self.saved >= 0:
            close(self.saved)
            self.saved = -1

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

    def lock(self, until: float) -> None:
        """Open the file, and lock it. Raises BusyError if another process has the lock until ``until``."""
        self.fd = self.parent.open(self.name, write=True)
        lock_mounted(self.fd, self.change.real, until)

    def save(self, require_time: "Callable[[], None]") -> None:
        """Copy the old content, for a rollback. Raises RefusedError if the file was replaced."""
        self.directories.check(self.change)
        status = os.fstat(self.fd)
        if (status.st_dev, status.st_ino) != self.identity:
            raise self._changed("was replaced")
        size = self.directories.room_for(status.st_size, self.change)
        saved = self.saved = self._create_unnamed()
        self._read_pieces(self.fd, size, lambda piece: write_descriptor(saved, piece), require_time)

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

        If the old content is longer, ``cut`` removes its rest later.
        """
        self.committed = True
        again(os.lseek, self.fd, 0, 0)
        write_descriptor(self.fd, self.content)
        self.written = version_of(os.fstat(self.fd))

    def cut(self) -> bool:
        """Cut the file to the size of its new content. Return False if it already has this size.

        Raises RefusedError if another process has written to the file since ``commit``: processes that do not
        use locks can share the file.
        """
        now = os.fstat(self.fd)
        if version_of(now) != self.written:
            raise RefusedError(f"another process changed {self.change.real!r} while templater was writing it")
        is_longer = now.st_size > len(self.content)
        if is_longer:
            self.written = 0, 0
            os.ftruncate(self.fd, len(self.content))
            self.written = version_of(os.fstat(self.fd))
        return is_longer

    def put_back(self) -> None:
        """Restore the old content. Raises WriteError if that fails.

        If another process has written to the file since, do nothing.
        """
        if self.written[1] and version_of(os.fstat(self.fd)) != self.written:
            return
        try:
            self._put_back()
        except OSError as error:
            failed = write_error("put back", self.change.real, error)
            raise WriteError(f"{failed.message}{self._name_saved()}", hint=failed.hint) from None

    def _put_back(self) -> None:
        size = os.fstat(self.saved).st_size
        left = min(size, len(self.content))
        if os.fstat(self.fd).st_size < size:  # the file is cut
            left = size
        for fd in (self.fd, self.saved):
            again(os.lseek, fd, 0, 0)
        while left:
            piece = os.read(self.saved, min(left, PIECE))
            write_descriptor(self.fd, piece)
            left -= len(piece)
        os.ftruncate(self.fd, size)

    def _name_saved(self) -> str:
        """Give the file with the old content a name. Return a phrase with its path, or "" if that fails.

        If an earlier apply has left a file of this name, keep that file: the target has been incomplete since
        then, so only that file has the complete old content.
        """
        if self.save_in is None:
            return ""
        name = OLD + blake2b(fsencode(self.change.real)).hexdigest()
        try:
            self.save_in.name_unnamed(self.saved, name)
        except FileExistsError:
            pass
        except OSError:  # for example, the file system of the directory has no files without names
            return ""
        return f"; its old content is in {self.save_in.path_of(name)!r}"
