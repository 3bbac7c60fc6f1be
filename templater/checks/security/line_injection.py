"""A check for values that can add lines to a configuration file."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from ...pongo2.syntax.tokens import IDENTIFIER, TEXT, Token
from ..base import Observation, check
from ..scanned_image import ScannedImage
from ..template_tokens import tokens_of

#: filters whose output never has a line break, on every host
SAFE = {
    "divisibleby", "escapejs", "float", "floatformat", "integer", "iriencode", "length", "length_is",
    "linebreaks", "linebreaksbr", "truncatewords", "urlencode", "wordcount", "yesno",
}  # fmt: skip


def removes_line_breaks(name: str, argument: object = None) -> bool:
    """Return whether a filter with this argument removes, replaces or encodes line breaks."""
    return name in SAFE or (name, argument) == ("stringformat", "%q")


@check(
    "line-injection",
    "info",
    "a configuration value inside a line of a file: a line break in the value adds a line",
    "CVE-2026-23953",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    """Find configuration values that follow other text on the same line.

    A value at the start of a line is not reported: it is usually a whole document, such as user data.
    """
    for source in image.sources():
        inside_line = False
        value: list[Token] | None = None
        for token in tokens_of(source):
            if token.kind == TEXT:
                line = token.value.rpartition("\n")
                inside_line = bool(line[2].strip()) or (inside_line and not line[1])
            elif token.kind == "{{":
                value = [token]
            elif value is not None:
                value.append(token)
                if token.kind == "}}":
                    if inside_line and is_configuration(value) and not is_safe(value):
                        at = source.span(value[0].start, token.end)
                        yield Observation("a line break in this value adds a line to the file", at)
                    value, inside_line = None, True


def is_configuration(tokens: list[Token]) -> bool:
    """Return whether an expression reads ``config_get(…)``, ``config.…`` or ``config[…]``."""
    following = {("config_get", "("), ("config", "."), ("config", "[")}
    return any((a.value, b.kind) in following for a, b in pairwise(tokens))


def is_safe(tokens: list[Token]) -> bool:
    """Return whether the expression has a filter that removes line breaks."""
    for number, (bar, name) in enumerate(pairwise(tokens)):
        if bar.kind == "|" and name.kind == IDENTIFIER:
            argument = tokens[number + 3].value if tokens[number + 2].kind == ":" else None
            if removes_line_breaks(name.value, argument):
                return True
    return False
