"""The life of an instance: the operations that change its pending trigger."""

from ..model.errors import UsageError
from ..model.pending_trigger import START, passes, pending_after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


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
        """Return the state after a successful start, in which no trigger is pending."""
        return self._with(pending="", running=True)

    def start_failed(self, in_pass: str = "") -> "Life":
        """Return the state after a failed start.

        Some hosts clear the pending trigger before they run the rules of ``start``. For these hosts,
        ``in_pass`` is the trigger whose rules failed: if it is ``start``, the pending trigger is lost.
        Without ``in_pass``, the trigger stays pending, because templater writes the files of both passes, or
        no file.
        """
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
        """Return the state of a copy. Its pending trigger is ``copy``, even if the original never started."""
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
        """Return the state after ``copy --refresh``, in which no trigger is pending."""
        if self.running:
            raise UsageError("a running instance can't be refreshed", hint="stop the instance first")
        return self._with(pending="")

    def exported(self) -> "Life":
        """Return the state that a backup contains. An imported instance has the same pending trigger."""
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
    """Return the state of a new instance. It is stopped, and the trigger ``create`` is pending."""
    return Life("create")
