"""A check that reports parts of the image that are unreadable or exceed a limit."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import LimitError
from ...model.file_names import METADATA
from ..base import Observation, check
from ..scanned_image import ScannedImage


@check("unreadable", "high", "a part of the image that is unreadable, has a wrong size or is too large")
def check_image(image: ScannedImage) -> Iterator[Observation]:
    """Report each error with a high severity, because a daemon may read the parts that no check has seen."""
    for error in image.errors:
        large_metadata = isinstance(error, LimitError) and METADATA in str(error)
        yield Observation(
            error.message,
            error.span or "",
            error.hint,
            advisory="CVE-2026-41648" if large_metadata else "",
        )
