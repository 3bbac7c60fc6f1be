"""Progress display for long operations, only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..model.source import printable

#: a function that takes the number of items done, the number of bytes done, and the current name
Progress = Callable[[int, int, str], None]


@contextmanager
def progress(action: str, unit: str = "files", *, shown: bool = True) -> Iterator[Progress]:
    """Show a progress line on stderr, and remove it at the end."""
    if not shown or not sys.stderr.isatty():
        yield lambda members, size, name: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(action)

        shown_size = 0

        def show(count: int, size: int, name: str) -> None:
            nonlocal shown_size
            if count % 64 == 0 or size > shown_size + (1 << 23):
                shown_size = size
                done = f"{count} {unit}, {size >> 20} MiB" if size else f"{count} {unit}"
                bars.update(task, description=f"{action}: {done}, {printable(name[-50:])}")

        yield show
