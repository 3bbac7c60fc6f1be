"""Whether a hook would run and do something at the next start, and if not, why."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..instances.directory import METADATA, STATE_FOLDER, InstanceDirectory, StateDirectory
from ..model.errors import TemplaterError, UsageError, reason
from ..model.source import printable
from .options import PROBE


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: ``ok`` is None where it is only worth knowing."""

    ok: bool | None
    text: str
    hint: str = ""


def require_name(name: str) -> None:
    if not name:
        raise UsageError("which container, bundle or machine?")


def elsewhere(path: str, usual: str) -> str:
    """The option that says where, if it is not the usual place."""
    return "" if path == usual else f" --path {shlex.quote(path)}"


def runs(words: Callable[[str], list[str]], *files: str) -> Finding:
    """Run the hook's line with an option that only answers.

    The line is skipped if another user can write these files: it would run with the caller's rights."""
    for file in files:
        place = of_others(file)
        if place:
            return Finding(
                None,
                f"the line was not run: another user can change '{printable(place)}'",
                "run this as the user who starts the container",
            )
    try:
        answer = subprocess.run(words(PROBE), capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(False, f"the line can't be run: {error}", "run templater hook install … --write again")
    if answer.returncode:
        last = (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
        return Finding(False, f"the line fails: {last}", "run templater hook install … --write again")
    return Finding(True, f"the line runs: {answer.stdout.strip()}")


def of_others(path: str) -> str:
    """What another user may change of all that finding this path, or what lies in it, passes; or nothing."""
    try:
        inside = os.listdir(path) if os.path.isdir(path) else []
    except OSError as error:
        return f"{path}: {reason(error)}"
    looked_up = [path, *(os.path.join(path, name) for name in inside)]
    return next((place for each in looked_up for place in passed(each) if may_be_changed(place)), "")


def passed(path: str) -> Iterator[str]:
    """Every folder and link on the way to a path, and what is there, each by a name without links in it."""
    here = "/"
    yield here
    ahead = os.path.abspath(path).split("/")[::-1]
    for _ in range(1000):
        if not ahead:
            return
        name = ahead.pop()
        if name in ("", "."):
            continue
        if name == "..":
            here = os.path.dirname(here)
            continue
        place = os.path.join(here, name)
        yield place
        if os.path.islink(place):
            target = os.readlink(place)
            here = "/" if target.startswith("/") else here
            ahead += target.split("/")[::-1]
        else:
            here = place


def may_be_changed(place: str) -> bool:
    try:
        status = os.lstat(place)
    except OSError:
        return False
    if status.st_uid not in (0, os.geteuid()):
        return True
    if stat.S_ISLNK(status.st_mode) or (stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX):
        return False
    of_a_group = status.st_mode & stat.S_IWGRP and status.st_gid not in (0, os.getegid())
    return bool(of_a_group or status.st_mode & stat.S_IWOTH)


def source_status(line: str, image: str, folder: str) -> Iterator[Finding]:
    """The image that the hook's line names, or else the one that is found without it."""
    option = option_of(line, "--source")
    if option and not os.path.isabs(option):
        hint = "install it again: the whole path is written then"
        yield Finding(False, f"'--source {option}' depends on the directory in which the hook is run", hint)
        return
    yield from instance_status(option or image, folder, option_of(line, "--dialect"))


def instance_status(image: str, folder: str, dialect: str) -> Iterator[Finding]:
    if not os.path.isfile(os.path.join(image, METADATA)):
        hint = "name an image's directory (--source), or make an instance directory: templater unpack"
        yield Finding(False, f"'{image}' has no {METADATA}", hint)
        return
    try:
        yield from image_status(image, dialect or "v6")
        yield Finding(None, pending(folder))
    except TemplaterError as error:
        yield Finding(False, str(error), error.hint)


def image_status(image: str, dialect: str) -> Iterator[Finding]:
    from ..model.source import Source
    from ..parsing.metadata_yaml import read_metadata
    from ..pongo2 import compile as compile_template
    from ..pongo2.dialect import DIALECTS
    from ..rendering.render import template_bytes

    with InstanceDirectory(image) as directory:
        metadata = read_metadata(directory.read_metadata())
        templates = directory.read_templates()
    broken = 0
    for name in dict.fromkeys(rule.template for rule in metadata.rules):
        try:
            source = Source(f"templates/{name}", template_bytes(name, templates))
            compile_template(source, DIALECTS[dialect], mode="incus")
        except TemplaterError as error:
            broken += 1
            yield Finding(False, str(error), error.hint)
    if not broken:
        yield Finding(True, f"'{image}': {len(metadata.rules)} rules, every template compiles")


def pending(folder: str) -> str:
    if not os.path.isdir(os.path.join(folder, STATE_FOLDER)):
        return "never started with templater: the next start runs create, then start"
    with StateDirectory(folder) as state_directory:
        state = state_directory.state()
    if state is None:
        return "never started with templater: the next start runs create, then start"
    return f"the next start runs {f'{state.pending}, then start' if state.pending else 'start'}"


def option_of(line: str, name: str) -> str:
    """The value of an option in a hook's line."""
    try:
        words = shlex.split(line)
    except ValueError:  # a quote without its like: the line does not run either
        return ""
    for number, word in enumerate(words):
        if word == name and number + 1 < len(words):
            return words[number + 1]
        if word.startswith(name + "="):
            return word[len(name) + 1 :]
    return ""
