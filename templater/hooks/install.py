"""Snippets of configuration that make a runtime call templater.

A snippet has a file, and the text that belongs in the file.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec

from ..model.errors import InputError, RefusedError, UsageError, WriteError, reason
from ..rootfs.confined_directory import Directory
from ..rootfs.disk_sync import create_to_sync, sync_and_name
from ..rootfs.trusted_paths import make_folder
from .lxc_config import PREFIXES
from .options import PROBE, read_options

#: packages whose folders the hook line adds to the search path, because Python without ``site`` lacks them
PACKAGES = ("templater", "jinja2", "markupsafe", "yaml")

#: size limit of a configuration file in bytes
MAX_FILE = 4 << 20


@dataclass(frozen=True, slots=True)
class Snippet:
    """A part of a runtime's configuration: the text that belongs in ``file``.

    ``into`` merges the text into the file's content, which is None for a missing file. Without ``into``, the
    file contains only this text. If no file can be written, ``by_hand`` tells the user what to do.
    """

    file: str
    text: str
    into: Callable[[str | None], str] | None = None
    by_hand: str = ""
    #: the mode of a new configuration file
    mode: int = 0o644


def argv(runtime: str, options: list[str], *, write_bytecode: bool = True) -> list[str]:
    """Return the command that a runtime runs: this interpreter and the hook's entry module.

    Without ``write_bytecode``, the hook writes no compiled module.
    """
    first = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "startup", "line")
    # The packages follow the standard library, so Python finds its C modules without searching their
    # directories.
    places = f"sys.path[:0]={json.dumps([first])};sys.path+={json.dumps(search_path())}"
    # crun starts hooks with umask 0. Python writes __pycache__ directories, which others must not change.
    code = f"import posix,sys;posix.umask(18);{places};from templater_hook import main;main()"
    # -I ignores the environment and the current directory. -S skips ``site``, whose import takes as long as
    # the hook's own modules. -X utf8 decodes names as UTF-8 in every locale.
    flags = ["-I", "-S", *([] if write_bytecode else ["-B"]), "-X", "utf8"]
    return [sys.executable, *flags, "-c", code, runtime, *options]


def option_words(choices: dict[str, object]) -> list[str]:
    """Return the words of the hook's command line. Options with default values are omitted."""
    words: list[str] = []
    for name in ("source", "instance", "state", "rootfs", "log"):
        if choices[name]:
            words += [f"--{name}", from_anywhere(str(choices[name]))]
    if choices["dialect"]:
        words += ["--dialect", str(choices["dialect"])]
    if choices["on_error"] != "fail":
        words += ["--on-error", str(choices["on_error"])]
    if choices["time_limit"] != 60:
        words += ["--time-limit", str(choices["time_limit"])]
    for name in ("limit", "allow", "allow_instance"):
        values = choices[name]
        assert isinstance(values, tuple)
        for value in values:
            words += ["--" + name.replace("_", "-"), value if name == "limit" else from_anywhere(value)]
    read_options(words)  # report an invalid option now, not at the next start
    for name in ("in_place", "keep_modified", "no_cache"):
        if choices[name]:
            words.append("--" + name.replace("_", "-"))
    return words


def from_anywhere(path: str) -> str:
    """Return ``path`` as an absolute path. Return a path with a type such as ``overlay:`` unchanged."""
    # Runtimes run hooks with another current directory. All words of a hook line are quoted, so the runtime
    # does not expand a variable such as ``%i`` in the path.
    return path if path.startswith(PREFIXES) else os.path.abspath(path)


def option_of_one(words: list[str]) -> str:
    """Return the first option in ``words`` that names a file or directory of one container.

    Return "" if ``words`` has no such option.
    """
    names = (word.partition("=")[0] for word in words)
    return next((name for name in names if name in ("--instance", "--state", "--rootfs")), "")


def require_common(words: list[str], hint: str) -> None:
    """Raise UsageError if a hook line for several containers has an option for one container."""
    # All containers would share a state and a description, or write into one root filesystem.
    if option := option_of_one(words):
        raise UsageError(f"{option} is for one container or machine, but the hook is for several", hint=hint)


def compile_hook() -> None:
    """Run a hook once to write compiled modules, if Python may write them. Ignore a failure of the hook."""
    if sys.dont_write_bytecode:
        return
    # The hooks of containers don't write compiled modules. Without these modules, the hooks work, but start
    # more slowly.
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run([*argv("lxc", []), PROBE], capture_output=True, timeout=60, check=False)


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
    """Return the words as a line for LXC, which passes the line to a shell.

    Raises UsageError if a word contains a line feed or a carriage return.
    """
    line = shlex.join(words)
    # LXC would cut the line at such a character.
    if "\n" in line or "\r" in line:
        raise UsageError("LXC's configuration can't contain a line break")
    # LXC removes a quote at the beginning of a value together with the same quote at its end
    return f"env {line}" if line[:1] in ("'", '"') else line


def require_utf8(words: list[str], place: str) -> None:
    """Raise UsageError if a hook line for a JSON file has bytes that are not UTF-8."""
    # Programs that read JSON replace such bytes, so the hook would get a different path.
    if not is_utf8(words):
        raise UsageError(f"{place} can't contain bytes that are not UTF-8")


def is_utf8(words: list[str]) -> bool:
    try:
        "".join(words).encode()
    except UnicodeEncodeError:
        return False
    return True


def write(snippet: Snippet) -> bool:
    """Write the snippet to its file. Return False if the file already contains the snippet.

    Raises UsageError if the snippet has to be added by hand.
    """
    if snippet.by_hand:
        raise UsageError(snippet.by_hand)
    folder, name = os.path.split(os.path.abspath(snippet.file))
    try:
        if snippet.into is not None and not os.path.isdir(folder):
            snippet.into(None)  # ``into`` raises the error for a missing file
        with make_folder(folder, 0o755) as root, root.directory("/") as directory:
            before, status = _read(directory, name)
            after = snippet.text if snippet.into is None else snippet.into(before)
            if after == before:
                return False
            _replace(directory, name, after, snippet.file, snippet.mode, status)
    except OSError as error:
        raise WriteError(f"can't write '{snippet.file}': {reason(error)}") from error
    return True


def _read(directory: Directory, name: str) -> tuple[str | None, os.stat_result | None]:
    """Return a file's content and status, or None for both if the file is missing. Links are not followed."""
    found: list[os.stat_result] = []
    # Read both by one descriptor. If each were read by the path, a user could exchange the file between the
    # two reads, and templater could write the content of a private file of root into a file of the user.
    try:
        data = directory.read(name, MAX_FILE, lambda fd: found.append(os.fstat(fd)))
    except FileNotFoundError:
        return None, None
    return data.decode("utf-8", "surrogateescape"), found[0]


def _replace(
    directory: Directory, name: str, text: str, path: str, mode: int, before: os.stat_result | None
) -> None:
    """Replace a file atomically, without following links.

    The new file gets the owner and mode of ``before``, the status of the old file.
    """
    staged = f".templater-new-{os.urandom(8).hex()}"
    with open(create_to_sync(directory, staged), "w", encoding="utf-8", errors="surrogateescape") as file:
        try:
            file.write(text)
            if before is not None and (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fchmod(file.fileno(), mode if before is None else before.st_mode & 0o777)
            file.flush()
            sync_and_name("write", path, file.fileno(), directory, staged)
            now = directory.lstat(name)
            if (now and (now.st_dev, now.st_ino)) != (before and (before.st_dev, before.st_ino)):
                raise RefusedError(
                    f"another process replaced '{path}'",
                    hint="run the command again, or run it without --write and add the lines by hand",
                )
            directory.rename(staged, directory, name)
        except BaseException:
            directory.unlink_if_same(staged, file.fileno())
            raise
