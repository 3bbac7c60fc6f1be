"""Which trigger is pending for an instance's next start, from its creation to its export.

As observed on Incus and LXD: create, copy and rename write nothing. They leave a pending trigger, and
the next start runs it and then ``start``.
"""

from .errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

START = "start"

#: the passes of an instance's first start
FIRST_BOOT = ("create", START)

#: the configuration key in which the daemons keep the pending trigger; it may be set by hand
PENDING_KEY = "volatile.apply_template"


def passes(pending: str) -> "tuple[str, ...]":
    """Return the passes of the next start."""
    return (pending, START) if pending else (START,)


def pending_after(pending: str, trigger: str) -> str:
    """Return what is pending after ``trigger`` has happened to an instance.

    ``create`` and ``copy`` make a new instance, that owes this whatever was pending; a rename never
    displaces what came before it.
    """
    return pending or trigger if trigger == "rename" else trigger


class Life:
    """One instance as far as its triggers go. Values are never changed: every step gives a new one.

    ``snapshots`` maps a snapshot's name to what was pending when it was taken.
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
        """A start that succeeded: both passes are done, nothing is owed."""
        return self._with(pending="", running=True)

    def start_failed(self, in_pass: str = "") -> "Life":
        """A start that failed. We keep what was pending: both passes are one commit.

        The daemons clear it as soon as its own pass is through: with ``in_pass``, the pass that
        failed there, this is what they would have left.
        """
        lost = in_pass == START and self.pending != START
        return self._with(pending="" if lost else None, running=False)

    def stopped(self) -> "Life":
        if not self.running:
            raise UsageError("a stopped instance can't be stopped")
        return self._with(running=False)

    def renamed(self) -> "Life":
        if self.running:
            raise UsageError("a running instance can't be renamed", hint="stop it first")
        return self._with(pending=pending_after(self.pending, "rename"))

    def copied(self, snapshot: str = "") -> "Life":
        """The copy: never ``create``, even of an instance that was never started."""
        if snapshot:
            self._known(snapshot)
        return Life(pending_after(self.pending, "copy"), False, {} if snapshot else self.snapshots)

    def rebuilt(self) -> "Life":
        if self.running:
            raise UsageError("a running instance can't be rebuilt", hint="stop it first")
        return self._with(pending=self.pending or "create")  # the same instance: the first one wins

    def published(self, snapshot: str = "") -> None:
        """Publishing leaves an instance as it is, if it can be: a snapshot always, itself when stopped."""
        if snapshot:
            self._known(snapshot)
        elif self.running:
            raise UsageError("a running instance can't be published", hint="stop it first")

    def refreshed(self) -> "Life":
        """A copy brought up to date owes nothing: what it owed is not in what it is brought to."""
        if self.running:
            raise UsageError("a running instance can't be refreshed", hint="stop it first")
        return self._with(pending="")

    def exported(self) -> "Life":
        """What a backup holds; importing it, under whatever name, owes what the original owed."""
        return self._with(running=False)

    def with_pending(self, trigger: str) -> "Life":
        """``volatile.apply_template`` set by hand: any text does."""
        return self._with(pending=trigger)

    def snapshotted(self, name: str) -> "Life":
        if name in self.snapshots:
            raise UsageError(f"a snapshot '{name}' exists already")
        return self._with(snapshots={**self.snapshots, name: self.pending})

    def restored(self, name: str) -> "Life":
        """The pending trigger comes back as it was; a later one is dropped. A running one is stopped."""
        return self._with(pending=self._known(name), running=False)

    def _known(self, name: str) -> str:
        try:
            return self.snapshots[name]
        except KeyError:
            raise UsageError(f"no snapshot '{name}'") from None


def created() -> Life:
    """A new instance, whether its image was downloaded, built, or published from another instance."""
    return Life("create")
