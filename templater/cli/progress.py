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

from ..model.source import printable
from .terminal import has_colour

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

#: a function that takes the number of items done, the number of bytes done, and the current name
Progress = Callable[[int, int, str], None]

#: seconds after which an operation shows its progress, and the seconds between two updates
DELAY = 1.0
INTERVAL = 0.1
#: columns for everything except the current name, and the fewest columns for a name
NUMBERS, SHORTEST = 75, 10


@contextmanager
def progress(
    action: str, unit: str = "files", *, shown: bool = True, total: Callable[[], int] | None = None
) -> Iterator[Progress]:
    """Show the progress of an operation on stderr after a second, and remove it at the end.

    ``total`` returns the number of bytes of the whole operation, for a bar and the time left.
    """
    if not shown or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda members, size, name: None
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


class _Bar:
    """A progress bar of rich. A quick operation imports no part of rich."""

    def __init__(self, action: str, unit: str, total: Callable[[], int] | None) -> None:
        self.action, self.unit, self.total = action, unit, total
        self.size = 0
        self.bars: Bars | None = None
        self.updated = 0.0

    def start(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )  # fmt: skip
        from rich.progress import Progress as Bars

        self.size = self.total() if self.total is not None else 0
        known = (
            BarColumn(20),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        console = Console(stderr=True, highlight=False, no_color=not has_colour(sys.stderr))
        bars = Bars(
            TextColumn("{task.description}", markup=False),
            *(known if self.size else (SpinnerColumn(), TimeElapsedColumn())),
            TextColumn("{task.fields[name]}", markup=False),
            console=console, transient=True,
        )  # fmt: skip
        bars.add_task(self.action, total=self.size or None, name="")
        bars.start()
        self.bars = bars

    def show(self, count: int, size: int, name: str) -> None:
        if self.bars is None or monotonic() - self.updated < INTERVAL:
            return
        self.updated = monotonic()
        done = [f"{count} {self.unit}"] if count else []
        if size and not self.size:
            speed = self.bars.tasks[0].speed
            done.append(f"{size >> 20} MiB" + (f" at {speed / (1 << 20):.1f} MiB/s" if speed else ""))
        text = f"{self.action}: {', '.join(done)}" if done else self.action
        total = max(self.size, size) if self.size else None
        room = self.bars.console.width - NUMBERS
        name = printable(name)[-room:] if room >= SHORTEST else ""
        task = self.bars.task_ids[0]
        self.bars.update(task, description=text, completed=size, total=total, name=name)

    def stop(self) -> None:
        if self.bars is not None:
            self.bars.stop()


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
