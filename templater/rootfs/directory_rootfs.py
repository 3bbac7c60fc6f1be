"""A root filesystem on disk."""

from time import monotonic

from ..model.entry import APPEND_ONLY, DIRECTORY, IMMUTABLE, Entry
from ..model.errors import LimitError, RefusedError
from ..model.unprintable_characters import printable
from ..oslite import HAS_DESCRIPTORS, Closing, islink, os
from . import confined_root
from .close_in_another_process import close
from .id_map import IDENTITY, IdMap, shifted
from .paths import MissingError, SlowError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from os import PathLike
    from typing import Any, TypeVar

    from ..model.entry import RootfsView
    from .confined_without_descriptors import ByName

    Result = TypeVar("Result")

#: the fraction of the remaining time that a hook can use to read files and compare them with a plan
READING = 1 / 4

#: Linux: include/uapi/linux/fs.h, FS_IOC_GETFLAGS, FS_IMMUTABLE_FL, FS_APPEND_FL
_GET_FLAGS, _IMMUTABLE, _APPEND = 0x80086601, 0x10, 0x20


def open_root(path: str, *, cross_mounts: bool = False) -> "confined_root.Root | ByName":
    """Open a directory for reading, on any system."""
    if HAS_DESCRIPTORS:
        return open_tree(path, cross_mounts=cross_mounts)
    from .confined_without_descriptors import ByName

    return ByName(path)


def open_tree(path: str, *, cross_mounts: bool = False) -> confined_root.Root:
    """Open a directory for reading.

    As root, refuse a link of another user, because the link could lead to secret files.
    """
    if os.geteuid() != 0:
        return confined_root.Root(path, cross_mounts=cross_mounts)
    from .trusted_paths import open_folder

    root = open_folder(path)
    root.named, root.cross_mounts = False, cross_mounts
    return root


class DirectoryRootfs(Closing):
    """A ``RootfsView`` of a directory to which ``apply`` can write.

    * ``ids``: the runtime's id map. Without a map, the directory's owner counts as the container's root.
    * ``cross_mounts``: whether targets can be mount points, or below mount points

    Raises RefusedError if the map's id for root is not the owner of the directory.
    """

    __slots__ = ("begun", "ids", "left", "root", "seconds")

    def __init__(
        self,
        path: "str | PathLike[str] | confined_root.Root | ByName",
        ids: "IdMap | None" = None,
        *,
        cross_mounts: bool = False,
    ) -> None:
        opened: "Any" = path
        if hasattr(path, "__fspath__"):  # an os.PathLike, whose type hooks have not imported
            opened = path.__fspath__()
        self.root: "confined_root.Root | ByName" = (
            _open_rootfs(opened, cross_mounts) if isinstance(opened, str) else opened
        )
        top = self.root.entry("/")
        assert top is not None
        self.ids = shifted(top.uid, top.gid) if ids is None else ids
        #: the time limit on reading files, and the remaining time, in seconds
        self.seconds = self.left = float("inf")
        #: the time of ``monotonic`` at which the last read began
        self.begun = 0.0
        # With such a map, every file would get a wrong owner.
        if ids is not None and ids.on_disk(0, 0)[0] != top.uid:
            mapped = ids.on_disk(0, 0)[0]
            self.root.close()
            hint = (
                "check whether the directory is mounted with another id map, or whether the owners of its"
                " files were never shifted"
            )
            if ids is IDENTITY:
                hint = "set the id map in the container's configuration, or give the directory to root"
            raise RefusedError(
                f"the id map gives root the uid {mapped} on disk, but {self.name!r} belongs to uid {top.uid}",
                hint=hint,
            )

    def __repr__(self) -> str:
        return f"DirectoryRootfs({self.name!r})"

    def close(self) -> None:
        self.root.close()

    @property
    def name(self) -> str:
        return self.root.name

    def entry(self, path: str) -> "Entry | None":
        found = self.root.entry(path)
        if found is not None:
            found.uid, found.gid = self.ids.in_container(found.uid, found.gid)
        return found

    def limit_reading(self, seconds: float) -> None:
        """Limit the total time, in seconds, of ``read``, ``has_content`` and ``while_reading``.

        When the time is over, these methods raise SlowError.
        """
        # Limits on processor time do not include the kernel's work, such as decompression.
        self.seconds = self.left = max(seconds, 0.0)

    def read(self, path: str, limit: int) -> bytes:
        if not isinstance(self.root, confined_root.Root):
            return self.root.read(path, limit)
        root = self.root
        return self.while_reading(lambda check: root.read(path, limit, before_piece=check))

    def has_content(self, path: str, content: bytes) -> bool:
        """Return whether a regular file has this content. Reading stops at the first difference."""
        if not isinstance(self.root, confined_root.Root):
            try:
                return self.root.read(path, len(content)) == content
            except LimitError:
                return False
        root = self.root
        return self.while_reading(lambda check: root.has_content(path, content, check))

    def while_reading(
        self, read: "Callable[[Callable[[], None]], Result]", require_time: "Callable[[], None] | None" = None
    ) -> "Result":
        """Call ``read`` with a function that raises SlowError if the time of ``limit_reading`` is over.

        ``read`` must call that function before each piece of a file. That function first calls
        ``require_time``, which can raise an error.
        """
        self.begun = monotonic()

        def check() -> None:
            if require_time is not None:
                require_time()
            self._require_time()

        try:
            return read(check)
        finally:
            self.left -= monotonic() - self.begun

    def _require_time(self) -> None:
        if monotonic() - self.begun > self.left:
            raise SlowError(
                f"reading the files of {self.name!r} takes longer than {self.seconds:.1f} s",
                hint="remove files that are slow to read, or allow more time with --time-limit (hooks)"
                " or --limit time (commands)",
            )

    def flag(self, path: str) -> str:
        """Return the chattr(1) flag that prevents root from writing to a regular file or directory.

        Return "" if the path is missing, or if neither IMMUTABLE nor APPEND_ONLY is set.
        """
        root = self.root
        if not isinstance(root, confined_root.Root):
            return ""
        try:
            fd = root.open(path, or_directory=True)
        except MissingError:
            return ""
        try:
            return _flag_of(fd)
        finally:
            close(fd)

    def listdir(self, path: str, *, most: "int | None" = None) -> "list[str]":
        return self.root.listdir(path, most=most)

    def walk(self, path: str = "/") -> "Iterator[tuple[str, Entry]]":
        """Yield the paths and entries below a directory, sorted, parents first. Do not enter mount points."""
        waiting = self._entries(path)
        while waiting:
            below, entry = waiting.pop()
            yield below, entry
            if entry.kind == DIRECTORY and not entry.is_mount:
                waiting += self._entries(below)

    def _entries(self, path: str) -> "list[tuple[str, Entry]]":
        """Return the paths and entries of everything in a directory, in reverse order of the names."""
        root, above = self.root, path.rstrip("/")
        if not isinstance(root, confined_root.Root):
            named = [(name, root.entry(f"{above}/{name}")) for name in root.listdir(path)]
            found = [(name, entry) for name, entry in named if entry is not None]
        else:
            found = root.entries(path)
        for _, entry in found:
            entry.uid, entry.gid = self.ids.in_container(entry.uid, entry.gid)
        return [(f"{above}/{name}", entry) for name, entry in reversed(found)]


def limit_reading(rootfs: "RootfsView | None", seconds: "float | None") -> None:
    """Call ``DirectoryRootfs.limit_reading`` if the root filesystem is on disk."""
    limit: Callable[[float], None] | None = getattr(rootfs, "limit_reading", None)
    if limit is not None and seconds is not None:
        limit(seconds)


def _flag_of(fd: int) -> str:
    from fcntl import ioctl

    try:
        flags = int.from_bytes(ioctl(fd, _GET_FLAGS, bytes(8))[:4], "little")
    except OSError:  # the file system does not support chattr flags
        return ""
    return IMMUTABLE if flags & _IMMUTABLE else APPEND_ONLY if flags & _APPEND else ""


def _open_rootfs(path: str, cross_mounts: bool) -> "confined_root.Root | ByName":
    """Open a root filesystem. Raises RefusedError if its path is a symlink."""
    from os.path import normpath, realpath

    from .trusted_paths import is_magic, open_folder

    # An image that another program unpacked can contain ``rootfs -> /`` (CVE-2026-48749). A user who names
    # ``image/rootfs`` does not want to write to the host's root.
    # the kernel follows a link before a final "/", "/." or "/etc/.."
    clean = normpath(path)
    if path and islink(clean):
        hint = f"if you created the symlink, give its target instead: {printable(realpath(clean))}"
        if is_magic(
            os.lstat(clean), os.readlink(clean)
        ):  # /proc/PID/root of a container seems to lead to "/"
            hint = "give the path of the directory, not a link in /proc"
        raise RefusedError(f"'{printable(clean)}' is a symlink, not a directory", hint=hint)
    if not HAS_DESCRIPTORS:
        return open_root(path)
    root = open_folder(path, follow=False)
    root.named, root.cross_mounts = False, cross_mounts
    return root
