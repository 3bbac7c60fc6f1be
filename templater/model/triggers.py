"""Which triggers run by default, and why."""

from .lifecycle import PENDING_KEY, passes
from .source import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .instance import Instance

#: the pending triggers that LXD and Incus set themselves
SET_BY_DAEMONS = ("create", "copy", "rename")


class Triggers:
    """The passes to run. ``reason`` says why these in one phrase; ``notes`` say what was assumed."""

    __slots__ = ("notes", "passes", "reason")

    def __init__(self, triggers: "tuple[str, ...]", reason: str, notes: "tuple[str, ...]" = ()) -> None:
        self.passes = triggers
        self.reason = reason
        self.notes = notes

    def __repr__(self) -> str:
        return f"Triggers({','.join(self.passes)}: {self.reason})"


def next_start(instance: "Instance", pending: "str | None" = None) -> Triggers:
    """Return what the instance's own next start runs: the pending trigger, if there is one, then ``start``.

    ``pending`` overrides the one in the instance's configuration: templater's own record of it.
    """
    if pending is None:
        pending = instance.config.get(PENDING_KEY, "")
    waiting = f"'{printable(pending)}'" if pending else "no trigger"
    reason = f"the next start, with {waiting} pending"
    return Triggers(passes(pending), reason, _doubts(instance, pending))


def first_start(instance: "Instance") -> Triggers:
    """Return what the first start of an instance made from an image runs.

    A pending trigger in the description takes the place of ``create``.
    """
    pending = instance.config.get(PENDING_KEY, "")
    if pending:
        reason = f"'{printable(pending)}' is pending in the description"
        return Triggers(passes(pending), reason, _doubts(instance, pending))
    notes = _doubts(instance, "")
    if instance.exists:
        notes += ("the instance exists already: its own next start runs start only (-t next shows that)",)
    return Triggers(passes("create"), "the first start of a new instance", notes)


def default_triggers(
    instance: "Instance", pending: "str | None", *, rootfs_of_instance: bool = False
) -> Triggers:
    """Return the passes that a command runs where none were asked for.

    ``pending`` is that of the instance which SRC is, None where SRC is an image. With ``rootfs_of_instance``
    the plan is compared with a root filesystem, which is the instance's own if the instance exists.
    """
    if pending is not None:
        return next_start(instance, pending)
    if rootfs_of_instance and instance.exists:
        return next_start(instance)
    return first_start(instance)


def _doubts(instance: "Instance", pending: str) -> "tuple[str, ...]":
    """Return notes on a pending trigger that LXD and Incus would not leave."""
    notes: tuple[str, ...] = ()
    if pending and pending not in SET_BY_DAEMONS:
        notes += (
            f"no daemon sets '{printable(pending)}' as {PENDING_KEY}: a user has set it by hand",
        )  # fmt: skip
    if pending and instance.status in ("Running", "Frozen"):
        notes += (
            f"the description says '{instance.status}' and has '{printable(pending)}' pending, but a start"
            " clears that key: a user has set it by hand, or the description is put together from two",
        )
    return notes
