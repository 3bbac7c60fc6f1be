"""A check for text that a terminal or an editor does not show as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...model.file_names import METADATA, TEMPLATES
from ...model.source import Source, printable
from ..base import Observation, check
from ..scanned_image import ScannedImage

_BIDI = "\u202a-\u202e\u2066-\u2069"
#: A description of hidden text, the severity, and a pattern. Colours and the marks of scripts are ordinary.
_HIDDEN = tuple(
    (what, severity, re.compile(pattern))
    for what, severity, pattern in (
        ("a terminal sequence", "medium", r"\x1b(?!\[[0-9;]*m)|\x1b\[(?:[0-9;]*;)?8m|\x9b"),
        ("a carriage return or backspace in a line", "medium", r"[^\r\n]\r(?![\r\n]|\Z)|\x08"),
        ("a character that reverses the order of other characters", "medium", f"[{_BIDI}]"),
        ("text behind more than 200 spaces", "medium", r"[^\s] {200}(?= *[^\s])"),
        ("invisible characters", "low", "[\u00ad\u200b\u2060\U000e0000-\U000e007f]|(?<!\\A)\ufeff"),
    )
)
#: characters that a name or property of an image does not need; a terminal can obey them
_CONTROL = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_BIDI}]")


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
        if match := pattern.search(source.text):
            yield Observation(
                f"the file contains {what}, so a reader may see another text",
                source.span(*match.span()),
                hint="show the file with 'cat -A'",
                severity=severity,
            )
