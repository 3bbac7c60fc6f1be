"""Completions of arguments and option values, which the shell asks for when the user presses Tab.

A completion reads only small local files. ``cli.commands.completion`` limits its time and hides its errors.
Functions import the modules that they need, because every command imports this module.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import click
    from click.shell_completion import CompletionItem

    from ..model.metadata import Rule

    Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

#: the largest archive, in bytes, that is opened to complete the names in it
LARGEST_ARCHIVE = 4 << 20
#: the largest list of instances, in bytes, that is read to complete their names
LARGEST_LIST = 32 << 20


def items(names: Iterable[str], start: int = 0, **facts: Any) -> list[CompletionItem]:
    """Return a completion for each name.

    The completion replaces the characters of the typed word from the index ``start`` on.
    """
    from click.shell_completion import CompletionItem

    return [CompletionItem(name, start=start, **facts) for name in dict.fromkeys(names)]


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return items((incomplete,), type="file")


def directories(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return items((incomplete,), type="dir")


def source(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete SRC: a file, the name of an image server, or an image of the store."""
    found = files(ctx, param, incomplete)
    if incomplete.startswith("store:"):
        return [*items(_stored(aliases_only=True), len("store:")), *found]
    if any(character in incomplete for character in "/:#.~"):
        return found
    from ..distribution.remotes import RESERVED, read_remotes

    names = {*read_remotes(), *RESERVED} - {"local"}
    return [*items(f"{name}:" for name in sorted(names)), *found]


def instance(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete ``FILE#NAME``: the files, and after ``#`` the names of the instances in FILE."""
    path, hash_, _ = incomplete.partition("#")
    if not hash_ or not _is_small(path, LARGEST_LIST):
        return files(ctx, param, incomplete)
    from ..instances.description_file import read_instances

    return items((each.name for each in read_instances(_expanded(path))), len(path) + 1)


def value(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the file in ``KEY=@FILE``."""
    before, at, path = incomplete.partition("=@")
    return items((path,), len(before) + 2, type="file") if at else []


def targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the target paths in the rules of SRC, and the names of the rules' templates."""
    rules = _rules(ctx)
    paths = items(path if path.startswith("/") else f"/{path}" for path in (rule.path for rule in rules))
    return [*paths, *(items(rule.template for rule in rules) if not incomplete.startswith("/") else ())]


def templates(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the templates that the rules of SRC use."""
    return items(rule.template for rule in _rules(ctx))


def paths(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the target paths in the rules of SRC."""
    return items(rule.path for rule in _rules(ctx))


def properties(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the keys of SRC's properties."""
    from ..image.open_image import open_image
    from ..parsing.metadata_yaml import read_metadata

    path = _local(ctx)
    return items(read_metadata(open_image(path).read_metadata()).properties) if path is not None else []


def checks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the ids of checks."""
    from ..checks.run_checks import all_checks

    ids = sorted(check.id for folder in ("security", "authoring") for check in all_checks(folder))
    return items(("list", *ids))


def presets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from ..image.presets import presets as all_presets

    found = [each for preset in all_presets() for each in items((preset.name,), help=preset.summary)]
    return [*found, *items(("list",), help="show the presets")]


def remotes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the names of image servers that the user has added."""
    from ..distribution.remotes import own_file, read_remotes

    return items(sorted(name for name, remote in read_remotes().items() if remote.source == own_file()))


def stored(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the aliases and fingerprints of the images in the store."""
    return items(_stored())


def aliases(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return items(_stored(aliases_only=True))


def steps(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a step of a simulation, or the file in ``c:KEY=@FILE`` and ``p:FILE``."""
    from ..simulation.parse_steps import SETTINGS, VERBS, WITH_ARGUMENT

    if incomplete.startswith("p:"):
        return items((incomplete[2:],), 2, type="file")
    if ":" in incomplete or "=" in incomplete:
        return value(ctx, param, incomplete)
    return [
        each
        for verb, about in VERBS.items()
        for each in items(
            (f"{verb}{'=' if verb in WITH_ARGUMENT else ':' if verb in SETTINGS else ''}",), help=about
        )
    ]


def one_of(names: Iterable[str]) -> Completer:
    return lambda ctx, param, incomplete: items(names)


def list_of(names: Iterable[str]) -> Completer:
    """Complete the last name of a comma-separated list."""
    return lambda ctx, param, incomplete: items(names, incomplete.rfind(",") + 1)


def limits(kinds: tuple[str, ...]) -> Completer:
    """Complete the names of the limits of these ``kinds``."""
    from ..limit_option import IMAGE, NAMES

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [
            each
            for name, (kind, _, _, about) in NAMES.items()
            if kind in kinds or (name == "template" and IMAGE in kinds)
            for each in items((f"{name}=",), help=about)
        ]

    return complete


def _rules(ctx: click.Context) -> tuple[Rule, ...]:
    """Return the rules of the SRC on the command line, or () if SRC is on a server or is a large file."""
    from ..parsing.metadata_yaml import read_metadata
    from ..sources.open_source import open_source

    path = _local(ctx)
    return () if path is None else read_metadata(open_source(path).image.read_metadata()).rules


def _local(ctx: click.Context) -> str | None:
    """Return the SRC of the command line, or None if SRC is not a directory or a small file."""
    # click assigns no arguments while an option has no value yet
    src = ctx.params.get("src") or next(iter(ctx.args), None)
    if not isinstance(src, str):
        return None
    path = _expanded(src)
    return path if os.path.isdir(path) or _is_small(path, LARGEST_ARCHIVE) else None


def _is_small(path: str, most: int) -> bool:
    """Return whether the path is a regular file of at most ``most`` bytes.

    Completions do not read other files, because reading a pipe could block.
    """
    path = _expanded(path)
    return os.path.isfile(path) and os.path.getsize(path) <= most


def _expanded(path: str) -> str:
    """Return the path as the shell would expand ``~`` at its beginning."""
    return os.path.expanduser(path)


def _stored(*, aliases_only: bool = False) -> list[str]:
    from ..distribution.store import Store, default_directory

    if not os.path.isdir(default_directory()):
        return []  # opening a store creates it
    images = Store().images()
    names = sorted(alias for image in images for alias in image.aliases)
    return names if aliases_only else [*names, *(image.fingerprint[:12] for image in images)]
