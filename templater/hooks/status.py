"""Whether a hook would run and do something at the next start, and if not, why."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..errors import TemplaterError
from ..instance_directory import METADATA, NOTEBOOK, InstanceDirectory, Notebook
from ..source import printable
from . import install, lxc, oci
from .run import PROBE


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: ``ok`` is None where it is only worth knowing."""

    ok: bool | None
    text: str
    hint: str = ""


def lxc_status(name: str, path: str = install.LXC_PATH) -> Iterator[Finding]:
    folder = os.path.join(path, name)
    config = os.path.join(folder, "config")
    try:
        settings = list(lxc.settings(config))
    except TemplaterError as error:
        yield Finding(False, str(error), "create the container first, or say with --path where it is")
        return
    lines: dict[str, str] = {}
    for key, value in settings:
        if key.startswith("lxc.hook.") and not value:
            lines.pop(key, None)  # LXC forgets what stood there so far
        elif key.startswith("lxc.hook.") and install.calls_templater(value):
            lines[key] = value
    given = option_of(lines.get("lxc.hook.pre-start", ""), "--rootfs")
    rootfs = given or next((value for key, value in reversed(settings) if key == "lxc.rootfs.path"), "")
    if not rootfs:
        said = f"'{config}' names no root filesystem"
        yield Finding(False, said, f"for example: lxc.rootfs.path = dir:{os.path.abspath(folder)}/rootfs")
        return
    root = lxc.without_prefix(rootfs)
    early = os.path.isdir(root) or bool(lxc.layers_of(root))
    needed = "pre-start" if early else "mount"
    line = lines.get(f"lxc.hook.{needed}")
    hint = f"templater hook install lxc {shlex.quote(name)}{elsewhere(path, install.LXC_PATH)} --write"
    if line is None:
        # `install` leaves this stage out, because it means nothing to most containers
        by_hand = "set it to the line of lxc.hook.pre-start: LXC mounts this root filesystem"
        missing = not early and "lxc.hook.pre-start" in lines
        said = f"'{config}' has no lxc.hook.{needed} that calls templater"
        yield Finding(False, said, by_hand if missing else hint)
        return
    yield Finding(True, f"lxc.hook.{needed} calls templater")
    for stage, loss in (("clone", "copies get no trigger"), ("destroy", "a rename counts as a copy")):
        if f"lxc.hook.{stage}" not in lines:
            yield Finding(None, f"no lxc.hook.{stage}: {loss}", hint)
    includes = [value for key, value in settings if key == "lxc.include"]
    yield runs(lambda word: ["sh", "-c", f"exec {line} {word}"], config, *includes)
    yield from source_status(line, folder, folder)
    if os.path.isdir(root):
        yield ids_status(config, root)


def podman_status(folder: str = install.HOOKS_D) -> Iterator[Finding]:
    file = os.path.join(folder, "templater.json")
    try:
        with open(file, encoding="utf-8") as stream:
            hook = json.load(stream)
        words = hook["hook"]["args"]
        stages = hook["stages"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
        hint = f"templater hook install podman{elsewhere(folder, install.HOOKS_D)} --write"
        yield Finding(False, f"'{file}' is no hook: {reason}", hint)
        return
    yield Finding(
        True, f"'{file}' runs at {', '.join(stages)} of containers with an annotation org.templater.…"
    )
    yield runs(lambda word: [*words, word], file)


def oci_status(bundle: str) -> Iterator[Finding]:
    file = os.path.join(bundle, "config.json")
    try:
        with open(file, "rb") as stream:
            config = oci.parse_json(stream.read(oci.MAX_CONFIG), file)
        hooks = install.hooks_of(config, file)
        found = [(stage, hook) for stage in hooks for hook in hooks[stage] if install.is_ours(hook)]
    except (OSError, TemplaterError) as error:
        yield Finding(False, f"'{file}' can't be used: {error}")
        return
    if not found:
        hint = f"templater hook install oci {shlex.quote(bundle)} --write"
        yield Finding(False, f"'{file}' has no hook of ours", hint)
        return
    stage, hook = found[0]
    yield Finding(stage in oci.STAGES, f"{stage} calls templater")
    yield runs(lambda word: [*hook["args"], word], file)
    annotations = config.get("annotations") or {}
    image = annotations.get(oci.PREFIX + "source") or bundle
    yield from source_status(shlex.join(hook["args"]), image, bundle)


def nspawn_status(name: str, units: str = install.UNITS) -> Iterator[Finding]:
    files = [os.path.join(units, f"systemd-nspawn@{unit}.service.d", "templater.conf") for unit in (name, "")]
    file = next((path for path in files if os.path.exists(path)), None)
    if file is None:
        hint = f"templater hook install nspawn {shlex.quote(name)}{elsewhere(units, install.UNITS)} --write"
        yield Finding(False, f"'{files[0]}' does not exist", hint)
        return
    with open(file, encoding="utf-8") as stream:
        text = stream.read()
    line = text.partition("ExecStartPre=")[2].partition("\n")[0]
    line = install.words_of_unit(line)
    yield Finding(install.calls_templater(line), f"'{file}' calls templater")
    yield runs(lambda word: ["sh", "-c", f"exec {line.removesuffix('%i')} {word}"], file)
    image = option_of(line, "--source").replace("%i", name) or os.path.join("/var/lib/templater", name)
    yield from instance_status(image, image, option_of(line, "--dialect"))


def elsewhere(path: str, usual: str) -> str:
    """The option that says where, if that isn't where everybody looks."""
    return "" if path == usual else f" --path {shlex.quote(path)}"


def runs(words: Callable[[str], list[str]], *files: str) -> Finding:
    """The line itself, asked to say that it is there: but for one that somebody else may have written into
    these files, who would have it run with the caller's rights."""
    for file in files:
        place = of_others(file)
        if place:
            return Finding(
                None,
                f"the line is not tried: it is a command, and somebody else may change '{printable(place)}'",
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
    """The first of a file, what lies in it, and the folders above it that another user may write, if any."""
    path = os.path.realpath(path)
    inside = [os.path.join(path, name) for name in os.listdir(path)] if os.path.isdir(path) else []
    above = [path]
    while above[-1] != os.path.dirname(above[-1]):
        above.append(os.path.dirname(above[-1]))
    for place in (*inside, *above):
        try:
            status = os.stat(place)
        except OSError:
            continue
        sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
        if status.st_uid not in (0, os.geteuid()) or (status.st_mode & stat.S_IWOTH and not sticky):
            return place
    return ""


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
    from ..metadata_yaml import read_metadata
    from ..pongo2 import compile as compile_template
    from ..pongo2.dialect import DIALECTS
    from ..rendering import template_bytes
    from ..source import Source

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
    if not os.path.isdir(os.path.join(folder, NOTEBOOK)):
        return "never started with templater: the next start runs create, then start"
    with Notebook(folder) as notebook:
        state = notebook.state()
    if state is None:
        return "never started with templater: the next start runs create, then start"
    return f"the next start runs {f'{state.pending}, then start' if state.pending else 'start'}"


def ids_status(config: str, rootfs: str) -> Finding:
    from ..rootfs.directory import DirectoryRootfs

    try:
        with DirectoryRootfs(rootfs, lxc.ids_on_disk(config)) as view:
            uid, gid = view.ids.on_disk(0, 0)
    except TemplaterError as error:
        return Finding(False, str(error), error.hint)
    return Finding(True, f"the container's root is {uid}:{gid} on disk")


def option_of(line: str, name: str) -> str:
    """The value of an option in a hook's line."""
    words = shlex.split(line)
    for number, word in enumerate(words):
        if word == name and number + 1 < len(words):
            return words[number + 1]
        if word.startswith(name + "="):
            return word[len(name) + 1 :]
    return ""
