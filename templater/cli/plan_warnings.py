"""Warnings of preview, diff, apply and watch about the plans that they show."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from time import process_time
from typing import TYPE_CHECKING

from ..model.metadata import TRIGGERS
from ..model.source import printable
from . import output

if TYPE_CHECKING:
    from ..model.entry import Image
    from ..model.metadata import Rule
    from ..model.plan import Plan
    from ..model.source import Source
    from ..pongo2.reads import Read
    from ..rendering.memo import Memo
    from ..sources.open_source import OpenedSource
    from .options import Request

#: maximum processor time in seconds for finding unknown names in all templates
MAX_SECONDS = 2.0


def due_rules(plans: list[Plan]) -> list[Rule]:
    """Return the rules that at least one of the plans runs."""
    from ..rendering.render import is_due

    rules = plans[0].metadata.rules
    return [rule for rule in rules if any(is_due(rule, name) for plan in plans for name in plan.triggers)]


def rootfs_option(source: OpenedSource, request: Request) -> str:
    """Return the option that would give the plans a root filesystem."""
    is_file = source.definition is None and not os.path.isdir(request.src)
    return "--rootfs image" if is_file and request.rootfs is None else "--rootfs"


def plan_warnings(plans: list[Plan], image: Image, rootfs_option: str) -> Iterator[str]:
    """Yield warnings if no rule matches, a create_only file may exist, or the image was read only in part.

    ``rootfs_option`` is the option to suggest for a root filesystem, or "" if the plans have a root
    filesystem.
    """
    rules = plans[0].metadata.rules
    if rules and not any(plan.changes for plan in plans):
        found = {trigger for rule in rules for trigger in rule.when if trigger in TRIGGERS}
        named = ", ".join(trigger for trigger in TRIGGERS if trigger in found)
        run = ",".join(plans[0].triggers)
        yield f"no rule runs on {run}; triggers with rules: {named or 'none'} (see -t)"
    unsure = [printable(rule.path) for rule in due_rules(plans) if rule.create_only]
    if rootfs_option and unsure and not plans[0].instance.is_vm:
        named = ", ".join(unsure[:5]) + (f" and {len(unsure) - 5} more" if len(unsure) > 5 else "")
        yield (
            f"create_only rules skip these files if they exist: {named}"
            f" ({rootfs_option} shows which files exist)"
        )
    if not image.complete:
        yield "the archive was read up to its last template; `templater audit` reads the whole archive"


def warn_of_unknown_names(
    image: Image, rules: Iterable[Rule], dialect: str, memo: Memo | None = None
) -> None:
    """Warn on stderr if a template of these ``rules`` contains a name that no host provides.

    If several templates have the same text, the warning is only about the first one. The check stops after
    ``MAX_SECONDS`` of processor time. ``memo`` has templates that are already parsed.
    """
    from ..model.errors import TemplaterError
    from ..rendering.unknown_names import parsed_reads, unknown_names

    templates = image.read_templates({rule.template for rule in rules if rule.template})
    warnings: dict[str, None] = {}
    parsed: dict[bytes, tuple[Source, tuple[Read, ...]]] = {}
    checked: set[tuple[bytes, frozenset[str]]] = set()
    end = process_time() + MAX_SECONDS
    for rule in rules:
        file = templates.get(rule.template)
        if file is None or file.data is None or (file.data, frozenset(rule.properties)) in checked:
            continue
        if process_time() > end:
            warnings[
                "warning: checking all templates for unknown names takes too long:"
                " some templates were not checked"
            ] = None
            break
        checked.add((file.data, frozenset(rule.properties)))
        if file.data not in parsed:
            source = file.source(f"templates/{rule.template}")
            found: tuple[Read, ...] = ()
            with suppress(TemplaterError):  # the render of this template reports the same error
                found = parsed_reads(source, dialect) if memo is None else memo.parsed(source, dialect).reads
            parsed[file.data] = source, found
        source, found = parsed[file.data]
        for name in unknown_names(found, dialect, rule.properties):
            hint = f"\nhint: {name.hint}" if name.hint else ""
            place = source.span(name.span.start, name.span.end).place
            warnings[f"warning: {place}: {name.message}{hint}"] = None
    for warning in warnings:
        output.say(warning)
