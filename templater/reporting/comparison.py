"""Comparisons of two plans: the files that they would write, as a patch and as data for ``json.dumps``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ..model.plan import FAILED, SKIP, Change, Plan
from ..model.unprintable_characters import printable
from .json_data import change_data
from .json_escapes import json_text
from .patch import Work, body, header, quoted
from .plan_text import differences

CHANGED, ADDED, REMOVED, FAILS, UNCHANGED = STATUSES = "changed", "added", "removed", "failed", "unchanged"


class Side(NamedTuple):
    """A file in one of the two compared plans.

    ``result`` is the result that is predicted for the host. ``remarks`` say how the host differs from
    templater.
    """

    change: Change
    result: str
    remarks: tuple[str, ...]

    @property
    def facts(self) -> str:
        return f"{self.change.uid}:{self.change.gid} {self.change.mode:04o}"

    @property
    def content(self) -> bytes:
        return self.change.content or b""


class FileComparison(NamedTuple):
    """A file that at least one of two plans writes.

    ``before`` is None if the first plan does not write the file. ``after`` is None if the second plan does
    not write the file.
    """

    path: str
    before: Side | None
    after: Side | None

    @property
    def status(self) -> str:
        if self.before is None or self.after is None:
            only = self.after or self.before
            failed = only is not None and only.change.action == FAILED
            return FAILS if failed else ADDED if self.before is None else REMOVED
        if FAILED in (self.before.change.action, self.after.change.action):
            return FAILS
        before, after = self.before, self.after
        same = (before.content, before.facts, before.result) == (after.content, after.facts, after.result)
        return UNCHANGED if same else CHANGED


def compare_plans(before: Plan, after: Plan) -> list[FileComparison]:
    """Return every file that at least one of the plans writes, in the order of the rules."""
    old, new = last_changes(before), last_changes(after)
    return [FileComparison(path, old.get(path), new.get(path)) for path in {**old, **new}]


def last_changes(plan: Plan) -> dict[str, Side]:
    """Return each file in the state after the last trigger of a plan.

    If a change of a file fails, return this failed change for the file.
    """
    found: dict[str, Side] = {}
    for change in plan.changes:
        earlier = found.get(change.path)
        if earlier is not None and (change.action == SKIP or earlier.change.action == FAILED):
            continue
        outcome = plan.outcome(change)
        result = "" if outcome is None else outcome.result
        found[change.path] = Side(change, result, tuple(differences(plan, change)))
    return found


def differing(files: Iterable[FileComparison]) -> list[FileComparison]:
    return [file for file in files if file.status != UNCHANGED]


def patch_of(files: Iterable[FileComparison]) -> Iterator[str]:
    """Yield the patch of each file that differs between the two plans."""
    work = Work()
    for file in differing(files):
        yield "".join(_file(file, work))


def _file(file: FileComparison, work: Work) -> Iterator[str]:
    before, after, status = file.before, file.after, file.status
    facts = " -> ".join(dict.fromkeys(_facts(side) for side in (before, after) if side is not None))
    yield f"# {printable(file.path)}: {status}, {facts}\n"
    if before is None or after is None or before.result != after.result:
        for name, side in (("before", before), ("after", after)):
            yield from (f"# {name}: {remark}\n" for remark in (() if side is None else side.remarks))
    if status == FAILS:
        return
    old, new = (None if side is None else side.content for side in (before, after))
    name = file.path.lstrip("/")
    if before is None or after is None:
        verb, side = ("new", after) if before is None else ("deleted", before)
        assert side is not None
        yield f"diff --git {quoted('a/' + name, blanks=True)} {quoted('b/' + name, blanks=True)}\n"
        yield f"{verb} file mode 100{side.change.mode & 0o777:03o}\n"
    if old or new:
        if old == new:
            return
        yield f"--- {'/dev/null' if old is None else header('a/' + name)}\n"
        yield f"+++ {'/dev/null' if new is None else header('b/' + name)}\n"
        yield from body(old or b"", new or b"", work)


def _facts(side: Side) -> str:
    return "error" if side.change.action == FAILED else side.facts


def summary(plan: Plan, files: Iterable[FileComparison]) -> str:
    """Return one line with the number of files of each status."""
    found = [file.status for file in files]
    words = ", ".join(f"{found.count(status)} {status}" for status in STATUSES if status in found)
    return f"{printable(plan.instance.name)}: {' then '.join(plan.triggers)}: {words or 'no files'}"


def comparison_data(before: Plan, after: Plan, files: Iterable[FileComparison]) -> dict[str, Any]:
    """Return data about the files that differ between the two plans.

    docs/automation.md documents the keys.
    """
    return {
        "triggers": list(before.triggers),
        "before": plan_facts(before),
        "after": plan_facts(after),
        "files": [
            {
                "path": json_text(file.path),
                "status": file.status,
                "before": None if file.before is None else change_data(file.before.change, before),
                "after": None if file.after is None else change_data(file.after.change, after),
            }
            for file in differing(files)
        ],
    }


def plan_facts(plan: Plan) -> dict[str, Any]:
    facts = {"instance": json_text(plan.instance.name), "type": plan.instance.type, "host": plan.host.name}
    return {**facts, "host_error": plan.host_error} if plan.host_error else facts
