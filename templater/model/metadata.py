"""The contents of an image's metadata.yaml: properties of the image, and the rules for its templates."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from .source import Source, Span

TRIGGERS = ("create", "copy", "start", "rename")

#: the first second of the year 10000: the daemons can't read later dates from their database
YEAR_10000 = 253_402_300_800


class Rule:
    """One entry of ``templates`` in metadata.yaml: a target, a template, and the triggers of the rule.

    Text fields have the same values as in Go: ``mode: 0644`` gives the text ``0644``. A missing or null field
    is empty. ``path`` is the key as the image author wrote it. ``spans`` maps the name of a field to its
    source position.
    """

    __slots__ = (
        "create_only",
        "gid",
        "mode",
        "null",
        "path",
        "properties",
        "spans",
        "template",
        "uid",
        "when",
    )

    def __init__(
        self,
        path: str,
        template: str,
        when: "tuple[str, ...]" = (),
        create_only: bool = False,
        properties: "Mapping[str, str] | None" = None,
        uid: str = "",
        gid: str = "",
        mode: str = "",
        null: bool = False,
        spans: "Mapping[str, Span] | None" = None,
    ) -> None:
        self.path = path
        self.template = template
        self.when = when
        self.create_only = create_only
        self.properties: Mapping[str, str] = {} if properties is None else properties
        self.uid = uid
        self.gid = gid
        self.mode = mode
        #: whether the value of the entry is null: the daemons panic when they read such an entry
        self.null = null
        #: ``spans["path"]`` is the position of the key, and ``spans["entry"]`` the position of the value. A
        #: rule from the cache has no spans.
        self.spans: Mapping[str, Span] = {} if spans is None else spans

    def __repr__(self) -> str:
        return f"Rule({self.path!r}, {self.template!r}, when={self.when!r})"


#: the message of the last finding of a kind, if further findings of this kind are omitted
UNCOUNTED = "metadata.yaml has more mistakes of one kind than templater lists"


class Finding:
    """A probable mistake in metadata.yaml that the chosen host accepts.

    ``code`` is the kind of mistake in reports, such as "unknown-key". Iterating over a finding
    yields the message and the span.
    """

    __slots__ = ("code", "message", "span")

    def __init__(self, code: str, message: str, span: "Span") -> None:
        self.code = code
        self.message = message
        self.span = span

    def __iter__(self) -> "Iterator[Any]":
        return iter((self.message, self.span))

    def __repr__(self) -> str:
        return f"Finding({self.code!r}, {self.message!r})"


class Metadata:
    """The contents of a metadata.yaml. ``rules`` are in the order of the file.

    ``findings`` are probable mistakes that the chosen host accepts. ``null`` is true if the whole document is
    null: most daemons panic when they read such a document.
    """

    __slots__ = (
        "architecture", "creation_date", "expiry_date", "findings", "null", "properties", "rules",
        "source", "spans",
    )  # fmt: skip

    def __init__(
        self,
        architecture: str = "",
        creation_date: int = 0,
        expiry_date: int = 0,
        properties: "Mapping[str, str] | None" = None,
        rules: "tuple[Rule, ...]" = (),
        source: "Source | None" = None,
        spans: "Mapping[str, Span] | None" = None,
        findings: "tuple[Finding, ...]" = (),
        null: bool = False,
    ) -> None:
        self.architecture = architecture
        self.creation_date = creation_date
        self.expiry_date = expiry_date
        self.properties: Mapping[str, str] = {} if properties is None else properties
        self.rules = rules
        self.source = source
        self.spans: Mapping[str, Span] = {} if spans is None else spans
        self.findings = findings
        self.null = null
