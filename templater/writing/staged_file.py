"""One file of an apply.

The file is staged without a name, put in place by a link or a rename, and restored on failure.

Every rename is inside of the target's directory. A rename between two directories takes a lock of the whole
file system, which any user with a directory there can hold without end. So a file first gets a temporary name
in the target's directory, for a few microseconds: a process that opens the file there could make the rename
wait.
"""

import errno

from ..model.errors import LimitError, RefusedError
from ..model.plan import CREATE, UPDATE
from ..oslite import os, stat
from ..rootfs.confined import (
    NO_UNNAMED,
    Directory,
    again,
    bytes_of,
    kind_of,
    read_descriptor,
    write_descriptor,
    write_error,
)
from ..rootfs.file_system_type import is_overlay
from ..rootfs.held_files import close
from ..rootfs.paths import components, not_regular
from .attributes import drop_inherited_acl
from .recovery import above
from .target_directories import TargetDirectories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.plan import Change


#: how many bytes of an old file one system call reads: the kernel can need a tenth of a second for them
_PIECE = 1 << 18


class StagedFile:
    """One file of an apply. It records which steps are done."""

    __slots__ = (
        "backup", "before", "change", "committed", "directories", "fd", "inode", "is_copied", "name", "old",
        "parent", "passing", "staged", "written",
    )  # fmt: skip

    def __init__(self, change: "Change", directories: TargetDirectories) -> None:
        self.change = change
        self.directories = directories
        self.parent = directories.directory(above(change.real))
        self.name = components(change.real)[-1]
        self.old = self.parent.lstat(self.name)
        self.fd = -1
        self.inode = 0
        #: the size and the modification time of the staged file
        self.written = 0, 0
        #: the temporary names (directory and name) of the old content and, without unnamed files, of the new
        self.backup: tuple[Directory, str] | None = None
        self.staged: tuple[Directory, str] | None = None
        #: the temporary name in the target's directory, while a file has it or may have it
        self.passing: tuple[Directory, str] | None = None
        #: the old content of a mount point, set before templater writes to the mount point
        self.before: bytes | None = None
        self.committed = False
        #: whether the kernel may copy the old content, because it is on an overlay
        self.is_copied = False

    @property
    def content(self) -> bytes:
        return self.change.content or b""

    @property
    def names(self) -> "list[tuple[Directory, str]]":
        """The temporary names (directory and name) that files of this change have or may have."""
        return [name for name in (self.staged, self.backup, self.passing) if name]

    def close(self) -> None:
        if self.fd >= 0:
            close(self.fd)
            self.fd = -1

    # checking

    def needs_writing(self, require_time: "Callable[[], None]") -> bool:
        """Return False if the file on disk already has the planned content, else True.

        Raises RefusedError if the target is not as the plan expects. ``require_time`` raises an error if no
        time is left to read the file.
        """
        if self.old is None:
            if self.change.action == UPDATE:
                raise self._changed("was removed")
            return True
        if not stat.S_ISREG(self.old.st_mode):
            raise not_regular(self.change.real, kind_of(self.old.st_mode))
        if self.parent.is_mount(self.name, self.old):
            self._require_in_place()
        elif self.change.in_place:
            raise self._changed("was unmounted")
        same_size = self.old.st_size == len(self.content)
        if same_size and self.parent.has_content(self.name, self.content, require_time):
            return False
        if self.change.action == CREATE:
            raise self._changed("has appeared")
        return True

    def _require_in_place(self) -> None:
        if not self.directories.root.cross_mounts:
            raise RefusedError(
                f"{self.change.real!r} is a mount point, which can't be replaced",
                hint="to overwrite the mounted file, allow crossing mounts",
            )
        if not self.change.in_place:
            raise self._changed("has become a mount point")

    def _changed(self, what: str) -> RefusedError:
        return RefusedError(f"{self.change.real!r} {what} since the plan was made", hint="plan again")

    # staging

    def stage(self, require_time: "Callable[[], None]") -> None:
        """Write the new content to a staged file, with its owner, mode and attributes.

        ``require_time`` raises an error if no time is left to read the old content on an overlay.
        """
        if self.change.in_place:
            self._count_old()
            self._prepare_copy(require_time)
            return
        self._open_staged()
        drop_inherited_acl(self.fd)
        write_descriptor(self.fd, self.content)
        self.written = version_of(os.fstat(self.fd))
        if self.old is None:
            os.fchown(self.fd, *self.directories.ids.on_disk(self.change.uid, self.change.gid))
            os.fchmod(self.fd, self.change.mode & 0o777)
        else:
            self._count_old()
            if self.old.st_nlink > 1:
                self.old = self._with_own_inode(self.old, require_time)
            self._carry_over(require_time)
            self._back_up(self.old.st_ino)

    def _with_own_inode(self, old: "os.stat_result", require_time: "Callable[[], None]") -> "os.stat_result":
        """Open the target for writing, close it, and return the target's status after this.

        If the target is in the lower layer of an overlay, overlayfs copies the file at the first opening for
        writing. If the file has several hard links, the copy has another inode.
        """
        self._prepare_copy(require_time)
        try:
            close(self.parent.open(self.name, write=True))
        except OSError:  # for example, a running program
            return old
        now = self.parent.lstat(self.name)
        return old if now is None or version_of(now) != version_of(old) else now

    def _prepare_copy(self, require_time: "Callable[[], None]") -> None:
        """Count the attributes of the target, and read it if it is on an overlay.

        If the file is in a lower layer of an overlay, overlayfs copies it when templater opens it to write.
        """
        fd = self.parent.open(self.name)
        try:
            self.directories.attributes.count(fd, self.change.real)
            self._read_old(fd, require_time)
        finally:
            close(fd)

    def _count_old(self) -> None:
        """Count the size of the target, which the kernel may copy if it is on an overlay."""
        assert self.old is not None
        if self.change.in_place:
            fd = self.parent.look(self.name)
            try:
                self.is_copied = is_overlay(fd)
            finally:
                close(fd)
        else:
            self.is_copied = self.directories.is_on_overlay(self.parent.fd)
        self.directories.count_replaced(bytes_of(self.old), self.change, is_copied=self.is_copied)

    def _read_old(self, fd: int, require_time: "Callable[[], None]") -> None:
        """Read the old content if it is on an overlay, but do not keep it.

        The kernel may need minutes to read a file of a lower layer, because it has to decompress far more
        data than the file has. No time limit ends a system call that copies the file. But after this
        function, the kernel copies the content from memory.
        """
        left = os.fstat(fd).st_size if self.is_copied else 0
        while left > 0:
            require_time()
            read = len(os.read(fd, min(left, _PIECE)))
            left = left - read if read else 0

    def _open_staged(self) -> None:
        if self.directories.unnamed:
            try:
                self.fd = self.parent.create_unnamed()
                self.inode = os.fstat(self.fd).st_ino
            except OSError as error:
                if error.errno not in NO_UNNAMED:
                    raise
            else:
                return
        name = self.directories.first_name()
        self.passing = self.parent, name
        self.fd = self.parent.create(name)
        self.inode = os.fstat(self.fd).st_ino
        self.staged = self.directories.link_somewhere(
            self.inode, self.parent, lambda directory, named: self.parent.link(name, directory, named)
        )
        self.parent.unlink(name)
        self.passing = None

    def _carry_over(self, require_time: "Callable[[], None]") -> None:
        """Copy the owner, the attributes and, last, the mode, because chown and ACLs change mode bits."""
        old = self.parent.open(self.name)
        try:
            status = os.fstat(old)
            if self.old is None or status.st_ino != self.old.st_ino:
                raise self._changed("was replaced")
            self._read_old(old, require_time)
            os.fchown(self.fd, status.st_uid, status.st_gid)
            self.directories.attributes.copy(old, self.fd, self.change.real)
            os.fchmod(self.fd, stat.S_IMODE(status.st_mode))
        finally:
            close(old)

    def _back_up(self, old: int) -> None:
        """Give the old content a temporary name.

        Raises LimitError if the old file has the maximum number of hard links, so it can't get another name.
        """
        try:
            self.backup = self.directories.link_somewhere(
                old, self.parent, lambda directory, name: self.parent.link(self.name, directory, name)
            )
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            raise LimitError(
                f"{self.change.real!r} has the maximum number of hard links,"
                " so templater can't give the old file a temporary name",
                hint="remove one of the other hard links, or the file itself",
            ) from None

    # committing

    def commit(self, require_time: "Callable[[], None]") -> None:
        """Put the new content in place. Raises RefusedError if another process has changed the target.

        ``require_time`` raises an error if no time is left to read the old content of a mounted file.
        """
        if self.change.in_place:
            self._write_in_place(require_time)
            return
        if version_of(os.fstat(self.fd)) != self.written:
            raise RefusedError(
                f"another process changed the new {self.change.real!r} while templater was writing it"
            )
        if self.old is None:
            self._commit_new()
        else:
            self._commit_replacement(self.old)

    def _commit_new(self) -> None:
        try:
            self._link_new(self.name)
        except FileExistsError:
            raise self._changed("has appeared") from None
        self.committed = True

    def _link_new(self, name: str) -> None:
        """Give the new content a name in the target's directory."""
        if self.staged is None:
            self.parent.name_unnamed(self.fd, name)
        else:
            self.staged[0].link(self.staged[1], self.parent, name)

    def _commit_replacement(self, old: "os.stat_result") -> None:
        now = self.parent.lstat(self.name)
        if now is None or now.st_ino != old.st_ino:
            raise self._changed("was replaced")
        if version_of(now) != version_of(old):
            raise self._changed("was changed")
        # Set the flag before the rename: a rename can report an error although it succeeds.
        # A rollback (``put_back``) checks which file has the name.
        self.committed = True
        self._replace(self.inode, self._link_new)
        now = self.parent.lstat(self.name)
        if now is None or now.st_ino != self.inode:
            raise RefusedError(
                f"another process replaced {self.change.real!r} while templater was writing it"
            )

    def _replace(self, inode: int, link: "Callable[[str], None]") -> None:
        """Replace the target by the file with this inode number. ``link`` gives the file a name.

        Between the link and the rename, there is nothing that takes time.
        """
        name = self.directories.passing_name(inode)
        self.passing = self.parent, name
        self.parent.hold(self.name)
        link(name)
        self.parent.rename_held(name, self.parent, self.name)
        self.passing = None

    def _write_in_place(self, require_time: "Callable[[], None]") -> None:
        self.fd = self.parent.open(self.name, write=True)
        status = os.fstat(self.fd)
        if self.old is None or (status.st_dev, status.st_ino) != (self.old.st_dev, self.old.st_ino):
            raise self._changed("was replaced")
        self.before = read_descriptor(
            self.fd, self.directories.room_for(status.st_size, self.change), self.change.real, require_time
        )
        self.committed = True
        overwrite(self.fd, self.content)

    # rolling back

    def put_back(self) -> None:
        """Restore the old content. Raises WriteError if that fails.

        If another process has replaced the new file, do nothing.
        """
        try:
            self._put_back()
        except OSError as error:
            raise write_error("put back", self.change.real, error) from None

    def _put_back(self) -> None:
        if self.before is not None:
            overwrite(self.fd, self.before)
            return
        now = self.parent.lstat(self.name)
        if now is None or now.st_ino != self.inode:
            return  # the new file never got the name, or another process has replaced it
        if self.backup is None:
            self.parent.unlink(self.name)
            return
        directory, backup = self.backup
        try:
            self._replace(
                0 if self.old is None else self.old.st_ino,
                lambda name: directory.link(backup, self.parent, name),
            )
        except OSError:  # for example, the disk is full: a rename needs no space
            directory.rename(backup, self.parent, self.name)


def version_of(status: "os.stat_result") -> "tuple[int, int]":
    """Return the size and the modification time of a file, which show whether it was changed."""
    return status.st_size, status.st_mtime_ns


def overwrite(fd: int, content: bytes) -> None:
    """Overwrite a file, then truncate it to its new size.

    Because the file is truncated last, readers see incomplete content only for a short time.
    """
    again(os.lseek, fd, 0, 0)
    write_descriptor(fd, content)
    os.ftruncate(fd, len(content))
