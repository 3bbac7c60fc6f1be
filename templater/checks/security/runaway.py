"""Templates that run for ever, grow without end, or that a daemon panics at."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import LimitError
from ...model.hosts import INCUS
from ...model.instance import CONTAINER, VIRTUAL_MACHINE, Instance
from ...model.metadata import TRIGGERS, Metadata
from ...model.options import RenderOptions
from ...model.source import Source, Span, printable
from ...pongo2.state import Limits
from ...rendering.render import render
from ..survey import Sight, Survey, check

#: steps alone do not bound the time: each may read a value of megabytes; and there may be many templates
LIMITS = Limits(seconds=10.0, total=60.0)

PROBES = (Instance("c1", CONTAINER), Instance("v1", VIRTUAL_MACHINE))


@check("runaway", "high", "a render without end: the daemons have no limits and hang or are killed by it")
def look(survey: Survey) -> Iterator[Sight]:
    """Each rule is rendered for a bare container and a bare virtual machine, within our limits."""
    if survey.metadata is None:
        return
    try:
        yield from _rendered(survey, survey.metadata)
    except LimitError as error:  # of all rules together
        yield Sight(error.message, _of_image(survey, error.span) or "metadata.yaml")
    for rule in survey.rules:
        if rule.null:
            yield Sight(
                f"the entry for '{printable(rule.path)}' is null: the daemons panic at it",
                rule.spans["path"],
                advisory="CVE-2026-40195",
                severity="medium",
            )


def _rendered(survey: Survey, metadata: Metadata) -> Iterator[Sight]:
    told: set[str] = set()
    options = RenderOptions(INCUS, limits=survey.limits or LIMITS).begun()
    for probe in PROBES:
        for rendering in render(metadata, survey.templates, probe, TRIGGERS, options):
            error, rule = rendering.error, rendering.rule
            if isinstance(error, LimitError) and rule.template not in told:
                told.add(rule.template)
                at = rule.spans.get("template") or rule.spans["path"]
                yield Sight(error.message, _of_image(survey, error.span) or at, error.hint)


def _of_image(survey: Survey, span: Span | None) -> Span | None:
    """A render knows its template's name; which image it belongs to is the survey's to say."""
    if span is None:
        return None
    return Source(f"{survey.name}/{span.source.name}", span.source.text).span(span.start, span.end)
