"""A search for the parts of a template that make a daemon panic for some values.

A render finds only the panics of the values that it meets, and an error in one part of an expression hides
all its other parts. So this search never relies on a render: for each place in ``templater/pongo2`` that
raises Panic, it finds all parts of a template that may get there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..pongo2.names_read import nodes
from ..pongo2.syntax import tree
from ..pongo2.syntax.tokens import Token
from ..pongo2.tags.cycle import advance
from ..pongo2.tags.ifchanged import no_else
from ..pongo2.values import to_int, to_string
from .filter_costs import plain
from .value_kinds import ANYTHING, MAPS, NUMBERS, TEXT, UNCOMPARABLE, ValueKinds


def possible_panic(document: tree.Document) -> tuple[str, Token] | None:
    """Return a message and a token for the first part of a template that panics for some values."""
    kinds = ValueKinds(document)
    panics = (_panic("forloop" in document.bound, kinds, node) for node in nodes(document))
    return next(filter(None, panics), None)


def _panic(is_forloop_bound: bool, kinds: ValueKinds, node: object) -> tuple[str, Token] | None:
    """Return a message and a token for an operation, filter or call that panics for some values.

    ``is_forloop_bound`` is true if the template gives the name ``forloop`` another value. ``kinds`` has the
    kinds of the template's values.
    """
    if isinstance(node, tree.Operation) and len(node.operands) == 2:
        left, right = map(plain, node.operands)
        if node.operator in ("/", "%") and _may_be_zero(right):
            return "the template can divide by zero, which makes daemons panic", right.token
        if node.operator == "in" and kinds.of(left) & NUMBERS and kinds.of(right) & MAPS:
            return "the template can search a map for a number, which makes daemons panic", left.token
        # ``in`` compares the elements of a list, and only a list of an unknown kind can contain maps
        compares = node.operator in ("==", "!=", "<>") or (
            node.operator == "in" and ANYTHING in kinds.of(right)
        )
        if compares and kinds.of(left) & UNCOMPARABLE and kinds.of(right) & UNCOMPARABLE:
            return "the template can compare lists or maps, which makes daemons panic", left.token
    elif isinstance(node, tree.Remembered) and kinds.of(node.expression) & UNCOMPARABLE:
        return (
            "the tag 'ifchanged' can compare lists or maps, which makes daemons panic",
            node.expression.token,
        )
    elif isinstance(node, tree.Invoke) and node.function is no_else:
        return "the tag 'ifchanged' without 'else' can make a daemon panic", node.token
    elif isinstance(node, tree.Invoke) and node.function is advance and not node.arguments[2].expressions:
        return "the tag 'cycle' without values makes daemons panic", node.token
    elif isinstance(node, tree.Path) and kinds.may_fail(node):
        return "a variable with a subscript can fail, which makes daemons with pongo2 6 panic", node.token
    elif isinstance(node, tree.Part) and node.key in kinds.hidden:
        return "the template can read a hidden field of a tag, which makes daemons panic", node.token
    elif isinstance(node, tree.FilterUse) and node.name in _SAFE_ARGUMENTS:
        argument = None if node.argument is None else plain(node.argument)
        value = argument.value if isinstance(argument, tree.Literal) else None
        if value is None or not _SAFE_ARGUMENTS[node.name](value):
            return f"the filter '{node.name}' can make a daemon panic", node.token
    elif isinstance(node, tree.Part) and node.key == "Less" and node.arguments:
        return "the template can compare missing devices, which makes daemons panic", node.token
    elif is_forloop_bound and isinstance(node, tree.For):
        return "the template sets 'forloop', so a loop can make a daemon panic", node.expression.token
    elif isinstance(node, tree.For) and node.ordered and kinds.of(node.expression) & {TEXT, ANYTHING}:
        return "a loop can sort a text, which makes daemons panic", node.expression.token
    return None


def _may_be_zero(divisor: tree.Expression) -> bool:
    return not isinstance(divisor, tree.Literal) or to_int(divisor.value) == 0


#: Filters that panic for some arguments. The functions return whether a constant argument is safe.
_SAFE_ARGUMENTS: Mapping[str, Callable[[str | int | float], bool]] = {
    # Other texts can be invalid regular expressions.
    "removetags": lambda value: str(value).replace(",", "").replace(" ", "").isalnum(),
    # pongo2 4 panics for a negative start.
    "slice": lambda value: to_int(to_string(value).split(":")[0]) >= 0,
    "truncatechars": lambda value: to_int(value) >= 0,
    # pongo2 panics if the last line has two or more words but is not full.
    "wordwrap": lambda value: to_int(value) <= 2,
}
