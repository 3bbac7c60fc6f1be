"""Findings that an author ignores: with comments in templates, or in the file templater.toml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from ..model.errors import LimitError
from ..model.source import Source, Span
from .authored_image import AuthoredImage
from .finding import Finding, Severity
from .templater_toml import Configuration, Ignore

# No part can match the "{" of a following comment, so the search takes linear time.
_COMMENT = re.compile(r"\{#-?[^\S\n]*+templater:[^\S\n]*+ignore\b([^{}#\n]*+)#\}")
#: maximum number of ids in the comments of all templates; further comments ignore nothing
MAX_COMMENTS = 10_000


@dataclass(slots=True)
class _Comment:
    """A comment that ignores a check in one template."""

    id: str
    template: str
    at: Span
    used: bool = False


class Ignores:
    """The comments and entries with which an author ignores findings, and the ignored findings."""

    def __init__(self, image: AuthoredImage, configuration: Configuration) -> None:
        self.image = image
        self.severities = dict(configuration.severities)
        self.entries = [[entry, False] for entry in configuration.ignores]
        try:
            parsed = image.parsed
        except LimitError:
            parsed = ()  # each check that needs the templates reports the error
        found = (comment for template in parsed for comment in _comments(template.source, template.name))
        self.comments: dict[tuple[str, str], _Comment] = {}
        for comment in islice(found, MAX_COMMENTS):
            self.comments.setdefault((comment.id, comment.template), comment)
        self.unread = next(found, None)
        self.suppressed: list[Finding] = []
        self.targets: dict[str, frozenset[str]] = {}

    def filter(self, finding: Finding) -> Iterator[Finding]:
        """Yield the finding with the severity that the author configured.

        Yield nothing if a comment or an entry ignores the finding.
        """
        level = self.severities.get(finding.check)
        if level is not None:
            finding = finding._replace(severity=Severity.named(level))
        template = self.template_of(finding)
        ignored = False
        comment = self.comments.get((finding.check, template))
        if comment is not None:
            comment.used = ignored = True
        for pair in self.entries:
            entry = pair[0]
            assert isinstance(entry, Ignore)
            if entry.id == finding.check and (
                not entry.target or entry.target in self.targets_of(finding, template)
            ):
                pair[1] = ignored = True
        if ignored:
            self.suppressed.append(finding)
        else:
            yield finding

    def template_of(self, finding: Finding) -> str:
        """Return the template that a finding is about, or an empty string."""
        prefix = f"{self.image.name}/templates/"
        name = finding.span.source.name if finding.span is not None else ""
        if name.startswith(prefix):
            return name[len(prefix) :]
        return finding.rule.template if finding.rule is not None else ""

    def targets_of(self, finding: Finding, template: str) -> frozenset[str]:
        if finding.rule is not None:
            return frozenset((finding.rule.path,))
        if template not in self.targets:
            rules = self.image.used.get(template, ())
            self.targets[template] = frozenset(rule.path for rule in rules)
        return self.targets[template]


def _comments(source: Source, template: str) -> Iterator[_Comment]:
    for found in _COMMENT.finditer(source.text):
        for word in re.finditer(r"[^\s,]+", found[1].rstrip("-")):
            start = found.start(1) + word.start()
            yield _Comment(word[0], template, source.span(start, start + len(word[0])))
