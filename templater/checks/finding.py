"""A finding of a check, and its severity."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

from ..model.metadata import Rule
from ..model.source import Span
from ..model.unprintable_characters import printable
from .base import Fix


class Severity(IntEnum):
    """The severity of a finding.

    INFO means "worth knowing". CRITICAL usually means that the image can reach files outside the instance, on
    the host.
    """

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4
    #: names for severities in `templater check`, which has three levels
    WARNING = 2
    ERROR = 3

    @classmethod
    def named(cls, name: str) -> Severity:
        """Return the severity with this name. The case of the name does not matter."""
        return cls[name.upper()]

    @property
    def level(self) -> str:
        """Return the severity's name in `templater check`."""
        return "error" if self >= Severity.ERROR else "warning" if self >= Severity.WARNING else "info"


class Finding(NamedTuple):
    """One finding of a check."""

    check: str
    severity: Severity
    message: str
    #: the position in a text; if None, ``where`` is a path in the image
    span: Span | None
    where: str
    advisory: str = ""
    hint: str = ""
    rule: Rule | None = None
    fix: Fix | None = None

    @property
    def place(self) -> str:
        return self.span.place if self.span is not None else printable(self.where)


def finding_data(finding: Finding) -> dict[str, Any]:
    """Return a finding as a JSON object."""
    data: dict[str, Any] = {
        "check": finding.check,
        "severity": finding.severity.name.lower(),
        "message": finding.message,
        "place": finding.place,
    }
    if finding.span is not None:
        span = finding.span.origin
        data |= {"file": span.source.name, "line": span.line, "column": span.column}
    if finding.advisory:
        data["advisory"] = finding.advisory
    if finding.hint:
        data["hint"] = finding.hint
    return data
