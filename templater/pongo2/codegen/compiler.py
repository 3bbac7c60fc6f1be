"""A parsed template into a code object, by way of Jinja2's nodes and its code generator.

The generated module has constants, and one function a template; it contains no attribute access at all.
A compilation comes in two forms. The plain one knows no places. The one with spans hands every operation
that can fail the number of its place; it is made and run only to say where a failed render failed.
"""

from collections.abc import Iterable, Iterator
from types import CodeType

from ...model.errors import LimitError
from ..syntax.tokens import Token
from .emit import holders
from .statements import StatementWriter
from .writer import Module


def source_of(module: Module) -> str:
    """The module's text. Templates are emitted first, since any may bind a name for all."""
    emitter = module.emitter
    trees = [(emitter.unit(document), document) for document in emitter.units]  # which grow meanwhile
    module.spans = module.spans or (module.dialect.macro_errors_print and emitter.macros)
    bound = module.document.bound
    module.forloop = "forloop" in emitter.loaded | bound or len(trees) > 1 or emitter.lazy_includes
    module.bound = sorted(bound | {"forloop"} if module.forloop else bound)
    module.held = holders(emitter.held, emitter.copies) if module.forloop else set()
    marked = {"forloop"} & bound if module.forloop else set()
    module.called = sorted(emitter.called & emitter.assigned | marked)
    functions, units = [], []
    for number, (tree, document) in enumerate(trees):
        writer = StatementWriter(emitter, module, number)
        functions.append(writer.template(tree))
        units.append(f"(root{number}, {tuple(writer.names)!r}, {tuple(document.exported)!r})")
    imports = tuple((alias, name, function) for (name, function), alias in module.imports.items())
    places = tuple(positions(emitter.places)) if module.spans else ()
    dialect = module.dialect
    return "".join(functions) + (
        f"UNITS = ({', '.join(units)},)\nBOUND = {tuple(module.bound)!r}\nIMPORTS = {imports!r}\n"
        f"PLACES = {places!r}\nDIALECT = {(dialect.name, dialect.version, dialect.old)!r}\n"
    )


def positions(tokens: Iterable[Token]) -> Iterator[tuple[str, int, int, str, int, int]]:
    """What errors need of each token, for ``runtime.Place``. One pass over each text, however long."""
    tokens = list(tokens)
    found: dict[int, tuple[int, int]] = {}
    for unit in {id(token.unit): token.unit for token in tokens}.values():
        done, line, column = 0, 1, 1
        for token in sorted((t for t in tokens if t.unit is unit), key=lambda t: t.start):
            between = unit.text[done : token.start]
            newline = between.rfind("\n")
            if newline >= 0:
                line, column = line + between.count("\n"), 1
            column += len(between[newline + 1 :].encode("utf-8", "surrogateescape"))
            done = token.start
            found[id(token)] = line, column
    for token in tokens:
        yield token.unit.name, *found[id(token)], token.value, token.start, token.end


def code_of(module: Module) -> CodeType:
    try:
        return compile(source_of(module), "<template>", "exec", dont_inherit=True)
    except (RecursionError, MemoryError) as error:
        span = module.document.unit.span(0, 0)
        raise LimitError("the template nests too deeply to be compiled", span) from error
