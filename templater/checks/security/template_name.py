"""A check for template names that are paths."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import RefusedError
from ...rendering.render import check_name
from ..base import Observation, check
from ..scanned_image import ScannedImage


@check(
    "template-name",
    "critical",
    "a template name that is a path: old daemons read that file, even on the host",
    "CVE-2026-23954",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    for rule in image.rules:
        if rule.null:
            continue
        try:
            check_name(rule)
        except RefusedError as error:
            at = rule.spans.get("template") or rule.spans["entry"]
            if rule.template:
                yield Observation(error.message, at, error.hint)
            else:
                yield Observation(error.message, at, error.hint, severity="medium", advisory="")
