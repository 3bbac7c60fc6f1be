"""The ground that the code writers stand on: functions, names, and what is known where we write."""

from collections.abc import Callable
from io import StringIO
from typing import cast

from jinja2.compiler import CodeGenerator, Frame
from jinja2.nodes import EvalContext

from ..dialect import Dialect
from ..library import Library
from ..syntax.tree import Document
from .emit import Emitter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jinja2 import Environment


class Module:
    """One compilation: what its templates share, and what they need from elsewhere.

    ``bound`` are the names that scopes keep, ``called`` those of them for which it matters whether they
    are unset or nil, ``held`` those that may hold a field of a loop; ``forloop``: a template reads it, so
    loops keep it.
    """

    def __init__(self, document: Document, dialect: Dialect, library: Library, spans: bool) -> None:
        self.document = document
        self.dialect = dialect
        self.library = library
        self.spans = spans
        self.emitter = Emitter(document)
        self.bound: list[str] = []
        self.called: list[str] = []
        self.held: set[str] = set()
        self.forloop = False
        self.imports: dict[tuple[str, str], str] = {}

    def imported(self, module: str, name: str) -> str:
        """The alias under which generated code knows a module's function."""
        return self.imports.setdefault((module, name), f"g{len(self.imports)}")


class Settings:
    """What Jinja2's generator asks of an environment as we use it. A real one brings its lexer, parser,
    filters and loaders along; it is made should a generator ask for more."""

    autoescape = False

    def __getattr__(self, name: str) -> object:
        from jinja2 import Environment

        return getattr(Environment(), name)  # noqa: S701 - nothing is rendered by it


SETTINGS = cast("Environment", Settings())


class Writer(CodeGenerator):
    """Writes the functions of one template.

    ``scope`` is the variable that holds the private context, a plain dict with every name that may be
    bound; names never bound (``names``) are read from the public context once, at the top. ``counting``:
    there are loops or macros, so work is counted, and ``counted``: output is, here. ``mode`` is
    autoescape here, None where it is known at run time only (``dynamic``: something can change it).
    ``nesting`` and ``brackets`` measure how deep in Python we are.
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
        #: the functions of each block's bodies
        self.bodies: dict[str, list[str]] = {}
        self.serial = 0
        self.counting = self.counted = self.dynamic = False
        self.mode: bool | None = True
        self.captured = ""
        self.frame = Frame(EvalContext(SETTINGS))
        self.begin()

    def begin(self) -> None:
        """Start on the text of a function's body."""
        self.stream = self.written = StringIO()
        self._indentation, self._new_lines, self._first_write = 1, 0, False
        self.scope = "s"
        self.nesting = self.brackets = 0

    def later(self, parameters: str, name: str, write: Callable[[], None]) -> None:
        """A function beside the others, with ``s`` as its scope. It is written when the current one is
        done, so that the nesting of a template never uses up our own stack."""
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
        """A name that nothing else has."""
        self.serial += 1
        return f"{prefix}{self.serial}"
