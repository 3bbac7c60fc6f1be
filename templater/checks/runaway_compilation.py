"""The compiled templates and the variables with which the check ``runaway`` finds slow templates.

* `CountedCompilation` counts the operations that take longer in pongo2 than in templater.
* `EveryBranchCompilation` also runs each branch and each loop at least once.
* `with_every_key` gives a value to each key that a template reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..model.errors import LimitError
from ..pongo2.codegen.generator_state import Module
from ..pongo2.daemon_context import config_getter
from ..pongo2.filters_and_tags import library_for
from ..pongo2.names_read import nodes
from ..pongo2.parse_with_includes import Compilation
from ..pongo2.render_state import Fault
from ..pongo2.syntax import tree
from ..pongo2.values import Failure, GoList, MethodMap, Panic, iterate, length
from .counted_filters import CountedLibrary

if TYPE_CHECKING:
    from ..pongo2.render_state import Render

#: pongo2 copies this many variables in the time of a step
VARIABLES_OF_STEP = 10

#: the value of each missing key. Templates split values at these characters.
TEXT = "10 a, b;c:d=e/f.g-h_i|j\nk"
#: Keys in ``Render.state``. The first key holds the body texts from which tags are computing their results.
#: The second key holds the first panic.
_TEXTS, _PANIC = -1, -2

Body = list[tree.Statement]


class CountedCompilation(Compilation):
    """A compiled template that also counts the operations that take longer in pongo2 than in templater."""

    def parsed(self) -> tree.Document:
        document = super().parsed()
        steps = len(self.bound) // VARIABLES_OF_STEP
        if steps:
            _count_copies(document, steps, len(self.bound))
        return document

    def module(self, *, spans: bool) -> Module:
        module = super().module(spans=spans)
        module.library = CountedLibrary(library_for(self.dialect).filters)  # type: ignore[assignment]
        return module


def _count_copies(document: tree.Document, steps: int, variables: int) -> None:
    for node in list(nodes(document)):
        if isinstance(node, tree.For):
            token = node.expression.token
            node.expression = tree.Invoke(token, count_copy, steps, variables, node.expression)
        elif isinstance(node, tree.Macro):
            node.body.insert(0, tree.Do(tree.Invoke(node.token, count_copy, steps, variables)))
        elif isinstance(node, tree.With) and (node.pairs or node.body):
            token = node.pairs[0][1].token if node.pairs else document.tokens[0]
            node.body.insert(0, tree.Do(tree.Invoke(token, count_copy, steps, variables)))
    for body in document.blocks.values():
        body.insert(0, tree.Do(tree.Invoke(document.tokens[0], count_copy, steps, variables)))


def count_copy(render: Render, steps: int, variables: int, value: Any = None) -> Any:
    """Subtract ``steps``, the cost of copying all variables, from the remaining steps of a render.

    Return ``value`` unchanged. Raises LimitError if fewer steps remain.
    """
    render.steps -= steps
    if render.steps < 0:
        raise LimitError(
            f"the daemon copies {variables} variables so often that this takes very long",
            hint="'for', 'with' and macros copy all variables: set fewer variables, or use fewer loops",
        )
    return value


# --- every branch


class EveryBranchCompilation(CountedCompilation):
    """A template that runs every branch of its conditions, and each loop at least once.

    If an expression fails, the expression has no value, and the render continues.
    """

    def parsed(self) -> tree.Document:
        document = super().parsed()
        found = list(nodes(document))
        for body in [document.body, *document.blocks.values(), *_bodies(found)]:
            body[:] = [part for statement in body for part in _with_rest(statement)]
        for node in found:
            if isinstance(node, tree.If):
                _run_all(node)
            elif isinstance(node, tree.Operation) and node.operator in ("and", "or"):
                node.operator = "and"
                node.operands = [tree.Invoke(each.token, always, kept(each)) for each in node.operands]
            else:
                _keep_all(node)
        if document.tokens:
            document.body.append(tree.Do(tree.Invoke(document.tokens[0], raise_first_panic)))
        return document


def _bodies(found: list[Any]) -> Iterator[Body]:
    for node in found:
        if isinstance(node, tree.If):
            yield from (body for _, body in node.branches)
        for name in ("body", "otherwise", "empty"):
            body = getattr(node, name, None)
            if body:
                yield body


def _with_rest(statement: tree.Statement) -> Body:
    """Return a statement and its alternatives: the statements that can run in its place, such as ``empty``.

    Remove the alternatives from the statement itself.
    """
    found: Body = []
    waiting = [statement]
    while waiting:
        part = waiting.pop()
        # If alternatives stayed in the statement, each level of nested tags would double the number of runs.
        rest: Body = []
        if isinstance(part, tree.For):
            if part.ordered:
                sorted_ = tree.Invoke(part.expression.token, sort, part.expression)
                found.append(tree.Do(kept(sorted_)))
            rest, part.empty = part.empty or [], None
        elif isinstance(part, tree.Capture):
            rest, part.otherwise = part.otherwise or [], None
        found.append(_filtered(part) if isinstance(part, tree.FilterBlock) else part)
        if isinstance(part, tree.Print) and isinstance(part.expression, tree.Invoke):
            lazy = [each for each in part.expression.arguments if isinstance(each, tree.Lazy)]
            found += [tree.Do(kept(value)) for each in lazy for value in each.expressions]
        waiting += reversed(rest)
    return found


def _run_all(node: tree.If) -> None:
    tests = [test for test, _ in node.branches]
    bodies = [body for _, body in node.branches] + ([node.otherwise] if node.otherwise else [])
    first = tree.Invoke(tests[0].token, always, *map(kept, tests))
    node.branches = [(first, [statement for body in bodies for statement in body])]
    node.otherwise = None


def _keep_all(node: Any) -> None:
    """Change a node of a template so that the render continues if the evaluation of a value fails."""
    if isinstance(node, tree.For):
        node.expression = tree.Invoke(node.expression.token, at_least_one, kept(node.expression))
        node.ordered = False  # pongo2 panics for texts, see ``sort``
        # Loops fail if a tag has set ``forloop``, so a variable of this name gets another name.
        node.key, node.value = _renamed(node.key), _renamed(node.value)
    elif isinstance(node, tree.Print):
        node.raw = node.raw or node.expression.applied("safe")
        node.expression = kept(node.expression)
    elif isinstance(node, tree.Set):
        node.name, node.expression = _renamed(node.name), kept(node.expression)
    elif isinstance(node, tree.Do):
        node.expression = kept(node.expression)
    elif isinstance(node, tree.With):
        node.pairs = [(_renamed(name), kept(value)) for name, value in node.pairs]
    elif isinstance(node, tree.Macro):
        node.parameters = [
            (_renamed(name), value if value is None else kept(value)) for name, value in node.parameters
        ]
    elif isinstance(node, tree.Filtered):
        node.atom = kept(node.atom)
    elif isinstance(node, tree.FilterUse) and node.argument is not None:
        node.argument = kept(node.argument)
    elif isinstance(node, tree.Invoke):
        node.arguments = tuple(_renamed(each) for each in node.arguments)
    elif isinstance(node, tree.Capture):
        invoke = node.invoke
        text = tree.Invoke(invoke.token, captured_text)
        call = tree.Invoke(invoke.token, invoke.function, text, *invoke.arguments)
        node.invoke = _with_text(call)


def _renamed(name: Any) -> Any:
    return "forloop_" if name == "forloop" else name


def _filtered(block: tree.FilterBlock) -> tree.Capture:
    text = tree.Invoke(block.token, captured_text)
    return tree.Capture(_with_text(tree.Filtered(block.token, text, block.filters)), block.body)


def _with_text(expression: tree.Expression) -> tree.Invoke:
    return tree.Invoke(expression.token, kept_with_text, tree.Scope(), tree.Lazy([expression]))


def kept(expression: tree.Expression) -> tree.Expression:
    """Return an expression with the value of ``expression``. If the evaluation fails, the value is None."""
    if isinstance(expression, tree.Literal):
        return expression
    return tree.Invoke(expression.token, value_or_none, tree.Scope(), tree.Lazy([expression]))


def value_or_none(render: Render, scope: Any, values: tuple[Callable[[Any], Any], ...]) -> Any:
    """Evaluate the only element of ``values``, and return the value. Return None if the evaluation fails.

    Keep the first panic for ``raise_first_panic``.
    """
    try:
        return values[0](scope)
    except (Failure, Fault, Panic) as error:
        if not isinstance(error, Failure) and (isinstance(error, Panic) or error.panic):
            render.state.setdefault(_PANIC, error)
        return None


def raise_first_panic(render: Render) -> None:
    """Raise the first panic that ``value_or_none`` caught."""
    if _PANIC in render.state:
        raise render.state[_PANIC]


def sort(render: Render, value: Any) -> None:
    """Raise Panic if the value is a text, because a loop with ``sorted`` over a text panics."""
    if isinstance(value, str):
        iterate(value, ordered=True)


def kept_with_text(render: Render, text: str, scope: Any, values: tuple[Callable[[Any], Any], ...]) -> Any:
    """Compute a value from the text of a tag's body. Return None if the computation fails."""
    texts = render.state.setdefault(_TEXTS, [])
    texts.append(text)
    try:
        return value_or_none(render, scope, values)
    finally:
        texts.pop()


def captured_text(render: Render) -> Any:
    """Return the text of a tag's body, from which the tag computes its result.

    If tags are nested, return the text of the innermost tag.
    """
    return render.state[_TEXTS][-1]


def always(render: Render, *values: Any) -> bool:
    """Return true, so that a condition with this function always holds."""
    return True


def at_least_one(render: Render, value: Any) -> Any:
    """Return the value. If a loop over the value would not run, return a list of one empty text instead."""
    return value if length(value) else GoList([""])


# --- every key


class EveryKey(MethodMap):
    """A map that returns an invented value for a missing key. Loops and lengths ignore missing keys."""

    __slots__ = ()

    def get(self, key: Any, default: Any = None) -> Any:
        # pongo2's ``get_field`` does not look up the methods of subclasses of ``MethodMap``.
        if key in self.methods:
            return self.methods[key](self)
        found = super().get(key, default)
        return self.missing() if found is None else found

    def missing(self) -> Any:
        return TEXT


class EveryDevice(EveryKey):
    """The devices of an instance. For an unknown device name, the map returns an invented device."""

    __slots__ = ()

    def missing(self) -> Any:
        return EveryKey((), "config.Device", {})


def with_every_key(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of ``context`` with invented values.

    The copy has a value for each missing configuration key, device and device key.
    """
    config, devices = context["config"], context["devices"]
    every = EveryKey(config, config.gotype, {})
    found = {name: EveryKey(each, each.gotype, each.methods) for name, each in devices.items()}
    return {
        **context,
        "config": every,
        "config_get": config_getter(every),
        "devices": EveryDevice(found, devices.gotype, devices.methods),
    }
