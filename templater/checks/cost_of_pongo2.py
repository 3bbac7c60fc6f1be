"""Compiled templates that count pongo2's slow operations.

pongo2 renders some templates much more slowly than templater does. pongo2's filter ``join`` decodes a whole
text again for each character of the text. In pongo2, ``for``, ``with``, ``block`` and calls of macros copy
all variables. Only the check ``runaway`` counts these operations, because counting makes a render slower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..model.errors import LimitError
from ..pongo2.codegen.writer import Module
from ..pongo2.filters import filter
from ..pongo2.filters.lists import join
from ..pongo2.filters_and_tags import library_for
from ..pongo2.reads import nodes
from ..pongo2.syntax import tree
from ..pongo2.template_loading import Compilation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..pongo2.render_state import Render

#: pongo2 4.0.2 on Debian 13 joins 10,000 characters in about a second, the time for a million steps
CHARACTERS_SQUARED_OF_STEP = 100
#: pongo2 copies this many variables in the time of a step
VARIABLES_OF_STEP = 10

Body = list[tree.Statement]


class CountedCompilation(Compilation):
    """A template that counts the work for which pongo2 takes longer than templater."""

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
        return counted_join if name == "join" else self.filters.get(name)


@filter("join", render=True)
def counted_join(render: Render, value: Any, argument: Any) -> Any:
    if isinstance(value, str):
        render.steps -= len(value) ** 2 // CHARACTERS_SQUARED_OF_STEP
        if render.steps < 0:
            raise LimitError(
                f"the filter 'join' gets a text of {len(value)} characters, which takes the daemon very long",
                hint="the time grows with the square of the length: use 'make_list' before 'join'",
            )
    return join(value, argument)


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
    """Subtract ``steps`` from the remaining steps of a render. Return ``value`` unchanged.

    ``steps`` is the cost of copying all variables once. Raises LimitError if no steps remain.
    """
    render.steps -= steps
    if render.steps < 0:
        raise LimitError(
            f"the daemon copies {variables} variables so often that this takes very long",
            hint="'for', 'with' and macros copy all variables: set fewer variables, or use fewer loops",
        )
    return value
