"""Data behind the end of an archive: tools ignore it, and another reader may not."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.source import printable
from ..base import Observation, ScannedImage, check


@check("trailing-data", "medium", "data behind the end mark of an archive, where tools do not look")
def check_image(image: ScannedImage) -> Iterator[Observation]:
    for trailing in image.trailing:
        content = "a second archive or compressed file" if trailing.is_archive else "data"
        yield Observation(
            f"{content} follows the end mark of '{printable(trailing.file)}', at byte {trailing.position}"
            " of the decompressed archive",
            "",
            hint="no tool writes this: a reader that ignores end marks would find other files there",
            severity="high" if trailing.is_archive else "",
        )
