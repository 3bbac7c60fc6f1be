"""Mistakes in metadata.yaml and in an archive that make every daemon refuse to import the image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..model.architectures import ALL_NAMES
from ..model.entry import DIRECTORY, FILE
from ..model.file_names import METADATA, ROOTFS
from ..model.metadata import YEAR_10000, Metadata
from ..model.source import Span
from ..model.unprintable_characters import printable
from .scanned_image import ScannedImage, cleaned

#: the required fields, each with a hint
REQUIRED = {
    "architecture": "write the key at the top level, for example 'architecture: x86_64'",
    "creation_date": "write the seconds since 1970 at the top level, for example 'creation_date: 1732752000'",
}


class Refusal(NamedTuple):
    message: str
    span: Span | None
    hint: str


def unfound_names(image: ScannedImage) -> Iterator[Refusal]:
    """Yield a refusal for each required name whose spelling hides it from the daemons.

    For example, the daemons do not find ``.//metadata.yaml``.
    """
    for name in image.unfound:
        right = cleaned(name).lstrip("/").partition("/")[0]
        yield Refusal(
            f"the daemons don't find '{printable(name)}', and refuse to import the image",
            None,
            f"pack the image again, with the name '{right}' or './{right}'",
        )


def undetected_archives(image: ScannedImage) -> Iterator[Refusal]:
    """Yield each uncompressed archive that the daemons do not detect as a tar archive."""
    for path in image.undetected:
        yield Refusal(
            f"the daemons don't recognise '{printable(path)}' as a tar archive, and refuse to import the"
            " image: the first header of the archive lacks the magic bytes 'ustar', or begins like a"
            " compressed file",
            None,
            "compress the file, or pack the image again in another format, such as pax",
        )


def unexpected_kinds(image: ScannedImage) -> Iterator[Refusal]:
    """Yield one refusal if metadata.yaml is not a regular file, and one if rootfs is not a directory."""
    kinds = {
        name.path: "hard link" if name.hard_link else name.entry.kind
        for name in image.names
        if name.path in (METADATA, ROOTFS)
    }
    wanted = {METADATA: FILE, ROOTFS: DIRECTORY}
    for path, kind in kinds.items():
        if kind != wanted[path] and not (path == METADATA and image.stored is not None):
            yield Refusal(
                f"'{path}' is a {kind}, not a {wanted[path]}: the daemons refuse to import the image",
                None,
                f"replace it with a {wanted[path]}",
            )


def import_refusals(metadata: Metadata) -> Iterator[Refusal]:
    """Yield each mistake that makes every daemon refuse to import the image.

    Yield nothing for a null document, because the daemons panic when they read it.
    """
    if metadata.null:
        return
    start = metadata.source.span(0) if metadata.source is not None else None
    for fact, hint in REQUIRED.items():
        if not getattr(metadata, fact):
            yield Refusal(f"metadata.yaml has no {fact}: the daemons refuse to import the image", start, hint)
    for fact in ("creation_date", "expiry_date"):
        if getattr(metadata, fact) >= YEAR_10000:
            yield Refusal(
                f"{fact} is after the year 9999: the daemons refuse to import the image",
                metadata.spans.get(fact, start),
                "choose an earlier date",
            )
    if metadata.architecture and metadata.architecture not in ALL_NAMES:
        shown = printable(metadata.architecture)
        yield Refusal(
            f"unknown architecture '{shown}': the daemons refuse to import the image",
            metadata.spans.get("architecture", start),
            "use a name such as x86_64, aarch64, armv7l, riscv64 or s390x",
        )
