"""The commands of the client incus or lxc that make the files of an instance match its configuration."""

from __future__ import annotations

from shlex import quote

from ..live.address import LOCAL, Address
from ..model.pending_trigger import PENDING_KEY
from .verdicts import CHANGING, EQUAL, MISSING, SKIPS, FileVerdict, NextStart


def commands(found: NextStart, file: FileVerdict) -> tuple[str, ...]:
    """Return the commands that make a file match the current configuration.

    Return () if no command is needed or possible.
    """
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


def _parts(address: Address) -> tuple[str, str, str]:
    """Return three parts of a command: the client, the instance with its remote, and the project option."""
    remote = "" if address.remote == LOCAL else f"{address.remote}:"
    project = f" --project {quote(address.project)}" if address.project not in ("", "default") else ""
    return address.client, quote(remote + address.name), project
