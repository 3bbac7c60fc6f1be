"""One simulated instance: its description, files and snapshots, and the changes of its pending trigger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ..model.errors import TemplaterError, UsageError
from ..model.hosts import Host
from ..model.instance import Instance
from ..model.metadata import Metadata
from ..model.pending_trigger import PENDING_KEY, START, passes, pending_after
from ..model.plan import CREATE, FAILED, WRITE, Change, Plan
from ..planning.decide_changes import NO_ROOTFS
from ..rootfs.memory_rootfs import MemoryRootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model.entry import Image
    from ..parsing.yaml_nodes import Limits as YamlLimits


class WritableRootfs(Protocol):
    """An in-memory root filesystem that can be copied and written."""

    def entry(self, path: str) -> Any: ...
    def read(self, path: str, limit: int) -> bytes: ...
    def copy(self) -> WritableRootfs: ...
    def carry_out(self, change: Change) -> None: ...
    def mkdir(self, path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None: ...
    def write(self, path: str, content: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None: ...
    def overwrite(self, path: str, content: bytes) -> None: ...


class Folder(Protocol):
    """An instance's root filesystem, and its copy of the image's metadata and templates."""

    @property
    def image(self) -> Image: ...
    @property
    def rootfs(self) -> WritableRootfs: ...
    @property
    def properties(self) -> Mapping[str, str] | None:
        """The properties of the image, or None if the properties in metadata.yaml apply."""

    @property
    def unknown(self) -> dict[str, str]:
        """The paths whose state on the host is unknown, each with the reason."""

    @property
    def guessed(self) -> bool:
        """Whether the root filesystem is unknown, so that the simulation began without files."""

    def copy(self) -> Folder: ...


@dataclass(frozen=True, slots=True)
class MemoryFolder:
    """A `Folder` whose templates never change. Its copies share the image, but not the root filesystem."""

    image: Image
    rootfs: WritableRootfs = field(default_factory=MemoryRootfs)
    properties: Mapping[str, str] | None = None
    unknown: dict[str, str] = field(default_factory=dict)
    guessed: bool = False

    def copy(self) -> MemoryFolder:
        return replace(self, rootfs=self.rootfs.copy(), unknown=dict(self.unknown))


@dataclass(slots=True)
class SimulatedInstance:
    """An instance in the simulation, with its files and snapshots."""

    instance: Instance
    folder: Folder
    life: Life
    #: the image that the instance was created from, for a rebuild; None if unknown
    origin: Folder | None
    snapshots: dict[str, tuple[Instance, Folder]] = field(default_factory=dict)
    #: The instance's name in placeholders for generated values; "" for placeholders without a name.
    #: None for an instance that existed before the simulation: such an instance needs no placeholders.
    name_in_placeholders: str | None = None


def split_pending(instance: Instance) -> tuple[Instance, str]:
    """Split off the pending trigger: return the instance without its pending key, and the value of this key.

    The pending key is ``volatile.apply_template``.
    """
    config = dict(instance.config)
    pending = config.pop(PENDING_KEY, "")
    return instance.replace(config=config), pending


def described(subject: SimulatedInstance) -> Instance:
    """Return the instance as templates see it, with its pending trigger as a configuration key."""
    config = dict(subject.instance.config)
    if subject.life.pending:
        config[PENDING_KEY] = subject.life.pending
    return subject.instance.replace(config=config)


def mark_guesses(plan: Plan) -> Iterator[str]:
    """Mark the new files of a plan as possibly existing, because the root filesystem is unknown.

    Yield the target of each create_only rule that the daemon skips if the file exists.
    """
    for change in plan.agent if plan.instance.is_vm else plan.changes:
        if change.action == CREATE:
            change.action = WRITE
            change.reason = change.reason.replace("new", NO_ROOTFS, 1)
        if change.rule.create_only and change.action in (WRITE, FAILED) and not plan.instance.is_vm:
            yield change.rule.path


def metadata_of(folder: Folder, host: Host, reading: YamlLimits | None = None) -> Metadata:
    """Read and decode the folder's metadata.yaml. Raises TemplaterError if that fails."""
    from ..parsing.metadata_yaml import read_metadata

    return read_metadata(folder.image.read_metadata(), yaml=host.yaml, limits=reading)


def properties_of(folder: Folder, metadata: Metadata) -> Mapping[str, str]:
    """Return the image properties. The folder's properties override the properties in metadata.yaml."""
    return metadata.properties if folder.properties is None else folder.properties


def has_metadata(folder: Folder) -> bool:
    """Return whether the folder has a metadata.yaml. After ``rebuild --empty``, it is missing."""
    try:
        folder.image.read_metadata()
    except TemplaterError:
        return False
    return True


def with_properties(folder: Folder, properties: Mapping[str, str]) -> Folder:
    made: Any = copy(folder)
    return (
        replace(made, properties=properties)
        if isinstance(made, MemoryFolder)
        else made.with_properties(properties)
    )


class Life:
    """The pending trigger of one instance. Objects are immutable: each operation returns a new object.

    ``snapshots`` maps the name of each snapshot to the trigger that was pending when the user took it.
    """

    __slots__ = ("pending", "running", "snapshots")

    def __init__(
        self, pending: str = "", running: bool = False, snapshots: "Mapping[str, str] | None" = None
    ) -> None:
        self.pending = pending
        self.running = running
        self.snapshots: Mapping[str, str] = {} if snapshots is None else snapshots

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Life):
            return NotImplemented
        return (self.pending, self.running, dict(self.snapshots)) == (
            other.pending, other.running, dict(other.snapshots),
        )  # fmt: skip

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Life(pending={self.pending!r}, running={self.running})"

    def _with(
        self,
        pending: "str | None" = None,
        running: "bool | None" = None,
        snapshots: "Mapping[str, str] | None" = None,
    ) -> "Life":
        return Life(
            self.pending if pending is None else pending,
            self.running if running is None else running,
            self.snapshots if snapshots is None else snapshots,
        )

    @property
    def passes(self) -> "tuple[str, ...]":
        return passes(self.pending)

    def started(self) -> "Life":
        """Return the state after a successful start: the instance runs, and no trigger is pending."""
        return self._with(pending="", running=True)

    def start_failed(self, in_pass: str = "") -> "Life":
        """Return the state after a failed start. If ``in_pass`` is empty, the pending trigger stays pending.

        For a host that clears the pending trigger before the rules of ``start``, ``in_pass`` is the trigger
        whose rules failed.
        """
        # If the rules of ``start`` fail, such a host loses the pending trigger.
        lost = in_pass == START and self.pending != START
        return self._with(pending="" if lost else None, running=False)

    def stopped(self) -> "Life":
        if not self.running:
            raise UsageError("a stopped instance can't be stopped")
        return self._with(running=False)

    def renamed(self) -> "Life":
        if self.running:
            raise UsageError("a running instance can't be renamed", hint="stop the instance first")
        return self._with(pending=pending_after(self.pending, "rename"))

    def copied(self, snapshot: str = "") -> "Life":
        """Return the state of a copied instance.

        The pending trigger is ``copy``, even if the original instance never started.
        """
        if snapshot:
            self._known(snapshot)
        return Life(pending_after(self.pending, "copy"), False, {} if snapshot else self.snapshots)

    def rebuilt(self) -> "Life":
        if self.running:
            raise UsageError("a running instance can't be rebuilt", hint="stop the instance first")
        return self._with(pending=self.pending or "create")  # a rebuild does not remove a pending trigger

    def published(self, snapshot: str = "") -> None:
        """Raise UsageError if the instance itself, not a snapshot, is published while it runs.

        Publishing does not change the state.
        """
        if snapshot:
            self._known(snapshot)
        elif self.running:
            raise UsageError("a running instance can't be published", hint="stop the instance first")

    def refreshed(self) -> "Life":
        """Return the state after ``copy --refresh``: no trigger is pending."""
        if self.running:
            raise UsageError("a running instance can't be refreshed", hint="stop the instance first")
        return self._with(pending="")

    def exported(self) -> "Life":
        """Return the state of the new instance that an import of this instance's backup creates."""
        # The import restores everything, including the pending trigger, but the new instance is stopped.
        return self._with(running=False)

    def with_pending(self, trigger: str) -> "Life":
        """Return the state after a user has set ``volatile.apply_template`` to ``trigger``."""
        return self._with(pending=trigger)

    def snapshotted(self, name: str) -> "Life":
        if name in self.snapshots:
            raise UsageError(f"snapshot '{name}' already exists")
        return self._with(snapshots={**self.snapshots, name: self.pending})

    def restored(self, name: str) -> "Life":
        """Return the state after a snapshot was restored: stopped, with the snapshot's pending trigger."""
        return self._with(pending=self._known(name), running=False)

    def _known(self, name: str) -> str:
        try:
            return self.snapshots[name]
        except KeyError:
            raise UsageError(f"unknown snapshot '{name}'") from None


def created() -> Life:
    """Return the state of a new, stopped instance. The trigger ``create`` is pending."""
    return Life("create")
