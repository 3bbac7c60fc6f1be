"""A report of `templater check` as plain data, which a sandboxed process can send to its parent."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..definitions.all_builds import all_choices, in_time
from ..definitions.predicted_image import open_definition
from ..image.limits import DEFAULT, Limits
from .authored_image import AuthoredImage
from .authoring.unused_ignore import unused
from .finding import Finding, Severity, finding_data
from .host_differences import host_report
from .ignores import Ignores
from .image_scanner import scan_image, scanned_definition
from .run_checks import all_checks, audit
from .sarif import sarif_document
from .secret_keys import without_values
from .templater_toml import WANTED, Configuration, with_configuration

if TYPE_CHECKING:
    from ..definitions.choice import Choice
    from ..model.instance import Instance
    from ..parsing.yaml_nodes import Limits as YamlLimits
    from ..pongo2.render_state import Limits as RenderLimits
    from ..rendering.rendered_text_cache import Memo
    from ..validators.runner import Validators


def check_report(
    path: str,
    rootfs: str | None = None,
    *,
    hosts: tuple[str, ...],
    instances: tuple[Instance, ...] = (),
    at_least: str = "warning",
    limits: Limits = DEFAULT,
    yaml: YamlLimits | None = None,
    rendering: RenderLimits | None = None,
    trusted: bool = False,
    sarif: tuple[str, str] | None = None,
    validators: Validators | None = None,
    choice: Choice | None = None,
    redacted: bool = False,
    all_variants: bool = False,
    memo: Memo | None = None,
) -> dict[str, Any]:
    """Check an image for its author. Return a JSON object.

    The object has the keys that ``audit_report`` returns, and these keys:

    * ``suppressed`` lists the findings that the author ignores.
    * ``not_validated`` lists the validators that left a file unchecked. ``notes`` has the reasons.
    * ``not_run`` lists the checks that need a root filesystem, if the image has no root filesystem.
    * ``redacted`` lists the findings without the instances' secrets, if the parameter ``redacted`` is true.

    Parameters:

    * If ``trusted`` is true, the image's templater.toml is read.
    * ``hosts`` and ``instances`` replace those of templater.toml. ``instances`` also replaces the built-in
      instances.
    * ``choice`` is the build of a definition to check, or None for any other image.
    * If ``all_variants`` is true, every build of the definition is checked (see ``all_choices``).
    * ``memo`` has the texts that earlier checks have rendered.

    Raises TemplaterError if the image or its templater.toml cannot be read.
    """
    if choice is not None:
        choices = all_choices(path, choice, limits) if all_variants else [choice]

        def report(choice: Choice) -> dict[str, Any]:
            scanned = scanned_definition(open_definition(path, choice, limits), yaml, rendering)
            image, configuration = with_configuration(scanned, hosts, instances, validators, memo=memo)
            found = report_of(image, judge(image, configuration), at_least, sarif, redacted=redacted)
            assert scanned.definition is not None
            return found | {"notes": [*found["notes"], *scanned.definition.notes]}

        return combined(map(report, in_time(choices, rendering.total if rendering is not None else None)))
    scanned = scan_image(
        path, limits, rootfs=rootfs, yaml=yaml, rendering=rendering, heads=WANTED if trusted else {}
    )
    image, configuration = with_configuration(
        scanned, hosts, instances, validators, trusted=trusted, memo=memo
    )
    return report_of(image, judge(image, configuration), at_least, sarif, redacted=redacted)


def combined(reports: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Return one report about several builds of a definition.

    If several builds have the same finding, the report contains this finding once.
    """
    lists = ("findings", "suppressed", "notes", "not_validated")
    whole = next(reports)
    seen = {key: set(map(repr, whole[key])) for key in lists}
    for report in reports:
        for key in lists:
            new = {repr(each): each for each in report[key]}
            whole[key] += [new[text] for text in new if text not in seen[key]]
            seen[key].update(new)
        for level, count in report["hidden"].items():
            whole["hidden"][level] = max(count, whole["hidden"].get(level, 0))
        if whole["sarif"] is not None:
            whole["sarif"]["runs"] += report["sarif"]["runs"]
    return whole


@dataclass(frozen=True, slots=True)
class Judged:
    """The findings of an image, sorted by position, and the findings that the author ignores."""

    findings: list[Finding]
    suppressed: list[Finding]


def judge(image: AuthoredImage, configuration: Configuration) -> Judged:
    found: list[Finding] = []
    ignores = Ignores(image, configuration)
    for finding in audit(image, "authoring"):
        found += ignores.filter(finding)
    found += unused(ignores)
    return Judged(sorted(found, key=_position), ignores.suppressed)


def report_of(
    image: AuthoredImage,
    judged: Judged,
    at_least: str,
    sarif: tuple[str, str] | None,
    *,
    redacted: bool = False,
) -> dict[str, Any]:
    found, path, least = judged.findings, image.name, Severity.named(at_least)
    of_definition = image.definition is not None
    shown = [finding for finding in found if finding.severity >= least]
    hidden = Counter(finding.severity.level for finding in found if finding.severity < least)

    def data(findings: Sequence[Finding]) -> list[dict[str, Any]]:
        return [author_data(finding, path, of_definition=of_definition) for finding in findings]

    report = {
        "findings": data(shown),
        "hidden": dict(hidden),
        "not_run": []
        if image.has_rootfs
        else [check.id for check in all_checks("authoring") if check.rootfs],
        "suppressed": data(judged.suppressed),
        "notes": [] if image.validators is None else image.validators.notes,
        "not_validated": [] if image.validators is None else list(image.validators.incomplete),
        "hosts": host_report(image) if len(image.hosts) > 1 else None,
        "sarif": sarif_document(shown, image.name, *sarif, folder="authoring") if sarif is not None else None,
    }
    if redacted:
        report["redacted"] = data(without_values(image, shown))
    return report


def author_data(finding: Finding, path: str, *, of_definition: bool = False) -> dict[str, Any]:
    """Return a finding as a JSON object, with the source line and the rule's target.

    If ``of_definition`` is true, the file of the finding is the definition.
    """
    # The files of the image that a definition describes do not exist.
    data = finding_data(finding) | {"severity": finding.severity.level}
    if finding.span is not None:
        data["excerpt"] = finding.span.excerpt()
    else:
        inside = "" if finding.where == path or of_definition else finding.where
        data["place"] = data["file"] = f"{path}/{inside}" if inside else path
    if finding.rule is not None:
        data["target"] = finding.rule.path
    if finding.fix is not None:
        data["fix"] = "unsafe" if finding.fix.unsafe else "safe"
    return data


def _position(finding: Finding) -> tuple[str, int, int, int, str]:
    if finding.span is None:
        return finding.where, 0, 0, -finding.severity, finding.check
    span = finding.span.origin
    return span.source.name, span.line, span.column, -finding.severity, finding.check


def summary(report: dict[str, Any]) -> str:
    """Return a line with the numbers of an image's findings.

    The line also names each validator that left a file unchecked.
    """
    counts = Counter(finding["severity"] for finding in report["findings"])
    plurals = {"error": "errors", "warning": "warnings", "info": "info"}
    words = ((counts[level], level if counts[level] == 1 else plurals[level]) for level in plurals)
    shown = ", ".join(f"{count} {word}" for count, word in words if count)
    text = f"{report['image']}: {shown or 'nothing found'}"
    for level in ("warning", "info"):
        if level in report["hidden"]:
            text += f"; {report['hidden'][level]} more at level {level}"
    fixable = sum(finding.get("fix") == "safe" for finding in report["findings"])
    if fixable and os.path.isdir(report["image"]):
        text += f"; {fixable} fixable, see --fix"
    if report["not_validated"]:
        text += f"; {', '.join(report['not_validated'])} did not validate all files"
    ignored = len(report["suppressed"])
    return f"{text}; {ignored} ignored" if ignored else text
