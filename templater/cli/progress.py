"""Progress of long work, on a terminal only: a pipe or a log gets none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..model.source import printable

#: members done, bytes so far, the name at hand
Progress = Callable[[int, int, str], None]


@contextmanager
def progress(action: str) -> Iterator[Progress]:
    """A line on stderr that says what is being done; gone when it is done."""
    if not sys.stderr.isatty():
        yield lambda members, size, name: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(action)

        def show(members: int, size: int, name: str) -> None:
            if members % 64 == 0 or size > shown[0] + (1 << 23):
                shown[0] = size
                text = f"{action}: {members} files, {size >> 20} MiB, {printable(name[-50:])}"
                bars.update(task, description=text)

        shown = [0]
        yield show
