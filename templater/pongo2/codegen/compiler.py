"""The compiler: parsed templates become Jinja2's nodes, then Python source, then a code object.

The generated code never accesses an attribute. Code without spans (source positions) is faster. After a
failed render, templater compiles the template again with spans, to find the position of the failure.
"""

from types import CodeType

from ...model.errors import LimitError
from .generator_state import Module
from .jinja2_nodes import all_field_holders
from .python_of_statements import StatementWriter


def source_of(module: Module) -> str:
    """Return the Python source of a module."""
    emitter = module.emitter
    # If one template binds a name, the scopes of all templates must contain this name. So all templates
    # become nodes before any code is written.
    # `unit` appends each included document to `units`, so the loop also visits that document.
    trees = [(emitter.unit(document), document) for document in emitter.units]
    module.spans = module.spans or (module.dialect.macro_errors_print and emitter.has_macros)
    bound = module.document.bound
    module.forloop = "forloop" in emitter.loaded | bound or len(trees) > 1 or emitter.has_lazy_includes
    module.bound = sorted(bound | {"forloop"} if module.forloop else bound)
    if module.forloop:
        module.field_holders = all_field_holders(emitter.field_holders, emitter.copies)
    marked = {"forloop"} & bound if module.forloop else set()
    module.called = sorted(emitter.called & emitter.assigned | marked)
    functions, units = [], []
    for number, (tree, document) in enumerate(trees):
        writer = StatementWriter(emitter, module, number)
        functions.append(writer.template(tree))
        units.append(f"(root{number}, {tuple(writer.names)!r}, {tuple(document.exported)!r})")
    imports = tuple((alias, name, function) for (name, function), alias in module.imports.items())
    places: tuple[object, ...] = ()
    if module.spans:
        from ..error_positions import positions  # not needed for the first render of a hook

        places = tuple(positions(emitter.places))
    dialect = module.dialect
    return "".join(functions) + (
        f"UNITS = ({', '.join(units)},)\nBOUND = {tuple(module.bound)!r}\nIMPORTS = {imports!r}\n"
        f"PLACES = {places!r}\nDIALECT = {(dialect.name, dialect.version, dialect.old)!r}\n"
    )


def code_of(module: Module) -> CodeType:
    """Return the code object of a module. Raises LimitError if the template nests too deeply."""
    try:
        return compile(source_of(module), "<template>", "exec", dont_inherit=True)
    except (RecursionError, MemoryError) as error:
        span = module.document.unit.span(0, 0)
        raise LimitError("the template nests too deeply to be compiled", span) from error
