"""The intermediate form between the parsed tree and Python code: Jinja2's nodes, used for pongo2.

Jinja2's code generator walks Jinja2's node classes, and Jinja2 forbids subclasses of them. Jinja2 has no
fields for some facts about pongo2, so this module stores them in fields that have another meaning in Jinja2.
Only this module knows the changed meanings. The other modules use the constructors and accessors below. They
access a node directly only if all fields of the node have the meaning that Jinja2 documents.

A place is the index of a token in ``Emitter.places``. The token has the source position. The attribute
``lineno`` of a node stores the node's place.
"""

from collections.abc import Callable, Sequence
from typing import Any

from jinja2.nodes import (  # isort: skip
    Add, And, Assign, BinExpr, Block, Call, CallBlock, Compare, Const, Div, EvalContext, Expr, ExprStmt,
    Filter, FilterBlock, For, Getattr, Getitem, If, ImportedName, Keyword, List, Macro, MarkSafe, Mod, Mul,
    Name, Neg, Node, Not, Operand, Or, Output, Pow, ScopedEvalContextModifier, Sub, Template, TemplateData,
    Tuple, UnaryExpr, With,
)  # fmt: skip

#: the classes of Jinja2 that the other modules use, for annotations and type tests
__all__ = (
    "And", "Assign", "BinExpr", "Block", "Call", "CallBlock", "Compare", "Const", "EvalContext", "Expr",
    "ExprStmt", "Filter", "FilterBlock", "For", "Getattr", "Getitem", "If", "List", "Macro", "MarkSafe",
    "Name", "Node", "Not", "Or", "Output", "ScopedEvalContextModifier", "Template", "TemplateData", "Tuple",
    "UnaryExpr", "With",
)  # fmt: skip

#: pongo2's arithmetic operators
BINARY = {"+": Add, "-": Sub, "*": Mul, "/": Div, "%": Mod, "^": Pow}
_UNARY = {"not": Not, "negative": Neg}
_RELATIONS = {"==": "eq", "!=": "ne", "<": "lt", "<=": "lteq", ">": "gt", ">=": "gteq", "in": "in"}

# The names of values that the code generator supplies.
# The names begin with a space, so no identifier of a template is equal to one of them.
#: the dict of all names that the template binds
SCOPE = " scope"
#: whether autoescape is on
ESCAPING = " escaping"
#: the output of the body of a ``filter`` tag
CAPTURED = " captured"
#: inside `steps`, the value of the preceding step
PREVIOUS = " value"


def place_of(node: Node) -> int:
    """Return the place of a node. Error messages about the node report this place."""
    return node.lineno


# --- values


def variable(name: str, place: int) -> Name:
    """Return the node for a variable of the template."""
    return Name(name, "load", lineno=place)


def supplied(name: str) -> Name:
    """Return the node for a value that the code generator supplies, such as `SCOPE`."""
    return Name(name, "load")


def is_variable(node: Node) -> bool:
    """Return whether a node is a variable of the template, not a value that the generator supplies."""
    return isinstance(node, Name) and node.name[0] != " "


def member(value: Expr, key: str, place: int) -> Getattr:
    """Return the node for ``value.key``. A key that consists of digits is an index."""
    return Getattr(value, key, "load", lineno=place)


def member_key(node: Getattr) -> int | str:
    """Return the key of a `member` node: an index (int) or a name (str)."""
    return int(node.attr) if node.attr.isdecimal() else node.attr


def subscript(value: Expr, key: Expr, place: int) -> Getitem:
    """Return the node for ``value[key]``."""
    return Getitem(value, key, "load", lineno=place)


def call(callee: Expr, arguments: list[Expr], place: int) -> Call:
    """Return the node for a call of a variable or member."""
    return Call(callee, arguments, [], None, None, lineno=place)


def tag_call(function: Callable[..., Any], arguments: list[Expr], place: int) -> Call:
    """Return the node for a call of a tag's function. Generated code passes the render before ``arguments``.

    The callee is an ``ImportedName`` of the form "module:function".
    """
    return call(ImportedName(f"{function.__module__}:{function.__qualname__}"), arguments, place)


def tag_function(node: Call) -> tuple[str, str] | None:
    """Return the module and name of a tag's function, or None if the node was made by `call`."""
    if not isinstance(node.node, ImportedName):
        return None
    module, _, name = node.node.importname.partition(":")
    return module, name


def lazy(expressions: list[Expr]) -> Tuple:
    """Return arguments that the tag's function evaluates itself: a ``Tuple`` with the context "lazy"."""
    return Tuple(expressions, "lazy")


def stored(expression: Expr) -> Tuple:
    """Mark an expression as an argument that the tag's function stores.

    Return a ``Tuple`` with the context "stored".
    """
    return Tuple([expression], "stored")


def stored_expression(node: Tuple) -> Expr | None:
    """Return the argument of `stored`, or None if the node was made by `lazy`."""
    return node.items[0] if node.ctx == "stored" else None


def steps(expressions: list[Expr]) -> List:
    """Return a ``List`` of expressions. Its value is the value of the last expression.

    Each expression after the first uses the value of the preceding expression as `PREVIOUS`. A long chain of
    operators or filters becomes such a ``List``, because otherwise the generated code would nest too deeply.
    """
    return List(expressions)


def filtered(value: Expr, name: str, arguments: list[Expr], place: int) -> Filter:
    """Return the node for ``value|name``. ``arguments`` is empty or has one argument."""
    return Filter(value, name, arguments, [], None, None, lineno=place)


def unary(operator: str, operand: Expr, place: int) -> Expr:
    """Return the node that applies the operator "not" or "negative" to one operand."""
    return _UNARY[operator](operand, lineno=place)


def binary(operator: str, left: Expr, right: Expr, place: int) -> Expr:
    """Return the node that applies an operator in `BINARY` to two operands."""
    return BINARY[operator](left, right, lineno=place)


def comparison(operator: str, left: Expr, right: Expr, place: int) -> Compare:
    """Return the node for ``left operator right``.

    Jinja2 stores a list of operands, because Python chains comparisons.
    """
    return Compare(left, [Operand(_RELATIONS[operator], right)], lineno=place)


def compared(node: Compare) -> tuple[str, Expr, Expr]:
    """Return the operator, as Jinja2 names it ("eq", "lteq", …), and the two operands of a comparison."""
    operand = node.ops[0]
    return operand.op, node.expr, operand.expr


# --- statements


def autoescape(on: bool, body: list[Node]) -> ScopedEvalContextModifier:
    """Return the node for a body in which autoescape is on or off."""
    return ScopedEvalContextModifier([Keyword("autoescape", Const(on))], body)


def is_on(node: ScopedEvalContextModifier) -> bool:
    """Return whether autoescape is on in the body of a node that `autoescape` returned."""
    return bool(node.options[0].value.as_const())


def condition_of(node: If) -> Expr:
    """Return the condition of an ``If``, typed as an ``Expr``: Jinja2 annotates it only as a ``Node``."""
    assert isinstance(node.test, Expr)
    return node.test


def loop(
    names: Sequence[str], iterated: Expr, body: list[Node], empty: list[Node], place: int,
    *, backward: bool, ordered: bool,
) -> For:  # fmt: skip
    """Return a loop that binds one or two names. ``empty`` runs if the iterated value has no items.

    A loop in Jinja2 can have a condition, in the field ``test``. A loop in pongo2 has none. So ``test``
    stores whether the loop is ``reversed`` (``backward``) and ``sorted`` (``ordered``).
    """
    stores = [Name(name, "store") for name in names]
    target = stores[0] if len(stores) == 1 else Tuple(stores, "store")
    return For(target, iterated, body, empty, Const((backward, ordered)), False, lineno=place)


def loop_order(node: For) -> tuple[bool, bool]:
    """Return whether a loop is ``reversed``, and whether it is ``sorted``."""
    assert isinstance(node.test, Const)
    backward, ordered = node.test.value
    return backward, ordered


def loop_names(node: For) -> list[str]:
    """Return the names that a loop binds: one name or two."""
    targets = node.target.items if isinstance(node.target, Tuple) else [node.target]
    return [target.name for target in targets if isinstance(target, Name)]


def macro(name: str, parameters: Sequence[tuple[str, Expr | None]], body: list[Node], place: int) -> Macro:
    """Return the definition of a macro with its parameters and their defaults.

    In Jinja2, parameters without a default have no entry in ``defaults``. In this module,
    their entry is the constant None.
    """
    names = [Name(parameter, "param") for parameter, _ in parameters]
    defaults = [Const(None) if default is None else default for _, default in parameters]
    return Macro(name, names, defaults, body, lineno=place)


def has_default(default: Expr) -> bool:
    """Return whether an entry of a macro's ``defaults`` is a default that the template defines."""
    return not (isinstance(default, Const) and default.value is None)


def filter_block(body: list[Node], chain: Expr, place: int) -> FilterBlock:
    """Return a ``filter`` tag: a body, and the filters that its text passes through.

    ``chain`` is a filter expression. Its innermost value is `CAPTURED`, the text of the body.
    """
    return FilterBlock(body, chain, lineno=place)


def filter_chain(node: FilterBlock) -> Expr:
    """Return the filter expression of a `filter_block`: a ``Filter``, or the ``List`` of `steps`."""
    chain: Node = node.filter
    assert isinstance(chain, Expr)
    return chain


def capture(function: Call, body: list[Node], otherwise: list[Node]) -> CallBlock:
    """Return the node for a call of a tag's function. The arguments begin with the render and a body's text.

    The field ``defaults`` of the node has the statements ``otherwise``, which run if the function returns
    None.
    """
    return CallBlock(function, [], otherwise, body)


def otherwise_of(node: CallBlock) -> Sequence[Node]:
    """Return the statements to run if the function of `capture` returns None."""
    return node.defaults


class Bodies:
    """The bodies of one block in a chain of templates that extend each other.

    ``found`` lists the bodies, beginning with the outermost template. The bodies are not child nodes, because
    Jinja2 could visit child nodes forever: in one template, block a may contain b, and in another, b may
    contain a.
    """

    def __init__(self) -> None:
        self.found: list[list[Node]] = []


def block(name: str, bodies: Bodies, place: int) -> Block:
    """Return a node that shows a block. Its field ``scoped`` has the bodies; its field ``body`` is empty."""
    return Block(name, [], bodies, False, lineno=place)


def bodies_of(node: Block) -> list[list[Node]]:
    """Return the bodies of a block in all templates that define it, the outermost template first."""
    bodies = node.scoped
    assert isinstance(bodies, Bodies)
    return bodies.found
