"""The host's part in a virtual machine's start: templates are rendered into files of the config drive.

Path, owner, mode and ``create_only`` of a rule mean nothing there: the guest's agent takes care of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from posixpath import dirname, normpath

from ..model.entry import DIRECTORY
from ..model.metadata import Rule
from .daemon import Daemon
from .errno_errors import EISDIR, ENOENT, Errno, Fails
from .go_os_root import Root
from .host_filesystem import Node
from .incus_6_and_lxd_5 import Beneath
from .lxd_6_9 import Stated
from .machine import Unknown, names_of
from .templates import Due

#: the folder of the rendered files, as it is called here
FILES = "/files"


class Drive(Daemon):
    """Incus to 7.2, LXD to 5.0.6, 5.21.4 and 6.8: plain paths, for the template and for the output."""

    def open_roots(self) -> None:
        pass

    def check(self, rule: Rule) -> None:
        pass

    def put(self, due: Due) -> str:
        # the folder is made anew at each start: nothing is below it, and what is above it exists
        output = normpath(f"{FILES}/{due.rule.template}.out")
        if dirname(output).startswith(FILES + "/"):
            raise Fails(f"open {output}: {ENOENT}")
        self.content(due)
        return "written"

    def read_template(self, rule: Rule) -> bytes:
        try:
            return super().read_template(rule)
        except Unknown as place:
            self.notes.append(f"the template is {place} of the host")
            return b""


class CheckedDrive(Drive, Beneath):
    """Incus 7.3: the template passes the checks of a container's."""

    def check(self, rule: Rule) -> None:
        self.check_template(rule)


class ConfinedDrive(Drive, Stated):
    """LXD from 5.0.7 and 5.21.5: the template is read through an os.Root, which follows links inside."""

    def read_template(self, rule: Rule) -> bytes:
        filesystem = self.filesystem
        if not filesystem.exists(filesystem.templates):
            filesystem.put(filesystem.place(names_of(filesystem.templates)), Node(DIRECTORY, 0o700, 0, 0))
        root: Root = self.open_root("templates", filesystem.templates)
        try:
            place, node = root.walk(rule.template)
            if node is None:
                raise Errno(ENOENT)
        except Errno as error:
            raise Fails(f"{self.reading}openat {rule.template}: {error}") from None
        if node.kind == DIRECTORY:
            raise Fails(f"{self.reading}read $TEMPLATES/{rule.template}: {EISDIR}")
        return filesystem.content(place)


DRIVES: Mapping[str, type[Drive]] = {"plain": Drive, "checked": CheckedDrive, "confined": ConfinedDrive}
