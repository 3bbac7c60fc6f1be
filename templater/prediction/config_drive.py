"""Predictions of a virtual machine's start on the host, which renders templates to files of the config drive.

The host ignores a rule's path, owner, mode and ``create_only``. The guest's agent applies them.
"""

from __future__ import annotations

from collections.abc import Mapping
from posixpath import dirname, normpath

from ..model.entry import DIRECTORY
from ..model.file_names import TEMPLATES
from ..model.metadata import Rule
from ..model.plan import Change, Outcome, Plan
from .errno_errors import EISDIR, ENOENT, Errno, Fails
from .go_os_root import Root
from .host_filesystem import Node
from .host_rendering import Due
from .incus_and_lxd_daemons import Daemon, Openat2CheckedDaemon, OsRootCheckedDaemon
from .known_host_files import names_of

#: the directory of rendered files in the model file system
FILES = "/files"


class Drive(Daemon):
    """A daemon that reads and writes files by plain paths when it writes the config drive.

    These releases use plain paths:

    * Incus up to 7.2
    * LXD 5.0 up to 5.0.6
    * LXD 5.21 up to 5.21.4
    * LXD 6 up to 6.8
    """

    def open_roots(self) -> None:
        pass

    def check(self, rule: Rule) -> None:
        pass

    def put(self, due: Due) -> str:
        # Each start recreates the directory FILES without subdirectories, so a path in a subdirectory fails.
        # A path in a parent of FILES does not fail, because the parents exist.
        output = normpath(f"{FILES}/{due.rule.template}.out")
        if dirname(output).startswith(FILES + "/"):
            raise Fails(f"open {output}: {ENOENT}")
        self.content(due)
        return "written"


class CheckedDrive(Drive, Openat2CheckedDaemon):
    """The daemon of Incus 7.3, which checks the templates of a virtual machine like those of a container."""

    def check(self, rule: Rule) -> None:
        self.check_template(rule)


class ConfinedDrive(Drive, OsRootCheckedDaemon):
    """The daemon of LXD 6.9, of 5.21.5 and later 5.21 releases, and of 5.0.7 and later 5.0 releases.

    For the config drive, it reads templates with os.Root, which refuses links out of the templates directory.
    """

    def read_template(self, rule: Rule) -> bytes:
        filesystem = self.filesystem
        if not filesystem.exists(filesystem.templates):
            filesystem.put(filesystem.place(names_of(filesystem.templates)), Node(DIRECTORY, 0o700, 0, 0))
        root: Root = self.open_root(TEMPLATES, filesystem.templates)
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


def predict_config_drive(plan: Plan, daemon: Drive, outcomes: dict[Change, Outcome]) -> None:
    """Predict the host's part of a virtual machine's start. The host renders files to the config drive."""
    contents: dict[tuple[str, str], set[bytes | None]] = {}
    for change in plan.changes:
        contents.setdefault((change.trigger, change.path), set()).add(change.content)
    for change in plan.changes:
        result, text, words = daemon.attempt(change)
        place = f"the file is files/{change.path} on the config drive" if result == "written" else ""
        outcome = Outcome(result, "; ".join(filter(None, (place, text))), words)
        if outcome.ok and len(contents[change.trigger, change.path]) > 1:
            outcome = Outcome(
                "random", f"several rules write {change.path} in random order, with different text"
            )
        outcomes[change] = outcome
