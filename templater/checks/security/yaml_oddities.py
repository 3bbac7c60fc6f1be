"""A check for mistakes in metadata.yaml that daemons accept."""

from __future__ import annotations

from collections.abc import Iterator

from ..base import Observation, ScannedImage, check
from ..import_refusals import import_refusals


@check(
    "metadata", "low", "missing fields, duplicate or unknown keys, unknown triggers, or rules that never run"
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    if image.metadata is None:
        return
    for finding in image.metadata.findings:
        severity = "medium" if finding.code == "duplicate-key" else ""
        yield Observation(finding.message, finding.span, severity=severity)
    for message, span, hint in import_refusals(image.metadata):
        if span is not None:
            yield Observation(message, span, hint, severity="medium")
