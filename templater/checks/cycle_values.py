"""Values of ``{% cycle … as NAME %}``, which each later tag ``{% cycle NAME %}`` computes again.

pongo2 keeps the arguments of the tag in the variable. A tag with such a variable as its argument computes the
next argument of the kept tag, and puts the result into the variable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..pongo2.reads import nodes
from ..pongo2.syntax import tree
from ..pongo2.syntax.tokens import Token
from ..pongo2.tags.cycle import advance
from .growing_texts import Macros, Reads, bindings, paths_in

#: filters whose result is never the value before the filter
_MAKING = (
    "add",
    "capfirst",
    "join",
    "length",
    "lower",
    "make_list",
    "slice",
    "stringformat",
    "title",
    "upper",
)


class CycleValues:
    """The tags ``cycle`` of a template, and the names that can have the value of a tag with a name."""

    def __init__(self, document: tree.Document, macros: Macros) -> None:
        found = list(nodes(document))
        tags = [node for node in found if isinstance(node, tree.Invoke) and node.function is advance]
        self.named = [tag for tag in tags if tag.arguments[3]]
        self.unnamed = [tag for tag in tags if not tag.arguments[3]]
        self.names = self._holders(found, macros) if self.named else frozenset[str]()
        self.can_repeat = bool(macros) or any(isinstance(node, tree.For) for node in found)
        self._document, self._macros = document, macros

    def _holders(self, found: Iterable[Any], macros: Macros) -> frozenset[str]:
        receivers: dict[str, list[str]] = {}
        for node in found:
            for name, value in bindings(node):
                for path in paths_in(value):
                    receivers.setdefault(path.name, []).append(name)
            if isinstance(node, tree.Path) and node.name in macros:
                arguments = [value for part in node.parts for value in part.arguments or ()]
                for path in paths_in(arguments):
                    receivers.setdefault(path.name, []).append(f"parameters of {node.name}")
        for name, same in macros.items():
            receivers[f"parameters of {name}"] = [each for macro in same for each, _ in macro.parameters]
        return _reached([tag.arguments[3] for tag in self.named], receivers)

    def growing(self) -> tuple[str, Token] | None:
        """Return a name whose text can become several times longer each time, with the token of its tag."""
        tags = (*self.named, *self.unnamed)
        computed_again = any(path.name in self.names for tag in tags for path in paths_in(tag))
        if self.named and self.can_repeat and computed_again:
            reads = Reads(self._macros, self._document.blocks)
            for tag in self.named:
                if reads.copies(tag, self.names) > 1:
                    return tag.arguments[3], tag.token
        return None

    def containing_itself(self) -> Token | None:
        """Return the token of a tag whose value can be itself, or (in a circle) contain itself.

        Go's method ``String`` of such a value calls itself until the stack is full, which ends the daemon.
        """
        for tag in self.named:
            if any(self._can_be_value(item) for item in tag.arguments[2].expressions):
                return tag.token
        return None

    def _can_be_value(self, expression: Any) -> bool:
        """Return whether an expression can have the value of a tag, and not only its text."""
        waiting = [expression]
        while waiting:
            node = waiting.pop()
            if isinstance(node, tree.Path) and node.name in self.names and len(node.parts) == 1:
                return True
            if isinstance(node, tree.Operation) and node.operator in ("and", "or"):
                waiting += node.operands
            elif isinstance(node, tree.Filtered) and not any(use.name in _MAKING for use in node.filters):
                waiting += [node.atom, *(use.argument for use in node.filters if use.argument is not None)]
        return False


def _reached(names: list[str], receivers: Mapping[str, list[str]]) -> frozenset[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += receivers.get(name, ())
    return frozenset(found)
