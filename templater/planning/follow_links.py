"""Functions that clean paths as Go does, and follow symlinks as a process inside the container would."""

from ..model.entry import DIRECTORY, OVERFLOW_ID, SYMLINK, Resolved
from ..model.errors import LimitError, RefusedError, TemplaterError
from ..model.unprintable_characters import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model.entry import Entry, RootfsView

MAX_LINKS = 40  # the kernel's MAXSYMLINKS
MAX_PATH = 4095
MAX_NAME = 255
#: the mode bits of a directory like /tmp: sticky, and every user can write
_SHARED = 0o1002
_STICKY = 0o1000
#: limit on the work for all target paths and links of a run; the work grows with the number of names
MAX_STEPS = 500_000


def clean(path: str) -> str:
    """Return an absolute path inside the root, cleaned as Go's ``filepath.Join(root, path)`` does.

    Raises RefusedError for the root itself, a climb above the root at any point, a NUL byte, and an overlong
    path.
    """
    if "\0" in path:
        raise RefusedError(f"target path {_shown(path)} contains a NUL byte")
    names: list[str] = []
    for name in path.split("/"):
        if name in ("", "."):
            continue
        if name == "..":
            if not names:
                raise RefusedError(
                    f"target path {_shown(path)} leaves the root filesystem by '..'",
                    hint="write an absolute path without '..', such as /etc/hostname",
                )
            names.pop()
        else:
            names.append(name)
    if not names:
        raise RefusedError(f"target path {_shown(path)} is the root directory itself")
    cleaned = "/" + "/".join(names)
    if len(_encoded(cleaned)) > MAX_PATH or any(len(_encoded(name)) > MAX_NAME for name in names):
        raise RefusedError(
            f"target path {_shown(path)} is too long: the kernel allows {MAX_NAME} bytes for a name"
            f" and {MAX_PATH} in total"
        )
    return cleaned


class Steps:
    """A limit on the number of names and links in all target paths of one run."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_STEPS

    def take(self, place: str) -> None:
        """Count the work for ``place``, a path or a link target. A longer text counts as more work."""
        self.left -= 1 + (len(place) >> 6)
        if self.left < 0:
            raise LimitError("the paths of all rules together lead through too many directories and links")


def resolve(view: "RootfsView", path: str, steps: "Steps | None" = None) -> Resolved:
    """Follow a cleaned path through ``view`` as a process inside the container would.

    The result stores an error, and the function does not raise it. ``steps`` limits the work for several
    paths.
    """
    resolved = Resolved(path)
    walk = Walk(view, steps or Steps())
    parent, _, name = path.rpartition("/")
    try:
        # A missing directory is not an error, because the daemons and templater create missing directories.
        walk.follow(parent, last_is_directory=True)
        walk.follow(name, last_is_directory=False)
        walk.refuse_foreign_links()
        resolved.entry = walk.entry
    except TemplaterError as error:
        # The traceback would keep the remaining names of the path in memory.
        resolved.error = error.with_traceback(None)
    resolved.named = walk.named
    resolved.real = walk.place()
    resolved.links = tuple(walk.links)
    resolved.climbing = tuple(walk.climbing)
    resolved.mounts = tuple(walk.mounts)
    resolved.depth = walk.depth
    return resolved


class Walk:
    """A walk from the root, name by name.

    * ``depth`` is the number of directories before the first missing directory, or None.
    * ``named`` is the entry of the last name itself, which can be a link.
    * ``foreign`` has the links that another user or container can have made. Each link comes with its
      possible makers and its mount point.
    """

    __slots__ = (
        "at_name",
        "climbing",
        "depth",
        "entry",
        "folders",
        "foreign",
        "links",
        "mounts",
        "named",
        "prefix",
        "steps",
        "view",
    )

    def __init__(self, view: "RootfsView", steps: Steps) -> None:
        self.view = view
        self.steps = steps
        #: the path so far, without a trailing slash; a text, because joining a long list of names is slow
        self.prefix = ""
        #: the directories of the path so far, without the root
        self.folders: list[Entry] = []
        self.links: list[tuple[str, str]] = []
        #: the relative links whose targets have a ``..`` at the root
        self.climbing: list[tuple[str, str]] = []
        self.foreign: list[tuple[str, set[int], str]] = []
        self.depth: int | None = None
        self.mounts: list[str] = []
        self.entry: Entry | None = None
        self.named: Entry | None = None
        self.at_name = False

    def place(self) -> str:
        return self.prefix or "/"

    def follow(self, path: str, last_is_directory: bool) -> None:
        """Walk ``path`` and follow links. Afterwards, ``entry`` is the entry at the end of the path."""
        link = ("", "")
        pending = [(name, link) for name in path.split("/")[::-1]]
        while pending:
            name, link = pending.pop()
            if name in ("", "."):
                continue
            self.steps.take(self.prefix)
            if name == "..":
                self.up(link)
                continue
            final = not pending and not last_is_directory
            target = self.step(name, final)
            if target is None:
                continue
            self.steps.take(target)
            if target.startswith("/"):
                self.prefix = ""
                self.folders.clear()
            if final and target.endswith(("/", "/.")):
                raise RefusedError(f"{_shown(self.links[-1][0])} points to a directory: {_shown(target)}")
            link = self.links[-1]
            pending.extend([(each, link) for each in target.split("/")[::-1]])

    def up(self, link: "tuple[str, str]") -> None:
        if not self.prefix and not link[1].startswith("/") and link not in self.climbing[-1:]:
            self.climbing.append(link)
        if self.depth is not None:
            raise RefusedError(f"a symlink leads through {_shown(self.place())}, which does not exist")
        self.prefix = self.prefix.rpartition("/")[0]
        del self.folders[-1:]

    def step(self, name: str, final: bool) -> "str | None":
        """Enter ``name`` and return None.

        If ``name`` is a symlink, do not enter it, but return its target.
        """
        place = f"{self.prefix}/{name}"
        if len(place) > MAX_PATH:
            raise RefusedError(f"{_shown(place)} is too long: the kernel allows {MAX_PATH} bytes")
        if self.depth is not None:
            self.entry = None
            self.at_name = self.at_name or final
            self.prefix = place
            return None
        self.entry = entry = self.view.entry(place)
        if final and not self.at_name:
            self.at_name, self.named = True, entry
        if entry is not None and entry.kind == SYMLINK:
            self.links.append((place, entry.target))
            self.refuse_planted(place, entry)
            makers = self.makers()
            if makers or self.mounts:
                self.foreign.append((place, makers, self.mount()))
            if len(self.links) > MAX_LINKS:
                raise RefusedError(f"too many symlinks at {_shown(place)}", hint="the links form a loop")
            return entry.target
        if entry is None and not final:
            self.depth = self.prefix.count("/")
        elif entry is not None:
            if not final and entry.kind != DIRECTORY:
                raise RefusedError(f"{_shown(place)} is a {entry.kind}, not a directory")
            if entry.is_mount:
                self.mounts.append(place)
            if entry.kind == DIRECTORY:
                self.folders.append(entry)
        self.prefix = place
        return None

    def refuse_planted(self, place: str, link: "Entry") -> None:
        """Raise RefusedError if a user of the container has put ``link`` into a directory such as /tmp."""
        # The kernel refuses the same links if the sysctl fs.protected_symlinks is set, as it is by default in
        # distributions.
        folder = self.folder()
        if folder is None or folder.mode & _SHARED != _SHARED or link.uid in (0, folder.uid):
            return
        raise RefusedError(
            f"{_shown(place)} is a symlink owned by uid {link.uid},"
            " in a directory that every user can write to",
            hint="remove the link; with fs.protected_symlinks, Linux does not follow the link, either",
        )

    def refuse_foreign_links(self) -> None:
        """Raise RefusedError if the path contains a link by which a user could gain rights.

        Call this method at the end of the walk.
        """
        for place, makers, mount in self.foreign:
            # A link in a mounted file system may lead only to a file in this file system.
            if mount and self.mount() != mount:
                raise RefusedError(
                    f"{_shown(place)} is a symlink that leads out of the mount point {_shown(mount)}",
                    hint="remove the link; other containers may share the mounted file system",
                )
            # A user's link may lead only to this user's file, or to a new file in this user's directory.
            # By a link in a home directory, a user could become the owner of a file in /etc, as in
            # CVE-2018-6954 of systemd-tmpfiles.
            if makers and makers != {self.owner()}:
                raise RefusedError(
                    f"{_shown(place)} is a symlink that a user may have created; the symlink leads"
                    " to another user's files",
                    hint="remove the link, or use the path of its target in the rule",
                )

    def folder(self) -> "Entry | None":
        """Return the directory that the walk has reached."""
        return self.folders[-1] if self.folders else self.view.entry("/")

    def makers(self) -> "set[int]":
        """Return the users, except root, who could have put a link into the current directory of the walk.

        The number -1 stands for any user.
        """
        folder = self.folder()
        if folder is None:
            return set()
        # The group of root also counts, because users of images for OpenShift belong to this group. If a
        # directory has an ACL, the bits of the group are the ACL's mask.
        others = folder.mode & 0o022
        # The owner of a link does not show who put the link into the directory. A user who may write to two
        # directories can move another user's link between them, even if a directory is sticky.
        makers = {folder.uid}
        # A user who may write to a parent directory can replace a directory of root.
        for above in self.folders[:-1]:  # not the root: users who may write to the root can replace /etc
            makers.add(above.uid)
            others |= 0 if above.mode & _STICKY else above.mode & 0o022
        if others or OVERFLOW_ID in makers:
            makers.add(-1)
        return makers - {0}

    def mount(self) -> str:
        """Return the lowest mount point below the root that contains the walk's position, or ""."""
        place = self.prefix + "/"
        return max((mount for mount in self.mounts if place.startswith(mount + "/")), key=len, default="")

    def owner(self) -> int:
        """Return the uid of the file at the end of the path.

        If the file is missing, return the uid of the directory in which it will be created.
        """
        entry = self.entry
        if entry is None:
            depth = self.prefix.count("/") - 1 if self.depth is None else self.depth
            entry = self.view.entry("/".join(self.prefix.split("/")[: depth + 1]) or "/")
        return 0 if entry is None else entry.uid


def place_of(path: str, resolved: "Resolved | None") -> str:
    """Describe the path of a change, and its real path if a link leads elsewhere."""
    shown = f"'{printable(path)}'"
    real = path if resolved is None else resolved.real
    return shown if real == path else f"{shown} (at '{printable(real)}')"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _shown(path: str) -> str:
    """Return a path in quotes, escaped and shortened for display."""
    text = printable(path)
    return f"'{text}'" if len(text) <= 200 else f"'{text[:200]}…'"
