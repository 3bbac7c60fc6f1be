"""The files of a plan as a tree of directories, for ``preview --tree``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..model.plan import FAILED
from ..model.unprintable_characters import printable
from .columns import WIDEST
from .plan_text import Heading, heading, unchanged

if TYPE_CHECKING:
    from ..model.plan import Change, Plan

#: the root of the tree for the files of a virtual machine's config drive
CONFIG_DRIVE = "config drive"


class Leaf(NamedTuple):
    """A line of the tree. ``heading`` is None for a directory."""

    guides: str
    name: str
    heading: Heading | None = None


class File(NamedTuple):
    """A file of the tree. ``parts`` are the names in its path."""

    parts: tuple[str, ...]
    heading: Heading


def tree(plan: Plan) -> Iterator[Leaf]:
    """Yield the lines of the tree. A directory and its only entry share one line."""
    files = last_headings(plan)
    for root in dict.fromkeys("/" if path.startswith("/") else CONFIG_DRIVE for path in files):
        inside = [
            File(tuple(part for part in path.split("/") if part), found)
            for path, found in files.items()
            if path.startswith("/") == (root == "/")
        ]
        yield Leaf("", root)
        yield from _below(inside)


def last_headings(plan: Plan) -> dict[str, Heading]:
    """Return a heading for each file.

    The heading describes the first failed change, or else the last change that has an effect.
    """
    omitted = set(unchanged(plan))
    found: dict[str, Change] = {}
    for change in plan.changes:
        earlier = found.get(change.path)
        if change not in omitted and (earlier is None or earlier.action != FAILED):
            found[change.path] = change
    return {path: heading(change) for path, change in found.items()}


def _below(files: Iterable[File]) -> Iterator[Leaf]:
    """Yield the lines of the tree for these files and their directories."""
    waiting: list[tuple[list[File], int, str, bool]] = []

    def add(directory: Collection[list[File]], depth: int, guides: str) -> None:
        """Add the entries of a directory to the stack ``waiting``, in reverse order.

        The next line of the tree shows the top of the stack.
        """
        entries = [
            (files, depth, guides, number == len(directory)) for number, files in enumerate(directory, 1)
        ]
        waiting.extend(reversed(entries))

    add(_entries(files, 0), 0, "")
    while waiting:
        inside, start, guides, last = waiting.pop()
        depth = start + 1
        entries = _entries(inside, depth)
        while len(entries) == 1 and all(len(files) == len(inside) for files in entries):
            depth += 1
            entries = _entries(inside, depth)
        found = [file.heading for file in inside if len(file.parts) <= depth]
        shown = "/".join(inside[0].parts[start:depth]) + ("" if found else "/")
        yield Leaf(f"{guides}{'└── ' if last else '├── '}", printable(shown), found[-1] if found else None)
        add(entries, depth, guides + ("    " if last else "│   "))


def _entries(files: Iterable[File], depth: int) -> Collection[list[File]]:
    """Group files by the name at the index ``depth`` of their paths.

    For example, the files in the same subdirectory form one group.
    """
    entries: dict[str, list[File]] = {}
    for file in files:
        if depth < max(len(file.parts), 1):
            entries.setdefault("".join(file.parts[depth : depth + 1]), []).append(file)
    return entries.values()


def tree_text(leaves: Sequence[Leaf]) -> str:
    """Return the tree as plain text with aligned columns."""
    width = min(max((len(leaf.guides) + len(leaf.name) for leaf in leaves), default=0), WIDEST)
    lines = []
    for leaf in leaves:
        facts = (
            ""
            if leaf.heading is None
            else f"{leaf.heading.action:6}  {leaf.heading.owner} {leaf.heading.mode}"
        )
        lines.append(f"{leaf.guides + leaf.name:{width}}  {facts}".rstrip())
    return "".join(f"{line}\n" for line in lines)
