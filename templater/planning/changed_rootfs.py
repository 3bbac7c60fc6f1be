"""The state of a root filesystem after the passes that are already planned."""

from ..model.entry import (
    APPEND_ONLY,
    DIRECTORY,
    FILE,
    IMMUTABLE,
    Entry,
    Resolved,
    common_depth,
    parents_below,
)
from ..model.errors import LimitError, WriteError
from ..model.plan import WRITING, Change
from ..model.unprintable_characters import printable
from ..rootfs.paths import SlowError, UnmappedError
from .follow_links import place_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.entry import RootfsView
    from ..model.metadata import Rule

#: maximum size in bytes of an existing file that is read; larger files always count as different
MAX_COMPARED = 64 << 20
#: maximum number of bytes that one plan keeps from existing files, for a patch
MAX_KEPT = 8 << 20
#: stands for an unknown depth, because no path is this deep
_DEEPEST = 1 << 16


class ChangedRootfs:
    """A root filesystem as it is after the changes of earlier passes.

    If ``for_patch`` is false, the method ``content`` only tells whether the old content equals the new
    content.
    """

    __slots__ = (
        "depths", "files", "flags", "folders", "for_patch", "kept_bytes", "known", "made", "new_folders",
        "paths", "rootfs", "written",
    )  # fmt: skip

    def __init__(self, rootfs: "RootfsView | None", *, for_patch: bool = True) -> None:
        self.rootfs = rootfs
        self.for_patch = for_patch
        self.kept_bytes = 0
        self.known = rootfs is not None
        self.files: dict[str, bytes] = {}
        #: the first change of each file
        self.written: dict[str, Change] = {}
        self.made: dict[str, Entry] = {}
        #: the paths of created files, sorted
        self.paths: list[str] = []
        #: for each created file, the number of its parent directories that existed before
        self.depths: dict[str, int] = {}
        #: a cache of the entries and flags of directories: most rules of an image write into few directories
        self.folders: dict[str, Entry] = {}
        self.flags: dict[str, str] = {}
        #: directories that the changes create; `entry` adds a directory when it is looked up
        self.new_folders: set[str] = set()

    def record(self, change: Change) -> None:
        if change.action not in WRITING or change.content is None:
            return
        first = self.written.setdefault(change.real, change)
        if first.before is None and first is not change:
            self._compare_again(first, change.content)
        size = len(change.content)
        entry = Entry(FILE, change.mode, change.uid, change.gid, size, is_mount=change.in_place)
        self.files[change.real] = change.content
        if change.real not in self.made:
            self.paths.insert(self.index(change.real), change.real)
        self.made[change.real] = entry
        if change.new_depth is not None:
            self.depths.setdefault(change.real, change.new_depth)

    def index(self, path: str) -> int:
        """Return the index at which to insert a path into ``paths``.

        The module bisect is not used, because its import would slow hooks.
        """
        low, high = 0, len(self.paths)
        while low < high:
            middle = (low + high) // 2
            if self.paths[middle] < path:
                low = middle + 1
            else:
                high = middle
        return low

    def entry(self, path: str) -> "Entry | None":
        made = self.made.get(path)
        if made is not None:
            return made
        below = None
        if self.paths:
            index = self.index(path + "/")
            if index < len(self.paths) and self.paths[index].startswith(path + "/"):
                below = self.paths[index]
        # If an earlier change creates this directory, do not look up the directory or its entries in the root
        # filesystem. Another process could create the directory during the planning, with links in it.
        is_new = path in self.new_folders or path.rpartition("/")[0] in self.new_folders
        if below and path.count("/") > self.depths.get(below, _DEEPEST):
            is_new = True
        if self.rootfs is not None and not is_new:
            found = self.folders.get(path) or self.rootfs.entry(path)
            if found is not None:
                if found.kind == DIRECTORY:
                    self.folders[path] = found
                return found
        if below is None:
            return None
        self.new_folders.add(path)
        return Entry(DIRECTORY, 0o755)

    def made_depth(self, path: str) -> int:
        """Return the largest number of parent directories that ``path`` shares with one created file."""
        index = self.index(path)
        depths = [common_depth(path, other) for other in self.paths[max(index - 1, 0) : index + 1]]
        return max(depths, default=0)

    def read(self, path: str, limit: int) -> bytes:
        if path in self.files:
            return self.files[path]
        assert self.rootfs is not None
        return self.rootfs.read(path, limit)

    def require_ids(self, uid: int, gid: int, rule: "Rule") -> None:
        """Raise UnmappedError if the root filesystem has an id map that lacks ``uid`` or ``gid``."""
        ids = getattr(self.rootfs, "ids", None)
        if ids is None:
            return
        for field, on_disk, number in (("uid", ids.uid_on_disk, uid), ("gid", ids.gid_on_disk, gid)):
            try:
                on_disk(number)
            except UnmappedError as error:
                error.span = rule.spans.get(field)
                raise

    def require_writable(self, change: Change, resolved: Resolved) -> None:
        """Raise WriteError if a chattr(1) flag prevents templater from replacing or creating the file."""
        flag_of = getattr(self.rootfs, "flag", None)
        if self.rootfs is None or flag_of is None or change.real in self.made:
            return
        flag = flag_of(change.real) if resolved.entry is not None else ""
        if flag:
            raise _flagged(change, change.real, flag)
        new = change.real  # the outermost name that this change creates
        if resolved.depth is not None:
            new = next(parents_below(new, resolved.depth), new)
        folder = new.rpartition("/")[0] or "/"
        if folder not in self.flags and not change.in_place:
            self.flags[folder] = flag_of(folder)
        flag = "" if change.in_place else self.flags[folder]
        # An append-only directory accepts new files, but a rollback could not remove them.
        if flag:
            raise _flagged(change, folder, flag)
        if resolved.entry is not None and not change.in_place:  # the replacement has a temporary name in "/"
            if "/" not in self.flags:
                self.flags["/"] = flag_of("/")
            if self.flags["/"] == APPEND_ONLY:
                raise _flagged(change, "/", APPEND_ONLY)

    def content(self, path: str, entry: Entry, new: bytes) -> "bytes | None":
        """Return the content of an existing file, or None if the content is too large or not needed.

        If ``for_patch`` is false, content that differs from ``new`` is not needed.
        """
        if path in self.files:
            return self.files[path]
        # Do not read a file of another size: the container's root user can make a compressed file that is
        # slow to read. Limits on processor time do not count the kernel's work.
        if not self.for_patch:
            return new if self._has_content(path, entry, new) else None
        if self._has_content(path, entry, new):
            return new
        most = MAX_KEPT - self.kept_bytes
        if entry.size > most:
            return None
        try:
            data = self.read(path, most)
        except SlowError:
            raise
        except LimitError:
            return None
        self.kept_bytes += len(data)
        return data

    def _compare_again(self, first: Change, content: bytes) -> None:
        """Record the original content of a file if a later pass writes this original content again.

        The later pass writes ``content``. ``first`` is the first change of the file.
        """
        entry = first.resolved.entry if first.resolved is not None else None
        if entry is not None and self._has_content(first.real, entry, content):
            first.before = content

    def _has_content(self, path: str, entry: Entry, new: bytes) -> bool:
        """Return whether a file of the root filesystem has this content.

        Raises SlowError if the root filesystem has a time limit for reading, and the limit is exceeded.
        """
        if entry.size != len(new) or entry.size > MAX_COMPARED:
            return False
        has_content: Callable[[str, bytes], bool] | None = getattr(self.rootfs, "has_content", None)
        if has_content is not None:
            return has_content(path, new)
        assert self.rootfs is not None
        try:
            return self.rootfs.read(path, len(new)) == new
        except LimitError:  # the file has just grown
            return False


def _flagged(change: Change, path: str, flag: str) -> WriteError:
    place = "it" if path == change.real else f"'{printable(path)}'"
    return WriteError(
        f"can't write {place_of(change.path, change.resolved)}: {place} is {flag}",
        change.rule.spans.get("path"),
        hint=f"remove the flag: chattr -{'i' if flag == IMMUTABLE else 'a'}",
    )
