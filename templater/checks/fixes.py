"""Fixes of mistakes. A fix is applied to an image in memory, and kept only if it removes the mistake."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from time import process_time
from typing import TYPE_CHECKING, Any

from ..image.limits import DEFAULT, Limits
from ..image.metadata_edit import change_rule
from ..model.entry import TemplateFile
from ..model.errors import TemplaterError
from ..model.file_names import METADATA, TEMPLATES
from ..model.source import Source, Span
from ..parsing.metadata_yaml import read_metadata
from ..parsing.yaml_nodes import decoded
from .authored_image import AuthoredImage
from .check_report import judge, report_of
from .finding import Finding, Severity
from .image_scanner import scan_image
from .templater_toml import WANTED, with_configuration

if TYPE_CHECKING:
    from ..model.instance import Instance
    from ..parsing.yaml_nodes import Limits as YamlLimits
    from ..pongo2.render_state import Limits as RenderLimits
    from ..validators.runner import Validators

#: the note in a report if the image needs more fixes than one run applies
LATE = "some fixes were not tried, because the time limit was reached: run the command again"
#: maximum number of rounds; each round checks the image and applies many fixes
MAX_ROUNDS = 30
#: processor time in seconds after which no further fix is tried
MAX_SECONDS = 3.0
#: checks that report an unreadable file: a fix must not cause a finding of these checks
BREAKING = frozenset(("syntax", "host-syntax", "unreadable", "render", "jinja"))

Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class FixedImage:
    """An image after its fixes, the remaining findings, and the findings that the fixes have removed.

    ``late`` tells whether the time limit was reached before all fixes were tried.
    """

    image: AuthoredImage
    findings: list[Finding]
    fixed: tuple[Finding, ...]
    late: bool = False

    def changes(self, before: AuthoredImage) -> dict[str, tuple[bytes, bytes]]:
        """Return a dict from the name of each changed file in the image to the file's old and new content."""
        found = {}
        for name, file in before.templates.items():
            new = self.image.templates[name]
            if file.data is not None and new.data is not None and file.data != new.data:
                found[f"{TEMPLATES}/{name}"] = file.data, new.data
        old, now = before.stored, self.image.stored
        if old is not None and now is not None and old.data != now.data:
            found[METADATA] = old.data, now.data
        return found


def fix(
    image: AuthoredImage, judge: Callable[[AuthoredImage], list[Finding]], allowed: Callable[[Finding], bool]
) -> FixedImage:
    """Fix the findings that ``allowed`` accepts. ``judge`` returns the findings of an image.

    A fix is kept only if its finding disappears and every readable file stays readable.
    """
    fixed: list[Finding] = []
    refused: set[Key] = set()
    findings = judge(image)
    most = len(findings)
    end = process_time() + MAX_SECONDS
    late = False
    for _ in range(MAX_ROUNDS):
        wanted = [each for each in findings if each.fix and allowed(each) and key_of(each) not in refused]
        late = bool(wanted) and process_time() > end
        if not wanted or late:
            break
        after, applied = apply(image, wanted[:most], end)
        if not applied:
            if process_time() <= end:
                refused |= {key_of(finding) for finding in wanted[:most]}
            continue
        found = judge(after)
        left = {key_of(finding) for finding in found}
        useless = {key_of(finding) for finding in applied} & left
        broken = {_file(each) for each in found if each.check in BREAKING} - {
            _file(each) for each in findings if each.check in BREAKING
        }
        if useless:
            refused |= useless
        elif broken and most > 1:
            most = max(1, min(most, len(wanted)) // 2)
        elif broken:
            refused.add(key_of(applied[0]))
        else:
            image, findings = after, found
            fixed += applied
            most = max(1, 2 * most)
    return FixedImage(image, findings, tuple(fixed), late)


def key_of(finding: Finding) -> Key:
    """Return a key that identifies a finding even after its file has changed."""
    path = finding.rule.path if finding.rule is not None else ""
    return finding.check, _file(finding), finding.message, path


def _file(finding: Finding) -> str:
    return finding.span.source.name if finding.span is not None else finding.where


def apply(image: AuthoredImage, findings: list[Finding], end: float) -> tuple[AuthoredImage, list[Finding]]:
    """Return the changed image, and the findings whose fixes were applied.

    Of overlapping fixes, apply only the first. Change no more fields of rules when ``process_time()`` exceeds
    the number ``end``.
    """
    edits: dict[str, _Edits] = {}
    applied: list[Finding] = []
    for finding in findings:
        if finding.fix is not None and finding.fix.edits:
            taken = edits.setdefault(finding.fix.edits[0][0].source.name, _Edits())
            if taken.add(finding.fix.edits):
                applied.append(finding)
    templates = dict(image.templates)
    for name, file in image.templates.items():
        if own := edits.get(f"{image.name}/{TEMPLATES}/{name}"):
            templates[name] = TemplateFile(file.entry, own.edited().data)
    metadata, source = image.metadata, image.stored
    if metadata is not None and source is not None:
        if own := edits.get(source.name):
            if metadata.source is None or metadata.source.text != source.text:
                return image, []  # the file is UTF-16, so positions in the decoded text do not fit the file
            source = own.edited()
        set_fields: set[tuple[str, str]] = set()
        for finding in findings:
            if process_time() > end:
                break
            if finding.fix is not None and finding.fix.fields and finding.rule is not None:
                names = {(finding.rule.path, name) for name in finding.fix.fields}
                if names & set_fields:
                    continue
                set_fields |= names
                try:
                    source = with_fields(source, finding.rule.path, finding.fix.fields)
                except TemplaterError:
                    continue  # this YAML cannot be edited in place
                applied.append(finding)
        try:
            metadata = read_metadata(source, yaml="v2")
            if is_strict(image.stored):
                read_metadata(source, yaml="v4")
        except TemplaterError:
            return image, []
    return replace(image, metadata=metadata, templates=templates, stored=source), applied


def is_strict(source: Source | None) -> bool:
    """Return whether Incus 7 can read the metadata. Incus 7 is stricter than all other hosts."""
    try:
        return source is not None and read_metadata(source, yaml="v4") is not None
    except TemplaterError:
        return False


def with_fields(source: Source, path: str, fields: Mapping[str, str | tuple[str, ...]]) -> Source:
    """Set fields of a rule. A mode gets quotes, so that every YAML program reads it as a string."""
    source = change_rule(source, path, fields)
    if "mode" in fields:
        rule = next(rule for rule in read_metadata(source).rules if rule.path == path)
        at = rule.spans["mode"]
        if at.text == fields["mode"] and decoded(source).text == source.text:
            return Source(source.name, f'{source.text[: at.start]}"{at.text}"{source.text[at.end :]}')
    return source


class _Edits:
    """Edits of one source that do not overlap. Edits whose spans touch count as overlapping."""

    def __init__(self) -> None:
        #: sorted by position
        self.edits: list[tuple[int, int, str]] = []
        self.known: set[tuple[int, int, str]] = set()
        self.source: Source | None = None

    def add(self, edits: tuple[tuple[Span, str], ...]) -> bool:
        """Add all the edits, and return True.

        If one of the edits overlaps a different earlier edit, add none of them, and return False.
        """
        self.source = edits[0][0].source
        new = {(span.start, span.end, text) for span, text in edits} - self.known
        if any(self._overlaps(start, end) for start, end, _ in new):
            return False
        self.edits = sorted((*self.edits, *new))
        self.known |= new
        return True

    def _overlaps(self, start: int, end: int) -> bool:
        index = bisect_right(self.edits, end, key=itemgetter(0))
        return index > 0 and self.edits[index - 1][1] >= start

    def edited(self) -> Source:
        assert self.source is not None
        parts, position = [], 0
        for start, end, new in self.edits:
            parts += [self.source.text[position:start], new]
            position = end
        return Source(self.source.name, "".join((*parts, self.source.text[position:])))


@dataclass(frozen=True, slots=True)
class Fixes:
    """The result of fixing an image in a directory: the changed files, and a report about the fixed image."""

    report: dict[str, Any]
    #: the old and new content of each changed file, by its name in the image
    changes: dict[str, tuple[bytes, bytes]]
    #: for each fixed finding, the id of its check
    fixed: tuple[str, ...]


def fix_image(
    path: str,
    *,
    hosts: tuple[str, ...],
    instances: tuple[Instance, ...] = (),
    at_least: str = "warning",
    unsafe: bool = False,
    limits: Limits = DEFAULT,
    yaml: YamlLimits | None = None,
    rendering: RenderLimits | None = None,
    sarif: tuple[str, str] | None = None,
    validators: Validators | None = None,
) -> Fixes:
    """Fix findings of severity ``at_least`` and above, in memory.

    For the parameters, see ``check_report``.
    """
    scanned = scan_image(path, limits, yaml=yaml, rendering=rendering, heads=WANTED)
    image, configuration = with_configuration(scanned, hosts, instances, validators)
    least = Severity.named(at_least)

    def allowed(finding: Finding) -> bool:
        return finding.fix is not None and finding.severity >= least and (unsafe or not finding.fix.unsafe)

    done = fix(image, lambda image: judge(image, configuration).findings, allowed)
    report = report_of(done.image, judge(done.image, configuration), at_least, sarif)
    if done.late:
        report["notes"] = [*report["notes"], LATE]
    return Fixes(report, done.changes(image), tuple(finding.check for finding in done.fixed))
