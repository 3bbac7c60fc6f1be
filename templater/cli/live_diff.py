"""``templater diff`` of running instances: the changes that the next start makes to every file."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ..instances.description_file import read_instance
from ..model.unprintable_characters import printable
from ..parsing.instance_description import overridden
from . import options, output, terminal

if TYPE_CHECKING:
    from ..cloud_init.next_boot import Verdict
    from ..live.address import Address
    from ..live.live_instance import LiveInstance
    from ..model.instance import Instance
    from ..next_start.judge_many import Judged
    from ..next_start.verdicts import NextStart


def refuse_options(request: options.Request, instances: str | None) -> None:
    """Raise click.UsageError for options that don't apply to running instances."""
    if instances is not None:
        raise click.UsageError("--instances can't be combined with a running instance")
    if request.triggers not in ((), ("next",)):
        raise click.UsageError(
            "-t can't be combined with `diff` of a running instance, which always shows the next start"
        )


def run(request: options.Request, filters: tuple[str, ...], *, exit_code: bool) -> int:
    """Show one instance, or a table of all instances that SRC and the filters choose."""
    from ..live.address import parse_address

    address = parse_address(request.src, request.project, all_projects=request.all_projects)
    if address.is_one and not filters and not request.all_projects:
        return show_one(request, exit_code=exit_code)
    return show_many(request, filters, exit_code=exit_code)


def show_one(request: options.Request, *, exit_code: bool) -> int:
    """Print the verdicts on one instance, and return the exit code."""
    found, boot = judge_one(request)
    terminal.page()
    show(found, boot, as_json=request.as_json)
    return found.exit_code or int(exit_code and bool(found.changing))


def judge_one(request: options.Request) -> tuple[NextStart, Verdict | None]:
    """Predict the next start of the instance SRC, and the next boot of cloud-init. Report notes on stderr."""
    from ..cloud_init.next_boot import next_boot
    from ..live.newer_image import NewerImages
    from ..next_start.verdicts import judge
    from .open_and_plan import fixed_options, opened

    with opened(request, rootfs_of_instance=True) as found:
        live = found.source.live
        assert live is not None
        judged = judge(live, found.instance, fixed_options(found.request), request.limits.for_reading())
        boot = None if judged.plan is None else next_boot(judged.plan, found.rootfs)
        judged = replace(judged, newer_image=NewerImages(live.daemon).note(live))
    for note in filter(None, (*judged.notes, judged.newer_image)):
        output.note(note)
    return judged, boot


def show(found: NextStart, boot: Verdict | None, *, as_json: bool, lines: bool = False) -> None:
    """Print the verdicts as a patch or as JSON. If ``lines`` is true, print the JSON in one line."""
    from ..cloud_init.next_boot_report import lines_of, verdict_data
    from ..next_start.verdict_output import counts, data_of, patches
    from .patches import show_patch

    if as_json:
        data = data_of(found)
        if boot is not None:
            data["cloud_init"] = verdict_data(boot)
        if lines:
            write_json_line(data)
        else:
            output.write_json(data)
        return
    for text in patches(found):
        show_patch(text)
    output.say(f"{printable(found.address.name)}: {counts(found)}")
    for line in () if boot is None else lines_of(boot):
        output.say(line)


def show_many(request: options.Request, filters: tuple[str, ...], *, exit_code: bool) -> int:
    """Print a line for each chosen instance, and return the highest exit code."""
    from ..live.address import parse_address
    from ..live.connect import open_daemon
    from ..live.instance_filters import list_instances, parse_filters
    from ..next_start.judge_many import judge_many
    from .open_and_plan import fixed_options
    from .progress import progress

    if request.instance.is_named or request.instance.type or request.instance.profiles:
        raise click.UsageError("-i, --name, --type and -p can't be combined with several running instances")
    address = parse_address(request.src, request.project, all_projects=request.all_projects)
    is_chosen = parse_filters(address, filters)
    config = request.instance.config_overrides()
    devices, notes = options.device_overrides(request.instance.devices)
    with closing(open_daemon(address)) as daemon:
        guessed = () if request.host_given else (daemon.nearest.text,)
        if guessed:
            request = request._replace(host=daemon.nearest.host)
        for note in (*daemon.notes, *guessed, *notes):
            output.note(note)
        instances = list_instances(daemon, is_chosen)

        def describe(live: LiveInstance) -> Instance:
            found = read_instance(live.description, name=live.address.name)
            return overridden(found, config=config, devices=devices)

        table = Table([address for address, _ in instances], as_json=request.as_json, exit_code=exit_code)
        with progress("reading", "instances", shown=not sys.stdout.isatty()) as update:
            for number, judged in enumerate(
                judge_many(
                    daemon, instances, describe, fixed_options(request),
                    limits=request.limits.for_images(), reading=request.limits.for_reading(),
                ),
                start=1,
            ):  # fmt: skip
                table.add(judged)
                update(number, 0, judged.address.name)
        table.report()
    return table.code


def write_json_line(data: dict[str, Any]) -> None:
    import json

    from ..reporting.json_escapes import safe_json

    output.write(safe_json(json.dumps(data, ensure_ascii=False)) + "\n")


class Table:
    """The output of `diff` for several instances: a line for each instance, and a summary at the end."""

    #: maximum width of the column of names
    WIDEST = 40

    def __init__(self, addresses: list[Address], *, as_json: bool, exit_code: bool) -> None:
        self.as_json, self.exit_code = as_json, exit_code
        self.several_projects = len({address.project for address in addresses}) > 1
        labels = [self.label(address) for address in addresses]
        self.width = min(max(map(len, labels), default=0), self.WIDEST)
        self.code = 0
        self.changing = self.failing = self.differing = self.unread = self.total = 0

    def label(self, address: Address) -> str:
        name = printable(address.name)
        return f"{printable(address.project)}/{name}" if self.several_projects else name

    def add(self, judged: Judged) -> None:
        from ..next_start.verdict_output import short

        found, error = judged.found, judged.error
        self.total += 1
        if found is None:
            assert error is not None
            self.unread += 1
            self.code = max(self.code, error.exit_code)
            text = f"error: {printable(error.message)}"
        else:
            self.changing += bool(found.changing)
            self.failing += found.exit_code != 0
            self.differing += bool(found.differing)
            changes = self.exit_code and bool(found.changing)
            self.code = max(self.code, found.exit_code, int(changes))
            text = short(found)
        if self.as_json:
            from ..next_start.verdict_output import data_of, error_of

            write_json_line(error_of(judged) if found is None else data_of(found))
        else:
            status = printable(judged.status) or "-"
            output.write(f"{self.label(judged.address):<{self.width}}  {status:<8}  {text}\n")
        output.flush()

    def report(self) -> None:
        parts = [f"{self.changing} of {self.total} instances would change"]
        if self.differing:
            parts.append(f"{self.differing} with files that do not match the current configuration")
        if self.failing:
            parts.append(f"{self.failing} would fail or have unknown results")
        if self.unread:
            parts.append(f"{self.unread} not read")
        output.say(", ".join(parts))
