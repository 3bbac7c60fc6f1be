"""``--instances``: a whole list of instances in place of one."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from ..model.errors import UsageError
from ..model.source import printable
from . import options, output

if TYPE_CHECKING:
    from ..batch.fleet import Batch, Order
    from ..limits import Given
    from ..model.hosts import Host

SHOWN = 10

fleet_options = options.decorate(
    click.option(
        "--instances",
        metavar="FILE",
        help="Every instance of `incus list -f json`, read piece by piece; - is standard input.",
        shell_complete=options.complete_files,
    ),
    click.option(
        "--jobs", type=click.IntRange(1, 1024), help="Processes for --instances; by default as many as pay."
    ),
)


def run(
    src: str,
    file: str,
    instance: options.Description,
    *,
    jobs: int | None,
    show: str,
    triggers: tuple[str, ...],
    host: Host,
    dialect: str | None,
    limits: Given,
    rootfs: str | None = None,
) -> int:
    """Print what was asked for, one instance after the other; 5 if a rule failed or the host would fail."""
    from ..batch.fleet import order
    from ..batch.shared_list import batches
    from ..image.open import open_image
    from .planning import rendering

    if instance.file or instance.name or instance.type or instance.profiles:
        raise click.UsageError("--instances has the instances: -i, --name, --type and -p don't go with it")
    if rootfs is not None and "{name}" not in rootfs:
        raise click.UsageError("with --instances, ROOTFS needs {name} in it: containers/{name}/rootfs")
    _refuse_pick(file)
    given: Order = order(
        open_image(src, limits.for_images()),
        triggers=triggers,
        host=host.name,
        dialect=dialect,
        show=show,
        file="<stdin>" if file == "-" else file,
        config=dict(options.key_value(text) for text in instance.config),
        devices=dict(options.device(text) for text in instance.devices),
        rootfs=rootfs,
        limits=rendering(limits),
        reading=limits.for_reading(),
    )
    tally = Tally()
    with Reading(file) as reading:
        for batch in batches(given, reading.file.read, jobs, reading.file.fileno()):
            output.write_data(batch.data)
            tally.add(batch)
            reading.advance(tally)
    tally.report()
    return tally.code


def _refuse_pick(file: str) -> None:
    """FILE#NAME is how -i takes one of a list."""
    path, mark, pick = file.rpartition("#")
    if mark and os.path.exists(path) and not os.path.exists(file):
        raise UsageError(
            f"--instances takes all of '{printable(path)}', not '{printable(pick)}' alone",
            hint=f"-i {shlex.quote(file)} takes one",
        )


class Reading:
    """The list as it is read, with a bar on a terminal."""

    def __init__(self, file: str) -> None:
        self.file = options.open_binary(file)
        self.bar: Any = None
        self.refreshed = 0.0

    def __enter__(self) -> Reading:
        if sys.stderr.isatty() and not os.isatty(1):
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            size = os.fstat(self.file.fileno()).st_size or None
            self.bar = Progress(
                BarColumn(),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
                auto_refresh=False,  # which would take a thread, and those and forks don't go together
            )
            self.bar.start()
            self.task = self.bar.add_task("", total=size)
        return self

    def __exit__(self, *about: object) -> None:
        if self.bar is not None:
            self.bar.stop()
        self.file.close()

    def advance(self, tally: Tally) -> None:
        if self.bar is not None and monotonic() > self.refreshed + 0.1:
            self.refreshed = monotonic()
            said = f"{tally.instances} instances, {tally.failing} failing"
            self.bar.update(self.task, completed=self.place(), description=said, refresh=True)

    def place(self) -> int:
        """How far it has been read; nobody knows in a pipe."""
        try:
            return os.lseek(self.file.fileno(), 0, os.SEEK_CUR)
        except OSError:
            return 0


class Tally:
    """What came of all of them."""

    def __init__(self) -> None:
        self.instances = 0
        self.changes = 0
        self.failing = 0
        self.code = 0
        self.errors: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, batch: Batch) -> None:
        self.instances += batch.instances
        self.changes += batch.changes
        self.failing += batch.failing
        self.code = max(self.code, batch.code)
        for error, name in batch.errors:
            if error in self.first or len(self.first) < 1000:
                self.errors[error] += 1
                self.first.setdefault(error, name)

    def report(self) -> None:
        """On a terminal a table of what went wrong; a line anywhere."""
        output.say(f"{self.instances} instances, {self.changes} files, {self.failing} failing")
        if self.errors and output.on_terminal():
            from rich.table import Table
            from rich.text import Text

            table = Table("instances", "first", "error")
            for row in self.rows():
                table.add_row(*(Text(cell) for cell in row))
            output.console().print(table)
        elif self.errors:
            for count, first, error in self.rows():
                output.say(f"{count} x (first: {first}): {error}")

    def rows(self) -> Iterator[tuple[str, str, str]]:
        for error, count in self.errors.most_common(SHOWN):
            yield str(count), printable(self.first[error]), printable(error)
