"""A simulated start on a host: each pass runs its rules on the model file system.

`start` runs the rules in a given order. The daemons use a random order, and stop at the first rule that
fails. So `start_on_host` finds files that are certainly written, and files with an uncertain state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from ..model.hosts import Host
from ..model.instance import Instance
from ..model.metadata import Metadata
from ..model.plan import Change, Plan, split_passes
from .errno_errors import NIL_PANIC, Fails, Hangs
from .host_filesystem import HostFilesystem, Node, Place
from .host_rendering import Due, Renderer, due_of
from .incus_and_lxd_daemons import (
    Daemon,
    Openat2CheckedDaemon,
    OsRootCheckedDaemon,
    OsRootDaemon,
    UncheckedDaemon,
)
from .known_host_files import InstanceView, Surroundings, Unknown, below

if TYPE_CHECKING:
    from ..model.entry import RootfsView, TemplateFile

FAMILIES: Mapping[str, type[Daemon]] = {
    "I604": UncheckedDaemon,
    "L505": UncheckedDaemon,
    "I606": Openat2CheckedDaemon,
    "L506": Openat2CheckedDaemon,
    "I73": OsRootDaemon,
    "LHEAD": OsRootCheckedDaemon,
}


class StartResult(NamedTuple):
    """The result of a start, and the file system after it. ``passed`` is the number of successful passes."""

    result: str
    error: str
    filesystem: HostFilesystem
    passed: int = 0


def start(
    host: Host,
    filesystem: HostFilesystem,
    instance: Instance,
    passes: Iterable[Iterable[Due]],
    *,
    metadata: Metadata | None = None,
    render: Renderer | None = None,
) -> StartResult:
    """Run the passes of one start, with rules in the given order, up to the first rule that fails.

    The daemons run the rules of a pass in random order, so each order can have a different result.
    """
    daemon = FAMILIES[host.family](host, filesystem, instance, render)
    result, passed = "skipped", 0
    try:
        check_metadata(host, metadata or Metadata(), instance)
        for dues in passes:
            daemon.open_roots()
            for due in dues:
                if daemon.apply(due) == "written":
                    result = "written"
            passed += 1
    except Fails as failure:
        return StartResult("fails", str(failure), filesystem, passed)
    except Hangs as hang:
        return StartResult("hangs", str(hang), filesystem, passed)
    return StartResult(result, "", filesystem, passed)


def check_metadata(host: Host, metadata: Metadata, instance: Instance) -> None:
    """Raise Fails if this host refuses a metadata.yaml that templater can read."""
    # Since 6.0.5, Incus rejects a null document when it starts a virtual machine.
    looked_for = host.family == "LHEAD" or (
        instance.is_vm and host.product == "incus" and host.family != "I604"
    )
    if metadata.null and not looked_for:
        raise Fails(NIL_PANIC)
    size = 0 if metadata.source is None else len(metadata.source.data)
    if host.metadata_limit and size > host.metadata_limit:
        raise Fails(
            'Failed reading metadata: Failed parsing metadata file "$INSTANCE/metadata.yaml": '
            f"yaml: input error: input data is larger than maximum {host.metadata_limit} bytes"
        )


class HostStart:
    """The result of a start on the host. Paths are inside the root filesystem, with links resolved."""

    def __init__(self, error: str = "", written: dict[str, Node] | None = None) -> None:
        #: the daemon's error text if the start fails or hangs, else empty
        self.error = error
        self.hangs = False
        #: number of passes that succeeded
        self.passed = 0
        #: files and directories that certainly exist afterwards, parents first
        self.written = {} if written is None else written
        #: paths of files that the host has perhaps written, or whose content is unknown
        self.unknown: set[str] = set()
        #: the reason why paths are unknown, or empty
        self.reason = ""
        #: the change that ends the start; of several such changes, the first in metadata.yaml
        self.failed: Change | None = None


def start_on_host(
    plan: Plan,
    templates: Mapping[str, TemplateFile],
    rootfs: RootfsView,
    *,
    render: Renderer,
    check_time: Callable[[], None] | None = None,
    surroundings: Surroundings | None = None,
) -> HostStart:
    """Run the passes of a container's start on a model of the host's file system."""
    host, instance = plan.host, plan.instance
    around = surroundings or Surroundings(instance=f"/var/lib/{host.product}/containers/{instance.name}")
    data = b"" if plan.metadata.source is None else plan.metadata.source.data
    view = around.view or InstanceView(around.instance, rootfs, templates, data)
    filesystem = HostFilesystem(view, around, check_time)
    run = _Run(FAMILIES[host.family](host, filesystem, instance, render), filesystem)
    try:
        check_metadata(host, plan.metadata, instance)
    except Fails as failure:
        return HostStart(str(failure))
    changes = list(split_passes(plan.changes))
    for trigger in plan.triggers:
        # A pass for which no rule matches does nothing.
        if changes and changes[0][0].trigger == trigger and not run.take(changes.pop(0)):
            break
        run.found.passed += 1
    return run.finished()


class _Run:
    def __init__(self, daemon: Daemon, filesystem: HostFilesystem) -> None:
        self.daemon = daemon
        self.filesystem = filesystem
        self.found = HostStart()
        self.unknown: set[Place] = set()

    def take(self, changes: list[Change]) -> bool:
        """Run one pass. Return False if a rule ends the start in this pass."""
        mark = len(self.filesystem.journal)
        failing: list[tuple[Change, Fails | Hangs]] = []
        for change in changes:
            before = len(self.filesystem.journal)
            try:
                self.apply(change)
            except (Fails, Hangs) as error:
                self.filesystem.undo(before)
                failing.append((change, error))
            else:
                doubtful = change.collides is not None or self._is_limited(change)
                touched = self.touched(before)
                self.unknown = self.unknown | touched if doubtful else self.unknown - touched
        if not failing:
            return True
        # Each of the other rules runs either before the failing rule or not at all.
        effects = self.changed(mark)
        self.filesystem.undo(mark)
        for change, _ in failing:
            before = len(self.filesystem.journal)
            with suppress(Fails, Hangs):
                self.apply(change)
            if len(failing) > 1:  # the daemon stops at only one of the failing rules
                effects |= self.changed(before)
                self.filesystem.undo(before)
        self.unknown |= effects - self.touched(mark)
        first, end = failing[0]
        self.found.error = str(end)
        self.found.failed = first
        self.found.hangs = isinstance(end, Hangs)
        if effects:
            path = first.rule.path
            self.found.reason = f"the host runs rules in random order and stops at the rule for '{path}'"
        return False

    def apply(self, change: Change) -> None:
        self.daemon.open_roots()
        # `Unknown` is raised for a target outside the root filesystem, so the rule does not change the root
        # filesystem.
        with suppress(Unknown):
            self.daemon.apply(due_of(change))

    @staticmethod
    def _is_limited(change: Change) -> bool:
        return change.render_error is not None and change.render_error.kind == "limit"

    def touched(self, mark: int) -> set[Place]:
        return {place for place, _ in self.filesystem.journal[mark:]}

    def changed(self, mark: int) -> set[Place]:
        """Return the places whose node or content differs from an earlier point of the start.

        ``mark`` is the length of the journal at that point.
        """
        before: dict[Place, Node | None] = {}
        for place, node in self.filesystem.journal[mark:]:
            before.setdefault(place, node)
        return {place for place, node in before.items() if not self._is_same(place, node)}

    def _is_same(self, place: Place, before: Node | None) -> bool:
        made = place.made
        if before is not None:
            return before == made
        entry = self.filesystem.view.entry(place.path)
        if entry is None or made is None or made.content is None:
            return entry is not None
        if entry.size != len(made.content):
            return False
        return self.filesystem.view.read(place.path, entry.size) == made.content

    def finished(self) -> HostStart:
        """Return the result of the start. The result names files by their paths in the root filesystem."""
        for place in sorted({place for place, _ in self.filesystem.journal}, key=lambda place: place.names):
            path = self.inside(place)
            if path is not None and place.made is not None and place not in self.unknown:
                self.found.written[path] = place.made
        self.found.unknown = {path for place in self.unknown if (path := self.inside(place)) is not None}
        return self.found

    def inside(self, place: Place) -> str | None:
        """Return the path of a place in the root filesystem.

        Return None for the root directory, and for a place outside the root filesystem.
        """
        path = below(place.path, self.filesystem.rootfs)
        return None if path is None or path == "/" else path
