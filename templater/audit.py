"""What can be seen of an image without running it, judged: findings with severity, place and advisory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any

from .checks import all_checks
from .errors import TemplaterError
from .metadata import Metadata, Rule
from .resolve import clean
from .rootfs.memory import MemoryRootfs
from .source import Source, Span, printable
from .views import DIRECTORY, SYMLINK, Entry, TemplateFile


class Severity(IntEnum):
    """How bad: from "worth knowing" to "writes or reads the host's files where a daemon is old"."""

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @classmethod
    def named(cls, name: str) -> Severity:
        return cls[name.upper()]


@dataclass(frozen=True, slots=True)
class Name:
    """One name of an image, as stored: ``path`` has no leading slash and is not cleaned."""

    path: str
    entry: Entry
    xattrs: frozenset[str] = frozenset()
    #: the same file as this other name
    hard_link: str = ""


@dataclass(frozen=True)
class Survey:
    """All that an audit looks at, read by ``survey.py`` without following or refusing anything."""

    name: str
    metadata: Metadata | None = None
    templates: Mapping[str, TemplateFile] = field(default_factory=dict)
    names: tuple[Name, ...] = ()
    #: what could not be read, or was stopped at a limit
    errors: tuple[TemplaterError, ...] = ()

    @property
    def rules(self) -> tuple[Rule, ...]:
        return self.metadata.rules if self.metadata is not None else ()

    @cached_property
    def targets(self) -> tuple[tuple[Rule, str], ...]:
        """The rules whose path can be cleaned, with the cleaned path."""
        found = []
        for rule in self.rules:
            try:
                found.append((rule, clean(rule.path)))
            except TemplaterError:
                continue
        return tuple(found)

    @cached_property
    def rootfs(self) -> MemoryRootfs:
        """The names below ``rootfs/``: kinds and links, no contents. Later names win, as in unpacking."""
        tree = MemoryRootfs()
        for name in self.names:
            top, _, path = name.path.removeprefix("./").partition("/")
            if top == "rootfs" and path.strip("/"):
                try:
                    _place(tree, "/" + path.strip("/"), name.entry)
                except TemplaterError:
                    continue  # hostile names are the business of the checks of names
        return tree

    def source(self, rule: Rule) -> Source | None:
        """A rule's template as text, if the image has it and it may be read."""
        file = self.templates.get(rule.template)
        if file is None or file.data is None:
            return None
        return Source(f"{self.name}/templates/{rule.template}", file.data)

    def sources(self) -> Iterable[Source]:
        for name, file in sorted(self.templates.items()):
            if file.data is not None:
                yield Source(f"{self.name}/templates/{name}", file.data)


def _place(tree: MemoryRootfs, path: str, entry: Entry) -> None:
    parent = ""
    for part in path.split("/")[1:-1]:
        parent += "/" + part
        if tree.entry(parent) is None:
            tree.mkdir(parent)
    here = tree.entry(path)
    if here is not None and here.kind == DIRECTORY == entry.kind:
        return
    if here is not None:
        tree.remove(path)
    if entry.kind == DIRECTORY:
        tree.mkdir(path, entry.mode, entry.uid, entry.gid)
    elif entry.kind == SYMLINK:
        tree.symlink(path, entry.target)
    elif entry.kind == "file":
        tree.write(path, b"", entry.mode, entry.uid, entry.gid)
    else:
        tree.special(path, entry.kind, entry.mode, entry.rdev)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check saw."""

    check: str
    severity: Severity
    message: str
    #: a place in a text, or empty and ``where`` names a member of the image
    span: Span | None
    where: str
    advisory: str = ""
    hint: str = ""

    @property
    def place(self) -> str:
        return self.span.place if self.span is not None else printable(self.where)


def audit(survey: Survey) -> list[Finding]:
    """Every finding of every check, the worst first."""
    found = [
        Finding(
            check.id,
            Severity.named(sight.severity or check.severity),
            sight.message,
            sight.at if isinstance(sight.at, Span) else None,
            sight.at if isinstance(sight.at, str) else "",
            check.advisory if sight.advisory is None else sight.advisory,
            sight.hint,
        )
        for check in all_checks()
        for sight in check.look(survey)
    ]
    return sorted(found, key=lambda finding: (-finding.severity, finding.check, finding.place))


def finding_data(finding: Finding) -> dict[str, Any]:
    data: dict[str, Any] = {
        "check": finding.check,
        "severity": finding.severity.name.lower(),
        "message": finding.message,
        "place": finding.place,
    }
    if finding.span is not None:
        span = finding.span
        data |= {"file": span.source.name, "line": span.line, "column": span.column}
    if finding.advisory:
        data["advisory"] = finding.advisory
    if finding.hint:
        data["hint"] = finding.hint
    return data


#: SARIF knows four levels
LEVELS = {
    Severity.INFO: "note",
    Severity.LOW: "note",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "error",
    Severity.CRITICAL: "error",
}
#: GitHub sorts by this number
SCORES = {
    Severity.INFO: "0.1",
    Severity.LOW: "3.0",
    Severity.MEDIUM: "5.5",
    Severity.HIGH: "8.0",
    Severity.CRITICAL: "9.9",
}


def sarif(findings: Iterable[Finding], survey: Survey, version: str) -> dict[str, Any]:
    """SARIF 2.1.0, as code scanning services read it."""
    found = list(findings)
    checks = {check.id: check for check in all_checks()}
    used = sorted({finding.check for finding in found})
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "templater",
                        "version": version,
                        "rules": [
                            {
                                "id": name,
                                "shortDescription": {"text": checks[name].about},
                                "properties": {
                                    "security-severity": SCORES[Severity.named(checks[name].severity)],
                                    "tags": ["security", *filter(None, [checks[name].advisory])],
                                },
                            }
                            for name in used
                        ],
                    }
                },
                "results": [_sarif_result(finding, used, survey) for finding in found],
            }
        ],
    }


def _sarif_result(finding: Finding, rules: list[str], survey: Survey) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding, survey)}}
    if finding.span is not None:
        span = finding.span
        location["region"] = {"startLine": span.line, "startColumn": span.column}
    else:
        location["region"] = {"startLine": 1}
    advisory = f" ({finding.advisory})" if finding.advisory else ""
    return {
        "ruleId": finding.check,
        "ruleIndex": rules.index(finding.check),
        "level": LEVELS[finding.severity],
        "message": {"text": f"{finding.message}{advisory}"},
        "locations": [{"physicalLocation": location}],
    }


def _uri(finding: Finding, survey: Survey) -> str:
    from urllib.parse import quote

    path = finding.span.source.name if finding.span is not None else f"{survey.name}/{finding.where}"
    return quote(path.encode("utf-8", "surrogateescape"))
