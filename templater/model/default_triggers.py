"""The triggers that a command runs without the option ``-t``."""

from .pending_trigger import PENDING_KEY, passes
from .unprintable_characters import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .instance import Instance

#: the pending triggers that LXD and Incus set; a user can set other pending triggers
SET_BY_DAEMONS = ("create", "copy", "rename")


class Triggers:
    """The triggers that a command runs, in order. ``reason`` is a phrase that explains this choice.

    ``notes`` lists doubtful facts of the instance description.
    """

    __slots__ = ("notes", "passes", "reason")

    def __init__(self, triggers: "tuple[str, ...]", reason: str, notes: "tuple[str, ...]" = ()) -> None:
        self.passes = triggers
        self.reason = reason
        self.notes = notes

    def __repr__(self) -> str:
        return f"Triggers({','.join(self.passes)}: {self.reason})"


def next_start(instance: "Instance", pending: "str | None" = None) -> Triggers:
    """Return the triggers that an instance's next start runs: the pending trigger, if any, then ``start``.

    ``pending`` is the pending trigger that templater has recorded, or "" for no pending trigger. If
    ``pending`` is None, the pending trigger comes from the instance's configuration.
    """
    if pending is None:
        pending = instance.config.get(PENDING_KEY, "")
    waiting = f"'{printable(pending)}'" if pending else "no trigger"
    reason = f"the next start, with {waiting} pending"
    return Triggers(passes(pending), reason, _doubts(instance, pending))


def first_start(instance: "Instance") -> Triggers:
    """Return the triggers that run at the first start of a new instance.

    The triggers are ``create`` and ``start``. A pending trigger in the instance's description replaces
    ``create``.
    """
    pending = instance.config.get(PENDING_KEY, "")
    if pending:
        reason = f"'{printable(pending)}' is pending in the description"
        return Triggers(passes(pending), reason, _doubts(instance, pending))
    notes = _doubts(instance, "")
    if instance.exists:
        notes += ("the instance already exists: its next start runs only 'start' (see -t next)",)
    return Triggers(passes("create"), "the first start of a new instance", notes)


def default_triggers(
    instance: "Instance", pending: "str | None", *, rootfs_of_instance: bool = False
) -> Triggers:
    """Return the triggers that a command runs if the user does not give the option ``-t``.

    ``pending`` is the pending trigger if SRC is an instance, and None if SRC is an image.
    ``rootfs_of_instance`` is true if the command reads a root filesystem. If a daemon has already created the
    instance, this root filesystem is probably the instance's own. In this case, return the triggers of the
    instance's next start.
    """
    if pending is not None:
        return next_start(instance, pending)
    if rootfs_of_instance and instance.exists:
        return next_start(instance)
    return first_start(instance)


def _doubts(instance: "Instance", pending: str) -> "tuple[str, ...]":
    """Return a note for each fact about the pending trigger that no action of LXD or Incus can explain."""
    notes: tuple[str, ...] = ()
    if pending and pending not in SET_BY_DAEMONS:
        notes += (
            f"no daemon sets {PENDING_KEY} to '{printable(pending)}': a user has set this key by hand",
        )  # fmt: skip
    if pending and instance.status in ("Running", "Frozen"):
        notes += (
            f"the description has the status '{instance.status}' and the pending trigger"
            f" '{printable(pending)}', but a start clears this trigger: a user has set the trigger by hand,"
            " or the description mixes older and newer data",
        )
    return notes
