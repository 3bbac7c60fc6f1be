"""A check for text that a terminal or an editor does not show as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from ...model.file_names import METADATA, TEMPLATES
from ...model.source import Source
from ...model.unprintable_characters import printable
from ..base import Observation, check
from ..scanned_image import ScannedImage

_SEQUENCE = "a terminal sequence"
_BIDI = "\u202a-\u202e\u2066-\u2069"
#: Each entry has a description of hidden text, the severity, and a pattern. The patterns do not match
#: colours, or invisible characters that some writing systems need.
_HIDDEN = tuple(
    (what, severity, re.compile(pattern))
    for what, severity, pattern in (
        (_SEQUENCE, "medium", r"\x1b(?!\[[0-9;:]{0,200}m)|[\x80-\x84\x86-\x9f]"),
        ("a carriage return or backspace in a line", "medium", r"[^\r\n]\r+(?![\r\n]|\Z)|\x08"),
        ("a character that reverses the order of other characters", "medium", f"[{_BIDI}]"),
        (
            "invisible characters",
            "low",
            "[\u00ad\u180e\u200b\u2060-\u2064\u206a-\u206f\ufff9-\ufffb\U000e0000-\U000e01ef]"
            "|[\u200c\u200d]{4}|(?<!\\A)\ufeff",
        ),
    )
)
#: characters that look like a space, although Unicode calls some of them letters and symbols
_BLANK = r"(?:[^\S\r\n]|[\u115f\u1160\u2800\u3164\uffa0])"
#: Blanks before text, with the first of them. 25 tabs can be 200 columns wide.
_BLANKS = re.compile(rf"(?<!{_BLANK}){_BLANK}{{25,}}(?!{_BLANK}|[\r\n]|\Z)")
_FAR = "text behind more than 200 spaces"
_EMPTY_LINES = re.compile(r"(?m:^[^\S\r\n]*\r?\n)+")
_BELOW = "text after more than 200 empty lines"
#: the columns of blanks that are wider than one column
_WIDE = {"\t": 8, "\u3000": 2, "\u115f": 2, "\u3164": 2}
#: a sequence that sets colours and other properties of the text after it
_STYLE = re.compile(r"\x1b\[([0-9;:]{0,200})m")
#: how many numbers follow the kind of a colour: kind 2 has red, green and blue; kind 5 an index in a table
_NUMBERS = {2: 3, 5: 1}
#: the codes for a colour, divided by ten; the value is true for the background
_COLOURS = {3: False, 9: False, 4: True, 10: True}
#: the colours of xterm with the numbers from 0 to 15, as red, green and blue
_NAMED = (
    (0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0),
    (0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229),
    (127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0),
    (92, 92, 255), (255, 0, 255), (0, 255, 255), (255, 255, 255),
)  # fmt: skip
#: two colours look alike if red, green and blue differ by less than this number of 255
_ALIKE = 16
#: characters that a name or property of an image does not need; a terminal can obey them
_CONTROL = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f{_BIDI}]|\r(?!\n)")


@check(
    "hidden-text", "medium", "text or a name that a terminal or an editor does not show as it is",
)  # fmt: skip
def check_image(image: ScannedImage) -> Iterator[Observation]:
    """Find text that hides other text from a person who reads the image.

    The clients of Incus print properties and names of templates unchanged.
    """
    if image.stored is not None:
        yield from _in_text(image.stored)
    for source in image.sources():
        yield from _in_text(source)
    if image.metadata is not None:
        for name, value in image.metadata.properties.items():
            if _CONTROL.search(name) or _CONTROL.search(value):
                text = printable(f"{name}: {value}"[:100])
                at = image.metadata.spans.get(f"properties[{name}]") or METADATA
                yield Observation(f"the property '{text}' has control characters, which clients print", at)
    for name in image.templates:
        if _CONTROL.search(name):
            message = f"the name of the template '{printable(name)}' has control characters"
            yield Observation(f"{message}, which clients print", f"{TEMPLATES}/{name}")


def _in_text(source: Source) -> Iterator[Observation]:
    for what, severity, pattern in _HIDDEN:
        match = pattern.search(source.text)
        if match is None and what == _SEQUENCE:
            match = _concealing(source.text)
        if match:
            yield _observation(source, match, what, severity)
    blanks = filter(_is_wide, _BLANKS.finditer(source.text))
    if match := next(blanks, None):
        yield _observation(source, match, _FAR, "medium")
    end = len(source.text.rstrip())
    empty = (each for each in _EMPTY_LINES.finditer(source.text) if each[0].count("\n") >= 200)
    if (match := next(empty, None)) and match.end() < end:
        yield _observation(source, match, _BELOW, "low")


def _observation(source: Source, match: re.Match[str], what: str, severity: str) -> Observation:
    return Observation(
        f"the file contains {what}, so the screen may not show its real text",
        source.span(*match.span()),
        hint="show the file with 'cat -A'",
        severity=severity,
    )


def _is_wide(blanks: re.Match[str]) -> bool:
    return sum(_WIDE.get(c, 1) for c in blanks[0]) >= 200


def _concealing(text: str) -> re.Match[str] | None:
    """Return the first terminal sequence that conceals text, or makes text and background look alike."""
    # The numbers of a colour come after the code 38, 48 or 58. Colons or semicolons separate the numbers.
    colours: dict[bool, list[int]] = {}
    for match in _STYLE.finditer(text):
        codes = iter([[int(number or "0") for number in code.split(":")] for code in match[1].split(";")])
        for code, *colour in codes:
            if code == 8:
                return match
            tens, number = divmod(code, 10)
            if code in (38, 48, 58):
                if not colour:
                    kind = next(codes, [0])[0]
                    colour = [kind, *(each[0] for each in islice(codes, _NUMBERS.get(kind, 0)))]
            elif number < 8:
                colour = [5, number + (8 if tens > 8 else 0)]
            if code == 0:
                colours.clear()
            elif tens in _COLOURS:
                colours[_COLOURS[tens]] = [*colour[:1], *colour[1:][-3:]]
        if len(colours) == 2 and all(colours.values()) and _are_alike(*map(_rgb, colours.values())):
            return match
    return None


def _are_alike(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return bool(one and other) and all(abs(a - b) < _ALIKE for a, b in zip(one, other, strict=True))


def _rgb(colour: list[int]) -> tuple[int, ...]:
    """Return red, green and blue of a colour, each at most 255, or () for an invalid colour."""
    kind, *numbers = colour
    numbers = [min(number, 255) for number in numbers]
    if kind == 2:
        return (*numbers, 0, 0, 0)[:3]
    if kind != 5 or not numbers:
        return ()
    index = numbers[0]
    if index < len(_NAMED):
        return _NAMED[index]
    if index >= 232:
        return (8 + 10 * (index - 232),) * 3
    index -= 16
    return tuple(0 if level == 0 else 55 + 40 * level for level in (index // 36, index // 6 % 6, index % 6))
