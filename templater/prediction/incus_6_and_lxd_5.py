"""The daemons of Incus 6 and of older LXD releases, which read and write files by plain paths.

``Host.family`` names the family of a release. Daemons of the families I606 and L506 first check the paths
with openat2. Daemons of the families I604 and L505 check nothing.
"""

from __future__ import annotations

from posixpath import normpath

from ..model.entry import DIRECTORY, SYMLINK
from ..model.metadata import Rule
from .errno_errors import ENOENT, EXDEV, Errno, Fails
from .go_strconv import quoted
from .shared_steps import Daemon

OUTSIDE = "Template is attempting access to path outside of container"
_IS_NOT = "isn't"


class UncheckedDaemon(Daemon):
    """The daemons of families I604 and L505, which check neither template paths nor target paths."""


class Openat2CheckedDaemon(Daemon):
    """The daemons of families I606 and L506 in ``model.hosts``.

    They first check a target with openat2(RESOLVE_BENEATH), which rejects a target outside the root
    filesystem. Then they write by a plain path.
    """

    def open_roots(self) -> None:
        if self.host.product == "incus":
            self.open_rootfs("Failed to open instance rootfs path: ")

    def open_rootfs(self, prefix: str) -> None:
        filesystem = self.filesystem
        try:
            filesystem.stat(filesystem.rootfs)
        except Errno as error:
            raise Fails(f"{prefix}open {filesystem.shown(filesystem.rootfs)}: {error}") from None

    def check(self, rule: Rule) -> None:
        try:
            if self.host.product == "lxd":
                self.open_rootfs("Failed opening instance rootfs path: ")
            self.check_target(rule)
            self.check_template(rule)
        except Fails as failure:
            if self.host.check_prefix:
                raise Fails(f"Template security check failed for {quoted(rule.path)}: {failure}") from None
            raise

    def check_target(self, rule: Rule) -> None:
        try:
            place, _ = self.filesystem.walk(self.filesystem.rootfs)
            self.filesystem.walk(rule.path.lstrip("/"), beneath=place)
        except Errno as error:
            if str(error) == EXDEV:
                raise Fails(OUTSIDE) from None

    def check_template(self, rule: Rule) -> None:
        lxd = self.host.product == "lxd"
        access = "Could not access" if lxd else "Couldn't access"
        if rule.template.rpartition("/")[2] != rule.template or not rule.template:
            raise Fails("Template path is attempting to read outside of template directory")
        _, directory = self.filesystem.walk(self.filesystem.templates, follow=False)
        shown = self.filesystem.shown(self.filesystem.templates)
        if directory is None:
            raise Fails(f"{access} template directory: lstat {shown}: {ENOENT}")
        if directory.kind != DIRECTORY:
            raise Fails(f"Template directory {'is not' if lxd else _IS_NOT} a regular directory")
        if rule.template == "..":
            # The instance's directory, to which ".." leads, is a symlink into the storage pool.
            raise Fails("Template file is a symlink")
        path = normpath(f"{self.filesystem.templates}/{rule.template}")
        try:
            _, file = self.filesystem.walk(path, follow=False)
        except Errno as error:
            raise Fails(f"{access} template file: lstat {self.filesystem.shown(path)}: {error}") from None
        if file is None:
            raise Fails(f"{access} template file: lstat {self.filesystem.shown(path)}: {ENOENT}")
        if file.kind == SYMLINK:
            raise Fails("Template file is a symlink")
