"""Products of a products file that need no JSON decoder, because one pattern describes their whole line.

Decoding takes most of the time of `streams add` if the catalog is long. Nearly all lines that `streams add`
has written match the pattern. Such a line is valid JSON without repeated keys, and clients accept each value.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from .catalog_decoder import COMBINED, MOST_TEXT

#: the lengths of a version's name, of the longest path of an image file, and of a fingerprint
VERSION_NAME, MOST_PATH, FINGERPRINT = 13, 91, 64
#: The pattern describes at most 100 versions, because each version needs 4 KiB of memory. Both clients must
#: have the same metadata file or unified image.
_LINE = r"""
    (?P<head>
        "(?P<name>TEXT)":\{"aliases":"(?P<aliases>LETTER*+)","arch":"(?P<arch>TEXT)","os":"TEXT",
        "release":"TEXT","release_title":"TEXT","variant":"(?!")TEXT","versions":
    )
    \{
    (?:
        "[0-9]{8}_[0-9]{4}":\{"items":\{
            (?:"disk-kvm\.img":\{"ftype":"disk-kvm\.img",FILE\},)?
            "incus(?P<ending>\.tar\.xz|_combined\.tar\.gz)":\{
                (?P<combined>COMBINED)"ftype":"incus(?P=ending)",(?P<file>FILE)\},
            "lxd(?P=ending)":\{
                (?P=combined)"ftype":"lxd(?P=ending)",(?P=file)\}
            (?:,"root\.tar\.xz":\{"ftype":"root\.tar\.xz",FILE\})?
            (?:,"squashfs":\{"ftype":"squashfs",FILE\})?
        \}\}
        (?:,(?=")|(?=\}))
    ){1,100}
    \}\}
"""
_PARTS = {
    "FILE": '"path":"images/[0-9a-f]{64}[.0-9a-z]{0,20}","sha256":"HASH","size":(?:0|[1-9][0-9]{0,15})',
    "COMBINED": "".join(f'(?:"{key}":"HASH",)?' for key in sorted(COMBINED)),
    "HASH": "[0-9a-f]{64}",
    "TEXT": f"LETTER{{0,{MOST_TEXT}}}+",
    "LETTER": r"[ !#-\[\]-~]",
}
_VERSION_NAMES = re.compile(rb'"([0-9]{8}_[0-9]{4})":')


class PlainProduct(NamedTuple):
    """The facts about a product on which limits depend.

    The numbers can be too high, but not too low. ``texts`` is the length of the texts without aliases.
    ``images`` is the number of images and dropped entries that one client makes of the product.
    ``fingerprints`` is the number of fingerprints that all clients list.
    """

    aliases: str
    arch: str
    texts: int
    images: int
    fingerprints: int


def read_plain(line: bytes) -> tuple[str, PlainProduct] | None:
    """Return the name of a product and the facts about it, or None for a line that needs the decoder."""
    found = _pattern().fullmatch(line)
    if found is None:
        return None
    start = found.end("head")
    versions = line.count(b'"items":', start)
    if versions > 1 and len(set(_VERSION_NAMES.findall(line, start))) < versions:
        return None
    # Each version has two items besides its root filesystems. A unified image has no root filesystem.
    roots = line.count(b'"path":', start) - 2 * versions
    unified = line.count(b'"incus_combined.tar.gz":', start)
    name, aliases, arch = (text.decode() for text in found.group("name", "aliases", "arch"))
    return name, PlainProduct(aliases, arch, start - len(aliases), roots + versions, roots + unified)


@cache
def _pattern() -> re.Pattern[bytes]:
    pattern = _LINE
    for name, part in _PARTS.items():
        pattern = pattern.replace(name, part)
    return re.compile(pattern.encode(), re.VERBOSE)
