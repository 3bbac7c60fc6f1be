"""A plan's text with blanks: filled in for each instance whose plan differs in nothing else."""

from __future__ import annotations

import re
from json.encoder import encode_basestring
from typing import TYPE_CHECKING

from ..model.errors import TemplateError
from ..rendering.render import Rendering
from ..reporting.report import verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.plan import Plan

#: what the daemons allow; of any other name it is not sure that it is told as it is everywhere
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{,62}")
#: with a path longer than this, the name's length may decide whether a host can open it
_LONGEST_PATH = 2048


class Form:
    """What is told of a plan, with blanks for the instance's name and for what was rendered."""

    __slots__ = ("blank", "blanks", "changes", "code", "errors", "parts")

    def __init__(self, plan: Plan, text: str, blank: str) -> None:
        found = re.split(f'"{blank}-([0-9]+)"|{blank}', text)
        #: what stands between the blanks, and in the place of each blank nothing
        self.parts = [""] * len(found)
        self.parts[::2] = found[::2]
        #: for each blank the number of the rendering, or None for the name
        self.blanks = [None if number is None else int(number) for number in found[1::2]]
        self.blank = blank
        self.code = verdict(plan)
        self.changes = len(plan.changes)
        self.errors = tuple(str(change.error) for change in plan.failed)

    def fill(self, name: str, renderings: list[Rendering]) -> str:
        """UnicodeDecodeError where a content that is shown is not UTF-8."""
        parts = self.parts.copy()
        parts[1::2] = [name if n is None else _quoted(renderings[n]) for n in self.blanks]
        return "".join(parts)

    def errors_of(self, name: str) -> tuple[str, ...]:
        return tuple(error.replace(self.blank, name) for error in self.errors)


def _quoted(rendering: Rendering) -> str:
    assert rendering.content is not None
    return encode_basestring(rendering.content.decode())


def is_plain(name: str) -> bool:
    return _PLAIN_NAME.fullmatch(name) is not None


def alike(renderings: Iterable[Rendering]) -> tuple[object, ...]:
    """What a plan depends on where no root filesystem is known: it is the same for two instances
    that are of one type and alike in this.

    Of contents that is which are the same, each by the number of the first that is; of a rule that
    failed, all that can be said of the error.
    """
    seen: dict[bytes, int] = {}
    return tuple(
        seen.setdefault(rendering.content, number) if rendering.content is not None else _said(rendering)
        for number, rendering in enumerate(renderings)
    )


def _said(rendering: Rendering) -> tuple[object, ...]:
    error = rendering.error
    assert error is not None
    text = error.pongo2_error if isinstance(error, TemplateError) else None
    return type(error), str(error), error.hint, error.notes, text


def stand_ins(renderings: Iterable[Rendering], same: tuple[object, ...], blank: str) -> list[Rendering]:
    """The same with a blank for every content."""
    return [
        Rendering(
            real.rule, real.trigger, None if real.content is None else f"{blank}-{first}".encode(), real.error
        )
        for real, first in zip(renderings, same, strict=True)
    ]


def form_of(plan: Plan, text: str, blank: str) -> Form | None:
    """The form of a plan that was made with blanks; None where it might not do for all."""
    if any(len(change.path) > _LONGEST_PATH for change in plan.changes):
        return None
    return Form(plan, text, blank)
