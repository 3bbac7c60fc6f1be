"""The results of planning: a plan, its changes, and the predicted outcomes on a host."""

from .entry import parents_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Protocol, TypeVar

    from .entry import Resolved
    from .errors import TemplaterError
    from .hosts import Host
    from .instance import Instance
    from .metadata import Metadata, Rule

    class Due(Protocol):
        """A rule and the trigger that runs the rule."""

        rule: Rule
        trigger: str

    Item = TypeVar("Item", bound=Due)

    class Destination(Protocol):
        """An object that makes the changes of a plan in order, such as the transaction of ``apply``."""

        def carry_out(self, change: "Change") -> None:
            """Create the missing parent directories, and the file with its content, mode and owner."""


CREATE = "create"  # a new file
UPDATE = "update"  # an existing file gets other content
KEEP = "keep"  # the file already has this content, so templater does not touch the file
SKIP = "skip"  # the rule has create_only, and the path exists
FAILED = "failed"  # the rule cannot run; see ``error``
WRITE = "write"  # the file is written; without a root filesystem, templater can't know whether it exists

WRITING = (CREATE, UPDATE, WRITE)

#: the pass in which a VM's guest agent copies the files of the config drive
AGENT = "agent"


class Outcome:
    """The predicted result of a rule on the chosen host.

    * ``result``: written, skipped, fails, hangs, random or unknown
    * ``text``: an explanation for the user
    * ``error``: the host's error message if the rule fails
    """

    __slots__ = ("error", "result", "text")

    def __init__(self, result: str, text: str = "", error: str = "") -> None:
        self.result = result
        self.text = text
        self.error = error

    def __repr__(self) -> str:
        return f"Outcome({self.result!r}, {self.text or self.error!r})"

    @property
    def ok(self) -> bool:
        return self.result in ("written", "skipped")


class Change:
    """The effect of one rule in one pass.

    * ``path``: the cleaned absolute path inside the container
    * ``real``: the path of the written file, after following symlinks in the root filesystem
    * ``uid``, ``gid`` and ``mode``: for the written file, with ids inside the container
    * ``new_parents``: the directories to create as root with mode 0755, outermost first
    * ``content``: the rendered text, or None if nothing was rendered
    * ``before``: the replaced content, or None for a new file or unknown content
    """

    __slots__ = (
        "action", "before", "collides", "content", "error", "gid", "in_place", "mode", "new_depth",
        "path", "real", "reason", "render_error", "resolved", "rule", "trigger", "uid",
    )  # fmt: skip

    def __init__(self, rule: "Rule", trigger: str, path: str, action: str, reason: str = "") -> None:
        self.rule = rule
        self.trigger = trigger
        self.path = path
        self.real = path
        self.action = action
        self.content: bytes | None = None
        self.before: bytes | None = None
        self.uid = 0
        self.gid = 0
        self.mode = 0o644
        #: the number of existing directories on the way to ``real``, or None if all of them exist
        self.new_depth: int | None = None
        #: the result of resolving ``path``, or None if the path is invalid
        self.resolved: Resolved | None = None
        #: True if the target is a mount point, which can be overwritten but not replaced
        self.in_place = False
        #: a short explanation for the user, such as "new" or "create_only, and the path exists"
        self.reason = reason
        self.error: TemplaterError | None = None
        #: the error of a failed render, even if create_only skips the rule and ``error`` is None
        self.render_error: TemplaterError | None = None
        #: another rule of the same pass that writes to the same file, a parent path, or a path below the file
        self.collides: Rule | None = None

    def __repr__(self) -> str:
        return f"Change({self.action} {self.path!r} on {self.trigger})"

    @property
    def new_parents(self) -> "tuple[str, ...]":
        return () if self.new_depth is None else tuple(parents_below(self.real, self.new_depth))


class Prediction:
    """The predicted outcomes of a plan's changes on a host.

    ``outcomes`` omits changes that cannot be predicted. If the start fails before the host reads any rule,
    ``error`` has the reason.
    """

    __slots__ = ("error", "outcomes")

    def __init__(self, outcomes: "Mapping[Change, Outcome] | None" = None, error: str = "") -> None:
        self.outcomes: Mapping[Change, Outcome] = {} if outcomes is None else outcomes
        self.error = error


class Plan:
    """The changes of a run, in order: one change for each rule that runs in a pass.

    A run has one pass for each trigger. For a virtual machine, ``changes`` are the files of the config drive.
    ``agent`` has the changes that the guest's agent makes from these files.
    """

    __slots__ = ("agent", "changes", "host", "instance", "metadata", "notes", "prediction", "triggers")

    def __init__(
        self,
        metadata: "Metadata",
        instance: "Instance",
        host: "Host",
        triggers: "tuple[str, ...]",
        changes: "tuple[Change, ...]",
        *,
        agent: "tuple[Change, ...]" = (),
        prediction: "Prediction | None" = None,
        notes: "tuple[str, ...]" = (),
    ) -> None:
        self.metadata = metadata
        self.instance = instance
        self.host = host
        self.triggers = triggers
        self.changes = changes
        self.agent = agent
        self.prediction = Prediction() if prediction is None else prediction
        #: remarks for the user about the plan, one sentence each
        self.notes = notes

    def __repr__(self) -> str:
        return f"Plan({self.instance.name!r}, {self.triggers!r}, {len(self.changes)} changes)"

    @property
    def failed(self) -> "list[Change]":
        """The changes that fail, including the changes of the guest's agent."""
        return [change for change in (*self.changes, *self.agent) if change.action == FAILED]

    def outcome(self, change: Change) -> "Outcome | None":
        """Return the predicted outcome of ``change``, or None if it cannot be predicted."""
        return self.prediction.outcomes.get(change)

    @property
    def host_fails(self) -> "list[Change]":
        """The changes with the predicted result ``fails``, ``hangs``, ``random`` or ``unknown``."""
        outcomes = self.prediction.outcomes
        everywhere = (*self.changes, *self.agent)
        return [change for change in everywhere if change in outcomes and not outcomes[change].ok]

    @property
    def host_error(self) -> str:
        """The reason why the start fails before the host reads a rule, or "" if the host reads the rules."""
        return self.prediction.error

    def with_prediction(self, prediction: Prediction) -> "Plan":
        """Return a copy of the plan with this prediction."""
        return Plan(
            self.metadata, self.instance, self.host, self.triggers, self.changes,
            agent=self.agent, prediction=prediction, notes=self.notes,
        )  # fmt: skip

    def files(self) -> "Iterator[Change]":
        """Yield one merged change for each changed file, in the order of the first changes.

        Omit a file if a later pass restores the old content.
        """
        merged: dict[str, Change] = {}
        for change in self.changes:
            if change.action in WRITING:
                earlier = merged.get(change.real)
                merged[change.real] = change if earlier is None else _merge(earlier, change)
        for change in merged.values():
            if change.action != KEEP:
                yield change

    def as_agent(self) -> "Plan":
        """Return a plan with the changes that the guest's agent makes.

        The new plan also contains the changes that fail on the host.
        """
        failed = tuple(change for change in self.changes if change.action == FAILED)
        return Plan(
            self.metadata, self.instance, self.host, (AGENT,), failed + self.agent, prediction=self.prediction
        )


def carry_out(changes: "Iterable[Change]", destination: "Destination") -> None:
    """Pass each change to a destination, which carries out the change."""
    for change in changes:
        destination.carry_out(change)


def split_passes(items: "Iterable[Item]") -> "Iterator[list[Item]]":
    """Split changes, or similar items, into the passes of a start.

    A new pass begins where the trigger changes or a rule occurs again.
    """
    current: list[Item] = []
    rules: set[int] = set()
    for item in items:
        if current and (current[-1].trigger != item.trigger or id(item.rule) in rules):
            yield current
            current, rules = [], set()
        current.append(item)
        rules.add(id(item.rule))
    if current:
        yield current


def _merge(earlier: Change, later: Change) -> Change:
    """Merge two changes of the same target into one change."""
    merged = Change(later.rule, later.trigger, later.path, earlier.action)
    for name in ("content", "uid", "gid", "mode", "in_place", "error", "real", "resolved"):
        setattr(merged, name, getattr(later, name))
    merged.before, merged.new_depth = earlier.before, earlier.new_depth
    merged.reason = earlier.reason
    if earlier.action == UPDATE and earlier.before is not None and earlier.before == later.content:
        merged.action, merged.reason = KEEP, "a later pass restores the old content"
    return merged
