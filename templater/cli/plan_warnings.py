"""Warnings of preview, diff, apply and watch about the plans that they show."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import product
from time import process_time
from typing import TYPE_CHECKING

from ..model.metadata import TRIGGERS
from ..model.unprintable_characters import printable
from . import output

if TYPE_CHECKING:
    from ..model.entry import Image
    from ..model.metadata import Metadata, Rule
    from ..model.plan import Plan
    from ..model.source import Source
    from ..pongo2.names_read import Read
    from ..rendering.rendered_text_cache import Memo
    from ..sources.open_source import OpenedSource
    from .options import Request

#: maximum processor time in seconds for finding unknown names in all templates
MAX_SECONDS = 2.0


def due_rules(plans: Iterable[Plan]) -> list[Rule]:
    """Return the rules that at least one of the plans runs."""
    read: dict[int, tuple[Metadata, dict[str, None]]] = {}
    for plan in plans:
        read.setdefault(id(plan.metadata), (plan.metadata, {}))[1].update(dict.fromkeys(plan.triggers))
    return [rule for metadata, triggers in read.values() for rule in _due(metadata.rules, triggers)]


def _due(rules: Iterable[Rule], triggers: Iterable[str]) -> Iterator[Rule]:
    from ..rendering.render import is_due

    return (rule for rule in rules if any(is_due(rule, trigger) for trigger in triggers))


def rootfs_option(source: OpenedSource, request: Request) -> str:
    """Return the option that warnings suggest to the user for choosing a root filesystem."""
    is_file = source.definition is None and os.path.isfile(request.src)
    return "--rootfs image" if is_file and request.rootfs is None else "--rootfs"


def report_warnings(
    groups: Sequence[Sequence[Plan]],
    image: Image,
    rootfs_option: str,
    dialects: Iterable[str],
    memo: Memo | None = None,
) -> list[str]:
    """Report each assumption of the plans, and each probable mistake in the image, once on stderr.

    Each item of ``groups`` has the plans of one instance. Return the assumptions, without the ``notes`` of
    the plans.
    """
    plans = [plan for group in groups for plan in group]
    findings: dict[str, None] = {}
    for metadata in {id(plan.metadata): plan.metadata for plan in plans}.values():
        findings.update(dict.fromkeys(finding_warnings(metadata)))
    assumed: dict[str, None] = {}
    for group in groups:
        assumed.update(dict.fromkeys(plan_warnings(group, rootfs_option)))
    assumed.update(dict.fromkeys(image_warnings(image)))
    for text in {**findings, **assumed, **{note: None for plan in plans for note in plan.notes}}:
        output.note(text)
    warn_of_unknown_names(image, due_rules(plans), dialects, memo)
    return list(assumed)


def plan_warnings(plans: Sequence[Plan], rootfs_option: str) -> Iterator[str]:
    """Yield a warning if no rule runs for an instance, and another if files of create_only rules may exist.

    ``rootfs_option`` is the option that adds a root filesystem, or "" if the plans have a root filesystem.
    """
    if not plans:
        return
    rules = plans[0].metadata.rules
    triggers = {trigger: None for plan in plans for trigger in plan.triggers}
    if rules and not any(plan.changes for plan in plans):
        yield no_rule_warning(rules, triggers)
    if rootfs_option and not plans[0].instance.is_vm:
        unsure = [rule.path for rule in _due(rules, triggers) if rule.create_only]
        yield from create_only_warning(unsure, f"{rootfs_option} shows which files exist")


def no_rule_warning(rules: Iterable[Rule], triggers: Iterable[str]) -> str:
    """Return the warning that no rule runs on any of the ``triggers``."""
    found = {trigger for rule in rules for trigger in rule.when if trigger in TRIGGERS}
    named = ", ".join(trigger for trigger in TRIGGERS if trigger in found)
    return f"no rule runs on {','.join(triggers)}; the rules run on: {named or 'none'} (see -t)"


def create_only_warning(paths: Sequence[str], advice: str) -> Iterator[str]:
    """Yield a warning that the files of create_only rules may exist, unless ``paths`` is empty."""
    if paths:
        named = ", ".join(map(printable, paths[:5]))
        more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
        yield f"create_only rules skip these files if they exist: {named}{more} ({advice})"


class InstanceWarnings:
    """The warnings of ``plan_warnings`` for a list of instances. No plan is kept in memory."""

    def __init__(self, rules: Sequence[Rule], rootfs_option: str) -> None:
        self._rules = rules
        self._create_only = [rule for rule in rules if rule.create_only] if rootfs_option else []
        self._advice = f"{rootfs_option} shows which files exist"
        #: the triggers of create_only rules, and which of these triggers at least one instance runs
        self._known = {trigger for rule in self._create_only for trigger in rule.when}
        self._run: set[str] = set()

    def add(self, triggers: Sequence[str], *, has_changes: bool, is_vm: bool) -> tuple[str, ...]:
        """Return the warnings about one instance, except the warning about create_only rules.

        ``of_all`` yields the warning about create_only rules once for all instances.
        """
        if not is_vm:
            self._run |= self._known.intersection(triggers)
        return (no_rule_warning(self._rules, triggers),) if self._rules and not has_changes else ()

    def of_all(self) -> Iterator[str]:
        """Yield the warnings about all instances together."""
        unsure = [rule.path for rule in self._create_only if not self._run.isdisjoint(rule.when)]
        yield from create_only_warning(unsure, self._advice)


def finding_warnings(metadata: Metadata) -> Iterator[str]:
    """Yield the findings of the parser about metadata.yaml."""
    for finding in metadata.findings:
        yield f"{finding.span.place}: {finding.message}"


def image_warnings(image: Image) -> Iterator[str]:
    """Yield a warning if the image was read only in part."""
    if not image.complete:
        yield "the archive was read up to its last template; `templater audit` reads the whole archive"


def warn_of_unknown_names(
    image: Image, rules: Iterable[Rule], dialects: Iterable[str], memo: Memo | None = None
) -> None:
    """Warn on stderr if a template of these ``rules`` reads a variable that no host provides.

    Stop after ``MAX_SECONDS`` of processor time. ``memo`` supplies the templates that earlier calls parsed.
    """
    from ..model.errors import TemplaterError
    from ..rendering.unknown_names import parsed_reads, unknown_names

    rules = tuple(rules)
    templates = image.read_templates({rule.template for rule in rules if rule.template})
    warnings: dict[str, None] = {}
    parsed: dict[tuple[bytes, str], tuple[Source, tuple[Read, ...]]] = {}
    checked: set[tuple[bytes, str, frozenset[str]]] = set()
    end = process_time() + MAX_SECONDS
    for rule, dialect in product(rules, tuple(dialects)):
        file = templates.get(rule.template)
        if file is None or file.data is None:
            continue
        key = file.data, dialect, frozenset(rule.properties)
        if key in checked:
            continue
        if process_time() > end:
            warnings[
                "warning: checking all templates for unknown names takes too long:"
                " some templates were not checked"
            ] = None
            break
        checked.add(key)
        if key[:2] not in parsed:
            source = file.source(f"templates/{rule.template}")
            found: tuple[Read, ...] = ()
            with suppress(TemplaterError):  # the render of this template reports the same error
                found = parsed_reads(source, dialect) if memo is None else memo.parsed(source, dialect).reads
            parsed[key[:2]] = source, found
        source, found = parsed[key[:2]]
        for name in unknown_names(found, dialect, rule.properties):
            hint = f"\nhint: {name.hint}" if name.hint else ""
            place = source.span(name.span.start, name.span.end).place
            warnings[f"warning: {place}: {name.message}{hint}"] = None
    for warning in warnings:
        output.say(warning)
