"""The subject of fault injection: one apply of a fixed plan, as small as a hook, with CLI error handling."""

import errno
import os
import sys

from templater.model.errors import TemplaterError
from templater.model.hosts import HOSTS
from templater.model.instance import Instance
from templater.model.metadata import Metadata, Rule
from templater.model.plan import Plan
from templater.planning.decide_changes import decide
from templater.rendering.render import Rendering
from templater.rootfs import disk_sync
from templater.rootfs.close_in_another_process import handing_over
from templater.rootfs.confined_directory import Directory
from templater.rootfs.confined_root import Root
from templater.rootfs.directory_rootfs import DirectoryRootfs
from templater.writing import mounted_file, same_files, transaction  # noqa: F401 - the faults begin after their import
from templater.writing.apply_plan import apply
from templater.writing.remove_leftovers import Journal

#: two files to replace, one new file next to them, and one new file below new directories
NEW = {
    "/etc/hosts": b"new hosts\n" * 10,
    "/etc/issue": b"new issue\n",
    "/etc/new": b"a new file\n",
    "/srv/a/deep": b"far below\n",
}
OLD = {"/etc/hosts": b"old hosts\n", "/etc/issue": b"old issue, and longer than the new one\n"}


def plan_for(rootfs: DirectoryRootfs, *, in_place: bool) -> Plan:
    renderings = [Rendering(Rule(path, "x.tpl", ("start",)), "start", text) for path, text in NEW.items()]
    changes = decide(renderings, rootfs, in_place=in_place)
    return Plan(Metadata(), Instance(), HOSTS["none"], ("start",), changes)


def unsupported(self: Directory) -> int:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def run(top: str, state: str, options: "list[str]") -> None:
    in_place = "in-place" in options
    if "named" in options:
        Directory.create_unnamed = unsupported  # type: ignore[method-assign]
    if "many" in options:
        disk_sync.MOST_FSYNCS = 0
    mechanism = "walk" if "walk" in options else ""
    root = Root(top, mechanism=mechanism, cross_mounts=in_place)
    journal = Journal(Root(state).directory("/")) if "journal" in options else None
    with DirectoryRootfs(root) as rootfs:
        plan = plan_for(rootfs, in_place=in_place)
        handing_over(apply, plan, rootfs, journal=journal, wait=0, waits="hook" not in options)


def main(words: "list[str]") -> int:
    try:
        run(words[0], words[1], words[2:])
    except TemplaterError as error:
        print(error.explain(), file=sys.stderr)
        return error.exit_code
    return 0
