"""Names that templates use as variables, but that no host provides. ``templater check`` reports them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..model.source import Span
from ..rendering.unknown_names import UnknownName as UnknownPart
from ..rendering.unknown_names import check as check_read
from ..rendering.unknown_names import grouped, span_of
from .authored_image import AuthoredImage, Template


class UnknownName(NamedTuple):
    """A name that always renders as empty text.

    ``spans`` has the positions of the unknown part of the name, such as ``hostname`` in
    ``instance.hostname``. ``hint`` can be empty.
    """

    template: Template
    name: str
    spans: tuple[Span, ...]
    message: str
    hint: str

    @property
    def span(self) -> Span:
        return self.spans[0]


def mistakes(image: AuthoredImage) -> Iterator[UnknownName]:
    """Yield each unknown name once for each template that reads it."""
    for template in image.parsed:
        names: dict[str, tuple[UnknownPart, list[Span]]] = {}
        for same in grouped(template.reads):
            for found in check_read(same[0], None):
                _, spans = names.setdefault(found.name, (found, []))
                spans += (_shorter(span_of(read, found.part)) for read in same)
        for name, (found, spans) in names.items():
            spans.sort(key=lambda span: (span.source.name, span.start))
            yield UnknownName(template, name, tuple(spans), found.message, found.hint)


def _shorter(span: Span) -> Span:
    return span if span.end > span.start else span.source.span(span.start)
