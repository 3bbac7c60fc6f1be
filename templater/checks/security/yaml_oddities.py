"""A check for mistakes in metadata.yaml that daemons accept, and for contents that differ between daemons."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import MetadataError
from ...model.file_names import METADATA
from ...model.metadata import Metadata, Rule
from ...model.source import Span
from ...model.unprintable_characters import printable
from ..base import Observation, check
from ..import_refusals import import_refusals
from ..scanned_image import ScannedImage
from .second_document import error_behind_first_document

#: maximum number of properties that are reported; each is reported with its values
_MOST_PROPERTIES = 20


#: the codes of findings for which every daemon, or Incus 7, refuses to import the image
_IMPORTANT = ("duplicate-key", "null-document")


@check(
    "metadata", "low", "missing fields, duplicate or unknown keys, unknown triggers, or rules that never run"
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    if image.metadata is None:
        return
    for finding in image.metadata.findings:
        severity = "medium" if finding.code in _IMPORTANT else ""
        yield Observation(finding.message, finding.span, severity=severity)
    if isinstance(image.by_v4, Metadata):
        yield from _different_facts(image.metadata, image.by_v4)
        yield from _different_rules(image.metadata, image.by_v4)
    elif isinstance(image.by_v4, MetadataError) and not _is_reported(image):
        error = image.by_v4
        message = f"releases of Incus 7 refuse to import the image: {error.message}"
        yield Observation(message, error.span or METADATA, error.hint, severity="medium")
    for message, span, hint in import_refusals(image.metadata):
        if span is not None:
            yield Observation(message, span, hint, severity="medium")


def _is_reported(image: ScannedImage) -> bool:
    """Return whether a finding already says that Incus 7 rejects metadata.yaml."""
    findings = image.metadata.findings if image.metadata is not None else ()
    has_duplicate = any(finding.code == "duplicate-key" for finding in findings)
    return has_duplicate or error_behind_first_document(image) is not None


def _different_facts(earlier: Metadata, later: Metadata) -> Iterator[Observation]:
    """Compare the facts and the properties that yaml.v2 and yaml.v4 read from metadata.yaml."""
    for name in ("architecture", "creation_date", "expiry_date"):
        old, new = getattr(earlier, name), getattr(later, name)
        if old != new:
            message = f"{name}: Incus 7 reads {_shown(new)}, and earlier releases {_shown(old)}"
            yield _different(message, later.spans.get(name) or earlier.spans.get(name))
    found = 0
    # A daemon copies properties to the keys ``image.*`` of an instance, and templates can read these keys.
    for name in sorted({*earlier.properties, *later.properties}):
        old, new = earlier.properties.get(name), later.properties.get(name)
        if old != new:
            found += 1
            if found > _MOST_PROPERTIES:
                break
            key = f"properties[{name}]"
            message = f"property '{printable(name)}': Incus 7 reads {_shown(new)}, and earlier releases"
            yield _different(f"{message} {_shown(old)}", later.spans.get(key) or earlier.spans.get(key))


def _shown(value: str | int | None) -> str:
    if value is None:
        return "no value"
    return f"'{printable(value)}'" if isinstance(value, str) else str(value)


def _different_rules(earlier: Metadata, later: Metadata) -> Iterator[Observation]:
    """Compare the rules that yaml.v2 and yaml.v4 decode. Other checks see only the rules of yaml.v2."""
    rules = {rule.path: _fields(rule) for rule in earlier.rules}
    for rule in later.rules:
        fields = rules.pop(rule.path, None)
        if fields != _fields(rule):
            yield _different_rule(rule, "Incus 7 reads a different rule for this path than earlier releases")
    for rule in earlier.rules:
        if rule.path in rules:
            yield _different_rule(rule, "Incus 7 ignores this rule, but earlier releases apply it")


def _fields(rule: Rule) -> tuple[object, ...]:
    return (
        rule.template, rule.when, rule.create_only, dict(rule.properties), rule.uid, rule.gid, rule.mode,
        rule.null,
    )  # fmt: skip


def _different_rule(rule: Rule, message: str) -> Observation:
    return _different(f"'{printable(rule.path)}': {message}", rule.spans["path"])


def _different(message: str, span: Span | None) -> Observation:
    hint = "write the entry without '<<' and without repeated keys"
    return Observation(message, span or METADATA, hint, severity="high")
