"""What planning hands on: changes, plans, and what a host would do with them."""

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
        """What is due in a pass: a rule and the trigger."""

        rule: Rule
        trigger: str

    Item = TypeVar("Item", bound=Due)

    class Destination(Protocol):
        """A place that takes the changes of a plan, one after the other.

        These are a root filesystem in memory, a new folder, and the transaction of ``apply``, which holds
        everything back until its commit.
        """

        def carry_out(self, change: "Change") -> None:
            """Make a change's missing parents, and its file with content, mode and owner."""


CREATE = "create"  # a new file
UPDATE = "update"  # an existing file gets other content
KEEP = "keep"  # the file already has this content: not touched
SKIP = "skip"  # create_only, and the name exists
FAILED = "failed"  # this rule can't be carried out: see error
WRITE = "write"  # no root filesystem is known: new or not can't be said

WRITING = (CREATE, UPDATE, WRITE)

#: the pass in which a VM's guest agent copies what the config drive holds
AGENT = "agent"


class Outcome:
    """What the chosen host would do with a rule: ``result`` is one of written, skipped, fails, hangs, random,
    unknown.

    ``text`` says it in words for the user; ``error`` is the host's own message where it fails.
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
    """What one rule does in one pass.

    ``path`` is the cleaned absolute path as the container names it; ``real`` is where that leads
    after the symlinks of the root filesystem, and is what is written. ``uid``, ``gid`` are the
    container's ids and ``mode`` the permission bits that the file will have. ``new_parents`` are
    directories to be made (0755, root), outermost first. ``content`` is None where nothing rendered.
    ``before`` is the content that is replaced, None when there is none or it is not known.
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
        #: how many directories on the way to ``real`` exist; None for all of them
        self.new_depth: int | None = None
        #: the way to ``real`` and what stands there; None where the path itself is refused
        self.resolved: Resolved | None = None
        #: the target is a mount point: it can't be replaced, only written through
        self.in_place = False
        #: one phrase for people: "new", "create_only, and the file exists"
        self.reason = reason
        self.error: TemplaterError | None = None
        #: why nothing rendered; with create_only that may not matter, and ``error`` is None
        self.render_error: TemplaterError | None = None
        #: another rule of the pass that reaches the same file, or the place of this one's parent
        self.collides: Rule | None = None

    def __repr__(self) -> str:
        return f"Change({self.action} {self.path!r} on {self.trigger})"

    @property
    def new_parents(self) -> "tuple[str, ...]":
        return () if self.new_depth is None else tuple(parents_below(self.real, self.new_depth))


class Prediction:
    """What a host would do with the changes of a plan.

    ``outcomes`` has none for a change that can't be predicted. ``error`` says why the host's start fails
    before it looks at any rule, or is empty.
    """

    __slots__ = ("error", "outcomes")

    def __init__(self, outcomes: "Mapping[Change, Outcome] | None" = None, error: str = "") -> None:
        self.outcomes: Mapping[Change, Outcome] = {} if outcomes is None else outcomes
        self.error = error


class Plan:
    """Changes in the order in which they happen: pass by pass, rules in file order.

    ``changes`` holds every rule that is due in a pass; ``files()`` is what remains at the end, one
    change a target, and is what gets written: the passes of a start are one commit.
    ``prediction`` is what ``host`` would do with the same changes.

    For a virtual machine the changes are the files of the config drive, and ``agent`` is what the
    guest's agent then does with them inside; ``as_agent()`` is the plan that does it in its stead.
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
        #: what a reader of the plan has to know, one sentence each
        self.notes = notes

    def __repr__(self) -> str:
        return f"Plan({self.instance.name!r}, {self.triggers!r}, {len(self.changes)} changes)"

    @property
    def failed(self) -> "list[Change]":
        """What could not be done, in the guest too."""
        return [change for change in (*self.changes, *self.agent) if change.action == FAILED]

    def outcome(self, change: Change) -> "Outcome | None":
        """Return what the host would do at ``change``; None if that can't be predicted."""
        return self.prediction.outcomes.get(change)

    @property
    def host_fails(self) -> "list[Change]":
        """The changes at which the host fails or hangs, or at which its result is random or unknown."""
        outcomes = self.prediction.outcomes
        everywhere = (*self.changes, *self.agent)
        return [change for change in everywhere if change in outcomes and not outcomes[change].ok]

    @property
    def host_error(self) -> str:
        """Why the host's start fails before it looks at any rule; empty if it does not."""
        return self.prediction.error

    def with_prediction(self, prediction: Prediction) -> "Plan":
        """Return the same plan with what the host would do."""
        return Plan(
            self.metadata, self.instance, self.host, self.triggers, self.changes,
            agent=self.agent, prediction=prediction, notes=self.notes,
        )  # fmt: skip

    def files(self) -> "Iterator[Change]":
        """The last writing change of each target, in order of first appearance.

        Relative to what was there before the first pass: a file made by one pass and changed by the
        next is one CREATE, and one that a later pass puts back as it was is not here at all.
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
        """What the guest's agent does inside a virtual machine, as a plan of its own."""
        failed = tuple(change for change in self.changes if change.action == FAILED)
        return Plan(
            self.metadata, self.instance, self.host, (AGENT,), failed + self.agent, prediction=self.prediction
        )


def carry_out(changes: "Iterable[Change]", destination: "Destination") -> None:
    """Hand each change to a destination."""
    for change in changes:
        destination.carry_out(change)


def split_passes(items: "Iterable[Item]") -> "Iterator[list[Item]]":
    """Split changes, or anything else with a ``rule`` and a ``trigger``, into the passes of a start.

    A new pass begins where the trigger changes, or a rule comes again.
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
    """Two changes of one target, as one."""
    merged = Change(later.rule, later.trigger, later.path, earlier.action)
    for name in ("content", "uid", "gid", "mode", "in_place", "error", "real", "resolved"):
        setattr(merged, name, getattr(later, name))
    merged.before, merged.new_depth = earlier.before, earlier.new_depth
    merged.reason = earlier.reason
    if earlier.action == UPDATE and earlier.before is not None and earlier.before == later.content:
        merged.action, merged.reason = KEEP, "a later pass puts it back"
    return merged
