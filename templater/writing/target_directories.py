"""The existing and new directories in which one run writes files, and the temporary names in them."""

import errno

from ..model.entry import common_depth, parents_below
from ..model.errors import InputError, LimitError, RefusedError, WriteError
from ..oslite import os, stat
from ..rootfs.confined_directory import Directory, has_unnamed
from ..rootfs.confined_root import Root
from ..rootfs.file_system_type import is_overlay
from ..rootfs.paths import MissingError, components
from ..rootfs.system_calls import again, kind_of
from .attributes import CopiedAttributes
from .remove_leftovers import above, attempt, is_private, private_name, temporary_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.plan import Change
    from ..rootfs.directory_rootfs import DirectoryRootfs
    from ..rootfs.id_map import IdMap

#: the maximum size of all files that one run replaces
MAX_REPLACED = 128 << 20
#: the maximum size of all files that one run replaces by way of a copy. templater makes the copy, or the
#: kernel copies a mounted file on an overlay.
MAX_COPIED = 32 << 20

#: maximum bytes of old content that one run keeps in memory, for a rollback of mounted files
MAX_KEPT = 64 << 20

#: the mode of new directories
_MODE = 0o755
#: errors after which the temporary file goes next to the target instead of into the root directory
_ELSEWHERE = (errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)


class TargetDirectories:
    """The directories in which a run writes, and the temporary names of files in them."""

    __slots__ = (
        "attributes", "check", "count", "counted", "durable", "ids", "is_overlay", "kept",
        "made", "opened", "places", "private", "replaced", "root", "rootfs", "token", "unnamed", "waits",
        "without_inode",
    )  # fmt: skip

    def __init__(self, rootfs: "DirectoryRootfs", root: Root, *, durable: bool, waits: bool = True) -> None:
        self.rootfs, self.root = rootfs, root
        self.ids: IdMap = rootfs.ids
        self.durable = durable
        #: whether to wait on btrfs until the names of durable files are on the disk
        self.waits = waits
        #: called with each change shortly before its file is written; can raise an error
        self.check: Callable[[Change], None] = lambda change: None
        self.token = os.urandom(6).hex()
        #: the number of the last temporary name; ``first_name`` and ``private_name`` have the numbers 0 and 1
        self.count = 1
        #: the number of bytes of old content that are kept in memory
        self.kept = 0
        #: the number of bytes of old content that are kept under temporary names
        self.replaced = 0
        self.attributes = CopiedAttributes()
        #: the last directory for which attributes were counted: its own and those of all directories above it
        self.counted = ""
        #: whether the root directory is on an overlay
        self.is_overlay = is_overlay(root.fd)
        #: whether temporary names contain no inode number, so that the journal suffices to find them
        self.without_inode = False
        #: whether to stage files without names; giving an unnamed file a name needs /proc
        self.unnamed = has_unnamed()
        self.opened: dict[str, Directory] = {}
        #: for the path of each directory, the place of the temporary names: the directory itself, or its
        #: private directory
        self.places: dict[str, Directory] = {}
        #: the directories in which this run has made a private directory
        self.private: list[Directory] = []
        #: new directories, which a rollback removes
        self.made: list[tuple[Directory, str]] = []

    def close(self) -> None:
        for directory in self.opened.values():
            directory.close()

    def directory(self, path: str) -> Directory:
        """Return the open directory at a path, which stays open for other files.

        Raises RefusedError if the directory no longer exists, and WriteError if it can't be opened.
        """
        found = self.opened.get(path)
        if found is None:
            if path != "/":  # every layer of an overlay has the root directory
                self._count_attributes(path + "/")
            found = self.opened[path] = self._open_directory(path)
        return found

    def _count_attributes(self, path: str) -> None:
        """Count the attributes of the directories above a path.

        Skip directories that are also above the path of the previous call.
        """
        # Before overlayfs changes a file, it copies the directories above the file, with their attributes.
        for place in parents_below(path, common_depth(self.counted, path)):
            with self._open_directory(place) as directory:
                self.attributes.count(directory.fd, place)
        self.counted = path

    def _open_directory(self, path: str) -> Directory:
        try:
            return self.root.directory(path)
        except MissingError:
            raise RefusedError(f"{path!r} was removed since the plan was made", hint="plan again") from None
        except InputError as error:
            raise WriteError(error.message, hint=error.hint) from None

    def room_for(self, size: int, change: "Change") -> int:
        """Count the size of a mounted file's old content, which a rollback needs. Return ``size``.

        Raises LimitError above ``MAX_KEPT``.
        """
        self.kept += size
        # The limit is needed because the container's processes choose the size of a mounted file.
        if size > MAX_KEPT or self.kept > MAX_KEPT:
            raise LimitError(
                f"{change.real!r} is a mounted file of {size} bytes, more than the limit of {MAX_KEPT}",
                hint="truncate the file, or omit --cross-mounts or --in-place",
            )
        return size

    def is_on_overlay(self, fd: int) -> bool:
        """Return whether an open file or directory is on an overlay."""
        return is_overlay(fd) if self.root.cross_mounts else self.is_overlay

    def count_replaced(self, size: int, change: "Change", *, is_copied: bool) -> None:
        """Count the size of a file's old content, which has a temporary name until the end of the run.

        Raises LimitError above ``MAX_REPLACED``, or above ``MAX_COPIED`` if templater or the kernel copies
        the file.
        """
        self.replaced += size
        most = MAX_COPIED if is_copied else MAX_REPLACED
        if self.replaced > most:
            raise LimitError(
                f"{change.real!r} has {size} bytes, but one run may replace at most {most} bytes in total",
                hint="truncate or remove the file",
            )

    def first_name(self) -> str:
        """Return the temporary name that a new file or directory has for a moment, beside its target."""
        return temporary_name(self.token, 0, 0)

    def passing_name(self, inode: int) -> str:
        """Return a temporary name beside a target. The target's new file has this name only for a moment."""
        return temporary_name(self.token, 0 if self.without_inode else inode, 0)

    def next_name(self, inode: int) -> str:
        self.count += 1
        return temporary_name(self.token, 0 if self.without_inode else inode, self.count)

    def make_directory(self, path: str) -> None:
        """Create a directory under a temporary name, set its owner and mode, then rename it.

        Raises RefusedError if the path exists but is not a directory.
        """
        parent = self.directory(above(path))
        name = components(path)[-1]
        found = parent.lstat(name)
        if found is not None:
            if not stat.S_ISDIR(found.st_mode):
                raise RefusedError(f"{path!r} has become a {kind_of(found.st_mode)} since the plan was made")
            return
        # Because of the temporary name, a killed run leaves no directory with a wrong owner.
        staged = self.first_name()
        self._make_owned(parent, staged, path)
        # look again, because overlayfs reads all names of a directory before it replaces the directory
        if parent.lstat(name) is not None:
            raise RefusedError(f"another process created {path!r} while templater was creating it")
        try:
            parent.rename(staged, parent, name)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # in a user namespace, overlayfs can't mark a renamed directory with an attribute
            parent.rmdir(staged)
            self.made.pop()
            is_own = self.ids.on_disk(0, 0) == (os.geteuid(), os.getegid())
            self._make_owned(parent, name, path, _MODE if is_own else 0o700)
        else:
            self.made[-1] = parent, name

    def _make_owned(self, parent: Directory, name: str, path: str, mode: int = 0o700) -> None:
        """Create a directory with a mode. Then set its owner and its final mode.

        ``path`` is the path for error messages.
        """
        parent.mkdir(name, mode)
        self.made.append((parent, name))
        with parent.directory(name) as made:
            # The owner of the parent directory could have replaced the new directory by another.
            status = again(os.fstat, made.fd)
            is_new = status.st_uid == os.geteuid() and not status.st_mode & 0o777 & ~mode
            if not is_new or made.names_with("", 1)[0]:
                raise RefusedError(f"another process replaced {path!r} while templater was creating it")
            os.fchown(made.fd, *self.ids.on_disk(0, 0))
            # keep the setgid bit that a setgid parent passes on, as Incus and LXD do
            os.fchmod(made.fd, _MODE | again(os.fstat, made.fd).st_mode & stat.S_ISGID)

    def link_somewhere(
        self, inode: int, beside: Directory, link: "Callable[[Directory, str], None]"
    ) -> "tuple[Directory, str]":
        """Give a file a temporary name. Return the directory that contains the name, and the name.

        Use the root directory, or if it can't be used, ``beside``, the target's directory. The function
        ``link`` creates the name.
        """
        # ``remove_leftovers`` expects at most two of these names for each changed file.
        name = self.next_name(inode)
        try:
            place = self._temporary_place(self.directory("/"))
            link(place, name)
        except OSError as error:
            if error.errno not in _ELSEWHERE or beside.path == "/":
                raise
            place = self._temporary_place(beside)
            link(place, name)
        return place, name

    def _temporary_place(self, directory: Directory) -> Directory:
        """Return the directory for temporary names: ``directory`` itself, or a private directory in it."""
        found = self.places.get(directory.path)
        if found is None:
            # If another user owns one of these directories, use a private directory. The container's
            # processes then can't read or change the new files, or block their changes.
            owners = {again(os.fstat, each.fd).st_uid for each in (self.directory("/"), directory)}
            found = directory if owners == {os.geteuid()} else self._make_private(directory)
            self.places[directory.path] = found
        return found

    def _make_private(self, directory: Directory) -> Directory:
        name = private_name(self.token)
        if directory not in self.private:
            directory.mkdir(name, 0o700)
            self.private.append(directory)
        private = directory.directory(name)
        self.opened[private.path] = private
        if not is_private(again(os.fstat, private.fd)):
            raise RefusedError("another process replaced a temporary directory of templater")
        return private

    def remove_private(self) -> bool:
        """Remove the private directories. Return False if a private directory remains."""
        # A user of the container can have renamed a private directory, so that this method can't find it.
        # Such a directory counts as removed, because an empty directory does no harm.
        troubles = [attempt(self._remove_private, directory) for directory in self.private]
        return not any(troubles)

    def _remove_private(self, directory: Directory) -> None:
        if directory.path in self.places:
            self.places[directory.path].close()  # otherwise, it would be open without a name
        try:  # noqa: SIM105 - importing contextlib slows down the start of hooks
            directory.rmdir(private_name(self.token))
        except FileNotFoundError:
            pass
