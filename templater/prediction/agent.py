"""Predictions of a virtual machine's agent, which copies files from the config drive into the guest."""

from __future__ import annotations

from collections.abc import Iterable
from posixpath import dirname, normpath

from ..model.entry import DIRECTORY, FIFO
from ..model.errors import TemplaterError
from ..model.plan import Change, Outcome
from .errno_errors import ENOENT, ENOTDIR, Errno, Fails, Hangs
from .host_filesystem import Cursor, HostFilesystem, Place
from .incus_and_lxd_daemons import Daemon
from .known_host_files import Surroundings, Unknown, UnknownRootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model.entry import RootfsView
    from ..model.metadata import Rule

#: placeholder for the instance's directory, which the guest lacks; no path of the guest is below it
NOWHERE = "/\0"
#: note on a path without a leading "/". Incus 6.0.4 sets the working directory in the agent's unit. The
#: agents that were recorded for the predictions ran in "/".
RELATIVE = "the path is relative to the agent's working directory, which Incus sets to /run/incus_agent"


class Agent:
    """The agent of Incus (incus-agent/templates.go) and LXD (lxd-agent/templates.go).

    The agent uses the rule's path unchanged, without cleaning it.
    """

    creating = "Failed to create template file: "

    def __init__(self, daemon: Daemon, rootfs: RootfsView | None, targets: Iterable[str]) -> None:
        self.daemon = daemon
        view = UnknownRootfs() if rootfs is None else rootfs
        self.filesystem = HostFilesystem(view, Surroundings(view, NOWHERE))
        if rootfs is None:
            self.filesystem.assume_directories("/", targets)

    def outcome(self, change: Change) -> Outcome | None:
        """Predict one change. Return None if the root filesystem cannot be read at the change's path."""
        mark = len(self.filesystem.journal)
        self.daemon.notes = [] if change.rule.path.startswith("/") else [RELATIVE]
        try:
            result = self.apply(change.rule, change.content or b"")
            return Outcome(result, "; ".join(self.daemon.notes))
        except Fails as failure:
            self.filesystem.undo(mark)
            return Outcome("fails", error=str(failure))
        except Hangs as hang:
            return Outcome("hangs", str(hang))
        except (TemplaterError, Unknown):
            self.filesystem.undo(mark)
            return None

    def apply(self, rule: Rule, content: bytes) -> str:
        existed = self.exists(rule.path)
        if existed and rule.create_only:
            return "skipped"
        uid, gid, mode = (0, 0, 0o644) if existed else self.daemon.owner(rule)
        if not existed:
            self.make_parents(rule.path)
        place = self.open(rule.path, self.creating if existed else "")
        if not existed:
            self.own(place, uid, gid, mode)
        self.write(place, content)
        return "written"

    def exists(self, path: str) -> bool:
        return bool(path) and self.filesystem.exists(path)

    def open(self, path: str, prefix: str) -> Place:
        try:
            if not path:
                raise Errno(ENOENT)
            return self.filesystem.open_truncate(path)
        except Errno as error:
            raise Fails(f"{prefix}open {path}: {error}") from None

    def own(self, place: Place, uid: int, gid: int, mode: int) -> None:
        if place.made is not None:
            self.filesystem.chown(place, uid, gid)

    def write(self, place: Place, content: bytes) -> None:
        node = self.filesystem.node(place)
        if node is not None and node.kind == FIFO:
            self.daemon.notes.append("the target is a fifo, so the text is lost")
        self.filesystem.write(place, content)

    def make_parents(self, path: str) -> None:
        """Create the parents of a path like Go's ``os.MkdirAll(filepath.Dir(path))``."""
        folder = normpath(dirname(path) or ".")
        if folder == ".":
            return
        cursor = Cursor(self.filesystem)
        names = folder.split("/")
        for count, name in enumerate(names, 1):
            if not name:  # an absolute path begins at the root, which exists
                continue
            parent, parent_node = cursor.place, cursor.node
            try:
                cursor.walk(name)
                if cursor.node is None:
                    cursor.make_directory(parent, parent_node, name)
                elif cursor.node.kind != DIRECTORY:
                    raise Errno(ENOTDIR)
            except Errno as error:
                raise Fails(f"mkdir {'/'.join(names[:count])}: {error}") from None


class RewrittenAgent(Agent):
    """The agent of LXD 6.8.

    This agent creates the parent directories of each file first. It gives every file the mode 0644. If the
    target is a fifo, the agent hangs.
    """

    creating = "Failed creating template file: "

    def apply(self, rule: Rule, content: bytes) -> str:
        self.daemon.owner(rule)
        self.make_parents(rule.path)
        if rule.create_only:
            if self.exists(rule.path) and not rule.path.endswith("/"):
                return "skipped"
            self.write(self.open(rule.path, ""), content)
            return "written"
        place = self.open(rule.path, self.creating)
        node = self.filesystem.node(place)
        if node is not None and node.kind == FIFO:
            raise Hangs("opening a fifo waits until another process reads it")
        if place.before is not None and place.before.mode != 0o644:
            self.daemon.notes.append("the mode of the file becomes 0644")
        self.write(place, content)
        return "written"


def agent_of(daemon: Daemon, rootfs: RootfsView | None, targets: Iterable[str]) -> Agent:
    kind = RewrittenAgent if daemon.host.agent == "lxd-6.8" else Agent
    return kind(daemon, rootfs, targets)
