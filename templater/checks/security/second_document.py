"""A check for more than one document in metadata.yaml."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import TemplaterError
from ...model.file_names import METADATA
from ...parsing.yaml_nodes import Limits, parse
from ..base import Observation, check
from ..scanned_image import ScannedImage


@check(
    "second-document",
    "medium",
    "text after the first document of metadata.yaml: only some daemons read this text",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    """Find YAML documents after the first document of metadata.yaml.

    LXD, and Incus up to 6.23, ignore further documents. Incus 7 rejects the image.
    """
    error = error_behind_first_document(image)
    if error is not None:
        yield Observation(
            f"LXD, and Incus before 7, ignore everything after the first document: {error.message}",
            error.span or METADATA,
            "Incus 7 rejects the image: keep one document, and remove any '---' after it",
        )


def error_behind_first_document(image: ScannedImage) -> TemplaterError | None:
    """Return the error that yaml.v4 reports after the first document of metadata.yaml, or None."""
    if image.metadata is None or image.metadata.source is None:
        return None
    error, source = image.by_v4, image.metadata.source
    if not isinstance(error, TemplaterError) or error.span is None:
        return None
    # The scan has already checked the file's size, so the limits of this parser admit the whole file.
    size = len(source.text) + 1
    limits = Limits(bytes=len(source.data), depth=500, nodes=size, expanded=1 << 50, compared=1 << 62)
    first = parse(source, "v2", limits)
    # Other checks report errors in the first document.
    return error if first is not None and error.span.start >= first.end else None
