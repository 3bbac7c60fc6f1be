"""Output about verdicts: sentences, patches and JSON.

docs/automation.md lists the keys of the JSON.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..model.plan import Change
from ..model.unprintable_characters import printable
from ..reporting.json_data import change_data, error_data
from ..reporting.json_escapes import json_text
from ..reporting.patch import Work, file_patch
from .client_commands import commands
from .judge_many import Judged
from .verdicts import (
    CHANGES,
    CREATES,
    DIFFERENT,
    EQUAL,
    FAILS,
    MISSING,
    NOT_REWRITTEN,
    SAME,
    SKIPS,
    UNKNOWN,
    UNREADABLE,
    WRITES,
    FileVerdict,
    NextStart,
)

_SENTENCES = {
    NOT_REWRITTEN: "the next start does not rewrite the file",
    SAME: "the next start writes the same content",
    CHANGES: "the next start would change the file",
    CREATES: "the next start would create the file",
    SKIPS: "the next start would skip the file",
    WRITES: "the next start would write the file",
    UNREADABLE: "the file can't be read",
    FAILS: "the next start would fail",
    UNKNOWN: "the result of the next start is unknown",
}
_CURRENT = {
    EQUAL: "the file equals the text that the current configuration renders",
    DIFFERENT: "the file differs from the text that the current configuration renders (cause unknown)",
    MISSING: "the file does not exist",
    UNKNOWN: "not compared with the current configuration",
}
#: maximum number of files that a line names
_MOST_NAMED = 5


def sentence(file: FileVerdict) -> str:
    """Return the verdict on a file and the comparison with the current configuration, as a sentence."""
    text = _SENTENCES[file.verdict]
    if file.verdict == NOT_REWRITTEN:
        text += f" (its rule runs on {printable(', '.join(file.rule.when)) or 'no trigger'})"
    elif file.reason and file.verdict != SKIPS:
        text += f": {printable(file.reason)}"
    elif file.verdict == SKIPS:
        text += " (create_only, and the path exists)"
    if file.current:
        text += f"; {_CURRENT[file.current]}"
        text += f": {printable(file.current_reason)}" if file.current_reason else ""
    return text


def also_runs(found: NextStart) -> dict[str, list[FileVerdict]]:
    """Return a dict from each trigger to the files of the rules that run on this trigger.

    Include only files that the next start does not rewrite.
    """
    runs: dict[str, list[FileVerdict]] = {}
    for file in found.files:
        if file.verdict == NOT_REWRITTEN:
            for trigger in dict.fromkeys(file.rule.when):
                runs.setdefault(trigger, []).append(file)
    return runs


def heading(found: NextStart) -> str:
    """Return a sentence about the start as a whole."""
    triggers = " then ".join(map(printable, found.triggers))
    text = f"{printable(found.address.name)}: the next start runs {triggers}"
    if found.error is not None:
        text += f", and fails: {printable(found.error.message)}"
    return text


def counts(found: NextStart) -> str:
    """Return the number of files for each verdict, as text for a summary."""
    numbers: dict[str, int] = {}
    for file in found.files:
        numbers[file.verdict] = numbers.get(file.verdict, 0) + 1
    words = [f"{number} {verdict}" for verdict, number in numbers.items()]
    different = len(found.differing)
    if different:
        words.append(f"{different} different from the current configuration")
    return ", ".join(words) or "no rules"


def short(found: NextStart) -> str:
    """Return a short text about an instance's next start, for a line of a table."""
    if found.error is not None:
        return f"the start fails: {printable(found.error.message)}"
    parts = [f"{file.verdict} {printable(file.path)}" for file in _notable(found)]
    different = [printable(file.path) for file in found.differing]
    if different:
        parts.append(f"different, but not rewritten: {', '.join(different)}")
    text = "; ".join(parts) or ("nothing changes" if found.files else "no rules")
    return f"{text}; {found.newer_image}" if found.newer_image else text


def _notable(found: NextStart) -> Iterator[FileVerdict]:
    for file in found.files:
        if file.verdict not in (NOT_REWRITTEN, SAME, SKIPS):
            yield file


def patches(found: NextStart) -> Iterator[str]:
    """Yield the verdicts as a patch, file by file.

    The patch has the changes of the next start. All other lines begin with ``#``, so patch(1) skips them.
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
            yield f"#   to write the file: {' && '.join(todo)}\n"
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
