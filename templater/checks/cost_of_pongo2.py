"""Compiled templates that count pongo2's slow operations.

pongo2 renders some templates much more slowly than templater does. pongo2's filter ``join`` decodes a whole
text again for each character of the text, and ``truncatechars_html`` and ``truncatewords_html`` read the
rest of the text again for each "<". In pongo2, ``for``, ``with``, ``block`` and calls of macros copy
all variables. Only the check ``runaway`` counts these operations, because counting makes a render slower.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..model.errors import LimitError
from ..pongo2.codegen.writer import Module
from ..pongo2.filters import SLOW, filter
from ..pongo2.filters.html import removetags, truncatechars_html, truncatewords_html
from ..pongo2.filters.lists import join
from ..pongo2.filters_and_tags import library_for
from ..pongo2.reads import nodes
from ..pongo2.syntax import tree
from ..pongo2.template_loading import Compilation
from ..pongo2.values import to_string

if TYPE_CHECKING:
    from ..pongo2.render_state import Render

#: The filters for which pongo2 needs quadratic time. The square of the number of characters, divided by this
#: number, is the number of steps.
#: pongo2 4.0.2 on Debian 13 joins 10,000 characters in about a second, the time for a million steps.
SQUARED = {"join": 100, "truncatechars_html": 250, "truncatewords_html": 250}
#: pongo2 copies this many variables in the time of a step
VARIABLES_OF_STEP = 10
#: pongo2 evaluates this many parts of expressions and tags in the time of a step
NODES_OF_STEP = 10
#: pongo2 compiles a regular expression in the time of this many steps, for each tag and use of ``removetags``
STEPS_OF_TAG = 12

Body = list[tree.Statement]


class CountedCompilation(Compilation):
    """A template for which templater also counts the work that takes longer in pongo2 than in templater."""

    def parsed(self) -> tree.Document:
        document = super().parsed()
        steps = len(self.bound) // VARIABLES_OF_STEP
        if steps:
            _count_copies(document, steps, len(self.bound))
        return document

    def module(self, *, spans: bool) -> Module:
        module = super().module(spans=spans)
        module.library = _Library(self.dialect.name, library_for(self.dialect).filters)  # type: ignore[assignment]
        return module


class _Library:
    def __init__(self, dialect: str, filters: Mapping[str, Callable[..., Any]]) -> None:
        self.filters = _Filters(filters)


class _Filters:
    def __init__(self, filters: Mapping[str, Callable[..., Any]]) -> None:
        self.filters = filters

    def get(self, name: str) -> Callable[..., Any] | None:
        function = self.filters.get(name)
        return None if function is None else _COUNTED.get(function, function)


@filter("join", render=True)
def counted_join(render: Render, value: Any, argument: Any) -> Any:
    if isinstance(value, str):
        _count(render, "join", len(value), len(value), "use 'make_list' before 'join'")
    return join(value, argument)


@filter("truncatechars_html", render=True, weight=SLOW)
def counted_truncatechars(render: Render, value: Any, argument: Any) -> Any:
    _count_tags(render, "truncatechars_html", value)
    return truncatechars_html(value, argument)


@filter("truncatewords_html", render=True, weight=SLOW)
def counted_truncatewords(render: Render, value: Any, argument: Any) -> Any:
    _count_tags(render, "truncatewords_html", value)
    return truncatewords_html(value, argument)


@filter("removetags", render=True, weight=SLOW)
def counted_removetags(render: Render, value: Any, argument: Any) -> Any:
    tags = to_string(argument).count(",") + 1
    render.steps -= tags * STEPS_OF_TAG
    if render.steps < 0:
        raise LimitError(
            f"the filter 'removetags' gets {tags} tags, which takes the daemon very long",
            hint="the daemon compiles a regular expression for each tag: use fewer tags, or 'striptags'",
        )
    return removetags(render, value, argument)


_COUNTED: Mapping[Callable[..., Any], Callable[..., Any]] = {
    join: counted_join,
    truncatechars_html: counted_truncatechars,
    truncatewords_html: counted_truncatewords,
    removetags: counted_removetags,
}


def _count_tags(render: Render, name: str, value: Any) -> None:
    if isinstance(value, str):
        _count(render, name, len(value), value.count("<"), "use 'striptags' and a filter without '_html'")


def _count(render: Render, name: str, length: int, times: int, advice: str) -> None:
    """Count the steps of a filter that reads a text of ``length`` characters several times."""
    render.steps -= length * times // SQUARED[name]
    if render.steps < 0:
        raise LimitError(
            f"the filter '{name}' gets a text of {length} characters, which takes the daemon very long",
            hint=f"the time grows with the square of the length: {advice}",
        )


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
    """Subtract ``steps``, the cost of copying all variables once, from the remaining steps of a render.

    Return ``value`` unchanged. Raises LimitError if no steps remain.
    """
    render.steps -= steps
    if render.steps < 0:
        raise LimitError(
            f"the daemon copies {variables} variables so often that this takes very long",
            hint="'for', 'with' and macros copy all variables: set fewer variables, or use fewer loops",
        )
    return value
