"""Compiling a template, and the compiled template."""

from collections.abc import Mapping
from itertools import count
from posixpath import dirname, isabs, join, normpath
from types import CodeType
from typing import TYPE_CHECKING, Any, Protocol

from ..model.entry import TEMPLATE_BYTES
from ..model.errors import InputError, LimitError, RenderError, TemplateError, TemplaterError
from ..model.source import Source, Span
from . import runtime
from .codegen.compiler import code_of
from .codegen.writer import Module
from .dialect import V6, Dialect
from .library import library_for
from .state import Fault, Limits, Program
from .syntax.lexer import lex
from .syntax.parser import parse, trim_blocks
from .syntax.tokens import Token, Unit, pongo2_text, syntax_error
from .syntax.tree import Document
from .values import Failure, Panic

if TYPE_CHECKING:
    from .reads import Read

#: what LXD and Incus forbid in an image's templates
BANNED = frozenset(("extends", "import", "include", "ssi"))
#: a larger template is not written a second time to say where in it a limit was met
MAX_LOCATED = 64 << 10

#: the name of generated code in a traceback, and a place in its text
GENERATED = "<template>"
_PLACE = r"(?:\bat|_at)\(render, (\d+)"

MAX_TEMPLATES = 100


class Loader(Protocol):
    """Where ``include``, ``extends``, ``import`` and ``ssi`` find other templates by name."""

    def read(self, name: str) -> str | bytes:
        """The text of that name; InputError if there is none."""


class Compilation:
    """One source with its options: makes documents of it and of the templates that it names."""

    def __init__(
        self,
        source: Source,
        dialect: Dialect,
        *,
        wrapped: bool = True,
        loader: Loader | None = None,
        trim: bool = False,
        lstrip: bool = False,
        longest: int = TEMPLATE_BYTES,
    ) -> None:
        self.source = source
        self.longest = longest
        self.dialect = dialect
        self.wrapped = wrapped
        self.loader = loader
        self.trim = trim
        self.lstrip = lstrip
        self.units: list[Unit] = []
        self.bound: set[str] = set()
        self.numbers = count()

    def parsed(self) -> Document:
        """Parse the source, and the templates that it names."""
        self.units, self.bound, self.numbers = [], set(), count()
        name = "<string>" if self.loader is None or self.wrapped else self.source.name
        try:
            return self.document(Unit(self.source, name, wrapped=self.wrapped))
        except RecursionError:
            span = self.source.span(0, 0)
            raise LimitError("the template nests too deeply to be compiled", span) from None

    def module(self, *, spans: bool) -> Module:
        """Return the parsed source, ready for code generation."""
        return Module(self.parsed(), self.dialect, library_for(self.dialect), spans)

    def document(self, unit: Unit) -> Document:
        if len(unit.text) > self.longest:
            raise LimitError(
                f"the template is longer than {self.longest} characters",
                unit.span(0, 1),
                hint="--limit template=32MiB allows 32 MiB",
            )
        check_encodable(unit)
        self.units.append(unit)
        if len(self.units) > MAX_TEMPLATES:
            raise LimitError(f"more than {MAX_TEMPLATES} templates include each other", unit.span(0, 1))
        tokens = lex(unit, self.dialect)
        if self.trim or self.lstrip:
            trim_blocks(tokens, self.trim, self.lstrip)
        banned = BANNED if self.wrapped else frozenset()
        has_loader = self.loader is not None
        document = Document(
            unit, tokens, self.dialect, library_for(self.dialect), banned,
            self.load if has_loader else None, self.bound, self.read if has_loader else None, self.numbers,
        )  # fmt: skip
        return parse(document)

    def load(self, document: Document, name: str, token: Token, missing_ok: bool) -> Document | None:
        resolved = resolve(document.unit.name, name)
        text = self.fetch(resolved)
        if text is None:
            if missing_ok:
                return None
            raise self.missing(document, resolved, token, "fromfile", "unable to resolve template", resolved)
        try:
            return self.document(Unit(Source(resolved, text), resolved))
        except TemplateError as error:
            if missing_ok and names_nothing(error):
                return None
            raise

    def read(self, document: Document, name: str, token: Token) -> str:
        resolved = resolve(document.unit.name, name)
        text = self.fetch(resolved)
        if text is None:
            message = f"open {resolved}: no such file or directory"
            raise self.missing(document, resolved, token, "tag:ssi", message, "")
        return Source(resolved, text).text

    def fetch(self, name: str) -> str | bytes | None:
        assert self.loader is not None
        try:
            return self.loader.read(name)
        except InputError:
            return None

    def missing(
        self, document: Document, name: str, token: Token, sender: str, message: str, shown: str
    ) -> TemplaterError:
        position = document.unit.position(token.start)
        text = pongo2_text(sender, message, shown, position, token.value)
        return syntax_error(f"no template {name!r}", token.span, text)


def check_encodable(unit: Unit) -> None:
    """Refuse text that has no UTF-8 form; undecodable bytes (U+DC80 to U+DCFF) are fine."""
    try:
        if not unit.text.isascii():
            unit.text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        span = unit.span(error.start, error.start + 1)
        raise InputError("the template contains half of a surrogate pair", span) from None


def names_nothing(error: TemplateError) -> bool:
    """Whether a template names another that does not exist. ``if_exists`` takes that for its own."""
    return (error.pongo2_error or "").startswith("[Error (where: fromfile)")


def resolve(base: str, name: str) -> str:
    """A name in a template: relative to the template that it stands in."""
    if isabs(name) or base == "<string>":
        return normpath(name)
    return normpath(join(dirname(base), name))


class Template:
    """A compiled template. ``code`` can be stored with marshal and run by ``pongo2.runtime.run``."""

    def __init__(self, compilation: Compilation, limits: Limits | None = None) -> None:
        self.compilation = compilation
        self.limits = limits
        module = compilation.module(spans=False)
        self.code: CodeType = code_of(module)
        self.program = self.loaded(self.code)
        self.imports = tuple(module.imports)

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that running ``code`` imports, beyond ``runtime``: those of its filters and tags, which
        import nothing later."""
        located = ("templater.pongo2.located",) if self.program.places else ()
        return (*sorted({module for module, _ in self.imports}), *located)

    @property
    def source(self) -> Source:
        return self.compilation.source

    @property
    def reads(self) -> "tuple[Read, ...]":
        """Every name that the template reads from its context, in order of place. Parses it again."""
        from .reads import reads_of

        return reads_of(self.compilation.parsed())

    @property
    def dialect(self) -> Dialect:
        return self.compilation.dialect

    def loaded(self, code: CodeType) -> Program:
        program = runtime.load(code)
        if self.compilation.loader is not None:
            program.open = self.open
        return program

    def open(self, name: str, if_exists: bool) -> Program | None:
        """A template whose name is known only while rendering."""
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
            if if_exists and names_nothing(error):
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
        """The text, with bytes that are not UTF-8 as surrogate escapes.

        ``clock`` is what ``now`` shows, in seconds since the epoch; ``seed`` decides what is random.
        The same inputs give the same text.
        """
        try:
            return runtime.execute(self.program, context, clock, seed, limits or self.limits)
        except LimitError as error:
            if error.span is None:
                error.span = self.reached(error) or self.source.span(0, 0)
            raise
        except (Failure, Panic, Fault) as error:
            failed = error
        raise self.explained(failed, context, clock, seed, limits)

    def explained(
        self,
        error: Failure | Panic | Fault,
        context: Mapping[str, Any],
        clock: float | None,
        seed: int | None,
        limits: Limits | None,
    ) -> TemplaterError:
        """The failure with its place: the same render once more, by code that knows where it is."""
        program = self.program
        if not program.places:
            program = self.loaded(code_of(self.compilation.module(spans=True)))
            try:
                runtime.execute(program, context, clock, seed, limits or self.limits)
            except (Failure, Panic, Fault) as again:
                error = again
        if not isinstance(error, Fault):
            return runtime.unplaced(error)
        message = runtime.short_message(error.message)
        made = RenderError(message, self.span(program, error.place), render_hint(message))
        made.pongo2_error = error.text
        return made

    def reached(self, error: LimitError) -> Span | None:
        """Where a limit was met: the loop that went on too long, the call or filter that was one too many.

        Nothing knows it while rendering. The line of the generated code at which it happened has its like
        in the code with places. The limit on the whole output has no place.
        """
        from .codegen.compiler import source_of

        line = line_of(error) or line_of(error.__context__)
        failed = isinstance(error.__context__, RecursionError | MemoryError)
        if not line or failed or len(self.source.text) > MAX_LOCATED:
            return None
        try:
            plain = source_of(self.compilation.module(spans=False)).split("\n")
            module = self.compilation.module(spans=True)
            located = source_of(module).split("\n")
        except (LimitError, RecursionError):
            return None
        place = place_at(located, line - 1) if len(located) == len(plain) else None
        return None if place is None else module.emitter.places[place].span

    def span(self, program: Program, place: int | None) -> Span | None:
        if place is None:
            return None
        found = program.places[place]
        unit = next(unit for unit in self.compilation.units if unit.name == found.name)
        return unit.span(found.start, found.end)


def line_of(error: BaseException | None) -> int:
    """The innermost line of generated code on an error's way."""
    found = 0
    trace = None if error is None else error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == GENERATED:
            found = trace.tb_lineno
        trace = trace.tb_next
    return found


def place_at(lines: list[str], number: int) -> int | None:
    """The place of a line of generated code: its own, or, where work is counted, that of the loop around."""
    import re

    if "finish(render, " in lines[number]:
        return None
    own, counted = re.search(_PLACE, lines[number]), "= spent(" in lines[number]
    while own is None and counted and number:
        number -= 1
        own = re.search(_PLACE, lines[number])
    return None if own is None else int(own[1])


def render_hint(message: str) -> str:
    if message.startswith(("can't access a field", "can't access an index")):
        return "only maps have members; a string or number ends the path"
    if "calling argument count" in message and "config_get" in message:
        return "config_get takes a key and a default"
    return ""


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
    """See `templater.pongo2.compile`."""
    if not isinstance(source, Source):
        source = Source("<template>", source)
    compilation = Compilation(
        source, dialect, wrapped=mode == "incus", loader=loader, trim=trim_blocks, lstrip=lstrip_blocks,
        longest=TEMPLATE_BYTES if limits is None else limits.source,
    )  # fmt: skip
    return Template(compilation, limits)
