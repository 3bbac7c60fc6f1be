"""What planning hands on: changes, plans, and what a host would do with them."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .entry import Resolved
    from .errors import TemplaterError
    from .hosts import Host
    from .instance import Instance
    from .metadata import Metadata, Rule

CREATE = "create"  # a new file
UPDATE = "update"  # an existing file gets other content
KEEP = "keep"  # the file already has this content: not touched
SKIP = "skip"  # create_only, and the name exists
FAILED = "failed"  # this rule can't be carried out: see error
WRITE = "write"  # no root filesystem is known: new or not can't be said

WRITING = (CREATE, UPDATE, WRITE)

FIRST_BOOT = ("create", "start")

#: the pass in which a VM's guest agent copies what the config drive holds
AGENT = "agent"


class Outcome:
    """What the chosen host would do with a rule: ``result`` is one of written, skipped, fails, hangs, random,
    unknown.

    ``text`` says it in words for the user; ``error`` is the host's own message where it fails.
    ``left`` names what else changed, as the daemon names it: ``$ROOTFS/n1``, ``/etc/passwd`` of its machine.
    """

    __slots__ = ("error", "left", "result", "text")

    def __init__(self, result: str, text: str = "", error: str = "") -> None:
        self.result = result
        self.text = text
        self.error = error
        self.left: tuple[str, ...] = ()

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
        "action", "before", "collides", "content", "error", "gid", "in_place", "mode", "new_parents",
        "outcome", "path", "real", "reason", "render_error", "resolved", "rule", "trigger", "uid",
    )  # fmt: skip

    def __init__(self, rule: "Rule", trigger: str, path: str, action: str) -> None:
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
        self.new_parents: tuple[str, ...] = ()
        #: the way to ``real`` and what stands there; None where the path itself is refused
        self.resolved: Resolved | None = None
        #: the target is a mount point: it can't be replaced, only written through
        self.in_place = False
        #: one phrase for people: "new", "create_only, and the file exists"
        self.reason = ""
        self.error: TemplaterError | None = None
        #: why nothing rendered; with create_only that may not matter, and ``error`` is None
        self.render_error: TemplaterError | None = None
        #: another rule of the pass that reaches the same file, or the place of this one's parent
        self.collides: Rule | None = None
        self.outcome: Outcome | None = None

    def __repr__(self) -> str:
        return f"Change({self.action} {self.path!r} on {self.trigger})"


class Plan:
    """Changes in the order in which they happen: pass by pass, rules in file order.

    ``changes`` holds every rule that is due in a pass; ``files()`` is what remains at the end, one
    change a target, and is what gets written: the passes of a start are one commit.
    ``host`` is the host whose outcomes stand beside ours.

    For a virtual machine the changes are the files of the config drive, and ``agent`` is what the
    guest's agent then does with them inside; ``as_agent()`` is the plan that does it in its stead.
    """

    __slots__ = ("agent", "changes", "host", "host_error", "instance", "metadata", "triggers")

    def __init__(
        self,
        metadata: "Metadata",
        instance: "Instance",
        host: "Host",
        triggers: "tuple[str, ...]",
        changes: "tuple[Change, ...]",
        *,
        agent: "tuple[Change, ...]" = (),
    ) -> None:
        self.metadata = metadata
        self.instance = instance
        self.host = host
        self.triggers = triggers
        self.changes = changes
        self.agent = agent
        #: why the chosen host's start fails before it looks at any rule
        self.host_error = ""

    def __repr__(self) -> str:
        return f"Plan({self.instance.name!r}, {self.triggers!r}, {len(self.changes)} changes)"

    @property
    def failed(self) -> "list[Change]":
        """What could not be done, in the guest too."""
        return [change for change in (*self.changes, *self.agent) if change.action == FAILED]

    @property
    def host_fails(self) -> "list[Change]":
        """Changes at which the host would fail, hang, or leave it to chance, or where nobody knows."""
        everywhere = (*self.changes, *self.agent)
        return [change for change in everywhere if change.outcome is not None and not change.outcome.ok]

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
        return Plan(self.metadata, self.instance, self.host, (AGENT,), failed + self.agent)


def _merge(earlier: Change, later: Change) -> Change:
    """Two changes of one target, as one."""
    merged = Change(later.rule, later.trigger, later.path, earlier.action)
    for name in ("content", "uid", "gid", "mode", "in_place", "error", "outcome", "real", "resolved"):
        setattr(merged, name, getattr(later, name))
    merged.before, merged.new_parents = earlier.before, earlier.new_parents
    merged.reason = earlier.reason
    if earlier.action == UPDATE and earlier.before is not None and earlier.before == later.content:
        merged.action, merged.reason = KEEP, "a later pass puts it back"
    return merged
