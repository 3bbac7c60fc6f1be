"""A parsed template into a code object, by way of Jinja2's nodes and its code generator.

The generated module has constants, and one function a template; it contains no attribute access at all.
A compilation comes in two forms. The plain one knows no places. The one with spans hands every operation
that can fail the number of its place; it is made and run only to say where a failed render failed.
"""

from types import CodeType

from jinja2 import Environment

from ..errors import LimitError
from .dialect import Dialect
from .emit import Emitter
from .library import Library
from .parser import Document
from .statements import StatementWriter


class Module:
    """One compilation: the functions of all its templates, and what they need from elsewhere."""

    def __init__(self, document: Document, dialect: Dialect, library: Library, spans: bool) -> None:
        self.environment = environment()
        self.document = document
        self.dialect = dialect
        self.library = library
        self.spans = spans
        self.emitter = Emitter(document)
        self.bound: list[str] = []
        self.called: list[str] = []
        self.forloop = False
        self.imports: dict[tuple[str, str], str] = {}

    def imported(self, module: str, name: str) -> str:
        """The alias under which generated code knows a module's function."""
        return self.imports.setdefault((module, name), f"g{len(self.imports)}")

    def source(self) -> str:
        """The module's text. Templates are emitted first, since any may bind a name for all."""
        emitter = self.emitter
        trees = [(emitter.unit(document), document) for document in emitter.units]  # which grow meanwhile
        self.spans = self.spans or (self.dialect.macro_errors_print and emitter.macros)
        bound = self.document.bound
        self.forloop = "forloop" in emitter.loaded | bound or len(trees) > 1 or emitter.lazy_includes
        self.bound = sorted(bound | {"forloop"} if self.forloop else bound)
        self.called = sorted(emitter.called & bound)
        functions, units = [], []
        for number, (tree, document) in enumerate(trees):
            generator = StatementWriter(emitter, self, number)
            functions.append(generator.template(tree))
            units.append(f"(root{number}, {tuple(generator.names)!r}, {tuple(document.exported)!r})")
        imports = tuple((alias, module, name) for (module, name), alias in self.imports.items())
        return "".join(functions) + (
            f"UNITS = ({', '.join(units)},)\nBOUND = {tuple(self.bound)!r}\nIMPORTS = {imports!r}\n"
            f"PLACES = {self.places()!r}\n"
            f"DIALECT = {(self.dialect.name, self.dialect.version, self.dialect.old)!r}\n"
        )

    def places(self) -> tuple[tuple[str, int, int, str, int, int], ...]:
        if not self.spans:
            return ()
        return tuple(
            (token.unit.name, *token.unit.position(token.start), token.value, token.start, token.end)
            for token in self.emitter.places
        )

    def code(self) -> CodeType:
        try:
            return compile(self.source(), "<template>", "exec", dont_inherit=True)
        except (RecursionError, MemoryError) as error:
            raise LimitError("the template nests too deeply to be compiled") from error


_ENVIRONMENT: list[Environment] = []


def environment() -> Environment:
    """Jinja2's generator wants one; nothing of it is used."""
    if not _ENVIRONMENT:
        _ENVIRONMENT.append(Environment())  # noqa: S701 - nothing is rendered by it
    return _ENVIRONMENT[0]
