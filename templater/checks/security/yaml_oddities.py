"""A check for mistakes in metadata.yaml that daemons accept."""

from __future__ import annotations

from collections.abc import Iterator

from ..base import Observation, ScannedImage, check


@check(
    "metadata", "low", "missing fields, duplicate or unknown keys, unknown triggers, or rules that never run"
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    if image.metadata is None:
        return
    for finding in image.metadata.findings:
        severity = "medium" if finding.code == "duplicate-key" else ""
        yield Observation(finding.message, finding.span, severity=severity)
    source = image.metadata.source
    if source is None or image.metadata.null:
        return
    for fact in ("architecture", "creation_date"):
        if not getattr(image.metadata, fact):
            missing = f"metadata.yaml has no {fact}: the daemons refuse to import the image"
            yield Observation(missing, source.span(0), severity="medium")
