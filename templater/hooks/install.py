"""Snippets of configuration that make a runtime call templater: their commands, texts and files."""

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

#: packages that the hook line adds to the search path: without ``site``, Python does not find them
PACKAGES = ("templater", "jinja2", "markupsafe", "yaml")

#: texts that identify a hook line of any templater version
MARKS = ("from templater_hook import", "from templater.hooks.")

#: size limit of a configuration file in bytes
MAX_FILE = 16 << 20


@dataclass(frozen=True, slots=True)
class Snippet:
    """A part of a runtime's configuration: a file, and the text that belongs in it.

    ``into`` merges the text into the file's content, which is None if the file does not exist. If ``into`` is
    None, the file contains only this text. ``by_hand`` tells the user what to do if no file can be written.
    """

    file: str
    text: str
    into: Callable[[str | None], str] | None = None
    by_hand: str = ""


def argv(runtime: str, options: list[str]) -> list[str]:
    """Return the command that a runtime runs: this interpreter and the hook's entry module.

    ``-I`` ignores the environment and the current directory. ``-S`` skips ``site``, whose import takes
    as long as the hook's own modules. ``-X utf8`` decodes names as UTF-8 in every locale. The standard
    library comes first in the search path, so Python finds its C modules without searching other
    directories.
    """
    first = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "startup", "line")
    places = f"sys.path[:0]={json.dumps([first])};sys.path+={json.dumps(search_path())}"
    code = f"import sys;{places};from templater_hook import main;main()"
    return [sys.executable, "-I", "-S", "-X", "utf8", "-c", code, runtime, *options]


def search_path() -> list[str]:
    """Return the directories that contain ``PACKAGES``, with templater's own directory first."""
    found: list[str] = []
    for package in PACKAGES:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise InputError(f"{sys.executable} can't find the package '{package}'")
        folder = os.path.dirname(os.path.abspath(spec.submodule_search_locations[0]))
        if folder not in found:
            found.append(folder)
    return found


def shell_line(words: list[str]) -> str:
    """Return the words as a line for LXC, which passes it to a shell. Raises UsageError for a line break."""
    line = shlex.join(words)
    if "\n" in line:
        raise UsageError("LXC's configuration can't contain a line break")
    # LXC removes a quote at the beginning of a value together with the same quote at its end
    return f"env {line}" if line[:1] in ("'", '"') else line


def unit_line(words: list[str]) -> str:
    """Return the words as a line for a systemd unit. Raises UsageError for a line break.

    systemd quotes as the shell does, but expands %, $ and backslashes even inside quotes.
    """
    line = shlex.join(words)
    if "\n" in line:
        raise UsageError("a systemd unit can't contain a line break")
    return line.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$")


def words_of_unit(line: str) -> str:
    """Return the line of a systemd unit as a shell line: the inverse of ``unit_line``."""
    return line.replace("$$", "$").replace("%%", "%").replace("\\\\", "\\")


def write(snippet: Snippet) -> bool:
    """Write the snippet to its file; return False if the file already contains it.

    Raises UsageError if the snippet has to be added by hand.
    """
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
    """Return the file's content, or None if it is missing.

    Links are not followed. Otherwise the directory's owner could replace the file with a link for a moment.
    Then ``_replace`` would publish a file that only the caller can read.
    """
    folder, name = os.path.split(os.path.abspath(path))
    if not os.path.isdir(folder):
        return None
    try:
        with Root(folder, named=True) as root:
            return root.read(f"/{name}", MAX_FILE).decode("utf-8", "surrogateescape")
    except MissingError:
        return None


def _replace(path: str, text: str) -> None:
    """Replace a file atomically; keep its owner and mode.

    The file's directory may belong to an unprivileged user (an LXC path), so links in it are not followed.
    """
    folder, name = os.path.split(os.path.abspath(path))
    staged = f"{name}.templater-new"
    try:
        os.makedirs(folder, exist_ok=True)
        with Root(folder, named=True) as root, root.directory("/") as directory:
            before = directory.lstat(name)
            if before is not None and not stat.S_ISREG(before.st_mode):
                raise RefusedError(
                    f"'{path}' is not a regular file",
                    hint="run the command without --write, and add the lines by hand",
                )
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
