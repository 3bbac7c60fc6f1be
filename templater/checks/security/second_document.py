"""More than one document in metadata.yaml."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import TemplaterError
from ...parsing.yaml_nodes import Limits, parse
from ..survey import Sight, Survey, check


@check("second-document", "medium", "text behind metadata.yaml's first document: who reads which, differs")
def look(survey: Survey) -> Iterator[Sight]:
    """LXD and Incus up to 6.23 stop behind the first one, Incus 7 reads on and refuses the image."""
    if survey.metadata is None or survey.metadata.source is None:
        return
    source = survey.metadata.source
    # as large as it is: by other limits it has been read
    limits = Limits(bytes=len(source.data), depth=500, nodes=len(source.text) + 1, expanded=1 << 50)
    first = parse(source, "v2", limits)
    try:
        parse(source, "v4", limits)
    except TemplaterError as error:
        # what is wrong with the first document itself is for other checks to say
        if first is not None and error.span is not None and error.span.start >= first.end:
            yield Sight(
                f"behind the first document, which LXD and older Incus read alone: {error.message}",
                error.span,
                "Incus 7 makes no instance of it; leave one document, and no '---' behind it",
            )
