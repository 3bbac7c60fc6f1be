"""The files of a plan as a tree of directories, for ``preview --tree``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..model.plan import FAILED
from ..model.source import printable
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


def tree(plan: Plan) -> Iterator[Leaf]:
    """Yield the lines of the tree. A directory and its only entry share one line."""
    files = last_headings(plan)
    for root in dict.fromkeys("/" if path.startswith("/") else CONFIG_DRIVE for path in files):
        inside = {
            tuple(part for part in path.split("/") if part): found
            for path, found in files.items()
            if path.startswith("/") == (root == "/")
        }
        yield Leaf("", root)
        yield from _below(inside, "")


def last_headings(plan: Plan) -> dict[str, Heading]:
    """Return a heading for each file.

    The heading describes the first failed change of the file. If no change has failed, it describes the last
    change that has an effect.
    """
    omitted = set(unchanged(plan))
    found: dict[str, Change] = {}
    for change in plan.changes:
        earlier = found.get(change.path)
        if change not in omitted and (earlier is None or earlier.action != FAILED):
            found[change.path] = change
    return {path: heading(change) for path, change in found.items()}


def _below(files: dict[tuple[str, ...], Heading], guides: str) -> Iterator[Leaf]:
    names = list(dict.fromkeys(path[:1] for path in files))
    for number, name in enumerate(names):
        last = number == len(names) - 1
        inside = {path[1:]: found for path, found in files.items() if path[:1] == name}
        shown = "/".join(name)
        while () not in inside and len({path[0] for path in inside}) == 1:
            (only,) = {path[0] for path in inside}
            inside = {path[1:]: found for path, found in inside.items()}
            shown += f"/{only}"
        found = inside.pop((), None)
        directory = "/" if found is None else ""
        yield Leaf(f"{guides}{'└── ' if last else '├── '}", printable(shown + directory), found)
        yield from _below(inside, guides + ("    " if last else "│   "))


def tree_text(leaves: Sequence[Leaf]) -> str:
    """Return the tree as plain text with aligned columns."""
    width = max((len(leaf.guides + leaf.name) for leaf in leaves), default=0)
    lines = []
    for leaf in leaves:
        facts = (
            ""
            if leaf.heading is None
            else f"{leaf.heading.action:6}  {leaf.heading.owner} {leaf.heading.mode}"
        )
        lines.append(f"{leaf.guides + leaf.name:{width}}  {facts}".rstrip())
    return "".join(f"{line}\n" for line in lines)
