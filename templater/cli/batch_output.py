"""``--instances``: run a command for every instance of a list."""

from __future__ import annotations

import os
import sys
from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from ..model.errors import UsageError
from ..model.unprintable_characters import printable
from . import completers, options, output
from .progress import progress

if TYPE_CHECKING:
    from ..batch.plan_instances import Result

#: maximum number of different messages in the summary, and maximum number that templater counts
SHOWN, COUNTED = 10, 1000

instances_option = click.option(
    "--instances",
    metavar="FILE",
    help="Run for every instance in FILE, the output of `incus list -f json`; - is standard input.",
    shell_complete=completers.files,
)


def run(request: options.Request, file: str, *, show: str, exit_code: bool = False) -> int:
    """Print each instance's result and return the highest exit code. Report errors and counts on stderr."""
    from ..batch.plan_instances import Fleet
    from ..parsing.instance_description import overridden
    from ..sources.open_source import open_source
    from .enforce_limits import listed_instances
    from .open_and_plan import open_rootfs, render_options
    from .plan_warnings import (
        InstanceWarnings,
        finding_warnings,
        image_warnings,
        rootfs_option,
        warn_of_unknown_names,
    )

    described, pattern = request.instance, request.rootfs or ""
    if described.is_named or described.type or described.profiles:
        raise click.UsageError("--instances can't be combined with -i, --name, --type or -p")
    if request.triggers == ("all",):
        raise click.UsageError("--instances can't be combined with -t all")
    if pattern not in ("", "image", "none") and "{name}" not in pattern:
        raise click.UsageError("with --instances, ROOTFS must contain {name}, e.g. containers/{name}/rootfs")
    _refuse_pick(file)
    config = described.config_overrides()
    devices, notes = options.device_overrides(described.devices)
    source = open_source(request.src, request.limits.for_images(), request.choice)
    recap = Recap(patches=show == "patch", exit_code=exit_code)
    with (
        nullcontext() if "{name}" in pattern else open_rootfs(request, source) as rootfs,
        options.open_binary(file) as stream,
        progress("planning", "instances", shown=not sys.stdout.isatty()) as update,
    ):
        fleet = Fleet(
            source.image, render_options(request), triggers=request.triggers,
            reading=request.limits.for_reading(), show=show, rootfs=rootfs,
            pattern=pattern if "{name}" in pattern else "",
        )  # fmt: skip
        found = (*finding_warnings(fleet.metadata), *image_warnings(source.image))
        for note in (*source.notes, *notes, *found):
            output.note(note)
        warn_of_unknown_names(source.image, fleet.metadata.rules, (fleet.options.dialect,))
        has_rootfs = rootfs is not None or bool(fleet.pattern)
        warnings = InstanceWarnings(
            fleet.metadata.rules, "" if has_rootfs else rootfs_option(source, request)
        )
        instances = listed_instances(stream.read, "<stdin>" if file == "-" else file)
        if config or devices:
            instances = (overridden(instance, config=config, devices=devices) for instance in instances)
        for result in fleet.results(instances):
            if not result.skipped:
                result.notes += warnings.add(
                    result.triggers, has_changes=bool(result.changes), is_vm=result.is_vm
                )
            output.write(result.text)
            recap.add(result)
            update(recap.instances, 0, result.name)
    for text in warnings.of_all():
        output.note(text)
    recap.report()
    return recap.code


def _refuse_pick(file: str) -> None:
    """Raise UsageError if the value of ``--instances`` has the form ``FILE#NAME``.

    Only ``-i`` accepts ``FILE#NAME``, which selects one instance of a list.
    """
    path, mark, pick = file.rpartition("#")
    if mark and os.path.exists(path) and not os.path.exists(file):
        from shlex import quote

        raise UsageError(
            f"--instances uses every instance of '{printable(path)}' and can't select '{printable(pick)}'",
            hint=f"use -i {quote(file)}",
        )


class Recap:
    """The totals of a run over a list of instances.

    ``first`` maps each error or note to the first instance that has it.
    """

    def __init__(self, *, patches: bool, exit_code: bool) -> None:
        self.patches = patches
        self.exit_code = exit_code
        self.code = self.instances = self.changes = self.changing = self.failing = 0
        self.skipped: Counter[str] = Counter()
        self.texts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, result: Result) -> None:
        self.instances += 1
        self.changes += result.changes
        self.changing += bool(result.text) and not result.skipped
        self.failing += result.code != 0
        self.code = max(self.code, result.code, self.exit_code and bool(result.text))
        if result.skipped:
            self.skipped[result.skipped] += 1
        for text in (*result.errors, *(f"note: {note}" for note in result.notes)):
            if text in self.first or len(self.first) < COUNTED:
                self.texts[text] += 1
                self.first.setdefault(text, result.name)

    def report(self) -> None:
        for text, count in self.texts.most_common(SHOWN):
            output.say(f"{count} x (first: {printable(self.first[text])}): {printable(text)}")
        if self.patches:
            skipped = "".join(f", {count} {why}" for why, count in self.skipped.items())
            output.say(f"{self.changing} of {self.instances} would change{skipped}")
        else:
            output.say(f"{self.instances} instances, {self.changes} files, {self.failing} failing")
