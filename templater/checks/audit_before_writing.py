"""Checks of an image's metadata.yaml and templates before the image is written."""

from __future__ import annotations

from ..image.read_whole_image import Part
from ..model.entry import DIRECTORY, FILE, Entry, TemplateFile
from ..model.errors import InputError, MetadataError
from ..model.file_names import METADATA, ROOTFS, TEMPLATES
from ..model.metadata import Metadata
from ..model.source import Source
from ..model.unprintable_characters import printable
from ..parsing.metadata_yaml import read_metadata
from .finding import Finding, Severity
from .import_refusals import import_refusals
from .run_checks import audit
from .scanned_image import Name, ScannedImage


def check_parts(parts: list[Part], name: str) -> list[Finding]:
    """Audit the parts of an image and return the findings of severity low and above.

    Raises InputError if every daemon rejects the image, or panics when it starts an instance.
    """
    metadata = _read(Source(f"{name}/{METADATA}", parts[0].data))
    for message, span, hint in import_refusals(metadata):
        raise InputError(message, span, hint=hint)
    for rule in metadata.rules:
        if rule.null:
            raise InputError(
                f"the entry for '{printable(rule.path)}' is null: the daemons panic when they read it",
                rule.spans["path"],
                hint="remove the entry, or set its 'when' and 'template'",
            )
    image = ScannedImage(
        name,
        metadata,
        {
            part.member.name.partition("/")[2]: TemplateFile(Entry(FILE, size=len(part.data)), part.data)
            for part in parts
            if part.member.kind == FILE and part.member.name.startswith(f"{TEMPLATES}/")
        },
        # templater writes only container images. Without the name of the root filesystem, the audit would
        # treat the image as an image of a virtual machine.
        (
            *(Name(part.member.name, Entry(part.member.kind)) for part in parts),
            Name(ROOTFS, Entry(DIRECTORY)),
        ),
    )
    return [finding for finding in audit(image) if finding.severity >= Severity.LOW]


def _read(source: Source) -> Metadata:
    """Parse metadata.yaml by the rules of yaml.v2. If that fails, parse it by the rules of yaml.v4.

    If both parsers fail, raise the error of yaml.v2.
    """
    try:
        return read_metadata(source, "v2")
    except MetadataError:
        try:
            return read_metadata(source, "v4")
        except MetadataError:
            pass
        raise
