"""Variable names in templates that no host provides, for the checks of authors."""

from __future__ import annotations

from collections.abc import Iterator

from ..model.source import Span
from ..pongo2.dialect import DIALECTS
from ..rendering.names import UnknownName
from ..rendering.names import check as check_read
from .authored import AuthoredImage


def mistakes(image: AuthoredImage) -> Iterator[UnknownName]:
    """Yield each unknown name of each template once, at its first position."""
    dialects = [DIALECTS[host.dialect] for host in image.hosts]
    subscripts = all(dialect.subscripts for dialect in dialects)
    for template in image.parsed:
        seen: set[str] = set()
        for read in template.reads:
            for found in check_read(read, subscripts, None):
                if found.name not in seen:
                    seen.add(found.name)
                    yield found._replace(span=_shorter(found.span))


def _shorter(span: Span) -> Span:
    return span if span.end > span.start else span.source.span(span.start)
