"""The daemon of LXD 6.9, 5.21.5 and 5.0.7 (family LHEAD).

It checks paths with Go's os.Root, and then uses plain paths.
"""

from __future__ import annotations

from ..model.entry import DIRECTORY, SYMLINK
from ..model.file_names import ROOTFS, TEMPLATES
from ..model.metadata import Rule
from .errno_errors import ENOENT, ENOTDIR, Errno, Fails
from .go_os_root import Root
from .go_strconv import quoted
from .host_filesystem import Node
from .instance_files import names_of
from .shared_steps import Daemon


class OsRootCheckedDaemon(Daemon):
    """The daemon of family LHEAD. It checks target and template with os.Root, and then uses plain paths."""

    creating = "Failed creating template file: "
    reading = "Failed reading template file: "

    def open_roots(self) -> None:
        for name, place in ((ROOTFS, self.filesystem.rootfs), (TEMPLATES, self.filesystem.templates)):
            if name == TEMPLATES and not self.filesystem.exists(place):
                self.filesystem.put(self.filesystem.place(names_of(place)), Node(DIRECTORY, 0o700, 0, 0))
            self.open_root(name, place)

    def open_root(self, name: str, place: str) -> Root:
        prefix = f'Failed opening "{name}" for instance {quoted(self.instance.name)} (path $INSTANCE): '
        try:
            instance = self.filesystem.place(names_of(self.filesystem.instance))
            opened, node = Root(self.filesystem, instance).walk(name)
        except Errno as error:
            raise Fails(f"{prefix}openat {name}: {error}") from None
        if node is None:
            raise Fails(f"{prefix}openat {name}: {ENOENT}")
        if node.kind != DIRECTORY:
            raise Fails(f"{prefix}open {self.filesystem.shown(place)}: {ENOTDIR}")
        return Root(self.filesystem, opened)

    def check(self, rule: Rule) -> None:
        try:
            self.check_target(rule)
            self.check_template(rule)
        except Fails as failure:
            raise Fails(f"Template security check failed for {quoted(rule.path)}: {failure}") from None

    def check_target(self, rule: Rule) -> None:
        name = rule.path.lstrip("/")
        try:
            node = self.open_root(ROOTFS, self.filesystem.rootfs).stat(name)
        except Errno as error:
            if str(error) == ENOENT:
                return
            raise Fails(
                f"Could not stat target path {quoted(name)} in container rootfs: statat {name}: {error}"
            ) from None
        if node.kind == DIRECTORY:
            raise Fails(f"Template target path {quoted(name)} is a directory, not a regular file")

    def check_template(self, rule: Rule) -> None:
        try:
            node = self.open_root(TEMPLATES, self.filesystem.templates).stat(rule.template, follow=False)
        except Errno as error:
            raise Fails(f"Could not access template file: statat {rule.template}: {error}") from None
        if node.kind == SYMLINK:
            raise Fails("Template file is a symlink")

    def read_name(self, path: str, rule: Rule) -> str:
        return f"$TEMPLATES/{rule.template}"
