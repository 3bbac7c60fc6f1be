"""A search for the places where a template reads a variable that a tag has certainly set before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..pongo2.names_read import nodes
from ..pongo2.syntax import tree


def set_variables(document: tree.Document) -> set[int]:
    """Return the ids of the variables whose names are certainly set when the template reads the variables.

    A tag in a branch sets no name if the branch does not run. A name that a loop, ``with`` or a macro sets
    exists only in its body. In the body of a macro, the names that are set where the macro is defined are
    set, too.
    """
    walk = _Walk(document)
    walk.body(document.body)
    return walk.found


class _Walk:
    """A walk through a template in the order in which it runs.

    ``names`` has the names that are certainly set at the current place, and ``order`` the same names in the
    order of the tags that set them.
    """

    def __init__(self, document: tree.Document) -> None:
        self.blocks = document.blocks
        self.names: set[str] = set()
        self.order: list[str] = []
        self.found: set[int] = set()

    def body(self, statements: Iterable[tree.Statement]) -> None:
        for statement in statements:
            self.statement(statement)

    def statement(self, node: Any) -> None:
        if isinstance(node, tree.Set):
            self.read(node.expression)
            self.bind(node.name)
        elif isinstance(node, tree.If):
            self.read([test for test, _ in node.branches])
            self.one_of([*(body for _, body in node.branches), node.otherwise or []])
        elif isinstance(node, tree.For):
            self.read(node.expression)
            self.within(["forloop", *filter(None, (node.key, node.value))], node.body)
            self.within(["forloop"], node.empty or [])
        elif isinstance(node, tree.With):
            self.read([value for _, value in node.pairs])
            self.within([name for name, _ in node.pairs], node.body)
        elif isinstance(node, tree.Macro):
            self.bind(node.bound)
            self.read([default for _, default in node.parameters])
            self.within([name for name, _ in node.parameters], node.body)
        elif isinstance(node, tree.Block):
            self.bind("block")
            self.body(self.blocks[node.name])
        elif isinstance(node, tree.Autoescape):
            self.body(node.body)
        elif isinstance(node, tree.FilterBlock):
            self.read(node.filters)
            self.body(node.body)
        elif isinstance(node, tree.Capture):
            self.read(node.invoke)
            self.body(node.body)
            self.one_of([node.otherwise or [], []])
        else:
            self.read(node)

    def read(self, part: object) -> None:
        """Find the variables in an expression, or in a tag that does not certainly set a name."""
        self.found |= {
            id(node) for node in nodes(part) if isinstance(node, tree.Path) and node.name in self.names
        }

    def bind(self, *names: str) -> None:
        for name in names:
            if name not in self.names:
                self.names.add(name)
                self.order.append(name)

    def within(self, names: Iterable[str], statements: Iterable[tree.Statement]) -> None:
        """Walk through a body. ``names``, and the names that the body sets, are set only until its end."""
        before = len(self.order)
        self.bind(*names)
        self.body(statements)
        self.forget(before)

    def one_of(self, bodies: Iterable[Iterable[tree.Statement]]) -> None:
        """Walk through the alternative bodies of a tag: a render runs only one of them.

        Afterwards, a name counts as set only if each body sets it.
        """
        before = len(self.order)
        added = []
        for body in bodies:
            self.body(body)
            added.append(self.forget(before))
        self.bind(*set.intersection(*added))

    def forget(self, before: int) -> set[str]:
        """Remove and return the names that were set after the first ``before`` names."""
        added = set(self.order[before:])
        del self.order[before:]
        self.names -= added
        return added
