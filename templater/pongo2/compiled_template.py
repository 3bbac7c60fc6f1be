"""The class of compiled templates. The methods of the class render a template and explain errors."""

from collections.abc import Mapping
from copy import copy
from types import CodeType
from typing import TYPE_CHECKING, Any

from ..model.entry import TEMPLATE_BYTES
from ..model.errors import LimitError, RenderError, TemplateError, TemplaterError
from ..model.source import Source, Span
from . import execution
from .codegen.compiler import code_of
from .dialect import V6, Dialect
from .limit_position import reached
from .parse_with_includes import Compilation, Loader, names_missing_template, resolve
from .render_state import Fault, Limits, Program
from .syntax.hints import render_hint
from .values import Failure, Panic

if TYPE_CHECKING:
    from .names_read import Read


class Template:
    """A compiled template. marshal can store its ``code``, and ``execution.run`` can render the code."""

    def __init__(self, compilation: Compilation, limits: Limits | None = None) -> None:
        self.compilation = compilation
        self.limits = limits
        module = compilation.module(spans=False)
        self.code: CodeType = code_of(module)
        self.program = self.loaded(self.code)
        self.imports = tuple(module.imports)
        #: the program with spans; added after the first failed render
        self.with_spans: list[Program] = []

    @property
    def modules(self) -> tuple[str, ...]:
        """Return the names of the modules that ``code`` imports in addition to ``runtime``.

        The modules contain the template's filters and tags.
        """
        located = ("templater.pongo2.error_positions",) if self.program.places else ()
        return (*sorted({module for module, _ in self.imports}), *located)

    @property
    def source(self) -> Source:
        return self.compilation.source

    @property
    def reads(self) -> "tuple[Read, ...]":
        """Return every name that the template reads from its context, in the order of the source.

        Each access of this property parses the template again.
        """
        from .names_read import reads_of

        return reads_of(self.compilation.parsed())

    @property
    def dialect(self) -> Dialect:
        return self.compilation.dialect

    def named(self, source: Source) -> "Template":
        """Return a copy of this template for a source with the same text and another name.

        The template must have no loader.
        """
        twin = copy(self)
        twin.compilation = self.compilation.named(source)
        return twin

    def loaded(self, code: CodeType) -> Program:
        program = execution.load(code)
        if self.compilation.loader is not None:
            program.open = self.open
        return program

    def open(self, name: str, if_exists: bool) -> Program | None:
        """Compile a template whose name the current render has computed.

        If the template is missing, return None if ``if_exists`` is true, and otherwise raise Failure.
        """
        resolved = resolve(self.source.name, name)
        text = self.compilation.fetch(resolved)
        if text is None:
            if if_exists:
                return None
            raise Failure("unable to resolve template", sender="fromfile")
        other = Compilation(
            Source(resolved, text), self.dialect, wrapped=False, loader=self.compilation.loader,
            trim=self.compilation.trim, lstrip=self.compilation.lstrip, longest=self.compilation.longest,
        )  # fmt: skip
        try:
            return Template(other, self.limits).program
        except TemplateError as error:
            if if_exists and names_missing_template(error):
                return None
            raise

    def render(
        self,
        context: Mapping[str, Any],
        *,
        clock: float | None = None,
        seed: int | None = None,
        limits: Limits | None = None,
    ) -> str:
        """Render the template and return its output. Bytes that are not UTF-8 become surrogate escapes.

        * ``clock``: the time that ``now`` prints, in seconds since the epoch, by default the current time
        * ``seed``: the seed of random numbers, by default from ``clock``

        Raises RenderError if the template fails, and LimitError if it exceeds a limit.
        """
        try:
            return execution.execute(self.program, context, clock, seed, limits or self.limits)
        except LimitError as error:
            if error.span is None:
                error.span = reached(self.compilation, error) or self.source.span(0, 0)
            raise
        except (Failure, Panic, Fault) as error:
            failure = error
        raise self.explained(failure, context, clock, seed, limits)

    def explained(
        self,
        error: Failure | Panic | Fault,
        context: Mapping[str, Any],
        clock: float | None,
        seed: int | None,
        limits: Limits | None,
    ) -> TemplaterError:
        """Return the error of a failed render, with its source position.

        If the program has no source positions, compile and render the template again.
        """
        program = self.program
        if not program.places:
            program = self.located()
            try:
                execution.execute(program, context, clock, seed, limits or self.limits)
            except (Failure, Panic, Fault) as again:
                error = again
        if not isinstance(error, Fault):
            return execution.unplaced(error)
        message = execution.short_message(error.message)
        made = RenderError(message, self.span(program, error.place), render_hint(message))
        made.pongo2_error = error.text
        return made

    def located(self) -> Program:
        """Return the program with source positions. All templates with the same text share this program."""
        if not self.with_spans:
            self.with_spans.append(self.loaded(code_of(self.compilation.module(spans=True))))
        return self.with_spans[0]

    def span(self, program: Program, place: int | None) -> Span | None:
        if place is None:
            return None
        found = program.places[place]
        unit = next(unit for unit in self.compilation.units if unit.name == found.name)
        return unit.span(found.start, found.end)


def compile_template(
    source: Source | str | bytes,
    dialect: Dialect = V6,
    *,
    mode: str = "incus",
    loader: Loader | None = None,
    trim_blocks: bool = False,
    lstrip_blocks: bool = False,
    limits: Limits | None = None,
) -> Template:
    """Compile a template; see `templater.pongo2.compile`."""
    if not isinstance(source, Source):
        source = Source("<template>", source)
    compilation = Compilation(
        source, dialect, wrapped=mode == "incus", loader=loader, trim=trim_blocks, lstrip=lstrip_blocks,
        longest=TEMPLATE_BYTES if limits is None else limits.source,
    )  # fmt: skip
    return Template(compilation, limits)
