"""A check for names that look alike and can mislead a person who reads the image."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

from ...model.file_names import METADATA, ROOTFS, TEMPLATES
from ...model.unprintable_characters import printable
from ...planning.follow_links import MAX_NAME
from ..base import Observation, check
from ..scanned_image import ScannedImage

#: characters (such as Cyrillic and Greek letters) that look like ASCII characters in most fonts
LATIN = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0456\u0458\u0455\u04bb\u0501\u051b\u051d\u0261\u03bf\u03b1\u03bd\u03b9\u03ba"
    "\u03c1\u03c4\u0131\u2044\u2215\u2024\u2010\u2011\u2212",
    "aeopcxyijshdqwgoavikpti//.---",
)
#: the standard names of an image
KNOWN = (METADATA, TEMPLATES, ROOTFS)


@check(
    "lookalike-name",
    "medium",
    "templates, or other files outside the root filesystem, whose names look alike",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    templates = {*image.templates, *(rule.template for rule in image.rules)}
    yield from lookalikes(templates, f"{TEMPLATES}/")
    yield from lookalikes((*KNOWN, *(name.path for name in image.names if "/" not in name.path)), "")


def lookalikes(names: Iterable[str], directory: str) -> Iterator[Observation]:
    first: dict[str, str] = {}
    # Longer names cannot exist as files. Before Python 3.13.5, normalising takes quadratic time.
    short = {name for name in names if len(name) <= MAX_NAME}
    for name in sorted(short, key=_plainness):
        other = first.setdefault(skeleton(name), name)
        if other != name:
            yield Observation(
                f"'{printable(name)}' looks like '{printable(other)}' ({spelled(name)})", directory + name
            )


def skeleton(name: str) -> str:
    """Return a text that is the same for all names that look alike."""
    folded = unicodedata.normalize("NFKD", name).casefold().translate(LATIN)
    return "".join(
        character for character in folded if character.isprintable() and not unicodedata.combining(character)
    ).strip()


def spelled(name: str) -> str:
    """Return the Unicode name of the first character that is not ASCII."""
    for character in name:
        if not character.isascii():
            return unicodedata.name(character, f"U+{ord(character):04X}")
    return "another spelling"


def _plainness(name: str) -> tuple[bool, bool, bool, str]:
    """Return a sort key that puts genuine names first: standard names, ASCII names, lower-case names."""
    return name not in KNOWN, not name.isascii(), name != name.lower().strip(), name
