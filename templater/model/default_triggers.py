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
    """Return the triggers of an instance's next start: the pending trigger (if it exists), then ``start``.

    ``pending`` is the recorded trigger, or "" for no trigger. None means the trigger in the instance's
    configuration.
    """
    if pending is None:
        pending = instance.config.get(PENDING_KEY, "")
    waiting = f"'{printable(pending)}'" if pending else "no trigger"
    reason = f"the next start, with {waiting} pending"
    return Triggers(passes(pending), reason, _doubts(instance, pending))


def first_start(instance: "Instance") -> Triggers:
    """Return the triggers of a new instance's first start: ``create``, then ``start``.

    A pending trigger in the instance's description replaces ``create``.
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

    ``pending`` is None if SRC is an image. For an existing instance with a root filesystem
    (``rootfs_of_instance``), return the triggers of the next start.
    """
    if pending is not None:
        return next_start(instance, pending)
    # The root filesystem is probably the instance's own.
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
