"""The daemon of Incus 7 (family I73), which accesses all files through Go's os.Root."""

from __future__ import annotations

from posixpath import normpath

from ..model.entry import FIFO, FILE
from ..model.metadata import Rule
from .errno_errors import EEXIST, EISDIR, ENOENT, Errno, Fails, Hangs
from .go_os_root import Root
from .host_filesystem import Node, Place
from .host_rendering import Due
from .incus_6_and_lxd_5 import Openat2CheckedDaemon


class OsRootDaemon(Openat2CheckedDaemon):
    """The daemon of Incus 7. It creates the target's parent directories before any other step."""

    def check_target(self, rule: Rule) -> None:
        pass

    def put(self, due: Due) -> str:
        filesystem, rule = self.filesystem, due.rule
        name = rule.path.lstrip("/")
        root = Root(filesystem, filesystem.walk(filesystem.rootfs)[0])
        self.make_parents(root, name)
        try:
            place, node = root.walk(name)
        except Errno as error:
            if str(error) != ENOENT:
                raise Fails(f"Failed to check template file: statat {name}: {error}") from None
            node = None
        if node is None:
            place = self.create(root, name, rule)
        elif rule.create_only:
            return "skipped"
        else:
            self.open_existing(name, place, node)
        self.remark(place.path if node is None else normpath(f"{filesystem.rootfs}/{name}"), place, True)
        filesystem.write(place, self.content(due))
        return "written"

    def open_existing(self, name: str, place: Place, node: Node) -> None:
        if node.kind == FIFO:
            raise Hangs(
                "opening a fifo waits for a reader; the daemon's start hook gives up after 30 seconds"
            )
        try:
            self.filesystem.truncate(place, node)
        except Errno as error:
            raise Fails(f"{self.creating}openat {name}: {error}") from None

    def make_parents(self, root: Root, name: str) -> None:
        shift = self.filesystem.surroundings.shift
        parent = normpath(name.rpartition("/")[0]) if "/" in name else "."
        if parent == ".":
            return
        try:
            for made in root.mkdir_each(parent):
                self.filesystem.chown(made, shift, shift)
        except Fails as failure:
            raise Fails(f"Failed to create template directory: {failure}") from None

    def create(self, root: Root, name: str, rule: Rule) -> Place:
        uid, gid, mode = self.owner(rule)
        try:
            place, node = root.walk(name, follow=False)
            if node is not None:
                raise Errno(EEXIST)
            if name.endswith("/"):
                raise Errno(EISDIR)
            self.filesystem.make(place, FILE, 0o666)
        except Errno as error:
            raise Fails(f"openat {name}: {error}") from None
        self.own(place, uid, gid, mode)
        return place
