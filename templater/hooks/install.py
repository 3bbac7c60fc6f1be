"""What a runtime's configuration needs so that it calls templater, printed or written."""

from __future__ import annotations

import json
import os
import shlex
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from ..errors import InputError, RefusedError, UsageError, WriteError, reason
from ..leftovers import unlink_if_there
from ..rootfs import MissingError
from ..rootfs.confined import Root
from . import incus, lxc, nspawn, oci
from .run import RUNTIMES

HOOKS_D = "/etc/containers/oci/hooks.d"
UNITS = "/etc/systemd/system"
LXC_PATH = "/var/lib/lxc"

#: what the hook's line needs beside the standard library; without ``site`` nobody else finds it
PACKAGES = ("templater", "jinja2", "markupsafe", "yaml")

#: by this a line or a hook is known as ours, of whatever version
MARKS = ("from templater_hook import", "from templater.hooks.")

#: an OCI runtime ends a hook after this many seconds, so ours must be shorter
MARGIN = 5


@dataclass(frozen=True, slots=True)
class Snippet:
    """A part of a runtime's configuration: the file it belongs in, and what must stand there.

    ``whole``: the file is ours alone. Otherwise the text is added to it, or, in JSON, ``merge`` is.
    """

    file: str
    text: str
    whole: bool = False


def argv(runtime: str, options: list[str]) -> list[str]:
    """The command that a runtime runs: this interpreter, bare, and the hook's own module.

    Isolated (-I) so that neither environment nor current directory matter, without ``site`` (-S)
    because that costs as much as the hook's own modules, and with names in UTF-8 (-X utf8) whatever the
    locale of whoever starts a container. The standard library comes before our packages:
    a module in C is then found without a look into their folders.
    """
    if runtime not in RUNTIMES:
        raise UsageError(f"there is no hook for '{runtime}'", hint=f"there are {', '.join(RUNTIMES)}")
    first = os.path.join(os.path.dirname(os.path.abspath(__file__)), "line")
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


def for_lxc(name: str, options: list[str], path: str = LXC_PATH) -> Snippet:
    return Snippet(os.path.join(path, name, "config"), lxc.configuration(shell_line(argv("lxc", options))))


def for_nspawn(name: str, options: list[str], units: str = UNITS) -> Snippet:
    """A machine's own unit, or without a name every machine that has an image."""
    unit = f"systemd-nspawn@{name}.service.d"
    options = options if name else [*options, "--if-present"]
    text = nspawn.drop_in(unit_line(argv("nspawn", options)))
    return Snippet(os.path.join(units, unit, "templater.conf"), text, whole=True)


def for_podman(options: list[str], seconds: int, stage: str, folder: str = HOOKS_D) -> Snippet:
    words = argv("oci", options)
    text = json.dumps(oci.hooks_d(words, seconds + MARGIN, stage), indent=2) + "\n"
    return Snippet(os.path.join(folder, "templater.json"), text, whole=True)


def for_oci(bundle: str, options: list[str], seconds: int, stage: str) -> Snippet:
    hook = {"hooks": {stage: [oci.hook(argv("oci", options), seconds + MARGIN)]}}
    return Snippet(os.path.join(bundle, "config.json"), json.dumps(hook, indent=2) + "\n")


def for_incus(options: list[str]) -> Snippet:
    return Snippet("raw.lxc", incus.configuration(shell_line(argv("incus", options))))


def write(snippet: Snippet) -> bool:
    """Have the snippet in its file; False if it was there already."""
    before = _read(snippet.file)
    if snippet.whole:
        after = snippet.text
    elif snippet.file.endswith(".json"):
        after = merged(before, snippet)
    else:
        after = added(before, snippet)
    if after == before:
        return False
    _replace(snippet.file, after)
    return True


def added(before: str | None, snippet: Snippet) -> str:
    """The lines of a former templater go, the new ones come last."""
    if before is None:
        raise InputError(f"'{snippet.file}' does not exist", hint="create the container first")
    kept = [line for line in before.splitlines(keepends=True) if not calls_templater(line)]
    if kept and not kept[-1].endswith("\n"):
        kept.append("\n")
    return "".join(kept) + snippet.text


def merged(before: str | None, snippet: Snippet) -> str:
    if before is None:
        raise InputError(f"'{snippet.file}' does not exist", hint="make the bundle first: runc spec")
    config = oci.parse_json(before.encode("utf-8", "surrogateescape"), snippet.file)
    hooks = config["hooks"] = hooks_of(config, snippet.file)
    for stage, wanted in json.loads(snippet.text)["hooks"].items():
        others = [hook for hook in hooks.get(stage, ()) if not is_ours(hook)]
        hooks[stage] = [*others, *wanted]
    return json.dumps(config, indent="\t") + "\n"


def hooks_of(config: Mapping[str, Any], file: str) -> dict[str, list[Any]]:
    """The hooks of a bundle by their stages. What is null is not there, as for the runtimes."""
    hooks = config.get("hooks") or {}
    if not isinstance(hooks, dict) or not all(isinstance(each, list | None) for each in hooks.values()):
        raise InputError(f"the hooks of '{file}' are no lists by stage")
    return {stage: list(each) for stage, each in hooks.items() if each is not None}


def calls_templater(line: str) -> bool:
    return any(mark in line for mark in MARKS)


def is_ours(hook: object) -> bool:
    words = hook.get("args") if isinstance(hook, dict) else None
    return isinstance(words, list) and any(calls_templater(str(word)) for word in words)


def _read(path: str) -> str | None:
    """What is there now. No link is followed, as in ``_replace``: the directory's owner, who may put one
    there for a moment, would find in his file what only the caller may read."""
    folder, name = os.path.split(os.path.abspath(path))
    if not os.path.isdir(folder):
        return None
    try:
        with Root(folder, named=True) as root:
            return root.read(f"/{name}", oci.MAX_CONFIG).decode("utf-8", "surrogateescape")
    except MissingError:
        return None


def _replace(path: str, text: str) -> None:
    """The old file or the new one, with the owner and the mode that the old one had.

    Its directory may be somebody else's, an unprivileged user's LXC path: no link in it is followed.
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
