"""A check for tags that read files."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...model.hosts import FILE_TAGS
from ..base import Observation, check
from ..scanned_image import ScannedImage

TAG = re.compile(r"\{%-?[ \t\r]*(" + "|".join(sorted(FILE_TAGS)) + r")\b", re.IGNORECASE)


@check(
    "file-tag",
    "high",
    "an include, import, extends or ssi tag: old daemons read files of the host, newer daemons fail",
    "CVE-2026-33897",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    """Search the text without parsing it, to find tags even in templates that do not compile."""
    for source in image.sources():
        for found in TAG.finditer(source.text):
            start, end = found.span(1)
            yield Observation(f"tag '{found[1]}' reads files", source.span(start, end))
