"""The file templater.toml of an image: hosts, instances, the severities of checks, and ignored findings."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from ..model.entry import FILE
from ..model.errors import InputError, LimitError, RefusedError
from ..model.file_names import SETTINGS
from ..model.hosts import HOSTS, INCUS
from ..model.source import Source, Span
from ..model.unprintable_characters import printable
from ..parsing.instance_description import read_instance
from ..parsing.toml_text import read_toml
from ..planning.follow_links import clean
from ..rootfs.directory_rootfs import open_root
from .authored_image import AuthoredImage, authored
from .run_checks import all_checks
from .scanned_image import ScannedImage

if TYPE_CHECKING:
    from ..model.instance import Instance
    from ..rendering.rendered_text_cache import Memo
    from ..validators.runner import Validators

_ENTRY = re.compile(r"(?m)^[ \t]*+(\[\[)[ \t]*+ignore[ \t]*+\]\]")
#: maximum number of entries ``[[ignore]]`` in a templater.toml
MAX_IGNORES = 500
_LEVELS = ("error", "warning", "info")
#: maximum size in bytes of templater.toml, and of an instance description
LARGEST = 1 << 20
#: maximum number of instances that templater.toml names
MAX_INSTANCES = 50
#: bytes to read of the settings file: one more than the limit, to detect a larger file
WANTED = {SETTINGS: LARGEST + 1}


@dataclass(frozen=True, slots=True)
class Ignore:
    """An entry ``[[ignore]]`` of templater.toml: a check's id, and a target ("" for every target)."""

    id: str
    target: str
    at: Span


@dataclass(frozen=True, slots=True)
class Configuration:
    """The contents of a templater.toml. ``instances`` has the paths exactly as the file states them."""

    hosts: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    severities: tuple[tuple[str, str], ...] = ()
    ignores: tuple[Ignore, ...] = ()


@cache
def known_ids() -> frozenset[str]:
    return frozenset(check.id for check in all_checks("authoring"))


def read_configuration(source: Source) -> Configuration:
    """Parse a templater.toml. Raises InputError with a position for a syntax error or an unknown key."""
    return _Reader(source).configuration(read_toml(source))


class _Reader:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.places: dict[tuple[str, int], Span] = {}

    @cached_property
    def starts(self) -> list[int]:
        """The positions at which the entries ``[[ignore]]`` begin, and the end of the file.

        Each entry ends at the next position.
        """
        return [*(found.start(1) for found in _ENTRY.finditer(self.source.text)), len(self.source.text)]

    def fail(self, key: str, message: str, hint: str = "", number: int = 0) -> InputError:
        return InputError(message, self.place(key, number), hint=hint)

    def place(self, key: str, number: int = 0) -> Span:
        """Return the span of a key in the ``number``-th entry ``[[ignore]]``.

        If ``number`` is 0, search the whole file.
        """
        number = number if number < len(self.starts) else 0
        if (key, number) not in self.places:
            start, end = self.starts[number - 1 : number + 1] if number else (0, self.starts[-1])
            pattern = rf"(?<![\w.-])([\"']?{re.escape(key)}[\"']?)[ \t]*+[]=]"
            found = re.compile(pattern).search(self.source.text, start, end) if key else None
            self.places[key, number] = self.source.span(*found.span(1)) if found else self.source.span(start)
        return self.places[key, number]

    def configuration(self, data: dict[str, Any]) -> Configuration:
        self.known(data, ("hosts", "instances", "severity", "ignore"))
        hosts = self.texts(data, "hosts")
        for name in hosts:
            if name not in HOSTS or not HOSTS[name].family:
                known = ", ".join(host.name for host in HOSTS.values() if host.family)
                raise self.fail("hosts", f"unknown host '{printable(name)}'", f"known hosts: {known}")
        severities = data.get("severity", {})
        if not isinstance(severities, dict):
            raise self.fail("severity", "'severity' must be a table")
        for id, level in severities.items():
            self.known_id(id, id)
            if level not in _LEVELS:
                raise self.fail(
                    id,
                    f"unknown severity '{printable(str(level))}'",
                    f"known severities: {', '.join(_LEVELS)}",
                )
        entries = data.get("ignore", [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self.fail("ignore", "'ignore' must be a list of tables", "write [[ignore]]")
        if len(entries) > MAX_IGNORES:
            raise self.fail(
                "ignore",
                f"more than {MAX_IGNORES} entries of 'ignore'",
                "an entry without 'target' ignores a check for all targets",
            )
        ignores = tuple(self.ignore(entry, number) for number, entry in enumerate(entries, 1))
        return Configuration(hosts, self.texts(data, "instances"), tuple(severities.items()), ignores)

    def ignore(self, entry: dict[str, Any], number: int) -> Ignore:
        self.known(entry, ("id", "target", "reason"), number)
        for key, value in entry.items():
            if not isinstance(value, str):
                raise self.fail(key, f"'{key}' must be a string", number=number)
        if "id" not in entry:
            raise self.fail("", "an entry of 'ignore' has no id", 'add id = "…"', number)
        self.known_id(entry["id"], "id", number)
        return Ignore(entry["id"], entry.get("target", ""), self.place("id", number))

    def known(self, data: dict[str, Any], keys: tuple[str, ...], number: int = 0) -> None:
        for key in data:
            if key not in keys:
                raise self.fail(
                    key, f"unknown key '{printable(key)}'", f"the known keys are {', '.join(keys)}", number
                )

    def known_id(self, id: str, key: str, number: int = 0) -> None:
        if id not in known_ids():
            from ..pongo2.syntax.hints import did_you_mean

            raise self.fail(
                key, f"unknown check '{printable(id)}'", did_you_mean(id, sorted(known_ids())), number
            )

    def texts(self, data: dict[str, Any], key: str) -> tuple[str, ...]:
        value = data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.fail(key, f"'{key}' must be a list of texts")
        return tuple(value)


def with_configuration(
    scanned: ScannedImage,
    hosts: tuple[str, ...],
    instances: tuple[Instance, ...],
    validators: Validators | None,
    *,
    trusted: bool = True,
    memo: Memo | None = None,
) -> tuple[AuthoredImage, Configuration]:
    """Return the image with hosts and instances, and the contents of its templater.toml."""
    configuration, path = Configuration(), scanned.name
    kind = next((name.entry.kind for name in scanned.names if name.path == SETTINGS), "")
    if trusted and kind and SETTINGS not in scanned.heads:
        if kind == FILE:
            hint = "let all users read the file, or chown the file to the owner of the directory"
            raise InputError(f"'{printable(path)}/{SETTINGS}' can't be read", hint=hint)
        raise InputError(f"'{printable(path)}/{SETTINGS}' is a {kind}, not a regular file")
    if len(scanned.heads.get(SETTINGS, b"")) > LARGEST:
        raise InputError(f"'{printable(path)}/{SETTINGS}' is larger than {LARGEST >> 20} MiB")
    if SETTINGS in scanned.heads:
        configuration = read_configuration(Source(f"{path}/{SETTINGS}", scanned.heads[SETTINGS]))
    names = hosts or configuration.hosts or (INCUS.name,)
    added = () if instances else described(path, tuple(dict.fromkeys(configuration.instances)))
    chosen = tuple(HOSTS[name] for name in names)
    return authored(scanned, chosen, instances, validators, added, memo), configuration


def described(path: str, names: tuple[str, ...]) -> tuple[Instance, ...]:
    """Read the instance descriptions of an image's templater.toml, within limits on number and size."""
    if len(names) > MAX_INSTANCES:
        raise LimitError(f"{SETTINGS} names more than {MAX_INSTANCES} instances")
    sources = []
    size = 0
    for name in names:
        sources.append(read_described(path, name))
        size += len(sources[-1].text)
        if size > LARGEST:
            raise LimitError(
                f"the instance descriptions that {SETTINGS} names are larger than {LARGEST >> 20} MiB"
                " in total"
            )
    return tuple(
        read_instance(source, name=os.path.basename(name).partition(".")[0])
        for name, source in zip(names, sources, strict=True)
    )


def read_described(path: str, name: str) -> Source:
    """Read an instance description in an image's directory.

    A link that leads out of the directory is refused.
    """
    if not os.path.isdir(path):
        raise InputError(
            f"can't read '{printable(name)}', which {SETTINGS} names: the image is not a directory",
            hint="pass -i FILE",
        )
    with open_root(path) as top:
        if ".." in name.split("/"):
            raise RefusedError(f"'{printable(name)}' in {SETTINGS} leads out of the image")
        if top.entry(clean(name)) is None:
            raise InputError(
                f"'{printable(os.path.join(path, name))}' does not exist", hint=f"{SETTINGS} names this file"
            )
        data = top.read(clean(name), LARGEST, public=True)
    return Source(f"{path}/{name}", data)
