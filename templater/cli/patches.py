"""Patches on standard output, with colours on a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from ..model.unprintable_characters import printable_lines
from . import output, terminal

STYLES: dict[str, dict[str, Any]] = {
    "+++": {"bold": True}, "---": {"bold": True}, "@@": {"fg": "cyan"}, "+": {"fg": "green"},
    "-": {"fg": "red"}, "#": {"dim": True}, "diff ": {"bold": True},
}  # fmt: skip


def show_patches(patches: Iterable[str]) -> None:
    """Write the patches of several files. On a terminal, write an empty line between two patches."""
    for number, text in enumerate(patches):
        if number and terminal.has_layout():
            output.write("\n")
        show_patch(text)


def show_patch(text: str) -> None:
    if not terminal.has_colour():
        output.write(text)
        return
    for line in text.removesuffix("\n").split("\n") if text else ():
        style = next((style for start, style in STYLES.items() if line.startswith(start)), {})
        shown = printable_lines(line)
        output.write_styled((click.style(shown, **style) if style else shown) + "\n")
