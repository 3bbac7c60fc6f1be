"""What a runtime's configuration needs so that it calls templater, printed or written."""

from __future__ import annotations

import json
import os
import shlex
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from ..model.errors import InputError, RefusedError, UsageError, WriteError, reason
from ..rootfs.confined import Root
from ..rootfs.paths import MissingError
from ..writing.recovery import unlink_if_there

#: what the hook's line needs beside the standard library; without ``site`` Python does not find it
PACKAGES = ("templater", "jinja2", "markupsafe", "yaml")

#: by this a line or a hook is known as ours, of whatever version
MARKS = ("from templater_hook import", "from templater.hooks.")

#: larger than any configuration
MAX_FILE = 16 << 20


@dataclass(frozen=True, slots=True)
class Snippet:
    """A part of a runtime's configuration: the file it belongs in, and what must stand there.

    ``into`` puts it into what the file holds (None: the file does not exist); without it the file is ours
    alone. ``by_hand`` says what to do instead where nothing can be written.
    """

    file: str
    text: str
    into: Callable[[str | None], str] | None = None
    by_hand: str = ""


def argv(runtime: str, options: list[str]) -> list[str]:
    """The command that a runtime runs: this interpreter, bare, and the hook's own module.

    Isolated (-I) so that neither environment nor current directory matter, without ``site`` (-S)
    because that costs as much as the hook's own modules, and with names in UTF-8 (-X utf8) in every
    locale. The standard library comes before our packages:
    a module in C is then found without a look into their folders.
    """
    first = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "startup", "line")
    places = f"sys.path[:0]={json.dumps([first])};sys.path+={json.dumps(search_path())}"
    code = f"import sys;{places};from templater_hook import main;main()"
    return [sys.executable, "-I", "-S", "-X", "utf8", "-c", code, runtime, *options]


def search_path() -> list[str]:
    """The folders in which ``PACKAGES`` lie, ours first."""
    found: list[str] = []
    for package in PACKAGES:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise InputError(f"the package '{package}' can't be found by {sys.executable}")
        folder = os.path.dirname(os.path.abspath(spec.submodule_search_locations[0]))
        if folder not in found:
            found.append(folder)
    return found


def shell_line(words: list[str]) -> str:
    """For LXC, which gives its line to a shell: quoted so that it means these words and nothing else."""
    line = shlex.join(words)
    if "\n" in line:
        raise UsageError("a line break can't stand in LXC's configuration")
    # LXC takes a quote at the beginning away, with its like at the end
    return f"env {line}" if line[:1] in ("'", '"') else line


def unit_line(words: list[str]) -> str:
    """For systemd, whose quotes are like the shell's, but which reads %, $ and backslashes even in them."""
    line = shlex.join(words)
    if "\n" in line:
        raise UsageError("a line break can't stand in a unit")
    return line.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$")


def words_of_unit(line: str) -> str:
    """What ``unit_line`` was given, as a shell reads it."""
    return line.replace("$$", "$").replace("%%", "%").replace("\\\\", "\\")


def write(snippet: Snippet) -> bool:
    """Have the snippet in its file; False if it was there already."""
    if snippet.by_hand:
        raise UsageError(snippet.by_hand)
    before = _read(snippet.file)
    after = snippet.text if snippet.into is None else snippet.into(before)
    if after == before:
        return False
    _replace(snippet.file, after)
    return True


def calls_templater(line: str) -> bool:
    return any(mark in line for mark in MARKS)


def _read(path: str) -> str | None:
    """What is there now. No link is followed, as in ``_replace``: the directory's owner, who may put one
    there for a moment, would find in his file what only the caller may read."""
    folder, name = os.path.split(os.path.abspath(path))
    if not os.path.isdir(folder):
        return None
    try:
        with Root(folder, named=True) as root:
            return root.read(f"/{name}", MAX_FILE).decode("utf-8", "surrogateescape")
    except MissingError:
        return None


def _replace(path: str, text: str) -> None:
    """The old file or the new one, with the owner and the mode that the old one had.

    Its directory may belong to an unprivileged user (an LXC path), so links in it are not followed.
    """
    folder, name = os.path.split(os.path.abspath(path))
    staged = f"{name}.templater-new"
    try:
        os.makedirs(folder, exist_ok=True)
        with Root(folder, named=True) as root, root.directory("/") as directory:
            before = directory.lstat(name)
            if before is not None and not stat.S_ISREG(before.st_mode):
                raise RefusedError(f"'{path}' is not a regular file", hint="print the lines and add them")
            unlink_if_there(directory, staged)
            with open(directory.create(staged), "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
                if before is not None and (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.fchmod(file.fileno(), 0o644 if before is None else before.st_mode & 0o777)
                file.flush()
                os.fsync(file.fileno())
            directory.rename(staged, directory, name)
    except OSError as error:
        raise WriteError(f"can't write '{path}': {reason(error)}") from error
