"""Explanations of rendered files: for each line, the line of the template and the origins of its values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from time import thread_time
from typing import TYPE_CHECKING, NamedTuple

from ..model.errors import TemplaterError
from ..pongo2.dialect import DIALECTS
from ..pongo2.parse_with_includes import Compilation
from ..pongo2.tracing import recorder as trace
from ..pongo2.tracing.instrumented_template import TracedTemplate
from .instance_context import Contexts
from .origins import Layers, Origin, Origins, name_of
from .unknown_names import parsed_reads

if TYPE_CHECKING:
    from ..model.entry import TemplateFile
    from ..model.metadata import Rule
    from ..model.plan import Change
    from ..model.render_options import RenderOptions
    from ..model.source import Source
    from ..pongo2.tracing.instrumented_template import Traced
    from ..pongo2.tracing.recorder import Name

#: the maximum number of lines in a file that templater explains
MAX_LINES = 100_000
#: the maximum number of origins in all parts of a file's lines
MAX_ORIGINS = 500_000
#: the kinds of the parts of a line
TEXT, VALUE, NOTHING = trace.TEXT, trace.VALUE, trace.NOTHING


class Part(NamedTuple):
    """A part of a line. ``kind`` is "text" (a text of the template), "value" or "nothing".

    A part of the kind "nothing" stands for a condition or loop that has printed nothing.
    ``line`` and ``column`` are the part's position in the template. ``origins`` has the origins of the values
    in the part. ``because`` has the origins of the values in the conditions and loops around the part.
    ``compared`` has a part of ``origins`` and ``because``: the origins whose values the template compares, or
    changes in an unknown way.
    """

    text: str
    line: int
    column: int
    kind: str
    origins: tuple[Origin, ...]
    because: tuple[Origin, ...]
    compared: tuple[Origin, ...] = ()


class Line(NamedTuple):
    """A line of a rendered file. ``number`` and ``template_line`` count from 1."""

    number: int
    template_line: int
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts)


class Reading(NamedTuple):
    """A name that a template reads, the lines of the template that read it, and the origin of its value."""

    origin: Origin
    lines: tuple[int, ...]


class Explainer:
    """A finder that tells where the values in an instance's files come from.

    It compiles equal templates only once.

    ``options`` need a clock and a seed, so that a second render gives the same text.
    """

    def __init__(self, templates: Mapping[str, TemplateFile], layers: Layers, options: RenderOptions) -> None:
        self.templates = templates
        self.layers = layers
        self.options = options
        self.contexts = Contexts(layers.made, options.host)
        self.compiled: dict[bytes, TracedTemplate] = {}
        self.sources: dict[str, Source] = {}

    def lines(self, change: Change) -> list[Line] | None:
        """Return the lines of a change's content, or None if they cannot be explained.

        A change has no explanation if it has no content, too many lines or too many origins, or if the trace
        exceeds a limit.
        """
        file, options = self.templates.get(change.rule.template), self.options
        if change.content is None or file is None or file.data is None:
            return None
        if change.content.count(b"\n") >= MAX_LINES:
            return None
        options.check_time()
        name = change.rule.template
        if name not in self.sources:
            self.sources[name] = file.source(f"templates/{name}")
        source = self.sources[name]
        template = self.compiled.get(file.data)
        if template is None:
            template = TracedTemplate(Compilation(source, DIALECTS[options.dialect]))
            self.compiled[file.data] = template
        context = self.contexts.of(change.rule, change.trigger)
        traced = template.render(context, clock=options.clock, seed=options.seed, limits=options.limits)
        if traced is None or traced.text.encode("utf-8", "surrogateescape") != change.content:
            return None
        lines = list(lines_of(traced, source, Origins(self.layers, change.rule)))
        count = sum(len(part.origins) + len(part.because) for line in lines for part in line.parts)
        return None if count > MAX_ORIGINS else lines


def lines_of(traced: Traced, source: Source, origins: Origins) -> Iterator[Line]:
    """Yield the lines of a traced render's text. A piece over several lines becomes a part of each line."""
    number, begins = 1, 1  # a line of the output, and the line of the template in which that line begins
    parts: list[Part] = []
    places: dict[int, tuple[int, int]] = {}  # a loop prints the same sites many times
    for piece in traced.pieces:
        offset, is_text = max(piece.site.start, 0), piece.site.kind == TEXT
        kind = VALUE if piece.site.kind == trace.CAPTURED else piece.site.kind
        values = origins.of(piece.reads)
        because = tuple(origin for origin in origins.of(piece.because) if origin.kind != "default")
        compared = origins.of(sorted(traced.compared.intersection((*piece.reads, *piece.because))))
        texts = piece.text.split("\n")
        for index, text in enumerate(texts):
            if index:
                yield Line(number, parts[0].line if parts else begins, tuple(parts))
                number, parts, begins = number + 1, [], source.line_at(offset)
            # An empty value is a part, too, because a name that is not set prints nothing.
            # The line end becomes a separate part if it depends on other values than the rest of the line.
            is_end = index < len(texts) - 1 and (parts[-1][4:6] if parts else ((), ())) != (values, because)
            if text or not (piece.text or is_text) or (is_end and (values or because)):
                if offset not in places:
                    span = source.span(offset, offset)
                    places[offset] = span.line, span.column
                parts.append(Part(text, *places[offset], kind, values, because, compared))
            offset += len(text) + 1 if is_text else 0
    if parts:
        yield Line(number, parts[0].line, tuple(parts))


def readings(source: Source, rule: Rule, layers: Layers, dialect: str) -> list[Reading]:
    """Return every name that a template reads from its context, sorted by the first line that reads it.

    If the template computes a key, the result has the name of the whole map, such as ``config``. Raises
    TemplaterError if the template is invalid.
    """
    lines: dict[Name, dict[int, None]] = {}
    for read in parsed_reads(source, dialect):
        lines.setdefault(name_of(read), {})[read.spans[0].line] = None
    return [Reading(layers.origin(name, rule), tuple(found)) for name, found in lines.items()]


def keys_read(sources: Iterable[Source], dialect: str, seconds: float) -> set[str] | None:
    """Return the configuration keys that templates read.

    Return None if a template is invalid, reads all keys or computes a key. Also return None if parsing takes
    more than ``seconds`` of processor time.
    """
    found: set[str] = set()
    end = thread_time() + seconds
    for source in sources:
        try:
            names = {name_of(read) for read in parsed_reads(source, dialect)}
        except TemplaterError:
            return None
        if ("config",) in names or thread_time() > end:
            return None
        found.update(key for root, *keys in names if root == "config" for key in keys)
        if not names.isdisjoint((("instance",), ("instance", "privileged"))):
            found.add("security.privileged")
    return found
