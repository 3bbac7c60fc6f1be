"""The base class of the code generator, with the state of the code that is being written."""

from collections.abc import Callable
from io import StringIO
from typing import cast

from jinja2.compiler import CodeGenerator, Frame

from ..dialect import Dialect
from ..filters_and_tags import Library
from ..syntax.tree import Document
from .jinja2_nodes import Emitter, EvalContext, Expr, Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jinja2 import Environment

#: the maximum depth of brackets in generated code; a deeper expression becomes a function
MAX_BRACKETS = 60


class Module:
    """The facts that all templates of one compilation share, and the functions that generated code imports.

    * ``bound`` has the names that a scope contains.
    * ``called`` has the bound names that a template calls. Generated code records whether each name is set.
    * ``field_holders`` has the bound names that may hold a field of a loop.
    * ``forloop`` is true if a template may read the variable ``forloop``.
    * ``traced`` is true if `tracing.recorder` records the printed texts.
    """

    def __init__(self, document: Document, dialect: Dialect, library: Library, spans: bool) -> None:
        self.document = document
        self.dialect = dialect
        self.library = library
        self.spans = spans
        self.emitter = Emitter(document)
        self.bound: list[str] = []
        # A call of an unset name gives nil, but a call of a name with the value nil fails.
        self.called: list[str] = []
        self.field_holders: set[str] = set()
        self.forloop = False
        self.traced = False
        self.imports: dict[tuple[str, str], str] = {}

    def imported(self, module: str, name: str) -> str:
        """Import the function ``name`` of a module into generated code.

        Return the function's name in the generated code, such as "g0".
        """
        return self.imports.setdefault((module, name), f"g{len(self.imports)}")


class Settings:
    """A stand-in for a Jinja2 environment, which is slow to import.

    Reading an attribute other than ``autoescape`` creates a real environment.
    """

    autoescape = False

    def __getattr__(self, name: str) -> object:
        from jinja2 import Environment

        return getattr(Environment(), name)  # noqa: S701 - this environment renders nothing


SETTINGS = cast("Environment", Settings())


class Writer(CodeGenerator):
    """The base class of the code generator for one template. The generated code consists of functions.

    * ``scope``: the Python variable with the scope, a dict of every name that a template may bind
    * ``names``: the names that the template reads from the context, because no template binds them
    * ``counting``: whether the code counts its work, because the template has loops, macros or blocks
    * ``counted``: whether the current code may run repeatedly, and so counts its output
    * ``mode``: whether autoescape is on in the current code; None if known only during a render
    * ``dynamic``: whether a macro or block may run both with and without autoescape
    * ``captured``: the name of the function with the body of the current ``filter`` tag, or ""
    * ``nesting``, ``brackets``: the current depth of Python blocks and of brackets
    * ``temporaries``: the number of variables that the current statement uses
    * ``bodies``: for each block, the names of the functions with its bodies
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
        """Start a new generated function, whose text is still empty."""
        self.stream = self.written = StringIO()
        self._indentation, self._new_lines, self._first_write = 1, 0, False
        self.scope = "s"
        self.nesting = self.brackets = self.temporaries = 0

    def visit(self, node: Node, *args: object, **kwargs: object) -> object:
        """Write the code of a node. An expression that nests too deeply becomes a separate function."""
        if not isinstance(node, Expr):
            self.temporaries = 0
            return super().visit(node, *args, **kwargs)
        if self.brackets < MAX_BRACKETS:
            self.brackets += 4
            super().visit(node, *args, **kwargs)
            self.brackets -= 4
            return None
        name = self.fresh("x")
        self.later("s", name, lambda: self.return_value(node))
        self.write(f"{name}({self.scope})")
        return None

    def return_value(self, node: Expr) -> None:
        self.writeline("return ")
        self.visit(node, self.frame)

    def later(self, parameters: str, name: str, write: Callable[[], None]) -> None:
        """Schedule a new generated function. The function ``write`` writes its body.

        The new function gets the scope in its parameter ``s``.
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

        # The generator calls ``write_it`` after the current function is complete. So even for a deeply nested
        # template, the stack of the generator stays small.
        self.deferred.append(write_it)

    def write_deferred(self) -> None:
        while self.deferred:
            self.deferred.pop()()

    def temporary(self) -> str:
        """Return the name of a new variable for the current statement. Later statements reuse the name."""
        # Without this reuse, a function could have many variables, and Python's compiler would need more time
        # for each function inside it.
        self.temporaries += 1
        return f"v{self.temporaries}"

    def fresh(self, prefix: str) -> str:
        """Return a name that generated code does not use yet."""
        self.serial += 1
        return f"{prefix}{self.serial}"
