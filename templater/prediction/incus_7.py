"""I73: everything goes through Go's os.Root."""

from __future__ import annotations

from posixpath import normpath

from ..model.entry import FIFO, FILE
from ..model.metadata import Rule
from .errno_errors import EEXIST, EISDIR, ENOENT, Errno, Fails, Hangs
from .go_os_root import Root
from .host_filesystem import Node
from .incus_6_and_lxd_5 import Beneath
from .known_paths import Names
from .templates import Due


class Rooted(Beneath):
    """I73: everything goes through an os.Root; parents are made before anything else is looked at."""

    def check_target(self, rule: Rule) -> None:
        pass

    def put(self, due: Due) -> str:
        world, rule = self.world, due.rule
        name = rule.path.lstrip("/")
        root = Root(world, world.walk(world.rootfs)[0])
        self.make_parents(root, name)
        try:
            names, node = root.walk(name)
        except Errno as error:
            if str(error) != ENOENT:
                raise Fails(f"Failed to check template file: statat {name}: {error}") from None
            names, node = (), None
        if node is None:
            names = self.create(root, name, rule)
        elif rule.create_only:
            return "skipped"
        else:
            self.open_existing(name, names, node)
        self.remark(
            "/" + "/".join(names) if node is None else normpath(f"{world.rootfs}/{name}"), names, True
        )
        world.write(names, self.content(due))
        return "written"

    def open_existing(self, name: str, names: Names, node: Node) -> None:
        if node.kind == FIFO:
            raise Hangs("opening a fifo until somebody reads it; the hook gives up after 30 seconds")
        try:
            self.world.truncate(names, node)
        except Errno as error:
            raise Fails(f"{self.creating}openat {name}: {error}") from None

    def make_parents(self, root: Root, name: str) -> None:
        shift = self.world.surroundings.shift
        parent = normpath(name.rpartition("/")[0]) if "/" in name else "."
        made: list[str] = []
        for part in parent.split("/") if parent != "." else ():
            made.append(part)
            place = "/".join(made)
            try:
                names = root.mkdir(place)
            except Errno as error:
                raise Fails(f"Failed to create template directory: mkdirat {place}: {error}") from None
            if names is not None:
                self.world.chown(names, shift, shift)

    def create(self, root: Root, name: str, rule: Rule) -> Names:
        uid, gid, mode = self.owner(rule)
        try:
            names, node = root.walk(name, follow=False)
            if node is not None:
                raise Errno(EEXIST)
            if name.endswith("/"):
                raise Errno(EISDIR)
        except Errno as error:
            raise Fails(f"openat {name}: {error}") from None
        self.world.make(names, FILE, 0o666)
        self.own(names, uid, gid, mode)
        return names
