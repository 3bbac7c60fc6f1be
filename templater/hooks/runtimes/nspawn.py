"""The hook for systemd-nspawn: a drop-in for a machine's unit runs templater before the machine starts.

``/var/lib/templater/NAME`` contains templater's state and, without ``--source``, the machine's image. The
root filesystem is ``/var/lib/machines/NAME``.
"""

from ...model.errors import RefusedError, UsageError
from ...model.file_names import METADATA
from ...model.unprintable_characters import printable
from ...oslite import exists, is_missing, islink, join, os
from ..container_state_folder import directory_identity, make_state_folder
from ..request import HookRequest, Notice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..common_status_checks import Finding
    from ..install import Snippet
    from ..options import Options

MACHINES = "/var/lib/machines"
INSTANCES = "/var/lib/templater"
#: directories in INSTANCES that belong to no machine
RESERVED = ("images", "incus", "old_contents")
#: systemd gives each machine a range of ids that begins at a multiple of this number
RANGE = 65536
UNITS = "/etc/systemd/system"


def read_request(options: "Options", _environ: "Mapping[str, str]") -> "HookRequest | Notice":
    if len(options.words) != 1:
        raise UsageError("missing machine name", hint="end the ExecStartPre line of the unit with %i")
    name = options.words[0]
    if not name or "/" in name or name in (".", "..") or not name.isprintable():
        raise UsageError(f"invalid machine name '{printable(name)}'")
    own = join(INSTANCES, name)
    image = options.source or own
    if name in RESERVED and not (options.source and options.state):
        if options.if_present:
            return Notice()
        hint = "give the image with --source, and a directory for the state with --state"
        raise UsageError(
            f"reserved machine name '{name}': templater itself uses the directory '{own}'", hint=hint
        )
    is_other = options.if_present and not options.state and is_missing(own)
    if is_other or (options.if_present and is_missing(join(image, METADATA))):
        return Notice()
    rootfs = options.rootfs or join(MACHINES, name)
    if not options.rootfs and islink(rootfs):  # safe: only root can create links in MACHINES
        rootfs = join(MACHINES, os.readlink(rootfs))
    owner = _owner_of(rootfs)
    # several machines can have the same image, but each machine has its own state
    state = options.state or (make_state_folder(own) if options.source else own)
    return HookRequest(
        options,
        name=name,
        rootfs=rootfs,
        image=image,
        state_folder=state,
        owner=owner,
        root=directory_identity(rootfs),
    )


def _owner_of(rootfs: str) -> "tuple[int, int] | None":
    """Return the owner and group of a root filesystem, or None if it can't be read.

    Raises RefusedError for an id above ``RANGE`` that is not the first id of a machine's range.
    """
    try:
        status = os.stat(rootfs)
    except OSError:
        return None  # opening the file later reports the error
    for kind, owner, command in (("uid", status.st_uid, "chown"), ("gid", status.st_gid, "chgrp")):
        # The machine's root user can give the directory to any id of the machine. If templater took this id
        # as the first id, the range would also contain ids of another machine.
        if owner >= RANGE and owner % RANGE:
            raise RefusedError(
                f"'{printable(rootfs)}' belongs to {kind} {owner},"
                " which is not the first id of a machine's range",
                hint=f"the machine's root user has the {kind} {owner - owner % RANGE}:"
                f" set this {kind} with {command}",
            )
    return status.st_uid, status.st_gid


def snippet(name: str, words: "list[str]", path: str) -> "Snippet":
    """Return a drop-in for one machine's unit.

    If ``name`` is empty, return a drop-in for all machines that have a directory in ``INSTANCES``. Raises
    UsageError if this drop-in has an option for one machine.
    """
    from ..install import Snippet, argv, require_common
    from ..options import END

    if not name:
        require_common(words, "give the machine's name")
    line = unit_line(argv("nspawn", [*words, *(() if name else ("--if-present",)), END]))
    # The line needs no id map. nspawn maps user ids only after this hook, so the hook takes the owner of the
    # root filesystem's directory as the container's root.
    return Snippet(drop_in(name, path), f"[Service]\nExecStartPre={line} %i\n")


def unit_line(words: "list[str]") -> str:
    """Return the words as a line for a systemd unit. Raises UsageError for a line that systemd ignores."""
    import shlex

    line = shlex.join(words)
    if is_ignored(line):
        raise UsageError("a systemd unit can't contain a line break, or bytes that are not UTF-8")
    # systemd quotes as the shell does, but expands %, $ and backslashes even inside quotes.
    return line.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$")


def is_ignored(line: str) -> bool:
    """Return whether systemd splits a line, or ignores it because of invalid UTF-8 or a noncharacter."""
    numbers = map(ord, line)
    return any(
        number in (10, 13)
        or 0xD800 <= number < 0xE000
        or 0xFDD0 <= number < 0xFDF0
        or number & 0xFFFE == 0xFFFE
        for number in numbers
    )


def words_of_unit(line: str, name: str = "%i") -> str:
    """Convert a line from the unit of the machine ``name`` to a shell line, the reverse of ``unit_line``."""
    import re

    expanded = {"$$": "$", "%%": "%", "%i": name, "\\\\": "\\"}
    return re.sub(r"\$\$|%[%i]|\\\\", lambda found: expanded[found[0]], line)


def lines_of_unit(text: str) -> "list[str]":
    """Return the values of ExecStartPre in the section Service.

    Lines that systemd ignores are left out. An empty value removes the earlier values.
    """
    lines: list[str] = []
    section = ""
    for line in map(str.strip, text.split("\n")):
        key, equals, value = line.partition("=")
        if line.startswith("["):
            section = line
        elif section == "[Service]" and equals and key.rstrip() == "ExecStartPre" and not is_ignored(value):
            lines.append(value.lstrip())
            if not lines[-1]:
                lines.clear()
    return lines


def drop_in(name: str, path: str) -> str:
    return join(path or UNITS, f"systemd-nspawn@{name}.service.d", "templater.conf")


def status(name: str, path: str) -> "Iterator[Finding]":
    from shlex import quote

    from ..common_status_checks import (
        Finding,
        elsewhere,
        option_of,
        read_configuration,
        require_name,
        runs,
        source_status,
        words_of,
    )
    from ..install import option_of_one
    from ..options import calls_templater

    require_name(name)
    files = [drop_in(name, path), drop_in("", path)]
    file = next((each for each in files if exists(each)), None)
    hint = f"templater hook install nspawn {quote(name)}{elsewhere(path or UNITS, UNITS)} --write"
    if file is None:
        yield Finding(False, f"'{files[0]}' does not exist", hint)
        return
    text = read_configuration(file)
    value = next(filter(calls_templater, lines_of_unit(text)), "").removesuffix("%i")
    line = words_of_unit(value, name)
    if line:
        yield Finding(True, f"the ExecStartPre of '{file}' calls templater")
        yield runs("nspawn", line, hint)
    else:
        yield Finding(False, f"'{file}' has no ExecStartPre that calls templater", hint)
    own = join(INSTANCES, name)
    option = option_of_one(words_of(value)) if file == files[1] else ""
    if option and "%i" not in option_of(value, option).replace("%%", ""):
        yield Finding(False, f"all machines have the same {option}", "install the hook for each machine")
    elif "--if-present" in line and not option_of(line, "--state") and is_missing(own):
        yield Finding(False, f"the hook skips the machine, because '{own}' does not exist", f"mkdir {own}")
    yield from source_status(line, own, own)
