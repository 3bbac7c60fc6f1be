"""The contents of an image's metadata.yaml: facts and rules."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from .source import Source, Span

TRIGGERS = ("create", "copy", "start", "rename")


class Rule:
    """One entry of ``templates``: a target, a template, and the triggers on which it runs.

    Scalars are texts as Go decodes them into strings. For example, ``mode: 0644`` gives the four
    characters ``0644``. An absent or null field is empty. ``path`` is the key as written, not cleaned.

    ``spans`` maps a field name to its place in metadata.yaml: ``path`` for the key, ``entry`` for the value.
    It is empty for a rule loaded from the cache. ``null`` is true for an entry without a value: the daemons
    panic when they read it.
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
        self.null = null
        self.spans: Mapping[str, Span] = {} if spans is None else spans

    def __repr__(self) -> str:
        return f"Rule({self.path!r}, {self.template!r}, when={self.when!r})"


class Finding:
    """A likely mistake in metadata.yaml that hosts accept. ``code`` names its kind in reports.

    It unpacks to message and span.
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
    """An image's facts and its rules, in file order.

    ``findings`` are likely mistakes that the chosen host accepts. ``null`` is true if the whole document is
    null: most daemons panic when they read it.
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
