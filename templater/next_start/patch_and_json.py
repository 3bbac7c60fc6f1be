"""The verdicts on an instance as a patch with remarks, and as JSON. docs/automation.md lists the keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..model.plan import Change
from ..model.source import printable
from ..reporting.json_data import change_data, error_data
from ..reporting.json_escapes import json_text
from ..reporting.patch import Work, file_patch
from .judge_many import Judged
from .sentences_and_commands import also_runs, commands, heading, sentence
from .verdicts import DIFFERENT, NOT_REWRITTEN, NextStart

#: maximum number of files that a line names
_MOST_NAMED = 5


def patches(found: NextStart) -> Iterator[str]:
    """Yield the verdicts as a patch, file by file.

    Every line that is not part of the patch of the next start begins with ``#``, so patch(1) skips it.
    """
    yield f"# {heading(found)}\n"
    work = Work()
    runs = also_runs(found)
    for file in found.files:
        todo = commands(found, file)
        yield f"# {printable(file.path)}: {sentence(file)}\n"
        for remark in file.remarks:
            yield f"#   {remark}\n"
        if file.change is not None:
            yield file_patch(file.change, work)
        if file.current_change is not None and (todo or file.current == DIFFERENT):
            yield "".join(f"#   {line}\n" for line in _lines(file_patch(file.current_change, work)))
        if todo and file.current:
            yield f"#   to write it: {' && '.join(todo)}\n"
            others = runs.get(file.trigger, []) if file.trigger else []
            named = [each for each in others[: _MOST_NAMED + 1] if each is not file][:_MOST_NAMED]
            if named:
                count = len(others) - (file.verdict == NOT_REWRITTEN) - len(named)
                more = f" and {count} more" if count else ""
                yield f"#   the start also writes {', '.join(printable(each.path) for each in named)}{more}\n"


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def data_of(found: NextStart) -> dict[str, Any]:
    """Return the verdicts as data for ``json.dumps``."""
    data: dict[str, Any] = {
        "instance": json_text(found.address.name),
        "project": json_text(found.address.project or "default"),
        "remote": found.address.remote,
        "family": found.address.family,
        "status": json_text(found.instance.status),
        "type": found.instance.type,
        "host": found.host.name,
        "triggers": [json_text(trigger) for trigger in found.triggers],
        "files": [],
        "notes": list(found.notes),
    }
    for file in found.files:
        entry: dict[str, Any] = {
            "path": json_text(file.path),
            "real": json_text(file.real),
            "template": json_text(file.rule.template),
            "when": [json_text(trigger) for trigger in file.rule.when],
            "verdict": file.verdict,
        }
        if file.reason:
            entry["reason"] = json_text(file.reason)
        if file.change is not None:
            entry["change"] = _change(file.change)
        if file.current:
            entry["current"] = file.current
        if file.current_reason:
            entry["current_reason"] = json_text(file.current_reason)
        if file.current_change is not None:
            entry["current_change"] = _change(file.current_change)
        todo = commands(found, file)
        if todo:
            entry["commands"] = list(todo)
        if file.remarks:
            entry["remarks"] = list(file.remarks)
        data["files"].append(entry)
    if found.error is not None:
        data["error"] = error_data(found.error)
    if found.newer_image:
        data["newer_image"] = json_text(found.newer_image)
    if found.unreadable:
        data["unreadable"] = json_text(found.unreadable)
    return data


def error_of(judged: Judged) -> dict[str, Any]:
    """Return data for ``json.dumps`` about an instance that could not be read."""
    assert judged.error is not None
    return {
        "instance": json_text(judged.address.name),
        "project": json_text(judged.address.project or "default"),
        "status": json_text(judged.status),
        "error": error_data(judged.error),
    }


def _change(change: Change) -> dict[str, Any]:
    data = change_data(change)
    keys = ("trigger", "action", "uid", "gid", "mode", "new_parents", "content", "content_base64")
    return {key: data[key] for key in keys if key in data}
