"""Everything that an image's templates would write for an instance, computed before anything is written."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .errors import TemplaterError
    from .instance import Instance
    from .metadata import Metadata, Rule

CREATE = "create"  # a new file
UPDATE = "update"  # an existing file gets other content
KEEP = "keep"  # the file already has this content: not touched
SKIP = "skip"  # create_only, and the name exists
FAILED = "failed"  # this rule can't be carried out: see error
WRITE = "write"  # no root filesystem is known: new or not can't be said


class Outcome:
    """What the chosen host would do with a rule: ``result`` is one of written, skipped, fails, hangs, random.

    ``text`` says it in words for the user; ``error`` is the host's own message where it fails.
    """

    __slots__ = ("error", "result", "text")

    def __init__(self, result: str, text: str = "", error: str = "") -> None:
        self.result = result
        self.text = text
        self.error = error

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
        "action", "before", "content", "error", "gid", "in_place", "mode", "new_parents",
        "outcome", "path", "real", "reason", "rule", "trigger", "uid",
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
        #: the target is a mount point: it can't be replaced, only written through
        self.in_place = False
        #: one phrase for people: "new", "create_only, and the file exists"
        self.reason = ""
        self.error: TemplaterError | None = None
        self.outcome: Outcome | None = None

    def __repr__(self) -> str:
        return f"Change({self.action} {self.path!r} on {self.trigger})"


class Plan:
    """Changes in the order in which they happen: pass by pass, rules in file order.

    ``changes`` holds every rule that is due in a pass; ``files()`` is what remains at the end, one
    change a target, and is what gets written: the passes of a start are one commit.
    ``host`` is the host whose outcomes stand beside ours.
    """

    __slots__ = ("changes", "host", "instance", "metadata", "triggers")

    def __init__(
        self,
        metadata: "Metadata",
        instance: "Instance",
        host: object,
        triggers: "tuple[str, ...]",
        changes: "tuple[Change, ...]",
    ) -> None:
        self.metadata = metadata
        self.instance = instance
        self.host = host
        self.triggers = triggers
        self.changes = changes

    @property
    def failed(self) -> "list[Change]":
        return [change for change in self.changes if change.action == FAILED]

    def files(self) -> "Iterator[Change]":
        """The last writing change of each target, in order of first appearance."""
        raise NotImplementedError
