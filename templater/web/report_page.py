"""The report: one self-contained page. All values are visible even if the browser runs no scripts."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from ..model.errors import LimitError, TemplaterError
from ..model.plan import FAILED, SKIP, UPDATE, Plan
from ..rendering.origins import KINDS, VALUE
from ..rendering.render import without_values
from ..reporting.comparison import compare_plans
from ..reporting.patch import Work, body
from ..reporting.plan_text import heading, not_due, summary
from .code_view import (
    Findings,
    block,
    code,
    error_block,
    joined,
    patch_block,
    plain_lines,
    rendered_lines,
    source_lines,
)
from .html import Child, Html, code_element, element
from .redaction import is_chosen, is_hidden, reads_secret, withheld

if TYPE_CHECKING:
    from ..model.source import Source
    from .distinct_results import Column, FileView, InstanceView, Variant
    from .redaction import Redaction

#: the maximum size of a report in bytes; browsers become slow with larger pages
MOST: Final = 16 << 20
#: a template with more characters than this is shown only once in a report
LARGE: Final = 20_000
#: the first bytes of each report; templater may replace a file that begins with them
START: Final = "<!DOCTYPE html>\n<!-- A report of templater. -->\n"


@dataclass(frozen=True, slots=True)
class Report:
    """The contents of a report. ``findings`` are the findings of `check`, or None if `check` did not run."""

    title: str
    version: str
    instances: Sequence[InstanceView]
    metadata: Source | None
    redaction: Redaction
    findings: Sequence[Mapping[str, Any]] | None = None
    notes: Sequence[str] = ()
    #: whether the report is about changes of existing files, which are then not collapsed
    compares: bool = False


@dataclass(slots=True)
class PageState:
    """The state that the functions of this module share while they write one report."""

    report: Report
    work: Work = field(default_factory=Work)
    #: the anchor of each large template that the page already shows
    shown: dict[str, str] = field(default_factory=dict)
    #: the maximum number of lines of each file, or None for all
    most: int | None = None

    @property
    def redaction(self) -> Redaction:
        return self.report.redaction


def report_page(report: Report) -> Iterator[str]:
    """Yield the report in pieces. Raises LimitError if it is larger than ``MOST`` bytes."""
    size = 0
    for piece in _pieces(report):
        size += len(piece.encode())
        if size > MOST:
            raise LimitError(
                f"the report is larger than {MOST >> 20} MiB",
                hint="show fewer instances, hosts or triggers in one report",
            )
        yield piece


def _pieces(report: Report) -> Iterator[str]:
    page = PageState(report)
    yield START
    yield f'<html lang="en">\n{head(report.title)}\n<body>\n'
    yield element("a", "Skip to the files", href="#files", class_="skip")
    yield _header(page)
    yield "<main>\n"
    yield _contents(page)
    yield _findings(page)
    yield '<div id="files">\n'
    for number, view in enumerate(report.instances):
        yield from instance_section(page, view, number)
    yield "</div>\n"
    if report.metadata is not None:
        yield _metadata(page, report.metadata)
    yield "</main>\n"
    yield code_element("script", asset("report.js"))
    yield "\n</body>\n</html>\n"


def asset(name: str) -> str:
    return files(__package__).joinpath("assets", name).read_text("utf-8")


def policy() -> str:
    """Return a content security policy that permits only the report's own style and script."""
    style, script = (
        b64encode(sha256(asset(name).encode()).digest()).decode() for name in ("report.css", "report.js")
    )
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}';"
        " base-uri 'none'; form-action 'none'"
    )


def head(title: str) -> Html:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy()),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"templater report: {title}"),
        code_element("style", asset("report.css")),
    )


def _header(page: PageState) -> Html:
    report = page.report
    paragraphs = [
        element(
            "p",
            f"templater {report.version} made this report about the files that the image's templates write. ",
            _secrets(report),
        )
    ]
    paragraphs += [element("p", page.redaction.scrub(text), class_="note") for text in report.notes]
    kinds = kinds_of(report.instances)
    legend = [
        element("li", element("b", kind, class_=f"v {kind}"), f" {KINDS[kind]}")
        for kind in KINDS
        if kind in kinds
    ]
    return element(
        "header",
        element("p", "templater report", class_="kicker"),
        element("h1", report.title),
        *paragraphs,
        element("div", id="tools", hidden=True),
        element("ul", *legend, class_="legend", aria_label="Origins of values") if legend else None,
    )


def _secrets(report: Report) -> str:
    if report.redaction.enabled:
        return "Values of secret keys and cloud-init documents are redacted."
    return "This report shows all values, including secret ones."


def kinds_of(views: Iterable[InstanceView]) -> set[str]:
    """Return the kinds of origins that the files contain."""
    return {
        origin.kind
        for view in views
        for file in view.files
        for variant in file.variants
        for line in variant.lines or ()
        for part in line.parts
        if part.kind == VALUE
        for origin in part.origins
    }


def _contents(page: PageState) -> Html:
    report = page.report
    tables = [contents_table(page, view, number) for number, view in enumerate(report.instances)]
    links = [element("li", element("a", "Findings of check", href="#findings"))] if report.findings else []
    if report.metadata is not None:
        links.append(element("li", element("a", "metadata.yaml", href="#metadata")))
    return element(
        "nav",
        element("h2", "Contents"),
        *tables,
        element("ul", *links) if links else None,
        aria_label="Contents",
    )


def contents_table(page: PageState, view: InstanceView, number: int) -> Html:
    """Return the table of an instance: a row for each file, a column for each run.

    Each cell has links to the results.
    """
    rows = []
    for index, file in enumerate(view.files):
        place = file_place(number, index)
        cells = []
        for column in range(len(view.columns)):
            links = [
                element(
                    "a", variant.word, href=f"#{place}-{file.variants.index(variant)}",
                    class_="problem" if variant.is_problem else variant.change.action,
                )
                for variant in file.of_column(column)
            ]  # fmt: skip
            cells.append(element("td", joined(links, ", ") if links else "-"))
        name = element("th", element("a", file.path, href=f"#{place}"), scope="row")
        rows.append(element("tr", name, *cells, data_for=place))
    errors = [
        element("p", f"{column.label}: {page.redaction.scrub(str(column.plan))}", class_="problem")
        for column in view.columns
        if isinstance(column.plan, TemplaterError)
    ]
    caption = element("caption", element("a", view.instance.name, href=f"#i{number}"), f", {kind_of(view)}")
    head_rows = element("thead", *head_rows_of(view.columns))
    table = element("table", caption, head_rows, element("tbody", *rows))
    return element(
        "div", table, *errors, class_="wide", tabindex="0", role="region", aria_label=view.instance.name
    )


def head_rows_of(columns: Sequence[Column]) -> Iterator[Html]:
    """Yield the two header rows of a table of runs.

    The first row has the triggers. The second row has the host of each run, its side in a comparison
    ("before" or "after"), or both.
    """
    groups: dict[tuple[str, ...], int] = {}
    for column in columns:
        groups[column.passes] = groups.get(column.passes, 0) + 1
    file = element("th", "file", scope="col", rowspan="2")
    passes = [
        element("th", " then ".join(each), scope="colgroup", colspan=str(count))
        for each, count in groups.items()
    ]
    yield element("tr", file, *passes)
    yield element("tr", *(element("th", name_of(columns, column), scope="col") for column in columns))


def name_of(columns: Sequence[Column], column: Column) -> str:
    """Return the heading of a run: its host, its side in a comparison, or both."""
    is_only_host = len({each.host for each in columns}) == 1
    return column.side if column.side and is_only_host else " ".join(filter(None, (column.side, column.host)))


def kind_of(view: InstanceView) -> str:
    words = [view.instance.type.replace("-", " ")]
    profiles = [profile.name for profile in view.instance.profiles]
    words += [f"profile{'s' if len(profiles) > 1 else ''} {', '.join(profiles)}"] if profiles else []
    return ", ".join(words)


def file_place(instance: int, file: int) -> str:
    """Return the id of a file's section."""
    return f"i{instance}-f{file}"


def instance_section(page: PageState, view: InstanceView, number: int) -> Iterator[str]:
    """Yield the section about an instance."""
    yield f'<section id="i{number}" class="instance">\n'
    yield element("h2", view.instance.name, " ", element("small", kind_of(view)))
    texts: dict[str, list[int]] = {}
    for index, column in enumerate(view.columns):
        if isinstance(column.plan, Plan):
            for text in filter(None, (summary(column.plan), *column.plan.notes, not_due(column.plan))):
                texts.setdefault(page.redaction.scrub(text), []).append(index)
    for text, columns in texts.items():
        label = f"{where(view.columns, columns)}: " if len(columns) < len(view.columns) else ""
        yield element("p", label, text, class_="note")
    patches = comparison_patches(page, view)
    for index, file in enumerate(view.files):
        yield file_section(page, view, file, file_place(number, index), patches.get(file.path, ""))
        yield "\n"
    yield "</section>\n"


def comparison_patches(page: PageState, view: InstanceView) -> dict[str, str]:
    """Return the patch of each file that differs between the two sides of a comparison."""
    found: dict[str, str] = {}
    before = [column.plan for column in view.columns if column.side == "before"]
    after = [column.plan for column in view.columns if column.side == "after"]
    for old, new in zip(before, after, strict=True):
        if not (isinstance(old, Plan) and isinstance(new, Plan)):
            continue
        for file in compare_plans(old, new):
            first, second = (b"" if side is None else side.content for side in (file.before, file.after))
            if first != second:
                found[file.path] = found.get(file.path, "") + "".join(body(first, second, page.work))
    return found


def file_section(page: PageState, view: InstanceView, file: FileView, place: str, patch: str) -> Html:
    """Return the section about a file: its template, and beside it the distinct results."""
    hidden = any(is_hidden(page.redaction, variant) for variant in file.variants)
    children = [element("h3", element("a", file.path, href=f"#{place}"))]
    if patch:
        shown = withheld("The difference") if hidden else patch_block(patch)
        children.append(element("div", element("h4", "Before and after"), shown, class_="difference"))
    results = [
        variant_article(page, view, variant, f"{place}-{number}")
        for number, variant in enumerate(file.variants)
    ]
    pane = template_pane(page, file.variants[0], place)
    children.append(element("div", pane, element("div", *results, class_="results"), class_="beside"))
    problem = any(variant.is_problem for variant in file.variants)
    return element("section", *children, id=place, class_="file problem" if problem else "file")


def template_pane(page: PageState, variant: Variant, place: str) -> Html:
    """Return the template of a file as HTML.

    If the page already shows the same large template, return only its name.
    """
    name = variant.change.rule.template
    children: list[Html] = [element("h4", "Template ", element("code", name or "(none)"))]
    if variant.source is None:
        children.append(element("p", "The template does not exist or is not readable.", class_="note"))
    elif variant.source.text in page.shown:
        earlier = page.shown[variant.source.text]
        children.append(
            element(
                "p", "This template is ", element("a", "shown above", href=f"#{earlier}"), ".", class_="note"
            )
        )
    else:
        if len(variant.source.text) > LARGE:
            page.shown[variant.source.text] = place
        found = findings_of(page.report.findings, f"/templates/{name}")
        children.append(block(source_lines(variant.source, found, f"{place}-t"), page.most))
    return element("div", *children, class_="template")


def variant_article(page: PageState, view: InstanceView, variant: Variant, place: str) -> Html:
    """Return one result of a file as HTML."""
    facts = heading(variant.change)
    look = "problem" if variant.is_problem else variant.change.action
    owner = f" {facts.owner} {facts.mode}" if facts.owner else ""
    why = f"{variant.change.rule.template or '-'} on {', '.join(variant.triggers)}"
    failed = variant.change.action == FAILED  # the error below gives the reason
    why += f": {variant.change.reason}" if variant.change.reason and not failed else ""
    line = [element("b", variant.word, class_=f"action {look}"), f"{owner} {page.redaction.scrub(why)}"]
    children: list[Html | None] = [element("h4", *line)]
    if len(view.columns) > 1:
        children.append(element("p", where(view.columns, variant.columns), class_="where"))
    if variant.unchanged_on:
        children.append(element("p", f"unchanged on {', '.join(variant.unchanged_on)}", class_="note"))
    look = "remark problem" if variant.host_fails else "remark"
    hosts = {column.host for column in view.columns}
    is_secret = reads_secret(page.redaction, variant)
    for text, named in variant.remarks.items():
        every = len(named) == len(hosts) > 1
        who = "every host: " if every else f"{', '.join(named)}: " if "" not in named else ""
        shown = variant.short_remarks[text] if text in variant.short_remarks and is_secret else text
        children.append(element("p", who, page.redaction.scrub(shown), class_=look))
    children += variant_body(page, variant)
    change = variant.change
    if change.action == UPDATE and change.before is not None and change.content is not None:
        shown = (
            withheld("The difference")
            if is_hidden(page.redaction, variant)
            else patch_block(page.redaction.scrub("".join(body(change.before, change.content, page.work))))
        )
        changes = element("summary", "Changes of the existing file")
        children.append(element("details", changes, shown, open=page.report.compares))
    return element("article", *children, id=place)


def where(columns: Sequence[Column], numbers: Sequence[int]) -> str:
    """Return a phrase that names some runs, such as ``incus, lxd on create then start``.

    ``numbers`` has the indexes of these runs in ``columns``.
    """
    if len(numbers) == len(columns):
        return "in every run"
    words = []
    for passes in dict.fromkeys(columns[number].passes for number in numbers):
        every = [number for number, column in enumerate(columns) if column.passes == passes]
        these = [number for number in every if number in numbers]
        names = (name_of(columns, columns[number]) for number in these)
        is_comparison = any(columns[number].side for number in these)
        all_of_them = "before and after" if is_comparison else "every host"
        hosts = all_of_them if these == every and len(every) > 1 else ", ".join(names)
        words.append(f"{hosts} on {' then '.join(passes)}")
    return "; ".join(words)


def variant_body(page: PageState, variant: Variant) -> Iterator[Html]:
    """Yield the content of a file, or its error."""
    change, redaction = variant.change, page.redaction
    if change.action == FAILED:
        if change.error is not None:
            error = without_values(change.error) if reads_secret(redaction, variant) else change.error
            yield error_block(redaction.scrub(error.explain()))
    elif change.action == SKIP:
        yield element("p", "Nothing is written: the file exists.", class_="note")
    elif variant.is_in_guest:
        words = f"The guest's agent copies {change.rule.template}.out from the config drive."
        yield element("p", words, class_="note")
    elif is_chosen(redaction, variant):
        yield withheld("The content")
    elif not change.content:
        yield element("p", "The file is empty.", class_="note")
    elif variant.lines is not None:
        yield block(rendered_lines(variant.lines, redaction), page.most)
    elif is_hidden(redaction, variant):
        yield withheld("The content")
    else:
        yield element(
            "p", "The origins are not shown: the file has too many lines, parts or origins.", class_="note"
        )
        yield block(plain_lines(change.content.decode("utf-8", "surrogateescape")), page.most)


def findings_of(findings: Sequence[Mapping[str, Any]] | None, ending: str) -> Findings:
    """Return the findings in a file of the image, by line."""
    found: dict[int, list[Mapping[str, Any]]] = {}
    for finding in findings or ():
        if "line" in finding and f"/{finding['file']}".endswith(ending):
            found.setdefault(finding["line"], []).append(finding)
    return found


def _findings(page: PageState) -> Html:
    """Return a section with all findings of `check`, or nothing if `check` did not run."""
    findings = page.report.findings
    if findings is None:
        return Html("")
    title = element("h2", "Findings of check")
    if not findings:
        return element("section", title, element("p", "check found nothing."), id="findings")
    items = []
    for finding in findings:
        place: Child = finding["file"]
        if "line" in finding:
            words = f"{place}:{finding['line']}:{finding['column']}"
            target = finding_target(page.report, finding)
            place = element("a", words, href=f"#{target}") if target else words
        hint = element("small", f" hint: {finding['hint']}") if "hint" in finding else None
        items.append(
            element(
                "li", element("strong", finding["severity"]), " ", place, f": {finding['message']} ",
                element("small", f"[{finding['check']}]"), hint, class_=f"finding {finding['severity']}",
            )
        )  # fmt: skip
    return element("section", title, element("ol", *items), id="findings")


def finding_target(report: Report, finding: Mapping[str, Any]) -> str:
    """Return the HTML id of the line with a finding, or "" if the page does not show this line."""
    path, _, name = f"/{finding['file']}".rpartition("/")
    if name == "metadata.yaml" and report.metadata is not None:
        return f"m-{finding['line']}"
    for number, view in enumerate(report.instances):
        for index, file in enumerate(view.files):
            if path.endswith("/templates") and file.variants[0].change.rule.template == name:
                return f"{file_place(number, index)}-t-{finding['line']}"
    return ""


def _metadata(page: PageState, source: Source) -> Html:
    found = findings_of(page.report.findings, "/metadata.yaml")
    block = code(source_lines(source, found, "m"))
    return element("section", element("h2", "metadata.yaml"), block, id="metadata")
