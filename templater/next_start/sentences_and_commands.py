"""Sentences about verdicts, and the commands that make a file match the current configuration."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from ..live.address import LOCAL, Address
from ..model.pending_trigger import PENDING_KEY
from ..model.source import printable
from .verdicts import (
    CHANGES,
    CHANGING,
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


def commands(found: NextStart, file: FileVerdict) -> tuple[str, ...]:
    """Return the commands that make a file match the current configuration, or () if none is needed."""
    start = start_command(found)
    if file.verdict in CHANGING:
        return (start,)
    if file.current == EQUAL or not (file.trigger or file.verdict == SKIPS):
        return ()
    if file.current == MISSING and file.trigger != "create":
        return ()  # if the instance was never copied or renamed, it is correct that the file is missing
    client, target, project = _parts(found.address)
    made: list[str] = []
    exists = file.current_change is not None and file.current_change.before is not None
    if file.rule.create_only and exists:
        made.append(f"{client} file delete {target}{quote(file.real)}{project}")
    if file.trigger:
        made.append(f"{client} config set {target} {PENDING_KEY}={file.trigger}{project}")
    return (*made, start)


def start_command(found: NextStart) -> str:
    """Return the client command that starts a stopped instance or restarts a running instance."""
    client, target, project = _parts(found.address)
    return f"{client} {'restart' if found.is_running else 'start'} {target}{project}"


def also_runs(found: NextStart) -> dict[str, list[FileVerdict]]:
    """Return a dict from each trigger to the files that this trigger writes, but the next start does not."""
    runs: dict[str, list[FileVerdict]] = {}
    for file in found.files:
        if file.verdict == NOT_REWRITTEN:
            for trigger in dict.fromkeys(file.rule.when):
                runs.setdefault(trigger, []).append(file)
    return runs


def _parts(address: Address) -> tuple[str, str, str]:
    """Return the client's command, the instance with its remote, and the option for the project."""
    remote = "" if address.remote == LOCAL else f"{address.remote}:"
    project = f" --project {quote(address.project)}" if address.project not in ("", "default") else ""
    return address.client, quote(remote + address.name), project


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
    """Return the result of an instance's next start, for a line of a table."""
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
