"""Texts that become longer in each iteration of a loop, because a tag computes a variable from itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..pongo2.reads import fields, nodes
from ..pongo2.syntax import tree
from ..pongo2.syntax.tokens import Token
from ..pongo2.tags.cycle import advance

Macros = Mapping[str, list[tree.Macro]]
#: for the id of each assignment: its loop, and the variables that depend on each other there
Additions = dict[int, tuple[tree.For, frozenset[str]]]

#: tags that assign only to copies of the variables
_WITH_COPIES = (tree.For, tree.With, tree.Macro)
#: filters whose result is a number
COUNTING = ("length", "length_is", "wordcount", "integer", "float", "divisibleby")
#: filters that add at most the length of their argument to a text, no matter how often they run
_ADDING = (
    *("add", "capfirst", "center", "cut", "date", "default", "default_if_none", "first", "floatformat"),
    *(
        "get_digit",
        "last",
        "ljust",
        "lower",
        "make_list",
        "phone2numeric",
        "pluralize",
        "random",
        "removetags",
        "rjust",
    ),
    *("safe", "slice", "split", "striptags", "time", "title", "truncatechars", "truncatewords", "upper"),
    *("wordwrap", "yesno"),
)
#: filters whose result can contain the argument once
_CONTAINING = ("add", "default", "default_if_none")
#: stands for all names that macros read; no variable has this name
_MACROS = ""


def find_growth(document: tree.Document, macros: Macros) -> tuple[tuple[str, Token] | None, Additions]:
    """Find variables that loops compute from their own values.

    The first result is a variable that can become several times longer in each iteration, with the token of
    its new value. The second result has the assignments that only add something to a variable.
    """
    reads = Reads(macros, document.blocks)
    additions: Additions = {}
    for loop in nodes(document):
        if not isinstance(loop, tree.For):
            continue
        assigned: dict[str, list[tuple[Any, Any]]] = {}
        for node in in_order(loop.body, without=_WITH_COPIES, blocks=document.blocks):
            for name, value in bindings(node):
                assigned.setdefault(name, []).append((node, value))
        if not assigned:
            continue
        fresh = _fresh_names(loop.body, reads)
        edges = {
            name: {
                each for _, value in pairs for each in reads.of(value) if each in assigned or each == _MACROS
            }
            for name, pairs in assigned.items()
        }
        edges[_MACROS] = {name for name in assigned if name in reads.in_macros}
        for cycle in _cycles(edges):
            names = cycle - {_MACROS}
            for name in [] if names <= fresh else sorted(names):
                for node, value in assigned[name]:
                    copies = reads.copies(value, names)
                    if copies > 1:
                        return (name, value.token), additions
                    if copies:
                        additions[id(node)] = loop, names
    return None, additions


def plain(expression: Any) -> Any:
    return expression.atom if isinstance(expression, tree.Filtered) and not expression.filters else expression


def bindings(node: object) -> Iterator[tuple[str, tree.Expression]]:
    """Yield each name to which a tag gives a value, except loop variables, macros and parameters."""
    if isinstance(node, tree.Set):
        yield node.name, node.expression
    elif isinstance(node, tree.With):
        yield from node.pairs
    elif isinstance(node, tree.Invoke) and node.function is advance and node.arguments[3]:
        yield node.arguments[3], node


def in_order(
    parts: object, *, without: tuple[type, ...] = (), blocks: Mapping[str, tree.Body] | None = None
) -> Iterator[Any]:
    """Yield the nodes of parts of a template in the order of the text, except nodes of some classes.

    If ``blocks`` is given, also yield the nodes of blocks.
    """
    waiting = [parts]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list | tuple):
            waiting += reversed(node)
        elif isinstance(node, tree.NODES) and not isinstance(node, without):
            yield node
            waiting += [getattr(node, name) for name in reversed(fields(type(node)))]
            if blocks is not None and isinstance(node, tree.Block):
                waiting.append(blocks[node.name])


def paths_in(part: object) -> Iterator[tree.Path]:
    """Yield every variable in a part of a template."""
    return (node for node in in_order(part) if isinstance(node, tree.Path))


def _fresh_names(body: tree.Body, reads: Reads) -> set[str]:
    """Return the variables that each iteration sets before it reads them."""
    fresh: set[str] = set()
    seen: set[str] = set()
    for statement in body:
        seen |= reads.of(statement)
        if isinstance(statement, tree.Set):
            name = statement.name
            if name not in seen and not (_MACROS in seen and name in reads.in_macros):
                fresh.add(name)
    return fresh


class Reads:
    """The variables that expressions read. A call of a macro counts as a read of every name in all macros.

    ``_MACROS`` stands for all these names, because a set of them for each call would take quadratic time.
    """

    def __init__(self, macros: Macros, blocks: Mapping[str, tree.Body]) -> None:
        self.macros = macros
        self.blocks = blocks
        self.in_macros: set[str] = set()
        #: the last argument and result of ``_are_in_macros``
        self.asked, self.answer = frozenset[str](), False
        for macro in (each for same in macros.values() for each in same):
            parameters = {name for name, _ in macro.parameters}
            names = self._of(macro.body) - parameters
            self.in_macros.update(names, self._of([value for _, value in macro.parameters]))

    def _of(self, node: object) -> set[str]:
        found = in_order(node, blocks=self.blocks)
        return {each.name for each in found if isinstance(each, tree.Path)}

    def of(self, node: object) -> set[str]:
        found = self._of(node)
        return {*found, _MACROS} if any(name in self.macros for name in found) else found

    def calls_macro(self, node: object) -> bool:
        return any(name in self.macros for name in self._of(node))

    def _are_in_macros(self, names: frozenset[str]) -> bool:
        if names is not self.asked:
            self.asked, self.answer = names, not names.isdisjoint(self.in_macros)
        return self.answer

    def copies(self, node: object, names: frozenset[str]) -> int:
        """Return how many copies of the variables ``names`` the value of an expression can contain.

        0 means that the length of the value does not depend on the variables, and 2 means two or more copies.
        """
        if isinstance(node, tree.Path):
            if node.name in self.macros:
                return 0 if names.isdisjoint(self._of(node)) and not self._are_in_macros(names) else 2
            values = [value for part in node.parts for value in (part.arguments or ())[1:]]  # without the key
            return min(int(node.name in names) + sum(self.copies(each, names) for each in values), 2)
        if isinstance(node, tree.Operation):
            copies = 0
            while isinstance(node, tree.Operation):  # a long sum nests deeply at its first operand
                if node.operator not in ("+", "and", "or"):  # the result is a number
                    return min(copies, 2)
                copies += sum(self.copies(each, names) for each in node.operands[1:])
                node = node.operands[0]
            return min(copies + self.copies(node, names), 2)
        if isinstance(node, tree.Filtered):
            copies, before = self.copies(node.atom, names), ""
            for use in node.filters:
                copies = self._copies_after(copies, use, before, names)
                before = _separator(use) if use.name == "split" else ""
            return copies
        if isinstance(node, tree.Invoke):
            values = [
                each for lazy in node.arguments if isinstance(lazy, tree.Lazy) for each in lazy.expressions
            ]
            return max((self.copies(each, names) for each in values), default=0)
        return 0

    def _copies_after(self, copies: int, use: tree.FilterUse, before: str, names: frozenset[str]) -> int:
        """Return the number of copies after a filter. ``before`` is the text at which a list was split."""
        if use.name in COUNTING:
            return 0
        if use.argument is not None:
            in_argument = self.copies(use.argument, names)
            if in_argument:
                return min(copies + in_argument, 2) if use.name in _CONTAINING else 2
        is_shorter = use.name == "join" and before and 0 < len(_separator(use)) <= len(before)
        return copies if use.name in _ADDING or is_shorter else 2 * min(copies, 1)


def _separator(use: tree.FilterUse) -> str:
    """Return the constant argument of a filter, or an empty text."""
    argument = plain(use.argument)
    return argument.value if isinstance(argument, tree.Literal) and isinstance(argument.value, str) else ""


def _cycles(edges: Mapping[str, set[str]]) -> Iterator[frozenset[str]]:
    """Yield each largest set of names of which each depends on all, or a name that depends on itself.

    This is Tarjan's algorithm without recursion.
    """
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    finished: set[str] = set()
    for start in edges:
        waiting: list[tuple[str, Iterator[str]]] = [] if start in numbers else [(start, iter(()))]
        while waiting:
            name, others = waiting[-1]
            if name not in numbers:
                numbers[name] = lowest[name] = len(numbers)
                stack.append(name)
                others = iter(sorted(edges[name]))
                waiting[-1] = name, others
            for other in others:
                if other not in numbers:
                    waiting.append((other, iter(())))
                    break
                if other not in finished:
                    lowest[name] = min(lowest[name], lowest[other])
            else:
                waiting.pop()
                if waiting:
                    above = waiting[-1][0]
                    lowest[above] = min(lowest[above], lowest[name])
                if lowest[name] == numbers[name]:
                    names = frozenset(iter(stack.pop, name)) | {name}
                    finished |= names
                    if len(names) > 1 or name in edges[name]:
                        yield names
