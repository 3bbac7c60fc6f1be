"""One file that ``apply`` creates or replaces. If the run fails, templater restores the old file.

templater writes the new content to a file without a name. A link or a rename then gives this file its name.
Other users must not be able to delay these steps by holding locks of the file system.
"""

import errno

from ..model.entry import OVERFLOW_ID
from ..model.errors import LimitError, RefusedError, WriteError
from ..model.plan import CREATE, UPDATE
from ..oslite import os, stat
from ..rootfs.close_in_another_process import close
from ..rootfs.confined_directory import NO_UNNAMED, Directory
from ..rootfs.paths import components, not_regular
from ..rootfs.regular_files import write_descriptor
from ..rootfs.system_calls import again, bytes_of, kind_of, write_error
from .attributes import drop_inherited_acl, project_of
from .remove_leftovers import above, attempt, kept_name
from .target_directories import TargetDirectories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.plan import Change


#: the number of bytes of an old file that one system call reads; this can take the kernel a tenth of a second
PIECE = 1 << 18


class StagedFile:
    """One file that ``apply`` writes, with a record of the steps that are done."""

    __slots__ = (
        "backup", "backup_inode", "change", "committed", "copy_fd", "directories", "fd", "inode", "name",
        "old", "parent", "passing", "staged", "written",
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
        #: the temporary name (directory and name) of the old content
        self.backup: tuple[Directory, str] | None = None
        self.backup_inode = 0
        #: the descriptor of a copy of the old file, which stays open until the copy is on the disk
        self.copy_fd = -1
        #: the temporary name of the new content, if the file system has no unnamed files
        self.staged: tuple[Directory, str] | None = None
        #: the temporary name in the target's directory; None if no file can have this name
        self.passing: tuple[Directory, str] | None = None
        self.committed = False

    @property
    def content(self) -> bytes:
        return self.change.content or b""

    @property
    def names(self) -> "list[tuple[Directory, str]]":
        """All possible temporary names of this change's files, as pairs of a directory and a name."""
        return [name for name in (self.staged, self.backup, self.passing) if name]

    def close(self) -> None:
        self.close_copy()
        if self.fd >= 0:
            close(self.fd)
            self.fd = -1

    def close_copy(self) -> None:
        if self.copy_fd >= 0:
            close(self.copy_fd)
            self.copy_fd = -1

    # checking

    def needs_writing(self, require_time: "Callable[[], None]") -> bool:
        """Return False if the file on disk already has the planned content, else True.

        Raises RefusedError if the target is not as the plan expects. The function ``require_time`` raises an
        error if no time is left.
        """
        if self.old is None:
            if self.change.action == UPDATE:
                raise self._changed("was removed")
            return True
        if not stat.S_ISREG(self.old.st_mode):
            raise not_regular(self.change.real, kind_of(self.old.st_mode))
        if self.parent.is_mount(self.name):
            self._require_in_place()
        elif self.change.in_place:
            raise self._changed("was unmounted")
        same_size = self.old.st_size == len(self.content)
        if same_size and self.directories.rootfs.while_reading(
            lambda check: self.parent.has_content(self.name, self.content, check), require_time
        ):
            return False
        if self.change.action == CREATE:
            raise self._changed("has appeared")
        return True

    def _require_in_place(self) -> None:
        if not self.directories.root.cross_mounts:
            raise RefusedError(
                f"{self.change.real!r} is a mount point, which can't be replaced",
                hint="to overwrite the mounted file, use `apply --cross-mounts` or `hook --in-place`",
            )
        if not self.change.in_place:
            raise self._changed("has become a mount point")

    def _changed(self, what: str) -> RefusedError:
        return RefusedError(f"{self.change.real!r} {what} since the plan was made", hint="plan again")

    # staging

    def stage(self, require_time: "Callable[[], None]") -> None:
        """Write the new content to a staged file, with its owner, mode and attributes.

        The function ``require_time`` raises an error if no time is left.
        """
        self.fd = self._create()
        self.inode = os.fstat(self.fd).st_ino
        if self.passing is not None:
            self.staged = self._link_passing(self.inode)
            self._unlink_passing()
        drop_inherited_acl(self.fd)
        write_descriptor(self.fd, self.content)
        self.written = version_of(os.fstat(self.fd))
        if self.old is None:
            os.fchown(self.fd, *self.directories.ids.on_disk(self.change.uid, self.change.gid))
            os.fchmod(self.fd, self.change.mode & 0o777)
            return
        old = self.parent.open(self.name)
        try:
            status = os.fstat(old)
            if status.st_ino != self.old.st_ino:
                raise self._changed("was replaced")
            # On an overlay, several containers can share a file of a lower layer. For a second name, the
            # kernel would copy the file, and on btrfs and xfs take a lock of the file. Any user who may read
            # the file can hold this lock without end. A rename over the old file copies only directories.
            # In a directory with a project id (for a quota of ext4 or XFS), the kernel refuses to link or
            # move a file with another project id. So a rollback could not give the old file its name again.
            is_copied = self._on_overlay() or self._is_of_other_project(old)
            self._count_old(is_copied=is_copied)
            if status.st_uid == OVERFLOW_ID:
                self._require_known_owner(old)
            if is_copied:
                self._copy_old(old, status, require_time)
            else:
                self._carry_over(old, status)
                self._link_old(status.st_ino)
        finally:
            close(old)

    def _require_known_owner(self, old: int) -> None:
        """Raise RefusedError if this process's user namespace does not map the owner of the old file."""
        # The kernel shows such an owner as ``nobody``, so the new file would belong to ``nobody``.
        # The kernel allows O_NOATIME to the owner of the file, and to root only if the namespace maps the
        # owner.
        try:
            os.close(os.open(f"/proc/self/fd/{old}", os.O_RDONLY | os.O_NOATIME | os.O_CLOEXEC))
        except PermissionError:
            raise RefusedError(
                f"the owner of {self.change.real!r} is unknown in this user namespace",
                hint="change the owner of the file to a user of the container",
            ) from None
        except FileNotFoundError:  # /proc is not mounted
            pass

    def _is_of_other_project(self, old: int) -> bool:
        """Return whether the directory gave the new file a project id that differs from the old file's id."""
        if project_of(old)[0] == project_of(self.fd)[0]:
            return False
        directory = again(os.open, ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.parent.fd)
        try:
            return project_of(directory)[1]
        finally:
            close(directory)

    def _count_old(self, *, is_copied: bool) -> None:
        """Add the size of the target to the sizes of all replaced files, which have a limit.

        If ``is_copied`` is true, templater or the kernel copies the target, and the limit is lower.
        """
        assert self.old is not None
        self.directories.count_replaced(bytes_of(self.old), self.change, is_copied=is_copied)

    def _on_overlay(self) -> bool:
        return self.directories.is_on_overlay(self.parent.fd)

    def _read_pieces(
        self, fd: int, size: int, use: "Callable[[bytes], None]", require_time: "Callable[[], None]"
    ) -> None:
        """Read at most ``size`` bytes of the old file. Call ``use`` with each piece."""
        left = size

        def read(check: "Callable[[], None]") -> None:
            nonlocal left
            while left > 0:
                check()
                piece = os.read(fd, min(left, PIECE))
                if not piece:
                    return
                use(piece)
                left -= len(piece)

        self.directories.rootfs.while_reading(read, require_time)

    def _create(self) -> int:
        """Create a file without a name. If that is not possible, create a file with the name ``passing``."""
        if self.directories.unnamed:
            try:
                return self.parent.create_unnamed()
            except OSError as error:
                if error.errno not in NO_UNNAMED:
                    raise
        name = self.directories.first_name()
        self.passing = self.parent, name
        return self.parent.create(name)

    def _link_passing(self, inode: int) -> "tuple[Directory, str]":
        """Give a file a second temporary name. Return the directory and the second name."""
        assert self.passing is not None
        # A file may have the temporary name ``passing`` only for a moment.
        parent, passing = self.passing
        return self.directories.link_somewhere(
            inode, parent, lambda directory, name: parent.link(passing, directory, name)
        )

    def _unlink_passing(self) -> None:
        assert self.passing is not None
        parent, passing = self.passing
        parent.unlink(passing)
        self.passing = None

    def _carry_over(self, old: int, status: "os.stat_result", copy: "int | None" = None) -> None:
        """Give the new file the owner, the attributes and, last, the mode of the old file.

        The descriptor ``copy`` of a copy of the old file gets the same values.
        """
        new = [self.fd] if copy is None else [self.fd, copy]
        for fd in new:
            os.fchown(fd, status.st_uid, status.st_gid)
        self.directories.attributes.copy(old, self.fd, self.change.real, copy)
        for fd in new:
            # The mode is last, because chown and ACLs change mode bits.
            os.fchmod(fd, stat.S_IMODE(status.st_mode))

    def _copy_old(self, old: int, status: "os.stat_result", require_time: "Callable[[], None]") -> None:
        """Copy the old file to a private file with a temporary name.

        Then give the old file's owner, attributes and mode to the copy and to the new file.
        """
        assert self.old is not None
        fd = self.copy_fd = self._create()
        try:
            self.backup_inode = os.fstat(fd).st_ino
            if self.passing is not None:
                self.backup = self._link_passing(self.backup_inode)
                self._unlink_passing()
            drop_inherited_acl(fd)
            self._read_pieces(old, self.old.st_size, lambda piece: write_descriptor(fd, piece), require_time)
            self._carry_over(old, status, fd)
            again(os.utime, fd, ns=(status.st_atime_ns, status.st_mtime_ns))
            if self.backup is None:
                self.backup = self.directories.link_somewhere(
                    self.backup_inode, self.parent, lambda directory, name: directory.name_unnamed(fd, name)
                )
        finally:
            if not self.directories.durable:
                self.close_copy()

    def _link_old(self, inode: int) -> None:
        """Give the old file a temporary name.

        Raises LimitError if the old file already has the maximum number of hard links.
        """
        try:
            self.backup = self.directories.link_somewhere(
                inode, self.parent, lambda directory, name: self.parent.link(self.name, directory, name)
            )
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            raise LimitError(
                f"{self.change.real!r} has the maximum number of hard links,"
                " so templater can't give the old file a temporary name",
                hint="remove one of the other hard links, or the file itself",
            ) from None
        self.backup_inode = inode

    # committing

    def commit(self) -> None:
        """Put the new content in place. Raises RefusedError if another process has changed the target."""
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
        """Replace the target by the file with this inode number.

        The function ``link`` gives the file a temporary name. If the process is killed before the rename,
        this name remains.
        """
        # A rename between two directories would take a lock of the whole file system. Any user with a
        # directory on this file system can hold that lock without end. A process that opens the temporary
        # name can delay the rename, so the file has this name only for a few microseconds.
        name = self.directories.passing_name(inode)
        self.passing = self.parent, name
        self.parent.hold(self.name)
        link(name)
        self.parent.rename_held(name, self.parent, self.name)
        self.passing = None

    # rolling back

    def put_back(self) -> None:
        """Restore the old content. Raises WriteError if that fails.

        If another process has replaced the new file, do nothing.
        """
        try:
            self._put_back()
        except OSError as error:
            failed = write_error("restore", self.change.real, error)
            raise WriteError(f"{failed.message}{self._keep_backup()}", hint=failed.hint) from None

    def _keep_backup(self) -> str:
        """Rename the backup of the old content to a name that no later run removes.

        Return the end of an error message with the new name, or "" if no backup was renamed.
        """
        if self.backup is None:
            return ""
        directory, name = self.backup
        kept = kept_name(name)
        if attempt(directory.rename, name, directory, kept):
            return ""
        self.backup = None
        return f"; its old content is in {directory.path_of(kept)!r}"

    def _put_back(self) -> None:
        now = self.parent.lstat(self.name)
        if now is None or now.st_ino != self.inode:
            return  # the new file never got the name, or another process has replaced it
        if self.backup is None:
            self.parent.unlink(self.name)
            return
        directory, backup = self.backup
        try:
            self._replace(self.backup_inode, lambda name: directory.link(backup, self.parent, name))
        except OSError:  # for example, the disk is full: a rename needs no space
            directory.rename(backup, self.parent, self.name)


def version_of(status: "os.stat_result") -> "tuple[int, int]":
    """Return the size and the modification time of a file, which show whether it was changed."""
    return status.st_size, status.st_mtime_ns
