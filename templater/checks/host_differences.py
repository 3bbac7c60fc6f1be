"""A table that shows an image's author how the rendered files differ between hosts, and why.

For each difference, a search finds the construct of a template or rule that causes the difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..image.name_checks import bad_template_name
from ..model.entry import FILE, Entry, TemplateFile
from ..model.errors import InputError, TemplaterError
from ..model.metadata import TRIGGERS
from ..model.render_options import RenderOptions
from ..model.source import Source, Span
from ..model.unprintable_characters import printable
from ..planning.every_host import plan_every_host
from ..rendering.render import render
from ..reporting.host_table import ABSENT, DIFFERS, SAME, HostTable, Row, host_table, table_data, table_text
from .authored_image import LIMITS, AuthoredImage, replace_rules
from .scanned_image import RootfsNames

if TYPE_CHECKING:
    from ..model.instance import Instance
    from ..model.plan import Change, Plan

LEGEND = """\
'differs': this host writes a different text, owner or mode than the first host. A difference is not a
finding: change the template or the rule only if the file must be the same on each host.
"""

#: maximum number of expressions of one template that are compiled
MOST_TRIED = 50
#: maximum number of template characters that the search for constructs reads
SEARCHED = 4 << 20
#: maximum length in characters of a construct in a note
LONGEST = 60
_TAG = re.compile(r"\{\{-?(?P<print>.*?)-?\}\}|\{%-?\s*(?P<name>\w+)(?P<rest>.*?)-?%\}|\{#.*?#\}", re.DOTALL)
_OPENING = re.compile(r"\{([{%#])")
_CLOSING = {"{": "}}", "%": "%}", "#": "#}"}
_CONDITIONS = ("if", "elif")
_PRINTING = ("cycle", "firstof", "lorem", "now", "templatetag", "widthratio")
_OPAQUE = ("verbatim", "comment")


def host_report(image: AuthoredImage) -> dict[str, Any]:
    """Return a JSON object with a table that compares each file on all hosts.

    The key ``text`` is "" if there are no differences.
    """
    rows: dict[tuple[str, str, str], Row] = {}
    errors: dict[str, str] = {}
    containers = [probe for probe in image.probes if not probe.is_vm]
    rootfs = _Names(image.names) if image.has_rootfs else None
    try:
        options = RenderOptions(image.hosts[0], "", 0.0, 0, image.rendering_limits(LIMITS)).begun()
        causes = DifferenceCauses(image, options)
        for probe in containers or image.probes:
            for trigger in TRIGGERS:
                table = _table(causes, probe, trigger, rootfs)
                errors |= table.errors
                for row in table.rows:
                    key = row.trigger, row.path, row.template
                    # The table shows the first instance with a difference.
                    if key not in rows or not _differs(rows[key]):
                        rows[key] = row
    except TemplaterError as error:
        return {"error": error.message, "text": f"the hosts are not compared: {printable(error.message)}\n"}
    table = HostTable(tuple(host.name for host in image.hosts), tuple(rows.values()), errors)
    different = bool(errors) or any(map(_differs, table.rows))
    text = table_text(table) if different else ""
    if any(cell.result == DIFFERS for row in table.rows for cell in row.cells.values()):
        text += LEGEND
    return {**table_data(table), "text": text}


def _table(causes: DifferenceCauses, probe: Instance, trigger: str, rootfs: _Names | None) -> HostTable:
    """Return the table of one trigger. Python frees the large plans when this function returns."""
    plans = plan_every_host(
        _Stored(causes.image), probe, causes.options, triggers=(trigger,), rootfs=rootfs,
        new=trigger == "create" and not probe.exists, hosts=causes.image.hosts,
    )  # fmt: skip
    return host_table(plans, causes.construct)


def _differs(row: Row) -> bool:
    return any(cell.result not in (SAME, ABSENT) for cell in row.cells.values())


class _Stored:
    """An image for planning, whose files a scan has already read."""

    complete = True

    def __init__(self, image: AuthoredImage) -> None:
        self.image = image
        self.name = image.name

    def read_metadata(self) -> Source:
        if self.image.stored is None:
            raise InputError("the image has no readable metadata.yaml")
        return self.image.stored

    def read_templates(self, names: Iterable[str]) -> Mapping[str, TemplateFile]:
        return {
            name: bad_template_name(name) or self.image.templates.get(name, TemplateFile()) for name in names
        }


class _Names(RootfsNames):
    """The names of a root filesystem. Every file counts as empty, because its contents were not read."""

    def read(self, path: str, limit: int) -> bytes:
        return b""


# --- the causes of differences


class DifferenceCauses:
    """A search for the construct of a template or rule that causes a difference between two hosts."""

    def __init__(self, image: AuthoredImage, options: RenderOptions) -> None:
        self.image = image
        self.options = options
        self.searched = 0

    def construct(self, plan: Plan, change: Change, reference: Change | None, first: Plan | None) -> str:
        """Return the construct with its position, such as ``'a' + 'b' (image/templates/t:1:4)``."""
        error = change.error or change.render_error
        source = self.image.source(change.rule)
        if error is not None and error.span is not None and change.content is None:
            return self._quoted(error.span)
        causes = []
        if reference is not None and change.content != reference.content and first and source is not None:
            found = self._expression(source, plan, change, first)
            whole = printable(f"templates/{change.rule.template}")
            causes.append(whole if found is None else self._quoted(found))
        outcome = plan.outcome(change)
        if outcome is not None and outcome.text:
            spans = change.rule.spans
            causes += [
                f"{name}: {self._quoted(spans[name])}" for name in ("uid", "gid", "mode") if name in spans
            ]
        return ", ".join(causes)

    def _quoted(self, span: Span) -> str:
        text, place = span.text.partition("\n")[0].strip(), span.place.removeprefix(f"{self.image.name}/")
        text = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
        return f"{printable(text)} ({place})" if text else place

    def _expression(self, source: Source, plan: Plan, change: Change, first: Plan) -> Span | None:
        """Return the first expression whose value differs between the hosts of two plans.

        Return None if all calls together have searched more than ``SEARCHED`` characters.
        """
        self.searched += len(source.text)
        if self.searched > SEARCHED:
            return None
        for count, (span, text) in enumerate(_probes(source)):
            if count >= MOST_TRIED:
                break
            if self._render(text, plan, change) != self._render(text, first, change):
                return span
        return None

    def _render(self, text: str, plan: Plan, change: Change) -> object:
        file = TemplateFile(Entry(FILE), text.encode("utf-8", "surrogateescape"))
        options = RenderOptions(plan.host, "", 0.0, 0, self.options.limits)
        metadata = replace_rules(plan.metadata, (change.rule,))
        made = render(metadata, {change.rule.template: file}, plan.instance, (change.trigger,), options)
        return [(each.content, each.error is None) for each in made]


def _probes(source: Source) -> Iterator[tuple[Span, str]]:
    """Yield the position of each expression in a template, and a template that prints only it."""
    parts = list(_tags(source.text))
    if any(part["name"] in _OPAQUE for part in parts):
        return
    # Tags that do not print can set the variables of the expression, and contain it in a loop.
    kept = ["" if not part["name"] or _prints(part) else part[0] for part in parts]
    opened: list[int] = []
    for number, part in enumerate(parts):
        if part["name"] == "if":
            opened.append(number)
        # The condition of an ``if`` or ``elif`` is printed before the ``if``.
        place = opened[-1] if part["name"] == "elif" and opened else number
        if part["name"] == "endif" and opened:
            opened.pop()
        if _prints(part):
            yield source.span(*part.span()), "".join([*kept[:number], part[0], *kept[number + 1 :]])
            continue
        group = "print" if part["print"] is not None else "rest" if part["name"] in _CONDITIONS else ""
        if not group:
            continue
        trimmed = part[group].strip()
        start = part.start(group) + part[group].find(trimmed)
        text = "".join([*kept[:place], "{{ ", trimmed, " }}\n", *kept[place:]])
        yield source.span(start, start + len(trimmed)), text


def _tags(text: str) -> Iterator[re.Match[str]]:
    """Yield each tag, expression and comment of a template, in linear time."""
    position, closings = 0, dict.fromkeys(_CLOSING, 0)
    while opening := _OPENING.search(text, position):
        kind, start = opening[1], opening.start()
        if closings[kind] < opening.end():
            found = text.find(_CLOSING[kind], opening.end())
            closings[kind] = found if found >= 0 else len(text)
        part = _TAG.match(text, start, closings[kind] + 2) if closings[kind] < len(text) else None
        position = start + 1 if part is None else part.end()
        if part is not None:
            yield part


def _prints(part: re.Match[str]) -> bool:
    """Return whether a tag only prints a value."""
    return part["name"] in _PRINTING and " as " not in part["rest"]
