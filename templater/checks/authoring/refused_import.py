"""No daemon imports the image, for example because metadata.yaml lacks a field.

The top level of metadata.yaml must have `architecture` and `creation_date`. The daemons do not look for these
fields in `properties`. A `creation_date` of 0 counts as missing. metadata.yaml must not be empty.

    architecture: x86-64          wrong: unknown
    architecture: x86_64          right
    creation_date: 1732752000     right: seconds since 1970

The daemons refuse an image whose `creation_date` or `expiry_date` is after the year 9999.

In an archive, `metadata.yaml` must be a regular file, and `rootfs` must be a directory. These names may begin
with a single `./`. So the daemons find `./metadata.yaml`, but neither `.//metadata.yaml` nor `././rootfs`.

The daemons detect an uncompressed archive by the magic bytes `ustar` in its first header. The old format v7
has no magic bytes, so an archive in this format must be compressed.

A directory without a root filesystem can be a part of a build. If its metadata.yaml has only templates,
missing fields have the severity `info`. A later step of the build may add the fields.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.architectures import ALL_NAMES
from ...model.file_names import DISK
from ..authored_image import AuthoredImage
from ..base import Fix, Observation, check
from ..import_refusals import import_refusals, undetected_archives, unexpected_kinds, unfound_names
from ..typos import only_candidate


@check(
    "refused-import",
    "error",
    "an image that no daemon imports: a field is missing or invalid, or the daemons can't read the archive",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    refusals = (*undetected_archives(image), *unfound_names(image), *unexpected_kinds(image))
    for message, _, hint in refusals:
        yield Observation(message, "", hint)
    if image.metadata is None or image.metadata.source is None:
        return
    if image.metadata.null:
        for found in image.metadata.findings:
            yield Observation(found.message, found.span, "write the required fields")
    severity = "info" if is_part(image) else ""
    known = only_candidate(image.metadata.architecture, ALL_NAMES)
    at = image.metadata.spans.get("architecture")
    for message, span, hint in import_refusals(image.metadata):
        if known and span is not None and span is at:
            yield Observation(message, span, f"did you mean '{known}'?", fix=Fix(((span, known),)))
        else:
            yield Observation(message, span or image.metadata.source.span(0), hint, severity)


def is_part(image: AuthoredImage) -> bool:
    """Return whether the image is a directory to which a later step of a build may add the missing fields.

    Such a directory has neither a root filesystem nor a disk. Its metadata.yaml has no architecture, no
    creation date and no properties.
    """
    facts = image.metadata
    described = facts is None or facts.architecture or facts.creation_date or facts.properties
    return not (described or image.packed or image.has_rootfs or DISK in {name.path for name in image.names})
