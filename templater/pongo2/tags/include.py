"""``{% include "file"|expression [if_exists] [with name=value … [only]] %}``: render another template."""

from ..dialect import DIALECTS
from ..syntax.tree import Invoke, Other, Print, Scope, Text
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..render_state import Render
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token
    from ..syntax.tree import Expression


@tag("include")
def include(document: "Parser", start: "Token", arguments: "Parser") -> "Print | Text":
    name = arguments.match("string")
    target: Other | Expression
    function: Callable[..., str]
    if name is not None:
        if_exists = arguments.match_word("if_exists") is not None
        found = document.open_if_exists(name.value, name, if_exists)
        if found is None:
            return Text("", start.start)
        target, function = Other(found), render_other
    else:
        function = render_named
        target = arguments.expression()
        if_exists = arguments.match_word("if_exists") is not None
    pairs: dict[str, Expression] = {}
    only = False
    if arguments.match_word("with"):
        while arguments.current is not None:
            key, value = arguments.pair()
            pairs[key] = value
            if arguments.match_word("only"):
                only = True
                break
    arguments.finish("Malformed 'include'-tag arguments.")
    names, values = tuple(pairs), pairs.values()
    return Print(Invoke(start, function, Scope(), target, only, if_exists, names, *values), raw=True)


def render_other(
    render: "Render",
    scope: "dict[str, Any]",
    unit: int,
    only: bool,
    if_exists: bool,
    names: "tuple[str, ...]",
    *values: "Any",
) -> str:
    """Return the output of the included template with the number ``unit``.

    The included template was compiled together with the including template.
    """
    context = context_of(render, scope, only, names, values)
    # Before pongo2 6.1, a template keeps the state of its tags, such as the position of ``cycle``, when it is
    # included again.
    state = None if DIALECTS[render.program.dialect].fixed else render.state
    return render.include(render.program, unit, context, state)


def render_named(
    render: "Render",
    scope: "dict[str, Any]",
    name: "Any",
    only: bool,
    if_exists: bool,
    names: "tuple[str, ...]",
    *values: "Any",
) -> str:
    """Return the output of the template ``name``. An expression computes this name during the render."""
    found = render.found(name, if_exists)
    if found is None:
        return ""
    return render.include(found, 0, context_of(render, scope, only, names, values))


def context_of(
    render: "Render",
    scope: "dict[str, Any]",
    only: bool,
    names: "tuple[str, ...]",
    values: "tuple[Any, ...]",
) -> "dict[str, Any]":
    """Return the context for the included template.

    The context is a copy, so the included template cannot change names of the including template.
    """
    context = {} if only else render.merged(scope)
    context.update(zip(names, values, strict=True))
    return context
