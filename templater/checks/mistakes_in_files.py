"""Mistakes that checks find in rendered files, and functions that read the formats of these files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from ..model.errors import LimitError, TemplaterError
from ..model.unprintable_characters import printable
from ..parsing.yaml_nodes import Mapping, Node, Scalar, parse
from .authored_image import AuthoredImage
from .base import Observation
from .rendered_files import LARGEST, File
from .run_checks import MAX_FINDINGS
from .target_kinds import kind_of

#: kinds of files in which a value may need quotes
QUOTES = frozenset(("json", "meta-data", "netplan", "network-config", "toml", "user-data", "yaml"))
#: how a template quotes a value for these kinds
QUOTE_HINT = """write {{ …|stringformat:"%q" }} without quotes around it: the filter quotes the value"""
#: maximum number of mistakes that are reported for one file
MOST = 20

#: a mistake in a file: the line number from 1, a message, and optionally a severity other than the check's
Mistake = tuple[int, str] | tuple[int, str, str]


def mistakes_of(
    image: AuthoredImage,
    kinds: tuple[str, ...],
    find: Callable[[File], Iterable[Mistake]],
    validate: Callable[[File], Iterable[Mistake]] | None = None,
) -> Iterator[Observation]:
    """Yield the mistakes that ``find`` reports in rendered files of these ``kinds``.

    Yield each message once for each rule. The function ``validate`` runs only on files in which ``find``
    reports no mistake.
    """
    files = image.texts(lambda path: kind_of(path) in kinds)
    return mistakes_in(image, files, find, validate, quotes=bool(QUOTES.intersection(kinds)))


def mistakes_in(
    image: AuthoredImage,
    files: Iterable[File],
    find: Callable[[File], Iterable[Mistake]],
    validate: Callable[[File], Iterable[Mistake]] | None = None,
    *,
    quotes: bool = False,
) -> Iterator[Observation]:
    """Yield the mistakes that ``find`` and ``validate`` report in ``files`` (see ``mistakes_of``).

    An awkward file is rendered with values that contain quotes. If ``quotes`` is false, skip awkward files.
    """

    def judge(file: File) -> list[Mistake]:
        found = list(islice(find(file), MOST))
        if not found and validate is not None and not file.awkward:
            found = list(islice(validate(file), MOST))
        return found

    seen: set[tuple[int, str]] = set()
    for file in files:
        text = file.text or ""
        if len(text) > LARGEST or not text.strip() or (file.awkward and not quotes):
            continue
        others: list[tuple[File, list[Mistake]]] | None = None
        for line, message, *severity in judge(file):
            if (id(file.rule), message) not in seen:
                seen.add((id(file.rule), message))
                if file.awkward:
                    message, severity = f"a value with quotes or colons breaks the file: {message}", ["info"]
                elif file.invented:
                    if others is None and len(seen) <= MAX_FINDINGS:
                        others = [(other, judge(other)) for other in image.alternatives(file)]
                    if not has_same_mistake(others or [], file, line):
                        message, severity = f"{condition_text(image, file, line)}: {message}", ["info"]
                yield observation(image, file, line, message, *severity, search=len(seen) <= MAX_FINDINGS)


def has_same_mistake(others: list[tuple[File, list[Mistake]]], file: File, line: int) -> bool:
    """Return whether a mistake in a line of ``file`` also occurs for all other instances.

    ``others`` has the renderings of the file for other instances, each with its mistakes.
    """
    alone = line_of(file, line).strip() in file.instance.config.values()
    # If the line has the same text, any mistake in the rendering counts: a validator may report only the
    # first mistake of a file.
    return (
        not alone
        and bool(others)
        and all(
            bool(mistakes)
            and (
                line_of(other, line) == line_of(file, line) or any(number == line for number, *_ in mistakes)
            )
            for other, mistakes in others
        )
    )


def condition_text(image: AuthoredImage, file: File, line: int) -> str:
    """Return the value that causes a mistake in a line, as a text such as ``if 'user.a' is 'value'``."""
    read = {each.key for found in image.parsed if file.rule in found.rules for each in found.reads}
    values = [(key, text) for key, text in file.instance.config.items() if key in read and "\n" not in text]
    words = line_of(file, line)
    for key, text in [pair for pair in values if pair[1] in words] or values:
        return f"if '{printable(key)}' is '{printable(text)}'"
    return "with invented values"


def line_of(file: File, number: int) -> str:
    lines = (file.text or "").split("\n")
    return lines[number - 1] if 0 < number <= len(lines) else ""


def observation(
    image: AuthoredImage, file: File, line: int, message: str, severity: str = "", *, search: bool
) -> Observation:
    """Return an observation about a line of a rendered file.

    If ``search`` is true, search for the exact template line, which is slow.
    """
    words = line_of(file, line)
    instance = "" if file.instance.name == image.probes[0].name else f" for '{printable(file.instance.name)}'"
    return Observation(
        f"'{printable(file.rule.path)}'{instance}, line {line}: {message}",
        image.locate(file, words if search else ""),
        QUOTE_HINT if file.awkward else "",
        severity=severity,
        rule=file.rule,
    )


def validated(image: AuthoredImage, id: str, file: File, name: str) -> list[Mistake]:
    """Return the mistakes that a validator finds in a file.

    ``name`` is the file name that the validator sees.
    """
    if image.validators is None:
        return []
    found = image.validators.mistakes(id, name, file.text or "", file.rule.path)
    return [(line, f"{message} ({id})", *severity) for line, message, *severity in found]  # type: ignore[misc]


def yaml_root(file: File) -> Node | Mistake | None:
    """Parse a rendered file as YAML. Return the first mistake in the file.

    If the file has no mistake, return the root of the first document.
    """
    try:
        return parse(file.source)
    except LimitError as error:
        return 1, error.message
    except TemplaterError as error:
        line = error.span.line if error.span is not None else 1
        return line, error.message


def yaml_mapping(file: File) -> Mapping | Mistake | None:
    """Parse a rendered file whose root must be a mapping. Return None if the file has no contents."""
    root = yaml_root(file)
    if root is None or isinstance(root, tuple | Mapping):
        return root
    if isinstance(root, Scalar) and root.plain and root.text in ("", "null", "~"):
        return None
    return root.line, f"the file must be a mapping, not a {root.kind}"


def numbered(text: str) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that is neither blank nor a comment."""
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield number, stripped
