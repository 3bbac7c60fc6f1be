"""``--instances``: a whole list of instances instead of one."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import click

from ..model.errors import UsageError
from ..model.source import printable
from . import options, output

if TYPE_CHECKING:
    from ..batch.fleet import Result
    from ..limits import Given
    from ..model.hosts import Host

#: kinds of errors in the recap, and those that are counted
SHOWN, COUNTED = 10, 1000

instances_option = click.option(
    "--instances",
    metavar="FILE",
    help="Every instance of `incus list -f json`; - is standard input.",
    shell_complete=options.complete_files,
)


def run(
    src: str,
    file: str,
    instance: options.Description,
    *,
    show: str,
    triggers: tuple[str, ...],
    host: Host,
    dialect: str | None,
    limits: Given,
    rootfs: str | None = None,
) -> int:
    """Print each instance's result and return the highest exit code: 5 if a rule or the host fails."""
    from ..batch.fleet import Fleet
    from ..image.open import open_image
    from ..model.options import RenderOptions
    from ..parsing.instance_list import stream_instances
    from .planning import rendering

    if instance.file or instance.name or instance.type or instance.profiles:
        raise click.UsageError("--instances can't be combined with -i, --name, --type or -p")
    if rootfs is not None and "{name}" not in rootfs:
        raise click.UsageError("with --instances, ROOTFS needs {name} in it: containers/{name}/rootfs")
    _refuse_pick(file)
    fleet = Fleet(
        open_image(src, limits.for_images()),
        RenderOptions(host, dialect or "", limits=rendering(limits)),
        triggers=triggers,
        reading=limits.for_reading(),
        show=show,
        config=dict(options.key_value(text) for text in instance.config),
        devices=dict(options.device(text) for text in instance.devices),
        rootfs=rootfs,
    )
    recap = Recap()
    with options.open_binary(file) as stream, _progress(stream.fileno()) as update:
        for result in fleet.results(stream_instances(stream.read, "<stdin>" if file == "-" else file)):
            output.write(result.text)
            recap.add(result)
            update(recap)
    recap.report()
    return recap.code


def _refuse_pick(file: str) -> None:
    """Refuse ``FILE#NAME``, which is how ``-i`` takes one instance of a list."""
    path, mark, pick = file.rpartition("#")
    if mark and os.path.exists(path) and not os.path.exists(file):
        raise UsageError(
            f"--instances takes all of '{printable(path)}', not '{printable(pick)}' alone",
            hint=f"use -i {shlex.quote(file)}",
        )


@contextmanager
def _progress(descriptor: int) -> Iterator[Callable[[Recap], None]]:
    """Show a progress bar if stderr is a terminal and stdout is not."""
    if not sys.stderr.isatty() or os.isatty(1):
        yield lambda recap: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        task = bar.add_task("", total=os.fstat(descriptor).st_size or None)
        refreshed = 0.0

        def update(recap: Recap) -> None:
            nonlocal refreshed
            if monotonic() < refreshed + 0.1:
                return
            refreshed = monotonic()
            try:
                position = os.lseek(descriptor, 0, os.SEEK_CUR)
            except OSError:  # a pipe has no position
                position = 0
            text = f"{recap.instances} instances, {recap.failing} failing"
            bar.update(task, completed=position, description=text, refresh=True)

        yield update


class Recap:
    """Counts over all instances, and their errors."""

    def __init__(self) -> None:
        self.instances = 0
        self.changes = 0
        self.failing = 0
        self.code = 0
        self.errors: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, result: Result) -> None:
        self.instances += 1
        self.changes += result.changes
        self.failing += result.code != 0
        self.code = max(self.code, result.code)
        for error in result.errors:
            if error in self.first or len(self.first) < COUNTED:
                self.errors[error] += 1
                self.first.setdefault(error, result.name)

    def report(self) -> None:
        output.say(f"{self.instances} instances, {self.changes} files, {self.failing} failing")
        for error, count in self.errors.most_common(SHOWN):
            output.say(f"{count} x (first: {printable(self.first[error])}): {printable(error)}")
