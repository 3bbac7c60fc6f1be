"""Findings that an author ignores: comments in templates, and the file templater.toml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice
from typing import Any

from ..model.errors import InputError, LimitError
from ..model.hosts import HOSTS
from ..model.source import Source, Span, printable
from ..parsing.toml_text import read_toml
from .authored import AuthoredImage
from .finding import Finding, Severity
from .run_checks import MAX_FINDINGS, all_checks

# No part can match the "{" of a following comment, so the search takes linear time.
_COMMENT = re.compile(r"\{#-?[^\S\n]*+templater:[^\S\n]*+ignore\b([^{}#\n]*+)#\}")
_ENTRY = re.compile(r"(?m)^[ \t]*+(\[\[)[ \t]*+ignore[ \t]*+\]\]")
#: maximum number of entries ``[[ignore]]`` in a templater.toml
MAX_IGNORES = 500
#: maximum number of ids in the comments of all templates; further comments ignore nothing
MAX_COMMENTS = 10_000
_LEVELS = ("error", "warning", "info")


@dataclass(frozen=True, slots=True)
class Ignore:
    """An entry ``[[ignore]]`` of templater.toml: a check's id, and a target ("" for every target)."""

    id: str
    target: str
    at: Span


@dataclass(frozen=True, slots=True)
class Configuration:
    """The contents of a templater.toml. ``instances`` are paths as written."""

    hosts: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    severities: tuple[tuple[str, str], ...] = ()
    ignores: tuple[Ignore, ...] = ()


@cache
def known_ids() -> frozenset[str]:
    return frozenset(check.id for check in all_checks("authoring"))


def read_configuration(source: Source) -> Configuration:
    """Parse a templater.toml. Raises InputError with a position for a syntax error or an unknown key."""
    return _Reader(source).configuration(read_toml(source))


class _Reader:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.places: dict[tuple[str, int], Span] = {}

    @cached_property
    def starts(self) -> list[int]:
        """The positions of all ``[[ignore]]``, and the end of the file."""
        return [*(found.start(1) for found in _ENTRY.finditer(self.source.text)), len(self.source.text)]

    def fail(self, key: str, message: str, hint: str = "", number: int = 0) -> InputError:
        return InputError(message, self.place(key, number), hint=hint)

    def place(self, key: str, number: int = 0) -> Span:
        """Return the span of a key in the ``number``-th entry ``[[ignore]]``.

        If ``number`` is 0, search the whole file.
        """
        number = number if number < len(self.starts) else 0
        if (key, number) not in self.places:
            start, end = self.starts[number - 1 : number + 1] if number else (0, self.starts[-1])
            pattern = rf"(?<![\w.-])[\"']?{re.escape(key)}[\"']?[ \t]*+[]=]"
            found = re.compile(pattern).search(self.source.text, start, end) if key else None
            self.places[key, number] = (
                self.source.span(found.start(), found.start() + len(key))
                if found
                else self.source.span(start)
            )
        return self.places[key, number]

    def configuration(self, data: dict[str, Any]) -> Configuration:
        self.known(data, ("hosts", "instances", "severity", "ignore"))
        hosts = self.texts(data, "hosts")
        for name in hosts:
            if name not in HOSTS or not HOSTS[name].family:
                known = ", ".join(host.name for host in HOSTS.values() if host.family)
                raise self.fail("hosts", f"unknown host '{printable(name)}'", f"known hosts: {known}")
        severities = data.get("severity", {})
        if not isinstance(severities, dict):
            raise self.fail("severity", "'severity' must be a table")
        for id, level in severities.items():
            self.known_id(id, id)
            if level not in _LEVELS:
                raise self.fail(
                    id,
                    f"unknown severity '{printable(str(level))}'",
                    f"known severities: {', '.join(_LEVELS)}",
                )
        entries = data.get("ignore", [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self.fail("ignore", "'ignore' must be a list of tables", "write [[ignore]]")
        if len(entries) > MAX_IGNORES:
            raise self.fail(
                "ignore", f"more than {MAX_IGNORES} entries of 'ignore'", "ignore a check for all targets"
            )
        ignores = tuple(self.ignore(entry, number) for number, entry in enumerate(entries, 1))
        return Configuration(hosts, self.texts(data, "instances"), tuple(severities.items()), ignores)

    def ignore(self, entry: dict[str, Any], number: int) -> Ignore:
        self.known(entry, ("id", "target", "reason"), number)
        for key, value in entry.items():
            if not isinstance(value, str):
                raise self.fail(key, f"'{key}' must be a string", number=number)
        if "id" not in entry:
            raise self.fail("", "an entry of 'ignore' has no id", 'add id = "…"', number)
        self.known_id(entry["id"], "id", number)
        return Ignore(entry["id"], entry.get("target", ""), self.place("id", number))

    def known(self, data: dict[str, Any], keys: tuple[str, ...], number: int = 0) -> None:
        for key in data:
            if key not in keys:
                raise self.fail(
                    key, f"unknown key '{printable(key)}'", f"the known keys are {', '.join(keys)}", number
                )

    def known_id(self, id: str, key: str, number: int = 0) -> None:
        if id not in known_ids():
            from ..pongo2.syntax.hints import did_you_mean

            raise self.fail(
                key, f"unknown check '{printable(id)}'", did_you_mean(id, sorted(known_ids())), number
            )

    def texts(self, data: dict[str, Any], key: str) -> tuple[str, ...]:
        value = data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.fail(key, f"'{key}' must be a list of texts")
        return tuple(value)


@dataclass(slots=True)
class _Comment:
    """A comment that ignores a check in one template."""

    id: str
    template: str
    at: Span
    used: bool = False


class Ignores:
    """The ignores of an image, and the findings that they suppress."""

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
        """Yield the finding with the author's severity, unless an ignore matches it."""
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

    def unused(self) -> Iterator[Finding]:
        """Yield a warning for each ignore that matches nothing.

        If there are too many, the last warning states the number of further ignores.

        An ignore of a validator's findings is skipped if the validator did not run, because it may match on
        another machine.
        """
        known = known_ids()
        validators = self.image.validators
        uncertain: set[str] = set()
        if validators is None or validators.notes:
            uncertain = {check.id for check in all_checks("authoring") if check.validated}
        comments = [each for each in self.comments.values() if not each.used and each.id not in uncertain]
        for comment in comments[:MAX_FINDINGS]:
            what = "has no finding here" if comment.id in known else "is not a check"
            yield _unused(f"'{printable(comment.id)}' {what}: the comment ignores nothing", comment.at)
        if len(comments) > MAX_FINDINGS:
            more = len(comments) - MAX_FINDINGS
            yield _unused(f"{more} more comments ignore nothing", comments[MAX_FINDINGS].at)
        if self.unread is not None:
            message = f"the templates' comments have more than {MAX_COMMENTS} ids: later ids have no effect"
            yield _unused(message, self.unread.at)
        for entry, used in self.entries:
            assert isinstance(entry, Ignore)
            if not used and entry.id not in uncertain:
                where = f" for '{printable(entry.target)}'" if entry.target else ""
                yield _unused(f"'{entry.id}' has no finding{where}: the entry ignores nothing", entry.at)


def _unused(message: str, at: Span) -> Finding:
    hint = "remove the ignore comment or entry"
    return Finding("unused-ignore", Severity.WARNING, message, at, "", hint=hint)


def _comments(source: Source, template: str) -> Iterator[_Comment]:
    for found in _COMMENT.finditer(source.text):
        for word in re.finditer(r"[^\s,]+", found[1].rstrip("-")):
            start = found.start(1) + word.start()
            yield _Comment(word[0], template, source.span(start, start + len(word[0])))
