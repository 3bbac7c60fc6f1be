"""Functions that find all checks, run them on a scanned image, and return the findings."""

from __future__ import annotations

import pkgutil
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib import import_module

from ..model.errors import LimitError, described_bug
from ..model.metadata import UNCOUNTED
from ..model.source import Span
from .base import Check, Observation
from .finding import Finding, Severity
from .scanned_image import ScannedImage

#: maximum number of findings per check and severity; further findings are only counted
MAX_FINDINGS = 200


@cache
def all_checks(folder: str) -> tuple[Check, ...]:
    """Return every check of a folder, ``security`` or ``authoring``, sorted by file name.

    Raises RuntimeError if no check is found.
    """
    package = import_module(f"{__package__}.{folder}")
    names = sorted(found.name for found in pkgutil.iter_modules(package.__path__))
    # Without checks, an audit would report no findings.
    if not names:
        raise RuntimeError("no check was found")
    modules = [import_module(f"{package.__name__}.{name}") for name in names]
    return tuple(value for module in modules for value in vars(module).values() if isinstance(value, Check))


def audit(image: ScannedImage, folder: str = "security") -> list[Finding]:
    """Run every check of a folder and return the findings, sorted by descending severity."""
    found = [finding for check in all_checks(folder) for finding in run_check(check, image)]
    return sorted(found, key=lambda finding: (-finding.severity, finding.check, *_position(finding)))


def run_check(check: Check, image: ScannedImage) -> Iterator[Finding]:
    """Run one check and yield its findings."""
    counts: Counter[Severity] = Counter()
    notes: dict[Severity, str] = {}
    for observation in _observations(check, image):
        severity = Severity.named(observation.severity or check.severity)
        if observation.message == UNCOUNTED:
            notes[severity] = UNCOUNTED
            continue
        counts[severity] += 1
        if counts[severity] <= MAX_FINDINGS:
            yield _finding(check, severity, observation)
    for severity, count in counts.items():
        if count > MAX_FINDINGS:
            note = f"; {notes[severity]}" if severity in notes else ""
            notes[severity] = f"{count - MAX_FINDINGS} more findings of this kind{note}"
    for severity, note in notes.items():
        yield _finding(check, severity, Observation(note, "", advisory=""))


def _observations(check: Check, image: ScannedImage) -> Iterator[Observation]:
    """Run a check. If the check exceeds a limit or has a bug, the last observation reports the error."""
    try:
        yield from check.run(image)
    except LimitError as error:
        yield Observation(f"not checked completely: {error.message}", "", severity="high", advisory="")
    except MemoryError:
        raise
    except Exception as error:
        message = f"not checked completely: {described_bug(error)}"
        yield Observation(message, "", "please report this", severity="high", advisory="")


def _finding(check: Check, severity: Severity, observation: Observation) -> Finding:
    at = observation.at
    return Finding(
        check.id,
        severity,
        observation.message,
        at if isinstance(at, Span) else None,
        at if isinstance(at, str) else "",
        check.advisory if observation.advisory is None else observation.advisory,
        observation.hint or check.hint,
        observation.rule,
        observation.fix,
    )


def _position(finding: Finding) -> tuple[str, int, int]:
    if finding.span is None:
        return finding.place, 0, 0
    span = finding.span.origin
    return span.source.name, span.line, span.column
