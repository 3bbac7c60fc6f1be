"""Check the parts of an image before it is written: metadata.yaml and templates."""

from __future__ import annotations

from ..image.contents import Part
from ..image.names import METADATA, TEMPLATES
from ..model.entry import FILE, Entry, TemplateFile
from ..model.errors import InputError, MetadataError
from ..model.metadata import Metadata
from ..model.source import Source, printable
from ..parsing.metadata_yaml import read_metadata
from .base import Name, ScannedImage
from .finding import Finding, Severity, audit


def check_parts(parts: list[Part], name: str) -> list[Finding]:
    """Return the findings of an audit of these parts, at level low and above.

    Raise InputError if every daemon refuses the image, or panics when an instance of it starts: missing
    facts, a null rule, or a metadata.yaml that neither yaml.v2 nor yaml.v4 reads.
    """
    metadata = _read(Source(f"{name}/{METADATA}", parts[0].data))
    source = metadata.source
    for fact in ("architecture", "creation_date"):
        if not getattr(metadata, fact):
            at = source.span(0) if source is not None else None
            raise InputError(f"metadata.yaml has no {fact}: the daemons refuse such an image", at)
    for rule in metadata.rules:
        if rule.null:
            raise InputError(
                f"the entry for '{printable(rule.path)}' is null: the daemons panic when they read it",
                rule.spans["path"],
                hint="remove the entry, or give it 'when' and 'template'",
            )
    image = ScannedImage(
        name,
        metadata,
        {
            part.member.name.partition("/")[2]: TemplateFile(Entry(FILE, size=len(part.data)), part.data)
            for part in parts
            if part.member.kind == FILE and part.member.name.startswith(f"{TEMPLATES}/")
        },
        tuple(Name(part.member.name, Entry(part.member.kind)) for part in parts),
    )
    return [finding for finding in audit(image) if finding.severity >= Severity.LOW]


def _read(source: Source) -> Metadata:
    """Parse as yaml.v2 does, or as yaml.v4 does if yaml.v2 fails. Raise the error of yaml.v2 if both fail."""
    try:
        return read_metadata(source, "v2")
    except MetadataError:
        try:
            return read_metadata(source, "v4")
        except MetadataError:
            pass
        raise
