"""The fragments of the page of `watch --web`: the list of files, the open file, and findings.

A view has one or two sides: runs of instances that are shown beside each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from ..model.errors import TemplaterError
from ..model.file_names import METADATA
from ..model.plan import Plan
from ..model.unprintable_characters import printable
from ..rendering.origins import KINDS
from ..reporting.patch import Work, body
from ..reporting.plan_text import not_due, summary
from .code_view import block, error_block, patch_block, source_lines
from .html import Html, element, join
from .redaction import Redaction
from .report_page import (
    PageState,
    Report,
    findings_of,
    kinds_of,
    template_pane,
    variant_article,
)

if TYPE_CHECKING:
    from ..model.source import Source
    from .distinct_results import FileView, InstanceView, Variant

#: the maximum number of lines of each file, unless the user asks for all
LINES: Final = 2000
#: no difference is shown if the two sides of a file together have more bytes than this
MOST_COMPARED: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class PageView:
    """The contents of the page. ``place`` has the fields of the page's address, except the file.

    ``labels`` name the sides, which are the columns of ``view``. ``path`` is the path of the open file,
    escaped as on the page.
    """

    view: InstanceView
    #: a view of each side; sides with equal results are still separate
    sides: Sequence[InstanceView]
    labels: Sequence[str]
    place: Mapping[str, str]
    path: str
    metadata: Source | None = None
    findings: Sequence[Mapping[str, Any]] | None = None
    all_lines: bool = False

    def link(self, path: str) -> str:
        """Return the address of a file in this view. The address contains no configuration values."""
        return "#" + urlencode({**self.place, "file": printable(path)})

    @property
    def has_two_sides(self) -> bool:
        return len(self.labels) > 1


def chosen_path(view: InstanceView, asked: str) -> str:
    """Return the path of the file to open.

    This is the path ``asked`` if the view has this file, or else the first file with a problem, or else the
    first file.
    """
    paths = [printable(file.path) for file in view.files]
    if asked in paths or asked == METADATA:
        return asked
    problems = [
        printable(file.path) for file in view.files if any(variant.is_problem for variant in file.variants)
    ]
    return next(iter((*problems, *paths)), METADATA)


def file_list(page: PageView) -> Html:
    """Return the list of files, each with its result on each side."""
    items = [_list_item(page, file) for file in page.view.files]
    words = [element("small", "rules and properties")]
    items.append(_item(page, METADATA, words, ""))
    return element("ul", *items, class_="files")


def _list_item(page: PageView, file: FileView) -> Html:
    words: list[Html] = []
    for number, label in enumerate(page.labels):
        found = file.of_column(number)
        text = ", ".join(dict.fromkeys(variant.word for variant in found)) or "not written"
        title = f"{label}: {text}" if page.has_two_sides else None
        words.append(element("small", text, class_=_look(found), title=title))
    is_different = page.has_two_sides and differs(file)
    return _item(page, file.path, words if is_different else words[:1], "differs" if is_different else "")


def differs(file: FileView) -> bool:
    """Return whether a file has different results on the two sides of a comparison."""
    return any(len(variant.columns) != 2 for variant in file.variants)


def _item(page: PageView, path: str, words: Sequence[Html], look: str) -> Html:
    current = "true" if printable(path) == page.path else None
    folder, slash, name = path.rpartition("/")
    link = element(
        "a", element("code", element("i", folder + slash), name or "''"), element("span", *words),
        href=page.link(path), data_path=printable(path), aria_current=current,
    )  # fmt: skip
    return element("li", link, class_=look or None)


def _look(variants: Sequence[Variant]) -> str:
    if any(variant.is_problem for variant in variants):
        return "problem"
    return variants[0].change.action if variants else "none"


def open_file(page: PageView) -> Html:
    """Return the HTML of the open file: its rendered results and its template."""
    report = Report("", "", [page.view], page.metadata, Redaction((), enabled=False), page.findings)
    state = PageState(report, most=None if page.all_lines else LINES)
    if page.path == METADATA:
        return _metadata(page, state)
    file = next((each for each in page.view.files if printable(each.path) == page.path), None)
    title = element("h2", page.path or "''", id="open", tabindex="-1")
    if file is None:
        return join([title, *_problems(page)])
    results = _results(page, state, file)
    pane = template_pane(state, file.variants[0], "f")
    kinds = kinds_of([replace(page.view, files=[file])])
    legend = [
        element("li", element("b", kind, class_=f"v {kind}"), f" {words}")
        for kind, words in KINDS.items()
        if kind in kinds
    ]
    return join([
        title,
        *_problems(page),
        *_difference(state, file),
        element("div", element("div", *results, class_="results"), pane, class_="beside"),
        element("ul", *legend, class_="legend", aria_label="Origins of values") if legend else None,
    ])  # fmt: skip


def _results(page: PageView, state: PageState, file: FileView) -> Iterator[Html]:
    """Yield a section for each side. If both sides have the same file, yield the file only once."""
    if page.has_two_sides and not differs(file):
        yield element("p", f"The same on both sides: {' and '.join(page.labels)}.", class_="note")
    if not page.has_two_sides or not differs(file):
        for number, variant in enumerate(file.variants):
            yield variant_article(state, page.view, variant, f"f-{number}")
        return
    for side, (label, view) in enumerate(zip(page.labels, page.sides, strict=True)):
        articles = [
            variant_article(state, view, variant, f"f-{side}-{number}")
            for each in view.files
            if each.path == file.path
            for number, variant in enumerate(each.variants)
        ]
        nothing = element("p", "This run does not write the file.", class_="note")
        yield element("section", element("h3", label), *(articles or [nothing]), class_="side")


def _difference(state: PageState, file: FileView) -> Iterator[Html]:
    """Yield the difference between the file on the left side and the file on the right side."""
    contents = [
        variant.change.content
        for side in (0, 1)
        for variant in file.of_column(side)[-1:]
        if variant.has_content
    ]
    if len(contents) != 2 or contents[0] == contents[1]:
        return
    first, second = (content or b"" for content in contents)
    if len(first) + len(second) > MOST_COMPARED:
        yield element("p", "The difference is not shown, because the files are large.", class_="note")
        return
    patch = patch_block("".join(body(first, second, Work())))
    yield element("details", element("summary", "Difference from left to right"), patch, open=True)


def _problems(page: PageView) -> Iterator[Html]:
    """Yield the errors of the sides whose run could not be planned."""
    for label, column in zip(page.labels, page.view.columns, strict=True):
        if isinstance(column.plan, TemplaterError):
            yield element("h3", label) if page.has_two_sides else Html("")
            yield error_block(column.plan.explain())


def _metadata(page: PageView, state: PageState) -> Html:
    title = element("h2", METADATA, id="open", tabindex="-1")
    if page.metadata is None:
        return join([title, *_problems(page)])
    found = findings_of(page.findings, f"/{METADATA}")
    return join([title, *_problems(page), block(source_lines(page.metadata, found, "m"), state.most)])


def notes(page: PageView, texts: Sequence[str]) -> Html:
    """Return paragraphs with the summary and notes of each side's plan, and with ``texts``."""
    lines: list[str] = []
    for label, column in zip(page.labels, page.view.columns, strict=True):
        if isinstance(column.plan, Plan):
            found = filter(None, (summary(column.plan), *column.plan.notes, not_due(column.plan)))
            lines += [f"{label}: {text}" if page.has_two_sides else text for text in found]
    return join(element("p", text) for text in dict.fromkeys([*lines, *texts]))


def finding_list(page: PageView) -> Html:
    """Return the findings of `check`. Each finding links to its file."""
    if page.findings is None:
        return element("p", "check did not run.", class_="note")
    if not page.findings:
        return element("p", "check found nothing.", class_="note")
    return element("ol", *(_finding(page, finding) for finding in page.findings))


def _finding(page: PageView, finding: Mapping[str, Any]) -> Html:
    words = finding["file"] + (f":{finding['line']}:{finding['column']}" if "line" in finding else "")
    path = finding_path(page.view, finding)
    shown = words.rpartition("/")[2]
    place = element("a", shown, href=page.link(path), data_path=printable(path)) if path else shown
    hint = element("small", f"hint: {finding['hint']}") if "hint" in finding else None
    return element(
        "li", element("strong", finding["severity"]), " ", place, f" {finding['message']} ",
        element("small", f"[{finding['check']}] "), hint, class_=f"finding {finding['severity']}",
    )  # fmt: skip


def finding_path(view: InstanceView, finding: Mapping[str, Any]) -> str:
    """Return the path of the file whose view shows a finding, or "" if no view shows the finding."""
    folder, _, name = f"/{finding['file']}".rpartition("/")
    if name == METADATA:
        return METADATA
    for file in view.files:
        if folder.endswith("/templates") and file.variants[0].change.rule.template == name:
            return file.path
    return ""


def problem(text: str) -> Html:
    """Return an error message that is shown in place of a view."""
    return join([element("h2", "No preview", id="open", tabindex="-1"), error_block(text)])
