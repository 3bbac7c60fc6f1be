"""Code on a page: rendered files with the origins of values, templates with findings, errors, patches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from ..rendering.origins import NOTHING, VALUE
from ..reporting.coloured_error_parts import CARETS, HINT, SOURCE, marked_lines
from ..reporting.explanation import colour_of, is_continued, named
from .html import Html, element, join
from .redaction import MARK

if TYPE_CHECKING:
    from ..model.source import Source
    from ..rendering.origins import Line, Origin, Part
    from .redaction import Redaction

#: number of lines in one block; browsers lay out a block only when it is visible
CHUNK: Final = 200
#: findings of ``check``, by line number
Findings = Mapping[int, Sequence[Mapping[str, Any]]]


def code(lines: Iterable[Html], *, kind: str = "") -> Html:
    """Return a block of code.

    The lines of a long file are grouped, so that a browser shows the file quickly.
    """
    remaining = iter(lines)
    chunks = []
    while chunk := list(islice(remaining, CHUNK)):
        chunks.append(join(chunk))
    if len(chunks) > 1:
        chunks = [element("span", chunk, class_="chunk") for chunk in chunks]
    return element("pre", element("code", *chunks), class_=f"code {kind}".strip(), tabindex="0")


def block(lines: Iterator[Html], most: int | None) -> Html:
    """Return a block of code with at most ``most`` lines, and a button if there are more."""
    if most is None:
        return code(lines)
    first = list(islice(lines, most))
    if next(lines, None) is None:
        return code(first)
    button = element("button", "Show all lines", type="button", data_all=True)
    more = element("p", f"These are the first {most:,} lines. ", button, class_="note")
    return join([code(first), more])


def line(*children: Html | str, number: int | None = None, **attributes: str | bool | None) -> Html:
    given = {"class_": "l", **attributes}
    return element("span", *children, "\n", data_n=None if number is None else str(number), **given)


def plain_lines(text: str) -> Iterator[Html]:
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    for number, content in enumerate(lines, 1):
        yield line(content, number=number)


def rendered_lines(lines: Sequence[Line], redaction: Redaction) -> Iterator[Html]:
    """Yield the lines of a file.

    Each value has the HTML class of its origin. At the end of the line, a text describes the origins.
    """
    because: tuple[Origin, ...] = ()
    last: Part | None = None
    hidden_before: list[str] = []
    for each in lines:
        printed = [part for part in each.parts if part.kind != NOTHING]
        base = printed[0].because if printed else because
        if base != because:
            words = f"because {named(base)}" if base else "without a condition"
            yield line(words, class_="l note")
            because = base
        hidden = [
            redaction.hides(part.origins) for part in printed if part.text or is_secret(part, redaction)
        ]
        if hidden and all(hidden) and hidden[0] == hidden_before:
            last = printed[-1]
            continue  # one line represents all lines of this value
        hidden_before = hidden[0] if hidden and all(hidden) else []
        texts, notes = [], []
        for part in each.parts:
            if part.kind == NOTHING:
                notes.append(note(f"(nothing, because {named(part.because)})", ""))
                continue
            texts.append(part_html(part, redaction))
            more = part.because[len(base) :] if part.because[: len(base)] == base else part.because
            continued = last is not None and is_continued(last, part)
            if not continued and (more or part.kind == VALUE):
                words = named(part.origins) or "the template itself" if part.kind == VALUE else ""
                words += f" {MARK}" if is_secret(part, redaction) else ""
                is_empty = part.kind == VALUE and not part.text and not is_secret(part, redaction)
                words += " (empty)" if is_empty else ""
                words += f"{', ' if words else ''}because {named(more)}" if more else ""
                notes.append(note(words, colour_of(part)))
            last = part
        yield line(*texts, *notes, number=each.number)


def is_secret(part: Part, redaction: Redaction) -> bool:
    return part.kind == VALUE and bool(redaction.hides(part.origins))


def part_html(part: Part, redaction: Redaction) -> Html | str:
    """Return a part of a line. A secret value is redacted even if its text is empty."""
    if part.kind != VALUE or not (part.text or is_secret(part, redaction)):
        return part.text
    shown = MARK if is_secret(part, redaction) else part.text
    return element("b", shown, class_=f"v {colour_of(part) or 'several'}", title=named(part.origins) or None)


@lru_cache(maxsize=1000)  # many lines of a file have the same notes
def note(words: str, kind: str) -> Html:
    return element("small", words, class_=f"o {kind}".strip())


def source_lines(source: Source, findings: Findings, place: str) -> Iterator[Html]:
    """Yield the lines of a template or of metadata.yaml, with findings below their lines.

    A line with a finding has the HTML id ``{place}-{number}``.
    """
    for number, content in enumerate(source.text.removesuffix("\n").split("\n"), 1):
        found = findings.get(number, ())
        yield line(content, number=number, id=f"{place}-{number}" if found and place else None)
        for each in found:
            yield finding_line(each)


def finding_line(finding: Mapping[str, Any]) -> Html:
    check = element("small", f"[{finding['check']}]")
    words = [element("strong", finding["severity"]), f": {finding['message']} ", check]
    words += [element("small", f" hint: {finding['hint']}")] if "hint" in finding else []
    return line(*words, class_=f"l finding {finding['severity']}")


def error_block(text: str) -> Html:
    """Return the explanation of an error. Only the marked part of a source line is emphasised."""
    lines = []
    for kind, content, start, end in marked_lines(text):
        if kind in (SOURCE, CARETS):
            marked = element("mark", content[start:end])
            lines.append(line(content[:start], marked, content[end:], class_="l"))
        else:
            lines.append(line(content, class_="l hint" if kind == HINT else "l"))
    return element("pre", element("code", *lines), class_="code error", tabindex="0")


_PATCH: Final = {"+": "ins", "-": "del"}


def patch_block(patch: str) -> Html:
    """Return a patch without its headers, with additions and deletions marked."""
    lines = []
    for content in patch.removesuffix("\n").split("\n"):
        name = _PATCH.get(content[:1], "span")
        lines.append(element(name, content, "\n", class_="l hunk" if content.startswith("@@") else "l"))
    return code(lines, kind="patch")


def joined(children: Iterable[Html | str], separator: Html | str) -> Html:
    found: list[Html | str] = []
    for child in children:
        found += [separator, child] if found else [child]
    return join(found)
