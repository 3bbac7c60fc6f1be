"""The status of an instance's files as a table and as data for ``json.dumps``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..model.plan import FAILED, KEEP, SKIP
from .columns import columns
from .json_data import error_data
from .json_escapes import json_text

if TYPE_CHECKING:
    from ..instances.changed_by_hand import FileStatus

HEAD = ("FILE", "CHANGED BY HAND", "NEXT START", "WHY")
#: for some actions, the words that describe what the next start does with the file
NEXT = {KEEP: "no change", SKIP: "skips it", FAILED: "fails"}


def columns_of(files: Sequence[FileStatus]) -> Iterator[str]:
    """Yield the lines of the table."""
    if files:
        yield from columns([HEAD, *(row(file) for file in files)])


def row(file: FileStatus) -> tuple[str, str, str, str]:
    answer = {True: "yes", False: "no", None: "unknown"}[file.by_hand]
    differences = f" ({', '.join(file.differences)})" if file.differences else ""
    return file.path, answer + differences, next_start(file), "; ".join(reasons(file))


def next_start(file: FileStatus) -> str:
    if file.change is None:
        return "no rule"
    return NEXT.get(file.change.action, f"would {file.change.action}")


def reasons(file: FileStatus) -> Iterator[str]:
    """Yield the known reasons why the next start fails for a file or changes the file."""
    change = file.change
    if change is not None and change.error is not None:
        yield str(change.error)
    if not file.would_change:
        return
    if file.template_changed:
        yield "the template has changed"
    if file.recorded is not None and not file.by_hand and not file.template_changed:
        keys = ", ".join(file.recorded.keys)
        yield f"the template's input has changed{f' (the template reads {keys})' if keys else ''}"


def summary(files: Sequence[FileStatus]) -> str:
    by_hand = sum(bool(file.by_hand) for file in files)
    would_change = sum(bool(file.would_change) for file in files)
    return f"{len(files)} files: {by_hand} changed by hand, {would_change} would change at the next start"


def file_data(file: FileStatus) -> dict[str, Any]:
    """Return one file's status as data. docs/automation.md documents the keys."""
    data: dict[str, Any] = {
        "path": json_text(file.path),
        "changed_by_hand": file.by_hand,
        "differences": list(file.differences),
        "would_change": file.would_change,
        "action": None if file.change is None else file.change.action,
        "template_changed": file.template_changed,
        "recorded": None,
    }
    recorded = file.recorded
    if recorded is not None:
        data["recorded"] = {
            "real": json_text(recorded.real),
            "digest": recorded.digest,
            "uid": recorded.uid,
            "gid": recorded.gid,
            "mode": f"{recorded.mode:04o}",
            "template": json_text(recorded.template),
            "template_digest": recorded.template_digest,
            "keys": [json_text(key) for key in recorded.keys],
        }
    if file.change is not None and file.change.error is not None:
        data["error"] = error_data(file.change.error)
    return data
