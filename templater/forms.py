"""A plan's text with blanks: filled in for each instance whose plan differs in nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from json.encoder import encode_basestring
from typing import TYPE_CHECKING

from .report import verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .changes import Plan

#: what the daemons allow; of any other name it is not sure that it is told as it is everywhere
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{,62}")
#: with a path longer than this, the name's length may decide whether a host can open it
_LONGEST_PATH = 2048


class Form:
    """What is told of a plan, with blanks for the instance's name and for what was rendered."""

    __slots__ = ("blanks", "changes", "code", "parts")

    def __init__(self, text: str, blank: str, code: int, changes: int) -> None:
        found = re.split(f'"{blank}-([0-9]+)"|{blank}', text)
        #: what stands between the blanks, and in the place of each blank nothing
        self.parts = [""] * len(found)
        self.parts[::2] = found[::2]
        #: for each blank the number of the rendering, or None for the name
        self.blanks = [None if number is None else int(number) for number in found[1::2]]
        self.code = code
        self.changes = changes

    def fill(self, name: str, contents: list[bytes]) -> str:
        """UnicodeDecodeError where a content that is shown is not UTF-8."""
        parts = self.parts.copy()
        parts[1::2] = [name if n is None else encode_basestring(contents[n].decode()) for n in self.blanks]
        return "".join(parts)


def is_plain(name: str) -> bool:
    return _PLAIN_NAME.fullmatch(name) is not None


def alike(contents: Iterable[bytes]) -> tuple[int, ...]:
    """Which of the contents are the same: for each of them the first that is.

    Where no root filesystem is known, what we and a host do with a file depends on no more of what
    stands in it.
    """
    seen: dict[bytes, int] = {}
    return tuple(seen.setdefault(content, number) for number, content in enumerate(contents))


def form_of(
    made: Callable[[str, list[bytes]], Plan], told: Callable[[Plan], str], same: tuple[int, ...], blank: str
) -> Form | None:
    """The form of the plan that ``made`` makes for a name and contents; None where there is none."""
    plan = made(blank, [f"{blank}-{number}".encode() for number in same])
    if plan.failed or any(len(change.path) > _LONGEST_PATH for change in plan.changes):
        return None
    return Form(told(plan), blank, verdict(plan), len(plan.changes))
