"""The comparison of a run's result with a test's expectations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..model.errors import TemplaterError
from ..model.source import Span
from ..model.unprintable_characters import printable
from ..pongo2.syntax.hints import did_you_mean
from ..pongo2.values import TooLarge
from ..reporting.patch import NO_NEWLINE, of_text
from .case import Case, Expectation, Expected, Failure
from .read_tests import cleaned
from .render_case import File, Result
from .tests_folder import MAX_SNAPSHOT, Folder

if TYPE_CHECKING:
    from ..pongo2.golang.regexp import Pattern

#: maximum number of hints with a similar path in one run
MAX_HINTS = 200
#: maximum number of lines of a file or patch that a failure shows
MOST_LINES = 40
#: maximum number of characters of a line that a failure shows
LONGEST = 200


class Snapshot:
    """A snapshot of one case: a text that records the files of the case."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        #: the position of the first key ``snapshot``
        self.span: Span | None = None
        self.binary = ""
        self.size = 0

    def add(self, file: File, span: Span) -> None:
        self.span = self.span or span
        content = file.change.content or b""
        if is_binary(content):
            self.binary = self.binary or shown(file)
            return
        self.size += len(content)
        if self.size > MAX_SNAPSHOT:
            return
        heading = f"==> {shown(file)} {file.mode:04o} {file.uid}:{file.gid}"
        text = file.text if file.text.endswith("\n") or not file.text else f"{file.text}\n{NO_NEWLINE}"
        self.parts.append(f"{heading}\n{text}")

    def begin(self, step: str, span: Span) -> None:
        """Add the heading of a step to the snapshot."""
        self.span = self.span or span
        self.parts.append(f"### {printable(step)}\n")

    @property
    def data(self) -> bytes:
        return "\n".join(self.parts).encode()


class Snapshots:
    """The snapshots in a folder of tests. With ``update``, ``changes`` collects the snapshots to write."""

    def __init__(self, folder: Folder, *, update: bool) -> None:
        self.folder = folder
        self.update = update
        self.changes: dict[str, bytes] = {}
        self.used: set[str] = set()

    def compare(self, name: str, found: Snapshot) -> Iterator[Failure]:
        """Yield a failure if the files of a case differ from the snapshot.

        If ``self.update`` is true, record a new snapshot instead.
        """
        if found.span is None:
            return
        if found.binary:
            yield Failure(f"{found.binary}: the file is binary, so it can't be in a snapshot", found.span)
            return
        if found.size > MAX_SNAPSHOT:
            yield Failure(f"the snapshot is larger than {MAX_SNAPSHOT >> 20} MiB", found.span)
            return
        try:
            recorded = self.folder.snapshot(name)
        except TemplaterError as error:
            yield Failure(f"the snapshot can't be read: {error.message}", found.span, hint=error.hint)
            return
        if self.update:
            if recorded != found.data:
                self.changes[name] = found.data
        elif recorded is None:
            yield Failure(
                f"the snapshot '{printable(name)}' is missing", found.span,
                hint="record the snapshot with --update, and review it",
            )  # fmt: skip
        elif is_binary(recorded):
            yield Failure(
                f"the snapshot '{printable(name)}' is binary",
                found.span,
                hint="record the snapshot again with --update",
            )
        elif recorded != found.data:
            detail = patch(name, recorded, found.data)
            yield Failure(
                "the files differ from the snapshot", found.span, detail,
                "if the change is intended, record the snapshot again with --update",
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Judge:
    """The comparison of one case with its expectations.

    * ``mistakes``: a function that finds mistakes in a file that the test expects to be valid
    * ``check_time``: a function that raises LimitError if the run takes too long
    """

    case: Case
    snapshot: Snapshot
    mistakes: Callable[[File, Result], list[str]]
    check_time: Callable[[], None]
    #: whether the rules are the same in every case, so that a path without a rule is a mistake
    fixed_rules: bool = True
    #: one item for each hint that may still be searched; a search takes milliseconds
    hints: Iterator[int] = field(default_factory=lambda: iter(range(MAX_HINTS)))

    def failures(self, expected: Expected, result: Result, span: Span) -> Iterator[Failure]:
        """Yield the failures of a run or step, and add its files to the snapshot."""
        handled: set[str] = set()
        for each in expected.files:
            self.check_time()
            if each.kind == "error":
                handled.add(each.target)
                yield from self.expected_error(each, result)
            else:
                yield from self.about_file(each, result, expected)
        yield from self.errors(expected, result, handled, span)
        if expected.snapshot is not None:
            self.snapshot.span = (
                self.snapshot.span or expected.snapshot
            )  # record the position even if no file is written
            for file in result.files.values():
                self.snapshot.add(file, expected.snapshot)
        if expected.valid is not None:
            for file in result.files.values():
                yield from self.validity(file, result, expected.valid)

    def errors(self, expected: Expected, result: Result, handled: set[str], span: Span) -> Iterator[Failure]:
        """Yield a failure for each unexpected error, and for an expected error that did not occur."""
        waiting = {path: error for path, error in result.errors.items() if path not in handled}
        whole = result.error if not result.errors or waiting or expected.error is not None else None
        errors = [*waiting.values(), *([] if whole is None else [whole])]
        wanted = expected.error
        if wanted is not None:
            fitting = [error for error in errors if wanted.value in explained(error)]
            if not fitting:
                yield Failure(missing_error(wanted, errors), wanted.span)
            left = {id(error) for error in errors} - {id(error) for error in fitting}
            errors = [error for error in errors if id(error) in left] if fitting else []
        unexpected = {id(error) for error in errors}
        seen: set[str] = set()
        for path, error in waiting.items():
            if id(error) in unexpected and error.message not in seen:
                seen.add(error.message)
                yield Failure(f"{printable(path)}: {error.message}", span, detail_of(error), error.hint)
        if whole is not None and id(whole) in unexpected and whole.message not in seen:
            yield Failure(whole.message, span, detail_of(whole), whole.hint)

    def expected_error(self, wanted: Expectation, result: Result) -> Iterator[Failure]:
        found = result.errors.get(wanted.target)
        if found is None or wanted.value not in explained(found):
            words = missing_error(wanted, [] if found is None else [found])
            yield Failure(f"{printable(wanted.target)}: {words}", wanted.span, hint=self.hint(wanted, result))

    def about_file(self, wanted: Expectation, result: Result, expected: Expected) -> Iterator[Failure]:
        target, file = printable(wanted.target), result.files.get(wanted.target)
        if wanted.kind == "absent":
            if file is not None:
                yield Failure(
                    f"{target}: the file is written, but the test expects 'absent'",
                    wanted.span,
                    head(file.text),
                )
            elif self.fixed_rules and not has_rule(result, wanted.target):
                yield Failure(
                    f"{target}: no rule writes this file", wanted.span, hint=self.hint(wanted, result)
                )
            return
        if file is None:
            if wanted.target in result.errors:
                return  # the error is reported as another failure
            reason = result.unknown.get(wanted.target)
            words = "the file is not written"
            if not has_rule(result, wanted.target):
                words = "no rule writes this file"
            if reason is not None:
                words = f"the content is unknown: {reason}"
            yield Failure(f"{target}: {words}", wanted.span, hint=self.hint(wanted, result))
        elif wanted.kind == "snapshot":
            if expected.snapshot is None:
                self.snapshot.add(file, wanted.span)
        elif wanted.kind == "valid":
            yield from self.validity(file, result, wanted.span)
        else:
            yield from compare(wanted, file, self.check_time)

    def validity(self, file: File, result: Result, span: Span) -> Iterator[Failure]:
        for message in self.mistakes(file, result):
            yield Failure(f"{shown(file)}: not valid: {message}", span)

    def hint(self, wanted: Expectation, result: Result) -> str:
        if has_rule(result, wanted.target) or next(self.hints, None) is None:
            return ""
        paths = list(dict.fromkeys(rule.path for rule in result.rules))
        return printable(did_you_mean(wanted.target[:200], paths[:1000]))


def compare(wanted: Expectation, file: File, check_time: Callable[[], None]) -> Iterator[Failure]:
    """Compare a file with an expectation about its content, mode or owner."""
    target, text, kind = shown(file), file.text, wanted.kind
    if kind == "equals" and text != wanted.value:
        hint = ""
        if text == f"{wanted.value}\n":
            hint = "the file ends with a newline: write `equals: |`, and the text in the next line"
        expected = wanted.value.encode("utf-8", "surrogateescape")
        detail = patch(file.change.path, expected, file.change.content or b"")
        yield Failure(f"{target}: differs from the expected text", wanted.span, detail, hint)
    elif kind in ("contains", "lacks"):
        for part in wanted.value:
            if (part in text) != (kind == "contains"):
                verb = "does not contain" if kind == "contains" else "contains"
                yield Failure(f"{target}: {verb} '{short(part)}'", wanted.span, head(text))
    elif kind == "matches":
        for pattern in wanted.value:
            check_time()
            yield from match(pattern, wanted, file)
    elif kind == "mode" and file.mode != wanted.value:
        yield Failure(f"{target}: the mode is {file.mode:04o}, not {wanted.value:04o}", wanted.span)
    elif kind == "owner" and (file.uid, file.gid) != wanted.value:
        uid, gid = wanted.value
        yield Failure(f"{target}: the owner is {file.uid}:{file.gid}, not {uid}:{gid}", wanted.span)


def match(pattern: Pattern, wanted: Expectation, file: File) -> Iterator[Failure]:
    try:
        found = pattern.is_in(file.text)
    except TooLarge:
        yield Failure(
            f"{shown(file)}: searching for '{short(pattern.text)}' in {len(file.text)} characters"
            " takes too long",
            wanted.span, hint="use a shorter regular expression, or 'contains'",
        )  # fmt: skip
        return
    if not found:
        yield Failure(f"{shown(file)}: nothing matches '{short(pattern.text)}'", wanted.span, head(file.text))


def missing_error(wanted: Expectation, found: list[TemplaterError]) -> str:
    if not found:
        return "no error"
    return f"the error does not contain '{short(wanted.value)}': {found[0].message}"


def explained(error: TemplaterError) -> str:
    return "\n".join((error.message, *error.notes))


def detail_of(error: TemplaterError) -> str:
    return "" if error.span is None else f"{error.span.place}\n{error.span.excerpt()}"


def has_rule(result: Result, target: str) -> bool:
    """Return whether a rule writes a target. If the rules are unknown, return True."""
    if result.targets is None:
        result.targets = frozenset(cleaned(rule.path) for rule in result.rules)
    return not result.rules or target in result.targets


def shown(file: File) -> str:
    return printable(file.change.path)


def short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def is_binary(data: bytes) -> bool:
    if b"\0" in data:
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return True
    return False


def patch(name: str, before: bytes, after: bytes) -> str:
    return bounded(of_text(name, before, after).split("\n"))


def head(text: str) -> str:
    return bounded([f"| {line}" for line in text.removesuffix("\n").split("\n")] if text else ["| (empty)"])


def bounded(lines: list[str]) -> str:
    more = len(lines) - MOST_LINES
    kept = [line if len(line) <= LONGEST else f"{line[:LONGEST]}…" for line in lines[:MOST_LINES]]
    return "\n".join([*kept, *([f"… and {more} more lines"] if more > 0 else [])])
