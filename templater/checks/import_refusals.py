"""Mistakes in metadata.yaml that make every daemon refuse to import the image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..model.architectures import ALL_NAMES
from ..model.metadata import Metadata
from ..model.source import Span, printable

#: the required fields, each with a hint
REQUIRED = {
    "architecture": "write the key at the top level, for example 'architecture: x86_64'",
    "creation_date": "write the seconds since 1970 at the top level, for example 'creation_date: 1732752000'",
}


class Refusal(NamedTuple):
    message: str
    span: Span | None
    hint: str


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
    if metadata.architecture and metadata.architecture not in ALL_NAMES:
        shown = printable(metadata.architecture)
        yield Refusal(
            f"unknown architecture '{shown}': the daemons refuse to import the image",
            metadata.spans.get("architecture", start),
            "use a name such as x86_64, aarch64, armv7l, riscv64 or s390x",
        )
