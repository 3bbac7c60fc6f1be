"""Copies of templates for the check ``runaway``. They count the work that is much slower in pongo2.

pongo2 needs much longer than templater for some templates. pongo2's filter ``join`` decodes the whole text
again for each character of the text. The tags ``for``, ``with`` and ``block``, and calls of macros, copy all
variables. Only these copies of templates count this work, so other renders are not slower.
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
from ..pongo2.values import GoList, length

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ..pongo2.render_state import Render

#: pongo2 4.0.2 on Debian 13 joins 10,000 characters in about a second, the time for a million steps
CHARACTERS_SQUARED_OF_STEP = 100
#: pongo2 copies this many variables in the time of a step
VARIABLES_OF_STEP = 10

Body = list[tree.Statement]


class CountedCompilation(Compilation):
    """A template that counts the work that is much slower in pongo2 than in templater."""

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
                f"the daemon needs very long to run the filter 'join' on a text of {len(value)} characters",
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
    """Count a copy of all variables, and return ``value``."""
    render.steps -= steps
    if render.steps < 0:
        raise LimitError(
            f"the daemon needs very long, because it copies {variables} variables very often",
            hint="'for', 'with' and macros copy all variables: set fewer variables, or use fewer loops",
        )
    return value


class EveryBranchCompilation(CountedCompilation):
    """A template that runs every branch of its conditions, and each loop at least once."""

    def parsed(self) -> tree.Document:
        document = super().parsed()
        found = list(nodes(document))
        for body in (document.body, *document.blocks.values(), *_bodies(found)):
            body[:] = [part for statement in body for part in _with_rest(statement)]
        for node in found:
            if isinstance(node, tree.If):
                _run_all(node)
            elif isinstance(node, tree.For):
                node.expression = tree.Invoke(node.expression.token, at_least_one, node.expression)
            elif isinstance(node, tree.Operation) and node.operator in ("and", "or"):
                node.operator = "and"
                node.operands = [tree.Invoke(each.token, always, each) for each in node.operands]
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
    """Return a statement and its alternative, such as a loop and the statements after its tag ``empty``."""
    if isinstance(statement, tree.For):
        return [statement, *(statement.empty or [])]
    if isinstance(statement, tree.Capture):
        return [statement, *(statement.otherwise or [])]
    return [statement]


def _run_all(node: tree.If) -> None:
    tests = [test for test, _ in node.branches]
    bodies = [body for _, body in node.branches] + ([node.otherwise] if node.otherwise else [])
    first = tree.Invoke(tests[0].token, always, *tests)
    node.branches = [(first, [statement for body in bodies for statement in body])]
    node.otherwise = None


def always(render: Render, *values: Any) -> bool:
    """Return true for any values."""
    return True


def at_least_one(render: Render, value: Any) -> Any:
    """Return the value, or a list of one undefined element if a loop over the value would not run."""
    return value if length(value) else GoList([None])
