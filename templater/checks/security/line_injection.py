"""A check for values that can add lines to a configuration file."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ...pongo2.syntax.tokens import IDENTIFIER, TEXT, Token
from ..base import Observation, check
from ..scanned_image import ScannedImage
from ..template_tokens import PRINTING, bound_names, parts_of

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
        inside_line, names = False, set(CONFIGURATION)
        for kind, part in parts_of(source):
            if kind == TEXT:
                line = part[0].value.rpartition("\n")
                inside_line = bool(line[2].strip()) or (inside_line and not line[1])
            elif kind in PRINTING:
                if inside_line and reads(part, names):
                    at = source.span(part[0].start, part[-1].end)
                    yield Observation("a line break in this value adds a line to the file", at)
                inside_line = True
            bound = bound_names(kind, part)
            # the calls of a macro are not followed: its values can come from the configuration
            if bound and (kind == "macro" or reads(part, names)):
                names.update(bound)


#: the names through which a template reads the configuration
CONFIGURATION = ("config", "config_get")


#: limit on the filters of one value that are searched
_MOST_FILTERS = 20


def reads(part: list[Token], names: Collection[str]) -> bool:
    """Return whether a part reads one of ``names`` without a filter that removes line breaks."""
    closing = _closing_brackets(part)
    number = 1
    while number < len(part):
        token = part[number]
        if token.kind == IDENTIFIER and token.value in names and part[number - 1].kind not in (".", "|"):
            number = _end_of_value(part, number, closing)
            if part[number].kind != "=" and not _has_safe_filter(part, number, closing):
                return True
        else:
            number += 1
    return False


def _closing_brackets(part: list[Token]) -> dict[int, int]:
    """Return the number of the closing bracket for each opening bracket."""
    opened: list[int] = []
    closing = {}
    for number, token in enumerate(part):
        if token.kind in ("(", "["):
            opened.append(number)
        elif token.kind in (")", "]") and opened:
            closing[opened.pop()] = number
    return closing


def _end_of_value(part: list[Token], number: int, closing: dict[int, int]) -> int:
    """Return the number of the token after a value with its attributes, subscripts and arguments."""
    number += 1
    while number < len(part) - 1 and (number in closing or part[number].kind == "."):
        number = closing[number] + 1 if number in closing else number + 2
    return min(number, len(part) - 1)


def _has_safe_filter(part: list[Token], number: int, closing: dict[int, int]) -> bool:
    """Return whether the filters that begin at a token remove line breaks."""
    for _ in range(_MOST_FILTERS):
        if part[number].kind != "|" or part[number + 1].kind != IDENTIFIER:
            break
        has_argument = part[number + 2].kind == ":"
        argument = part[number + 3].value if has_argument else None
        if removes_line_breaks(str(part[number + 1].value), argument):
            return True
        number = _end_of_value(part, number + 3, closing) if has_argument else number + 2
    return False
