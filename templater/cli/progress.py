"""Progress display for long operations, only on a terminal."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from ..model.progress import Progress, silent
from ..model.unprintable_characters import printable
from .terminal import has_colour

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import ProgressColumn, Task

    from ..image.read_whole_image import Contents

#: seconds after which an operation shows its progress, and the seconds between two updates
DELAY = 1.0
INTERVAL = 0.1
#: the width in columns of everything except the current name, and the minimum width of the name
NUMBERS, SHORTEST = 76, 10
#: no colours for numbers: rich shows the rate in red
PLAIN = {"progress.download": "none", "progress.remaining": "none", "progress.elapsed": "none"}


@contextmanager
def progress(
    action: str, unit: str = "files", *, shown: bool = True, total: Callable[[], int] | None = None
) -> Iterator[Progress]:
    """Show the progress of an operation on stderr after a second, and remove it at the end.

    The function ``total`` returns the number of bytes of the whole operation.
    """
    if not shown or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield silent
        return
    bar = _Bar(action, unit, total)
    starts = threading.Timer(DELAY, bar.start)
    starts.daemon = True
    starts.start()
    try:
        yield bar.show
    finally:
        starts.cancel()
        starts.join()
        bar.stop()


def of_packed(contents: Contents, show: Progress) -> Progress:
    """Return a function that shows how many bytes of an archive were read."""
    total = contents.packed_size
    if not total:
        return show

    def update(items: int, size: int, name: str, _: int = 0, /) -> None:
        # The size of the archive is known in advance, but the number of unpacked bytes is not.
        read = contents.packed_read
        show(items, read or size, name, total if read else 0)

    return update


class _Bar:
    """A progress bar of the library ``rich``. Only long operations import ``rich``."""

    def __init__(self, action: str, unit: str, total: Callable[[], int] | None) -> None:
        self.action, self.unit, self.total = action, unit, total
        self.size = 0
        self.bars: Bars | None = None
        self.updated = 0.0

    def start(self) -> None:
        from rich.console import Console
        from rich.progress import Progress as Bars
        from rich.theme import Theme

        if self.total is not None:
            self.size = self.total()
        console = Console(
            stderr=True, highlight=False, no_color=not has_colour(sys.stderr), theme=Theme(PLAIN)
        )
        bars = Bars(*_columns(console.width, known=self.size > 0), console=console, transient=True)
        bars.add_task(self.action, total=self.size or None, name="")
        bars.start()
        self.bars = bars

    def show(self, count: int, size: int, name: str, total: int = 0, /) -> None:
        if self.total is None and total != self.size:
            self.size = total
            if self.bars is not None:
                self.bars.columns = _columns(self.bars.console.width, known=total > 0)
                self.bars.reset(self.bars.task_ids[0], total=total or None)
        if self.bars is None or monotonic() - self.updated < INTERVAL:
            return
        self.updated = monotonic()
        done = [f"{count} {self.unit}"] if count else []
        if size and not self.size:
            rate = _rate(self.bars.tasks[0])
            done.append(f"{size >> 20} MiB" + (f" at {rate}" if rate else ""))
        text = f"{self.action}: {', '.join(done)}" if done else self.action
        most = max(self.size, size) if self.size else None
        room = self.bars.console.width - NUMBERS
        name = printable(name)[-room:] if room >= SHORTEST else ""
        task = self.bars.task_ids[0]
        self.bars.update(task, description=text, completed=size, total=most, name=name)

    def stop(self) -> None:
        if self.bars is not None:
            self.bars.stop()


def _rate(task: Task) -> str:
    return f"{task.speed / (1 << 20):.1f} MiB/s" if task.speed else ""


def _columns(width: int, *, known: bool) -> tuple[ProgressColumn, ...]:
    """Return the columns of the progress bar. ``known`` tells whether the total number of bytes is known."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        ProgressColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )  # fmt: skip
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(_rate(task))

    bar = (
        *([BarColumn(20, complete_style="green", finished_style="green")] if width >= NUMBERS else ()),
        DownloadColumn(binary_units=True),
        RateColumn(),
        TimeRemainingColumn(),
    )
    return (
        TextColumn("{task.description}", markup=False),
        *(bar if known else (SpinnerColumn(), TimeElapsedColumn())),
        TextColumn("{task.fields[name]}", markup=False),
    )


def tree_size(path: str) -> int:
    """Return the number of bytes in the regular files of a directory tree. Links are not followed."""
    size, folders = 0, [path]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif stat.S_ISREG((found := entry.stat(follow_symlinks=False)).st_mode):
                        size += found.st_size
        except OSError:
            continue
    return size
