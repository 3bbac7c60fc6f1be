"""The base class of the code generator: functions, names, and the state at the current point in the code."""

from collections.abc import Callable
from io import StringIO
from typing import cast

from jinja2.compiler import CodeGenerator, Frame

from ..dialect import Dialect
from ..library import Library
from ..syntax.tree import Document
from .emit import Emitter
from .nodes import EvalContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jinja2 import Environment


class Module:
    """One compilation: the facts that its templates share, and the functions that they import.

    ``bound`` are the names that a scope contains.
    ``called`` are the bound names that a template calls: an unset one behaves differently from nil.
    ``field_holders`` are the bound names that may hold a field of a loop.
    ``forloop`` is true if a template may read that name. Only then do loops maintain it.
    """

    def __init__(self, document: Document, dialect: Dialect, library: Library, spans: bool) -> None:
        self.document = document
        self.dialect = dialect
        self.library = library
        self.spans = spans
        self.emitter = Emitter(document)
        self.bound: list[str] = []
        self.called: list[str] = []
        self.field_holders: set[str] = set()
        self.forloop = False
        self.imports: dict[tuple[str, str], str] = {}

    def imported(self, module: str, name: str) -> str:
        """Return the name that generated code uses for a function of a module."""
        return self.imports.setdefault((module, name), f"g{len(self.imports)}")


class Settings:
    """The part of a Jinja2 environment that the code generator reads.

    A real environment imports the lexer, parser, filters and loaders of Jinja2. It is created only if the
    generator reads another attribute.
    """

    autoescape = False

    def __getattr__(self, name: str) -> object:
        from jinja2 import Environment

        return getattr(Environment(), name)  # noqa: S701 - this environment renders nothing


SETTINGS = cast("Environment", Settings())


class Writer(CodeGenerator):
    """Writes the functions of one template.

    ``scope`` is the variable with the private context, a dict of every name that the template may bind.
    ``names`` are the other names. They become parameters, read once from the public context.
    ``counting`` is true if the template has loops, macros or blocks, so that work must be counted.
    ``counted`` is true if the current code may run repeatedly, so that its output must be counted.
    ``mode`` is the current state of autoescape, or None if only the render knows it.
    ``dynamic`` is true if a macro or block may run with either state of autoescape.
    ``captured`` is the function with the body of the current ``filter`` tag, or "".
    ``nesting`` and ``brackets`` are the current depth of Python blocks and brackets.
    ``bodies`` has the functions of each block's bodies.
    """

    def __init__(self, emitter: Emitter, module: Module, unit: int) -> None:
        super().__init__(SETTINGS, None, None, StringIO(), optimized=False)
        self.emitter = emitter
        self.module = module
        self.unit = unit
        self.spans = module.spans
        self.bound = module.bound
        self.names: dict[str, None] = {}
        self.functions: list[str] = []
        self.deferred: list[Callable[[], None]] = []
        self.bodies: dict[str, list[str]] = {}
        self.serial = 0
        self.counting = self.counted = self.dynamic = False
        self.mode: bool | None = True
        self.captured = ""
        self.frame = Frame(EvalContext(SETTINGS))
        self.begin()

    def begin(self) -> None:
        """Start the text of a new function."""
        self.stream = self.written = StringIO()
        self._indentation, self._new_lines, self._first_write = 1, 0, False
        self.scope = "s"
        self.nesting = self.brackets = 0

    def later(self, parameters: str, name: str, write: Callable[[], None]) -> None:
        """Schedule a function with ``s`` as its scope, to be written after the current one.

        This way, a deeply nested template does not exhaust the stack of the generator.
        """
        mode, captured = self.mode, self.captured

        def write_it() -> None:
            self.begin()
            self.mode, self.captured, self.counted = mode, captured, self.counting
            self.write(f"    def {name}({parameters}):")
            self.indent()
            if self.counting:
                self.writeline("nonlocal steps, left")
            write()
            self.functions.append(self.written.getvalue() + "\n")

        self.deferred.append(write_it)

    def write_deferred(self) -> None:
        while self.deferred:
            self.deferred.pop()()

    def fresh(self, prefix: str) -> str:
        """Return a new name for generated code."""
        self.serial += 1
        return f"{prefix}{self.serial}"
