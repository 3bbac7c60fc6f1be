"""The checks of ``hook status``, which find out whether the hook would run and render at the next start."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import process_time

from ..instances.instance_directory import InstanceDirectory
from ..instances.state_directory import StateDirectory
from ..model.errors import TemplaterError, UsageError
from ..model.file_names import METADATA, STATE_FOLDER
from ..model.hosts import NONE
from ..model.unprintable_characters import printable
from ..rootfs.paths import MissingError
from ..rootfs.trusted_paths import open_folder, open_unshared
from .changeable_files import is_changeable, places_on_the_way
from .install import MAX_FILE, argv, search_path
from .options import PROBE, read_options

#: maximum processor time in seconds for compiling all templates
MAX_SECONDS = 8.0
#: maximum number of characters of a hook line; splitting takes time proportional to the square of this number
MAX_LINE = 1 << 16
#: maximum number of characters of a hook line in a message
MAX_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. ``ok`` is None for information that is neither good nor bad."""

    ok: bool | None
    text: str
    hint: str = ""


def require_name(name: str) -> None:
    if not name:
        raise UsageError("missing name of the container, bundle or machine")


def read_configuration(path: str) -> str:
    """Return the text of a configuration file of any user.

    Raises InputError or RefusedError if the file is missing or not regular, or if its path contains another
    user's link.
    """
    folder, name = os.path.split(os.path.abspath(path))
    with open_folder(folder) as root:
        return root.read(f"/{name}", MAX_FILE).decode("utf-8", "surrogateescape")


def elsewhere(path: str, usual: str) -> str:
    """Return the ``--path`` option for a hint, or "" if the path is the default."""
    return "" if path == usual else f" --path {shlex.quote(path)}"


def runs(runtime: str, line: str, install: str, namespace: Sequence[str] = ()) -> Finding:
    """Run the hook with ``--probe``, which only prints versions, and report whether the hook runs.

    * ``install``: the command that writes the hook line
    * ``namespace``: the beginning of a command that enters the container's user namespace
    """
    hint = f"to write the line again, run this command with the options of the old line: {install}"
    words = words_of(line)
    words = words[1:] if words[:1] == ["env"] else words
    commands = [argv(runtime, [], write_bytecode=writes) for writes in (True, False)]
    command = next((each for each in commands if words[: len(each)] == each), [])
    try:
        is_ours = command and not read_options(words[len(command) :]).words
    except UsageError as error:
        return Finding(False, f"the hook line fails: {error}", hint)
    if not is_ours:
        shown = printable(line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}…")
        return Finding(
            False,
            "the hook line was not run, because this installation of templater writes a different line:"
            f" {shown}",
            hint,
        )
    # An untrusted image or a container can have supplied the words of the line, so they are not run.
    probe = [*namespace, *command, PROBE]
    try:
        answer = subprocess.run(probe, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(False, f"the hook line can't be run: {error}", hint)
    if answer.returncode:
        last = (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
        return Finding(False, f"the hook line fails: {printable(last)}", hint)
    return Finding(True, f"the hook line runs: {printable(answer.stdout.strip())}")


def code_status() -> Iterator[Finding]:
    """Report whether another user can change the interpreter or the packages of hooks that root runs."""
    if os.geteuid():
        return
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    inside = [folder for folder, *_ in os.walk(package)]
    for path in (sys.executable, *search_path(), *inside):
        way = [path] if path in inside else places_on_the_way(path)
        place = next((each for each in way if is_changeable(each)), "")
        if place:
            yield Finding(
                None,
                f"another user can change '{printable(place)}',"
                " and every start runs code from this path as root",
                "run chmod go-w on this path and delete the .pyc files below it, or install templater as"
                " root, for example in /opt",
            )
            return


def source_status(line: str, image: str, folder: str) -> Iterator[Finding]:
    """Check the image and the state that the hook line names with ``--source`` and ``--state``.

    The defaults are the directories ``image`` and ``folder``.
    """
    source, state = option_of(line, "--source"), option_of(line, "--state")
    for name, path in (("--source", source), ("--state", state)):
        if path and not os.path.isabs(path):
            hint = "install the hook again: the new line contains the absolute path"
            said = f"'{name} {printable(path)}' is a relative path, but hooks run in any directory"
            yield Finding(False, said, hint)
            return
    yield from instance_status(source or image, state or folder, option_of(line, "--dialect"))


def instance_status(image: str, folder: str, dialect: str) -> Iterator[Finding]:
    yield from code_status()
    if not os.path.isfile(os.path.join(image, METADATA)):
        hint = "give an image directory with --source, or make an instance directory with templater unpack"
        yield Finding(False, f"'{printable(image)}' has no {METADATA}", hint)
        return
    try:
        with suppress(MissingError):  # the first start of a machine makes this directory
            open_unshared(folder).close()
        yield from image_status(image, dialect or NONE.dialect)
        yield Finding(None, pending(folder))
    except TemplaterError as error:
        yield Finding(False, str(error), error.hint)


def image_status(image: str, dialect: str) -> Iterator[Finding]:
    from ..model.source import Source
    from ..parsing.metadata_yaml import read_metadata
    from ..pongo2 import compile as compile_template
    from ..pongo2.dialect import DIALECTS
    from ..rendering.render import template_bytes

    if dialect not in DIALECTS:
        yield Finding(
            False, f"the hook line has the unknown dialect '{printable(dialect)}'", "install the hook again"
        )
        return
    with InstanceDirectory(image) as directory:
        metadata = read_metadata(directory.read_metadata())
        templates = directory.read_templates()
    broken = 0
    end = process_time() + MAX_SECONDS
    for name in dict.fromkeys(rule.template for rule in metadata.rules):
        if process_time() > end:
            hint = "to compile all templates, run: templater compile"
            yield Finding(None, f"the templates take longer than {MAX_SECONDS:g} seconds to compile", hint)
            return
        try:
            source = Source(f"templates/{name}", template_bytes(name, templates))
            compile_template(source, DIALECTS[dialect], mode="incus")
        except TemplaterError as error:
            broken += 1
            yield Finding(False, str(error), error.hint)
    if not broken:
        yield Finding(
            True, f"'{printable(image)}' has {len(metadata.rules)} rules, and every template compiles"
        )


def pending(folder: str) -> str:
    place = os.path.join(folder, STATE_FOLDER)
    if not os.path.isdir(place):
        return "never started with templater: the next start runs create, then start"
    # the container's root owns both directories if an ordinary user's hook enters the user namespace
    if os.stat(place).st_uid == os.stat(folder).st_uid != 0 and not os.access(place, os.R_OK | os.X_OK):
        return (
            f"only the container's root can read '{printable(place)}',"
            " so the triggers of the next start are unknown"
        )
    with StateDirectory(folder) as state_directory:
        state = state_directory.state()
    if state is None:
        return "never started with templater: the next start runs create, then start"
    return f"the next start runs {f'{state.pending}, then start' if state.pending else 'start'}"


def words_of(line: str) -> list[str]:
    """Return the words of a hook line, or [] if the line is very long or has an unclosed quote."""
    try:
        return shlex.split(line) if len(line) <= MAX_LINE else []
    except ValueError:
        return []


def option_of(line: str, name: str) -> str:
    """Return the value of an option in a hook line, or "" if it is missing or the line is very long."""
    words = words_of(line)
    for number, word in enumerate(words):
        if word == name and number + 1 < len(words):
            return words[number + 1]
        if word.startswith(name + "="):
            return word[len(name) + 1 :]
    return ""
