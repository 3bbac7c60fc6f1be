"""One file of an apply.

The file is staged without a name, put in place by one system call, and restored on failure.
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
from ..rootfs.held_files import close
from ..rootfs.paths import components, not_regular
from .attributes import drop_inherited_acl
from .recovery import above
from .target_directories import TargetDirectories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.plan import Change


class StagedFile:
    """One file of an apply. It records which steps are done."""

    __slots__ = (
        "backup", "before", "change", "committed", "directories", "fd", "flushed", "inode", "name",
        "old", "parent", "staged", "written",
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
        #: the temporary names (directory and name) of the new content and of the old content
        self.staged: tuple[Directory, str] | None = None
        self.backup: tuple[Directory, str] | None = None
        #: the old content of a mount point, set before templater writes to the mount point
        self.before: bytes | None = None
        self.committed = False
        #: whether the new content is on the disk
        self.flushed = False

    @property
    def content(self) -> bytes:
        return self.change.content or b""

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

    def stage(self) -> None:
        """Write the new content to a staged file, with its owner, mode and attributes."""
        if self.change.in_place:
            self._count_copy()
            return
        self._open_staged()
        drop_inherited_acl(self.fd)
        write_descriptor(self.fd, self.content)
        self.written = version_of(os.fstat(self.fd))
        if self.old is None:
            os.fchown(self.fd, *self.directories.ids.on_disk(self.change.uid, self.change.gid))
            os.fchmod(self.fd, self.change.mode & 0o777)
            self._flush()
        else:
            self.directories.count_replaced(bytes_of(self.old), self.change)
            if self.old.st_nlink > 1:
                self.old = self._with_own_inode(self.old)
            self._carry_over()
            self._flush()
            self._give_names(self.old.st_ino)

    def _flush(self) -> None:
        """On btrfs, write the content to the disk while the file has no name, see ``disk_sync``."""
        if self.directories.flushes and self.staged is None:
            from ..rootfs.disk_sync import flush_unnamed

            self.flushed = flush_unnamed(self.fd)

    def _with_own_inode(self, old: "os.stat_result") -> "os.stat_result":
        """Open the target for writing, close it, and return the target's status after this.

        If the target is in the lower layer of an overlay, overlayfs copies the file at the first opening for
        writing. If the file has several hard links, the copy has another inode.
        """
        self._count_attributes()
        try:
            close(self.parent.open(self.name, write=True))
        except OSError:  # for example, a running program
            return old
        now = self.parent.lstat(self.name)
        return old if now is None or version_of(now) != version_of(old) else now

    def _count_copy(self) -> None:
        """Count the size and the attributes of a mounted file.

        If the file is in a lower layer of an overlay, overlayfs copies it when templater opens it to write.
        """
        if self.old is not None:
            self.directories.count_replaced(bytes_of(self.old), self.change)
            self._count_attributes()

    def _count_attributes(self) -> None:
        fd = self.parent.open(self.name)
        try:
            self.directories.attributes.count(fd, self.change.real)
        finally:
            close(fd)

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
        self.staged = self.parent, name
        self.fd = self.parent.create(name)
        self.inode = os.fstat(self.fd).st_ino
        self.staged = self.directories.link_somewhere(
            self.inode, self.parent, lambda directory, named: self.parent.rename(name, directory, named)
        )

    def _carry_over(self) -> None:
        """Copy the owner, the attributes and, last, the mode, because chown and ACLs change mode bits."""
        old = self.parent.open(self.name)
        try:
            status = os.fstat(old)
            if self.old is None or status.st_ino != self.old.st_ino:
                raise self._changed("was replaced")
            os.fchown(self.fd, status.st_uid, status.st_gid)
            self.directories.attributes.copy(old, self.fd, self.change.real)
            os.fchmod(self.fd, stat.S_IMODE(status.st_mode))
        finally:
            close(old)

    def _give_names(self, old: int) -> None:
        """Create two temporary names: one for the new content (until its rename), and one for the old
        content.

        Raises LimitError if the old file has the maximum number of hard links, so it can't get another name.
        """
        if self.staged is None:
            self.staged = self.directories.link_somewhere(
                self.inode, self.parent, lambda directory, name: directory.name_unnamed(self.fd, name)
            )
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
            if self.staged is None:
                self.parent.name_unnamed(self.fd, self.name)
            else:
                self.staged[0].link(self.staged[1], self.parent, self.name)
        except FileExistsError:
            raise self._changed("has appeared") from None
        self.committed = True

    def _commit_replacement(self, old: "os.stat_result") -> None:
        assert self.staged is not None
        now = self.parent.lstat(self.name)
        if now is None or now.st_ino != old.st_ino:
            raise self._changed("was replaced")
        if version_of(now) != version_of(old):
            raise self._changed("was changed")
        # Set the flag before the rename: a rename can report an error although it succeeds.
        # A rollback (``put_back``) checks which file has the name.
        self.committed = True
        self.staged[0].rename(self.staged[1], self.parent, self.name)
        now = self.parent.lstat(self.name)
        if now is None or now.st_ino != self.inode:
            raise RefusedError(
                f"another process replaced {self.change.real!r} while templater was writing it"
            )

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
        else:
            self.backup[0].rename(self.backup[1], self.parent, self.name)


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
