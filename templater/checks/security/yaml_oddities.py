"""A check for mistakes in metadata.yaml that daemons accept, and for rules that differ between daemons."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.metadata import Metadata, Rule
from ...model.source import printable
from ..base import Observation, check
from ..import_refusals import import_refusals
from ..scanned_image import ScannedImage


@check(
    "metadata", "low", "missing fields, duplicate or unknown keys, unknown triggers, or rules that never run"
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    if image.metadata is None:
        return
    for finding in image.metadata.findings:
        severity = "medium" if finding.code == "duplicate-key" else ""
        yield Observation(finding.message, finding.span, severity=severity)
    yield from _different_rules(image)
    for message, span, hint in import_refusals(image.metadata):
        if span is not None:
            yield Observation(message, span, hint, severity="medium")


def _different_rules(image: ScannedImage) -> Iterator[Observation]:
    """Compare the rules as yaml.v2 and yaml.v4 decode them. Other checks see only the rules of yaml.v2."""
    if not isinstance(image.by_v4, Metadata):
        return
    earlier = {rule.path: _fields(rule) for rule in image.rules}
    for rule in image.by_v4.rules:
        fields = earlier.pop(rule.path, None)
        if fields != _fields(rule):
            yield _different(rule, "Incus 7 reads a different rule for this path than earlier releases")
    for rule in image.rules:
        if rule.path in earlier:
            yield _different(rule, "Incus 7 ignores this rule, but earlier releases apply it")


def _fields(rule: Rule) -> tuple[object, ...]:
    return (
        rule.template, rule.when, rule.create_only, dict(rule.properties), rule.uid, rule.gid, rule.mode,
        rule.null,
    )  # fmt: skip


def _different(rule: Rule, message: str) -> Observation:
    return Observation(
        f"'{printable(rule.path)}': {message}",
        rule.spans["path"],
        "write the entry without '<<' and without repeated keys",
        severity="high",
    )
