"""A run of the tests of one image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from hashlib import sha256
from time import perf_counter
from typing import TYPE_CHECKING

from ..checks.checks_of_one_file import findings_in
from ..checks.rendered_files import LARGEST
from ..checks.rendered_files import File as CheckedFile
from ..definitions.choice import DEFAULT_BUILD, Choice
from ..model.errors import TemplaterError
from ..model.unprintable_characters import printable
from .case import Case, CaseStep, Expected, Failure, Outcome
from .compare_with_expectations import MAX_HINTS, Judge, Snapshot, Snapshots
from .coverage import Coverage
from .render_case import File, HeldImage, Result, Subject
from .tests_folder import Folder

if TYPE_CHECKING:
    from ..limit_option import Given
    from ..rendering.rendered_text_cache import Memo
    from ..validators.runner import Validators


#: maximum number of failures that are reported for one case
MAX_FAILURES = 100
#: after this many failures of a run, further failures show no file
MAX_DETAILS = 1000


class Session:
    """The tests of one image. Use it in a ``with`` block.

    * ``update``: record snapshots, which ``save`` writes
    * ``coverage``: render each template a second time to find the branches that run
    * ``memo``: the texts that earlier runs have rendered
    """

    def __init__(
        self,
        source: str,
        folder: Folder,
        given: Given,
        *,
        choice: Choice = DEFAULT_BUILD,
        validators: Validators | None = None,
        update: bool = False,
        coverage: bool = False,
        memo: Memo | None = None,
    ) -> None:
        self.folder = folder
        self.subject = Subject(source, given, choice, memo)
        self.snapshots = Snapshots(folder, update=update)
        self.validators = validators
        self.failed = 0
        self.coverage = Coverage(self.subject) if coverage else None
        self._hints = iter(range(MAX_HINTS))
        self._mistakes: dict[tuple[str, bytes], list[str]] = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *unused: object) -> None:
        self.subject.__exit__(*unused)

    def run(self, cases: Iterable[Case]) -> list[Outcome]:
        """Run cases. Raises TemplaterError if SRC cannot be read."""
        return [self.run_case(case) for case in cases]

    def run_case(self, case: Case) -> Outcome:
        """Run one case. Raises LimitError if all cases together take too long."""
        begun = perf_counter()
        self.subject.options.check_time()
        failures: list[Failure] = []
        for failure in without_repeated_details(self.failures(case)):
            self.failed += 1
            if len(failures) < MAX_FAILURES:
                failures.append(failure if self.failed <= MAX_DETAILS else replace(failure, detail=""))
        return Outcome(case, tuple(failures), perf_counter() - begun)

    def failures(self, case: Case) -> Iterable[Failure]:
        image = self.subject.image(case)
        snapshot = Snapshot()
        if case.has_snapshot:
            self.snapshots.used.add(case.snapshot)
        judge = Judge(
            case, snapshot, partial(self.mistakes, image), self.subject.options.check_time,
            fixed_rules=not self.subject.is_definition, hints=self._hints,
        )  # fmt: skip
        for expected, result, step in self.results(case):
            if step is not None and expected.snapshot is not None:
                snapshot.begin(step.step.text, expected.snapshot)
            if self.coverage is not None:
                self.coverage.add(image, result)
            yield from judge.failures(expected, result, case.span if step is None else step.span)
        yield from self.snapshots.compare(case.snapshot, snapshot)

    def results(self, case: Case) -> Iterable[tuple[Expected, Result, CaseStep | None]]:
        """Yield ``(expectations, result, step)`` for each step of a case.

        For a case without steps, yield one tuple with None as the step.
        """
        if not case.steps:
            yield case.expected, self.subject.plan(case), None
            return
        try:
            results = self.subject.live(case, self.folder)
        except TemplaterError as error:
            if error.kind == "limit":
                raise
            yield Expected(), Result(case.host, case.instance, error=error), None
            return
        for step, result in zip(case.steps, results, strict=True):
            yield step.expected, result, step

    def mistakes(self, image: HeldImage, file: File, result: Result) -> list[str]:
        """Return the mistakes that the checks of ``templater check`` find in a file."""
        if len(file.text) > LARGEST:
            return [f"the file has more than {LARGEST >> 10} KiB, so it was not checked"]
        key = file.change.path, sha256(file.change.content or b"").digest()
        if key not in self._mistakes:
            metadata = self.subject.metadata(image, result.host)
            change = file.change
            checked = CheckedFile(change.rule, change.trigger, result.host, result.instance, file.text, None)
            found = findings_in(checked, metadata, image.templates, self.validators)
            prefix = f"'{printable(change.rule.path)}', "  # the failure already names the file
            self._mistakes[key] = [
                f"{finding.message.removeprefix(prefix)} [{finding.check}]" for finding in found
            ]
        return self._mistakes[key]

    def save(self, *, complete: bool) -> list[str]:
        """Write the changed snapshots, and return their names.

        If ``complete`` is true, all tests of the folder ran: also remove the unused snapshots.
        """
        changes: dict[str, bytes | None] = dict(self.snapshots.changes)
        if complete:
            changes |= dict.fromkeys(self.unused())
        self.folder.write(changes)
        return [f"{'removed' if changes[name] is None else 'updated'} {printable(name)}" for name in changes]

    def unused(self) -> list[str]:
        """Return the names of the snapshots that no case has used."""
        return [name for name in self.folder.snapshots() if name not in self.snapshots.used]

    @property
    def notes(self) -> list[str]:
        """Return notes about SRC, and about validators that left files unchecked."""
        return [*self.subject.notes, *([] if self.validators is None else self.validators.notes)]


def without_repeated_details(failures: Iterable[Failure]) -> Iterator[Failure]:
    """Yield the failures. If several failures would show the same file, only the first failure shows it."""
    seen: set[str] = set()
    for failure in failures:
        yield replace(failure, detail="") if failure.detail in seen else failure
        seen.add(failure.detail)
