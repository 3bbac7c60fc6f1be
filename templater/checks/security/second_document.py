"""More than one document in metadata.yaml."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import TemplaterError
from ...parsing.yaml_nodes import Limits, parse
from ..base import Observation, ScannedImage, check


@check("second-document", "medium", "text behind metadata.yaml's first document: only some daemons read it")
def check_image(image: ScannedImage) -> Iterator[Observation]:
    """LXD and Incus up to 6.23 stop behind the first one, Incus 7 reads on and refuses the image."""
    if image.metadata is None or image.metadata.source is None:
        return
    source = image.metadata.source
    # the limits were enforced when the file was read: here it may be as large as it is
    limits = Limits(bytes=len(source.data), depth=500, nodes=len(source.text) + 1, expanded=1 << 50)
    first = parse(source, "v2", limits)
    try:
        parse(source, "v4", limits)
    except TemplaterError as error:
        # other checks report errors of the first document
        if first is not None and error.span is not None and error.span.start >= first.end:
            yield Observation(
                f"LXD and Incus before 7 read the first document only; behind it: {error.message}",
                error.span,
                "Incus 7 refuses the image: keep one document, and no '---' behind it",
            )
