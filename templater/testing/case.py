"""The values of a test: a case, its expectations, and the outcome of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..model.hosts import Host
from ..model.instance import Instance
from ..model.source import Span
from ..model.unprintable_characters import printable
from ..simulation.parse_steps import Step


@dataclass(frozen=True, slots=True)
class Expectation:
    """One expectation about a file. ``kind`` is a key of the schema's ``expectation``, such as ``equals``.

    ``value`` is a text, a list of texts, or True.
    """

    target: str
    kind: str
    value: Any
    span: Span


@dataclass(frozen=True, slots=True)
class Expected:
    """The expectations about one run or step.

    ``error`` has a text that an error of the run must contain. ``snapshot`` and ``valid`` are the positions
    of these keys in the test file, or None for a missing key. Both keys apply to every written file.
    """

    files: tuple[Expectation, ...] = ()
    error: Expectation | None = None
    snapshot: Span | None = None
    valid: Span | None = None


@dataclass(frozen=True, slots=True)
class CaseStep:
    """A step of an instance's life with its own expectations."""

    step: Step
    expected: Expected
    span: Span


@dataclass(frozen=True, slots=True)
class Case:
    """One test, with one combination of the values in its matrix. ``label`` names these values."""

    #: the path of the file, for messages and reports
    file: str
    name: str
    label: str
    span: Span
    instance: Instance
    host: Host
    #: the passes to render, or () for the default passes
    triggers: tuple[str, ...] = ()
    #: fields of a definition, in the syntax of the option ``-o``
    options: tuple[str, ...] = ()
    #: "image", "none", or the files by path
    rootfs: str | Mapping[str, str] = "image"
    expected: Expected = field(default_factory=Expected)
    steps: tuple[CaseStep, ...] = ()
    #: the recorded file of the case, below the folder of tests
    snapshot: str = ""

    @property
    def has_snapshot(self) -> bool:
        """Whether the case compares at least one file with a recorded file."""
        every = (self.expected, *(step.expected for step in self.steps))
        return any(
            expected.snapshot is not None or any(each.kind == "snapshot" for each in expected.files)
            for expected in every
        )

    @property
    def title(self) -> str:
        return printable(f"{self.name} [{self.label}]" if self.label else self.name)


@dataclass(frozen=True, slots=True)
class Failure:
    """One expectation that failed. ``detail`` has further lines, such as a patch."""

    message: str
    span: Span
    detail: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a case."""

    case: Case
    failures: tuple[Failure, ...] = ()
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.failures
