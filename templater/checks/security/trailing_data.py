"""A check for data after the end marker of an archive.

Most tools ignore this data. But a reader that ignores the end marker can find files in the data.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ..base import Observation, check
from ..scanned_image import ScannedImage


@check("trailing-data", "medium", "data after the end-of-archive marker; most tools ignore this data")
def check_image(image: ScannedImage) -> Iterator[Observation]:
    for trailing in image.trailing:
        content = "a second archive or compressed file" if trailing.is_archive else "data"
        yield Observation(
            f"{content} follows the end marker of '{printable(trailing.file)}', at byte {trailing.position}"
            f" of the {trailing.counted}",
            "",
            hint="no tool writes data after the end marker; a reader that ignores the marker may find"
            " other files",
            severity="high" if trailing.is_archive else "",
        )
