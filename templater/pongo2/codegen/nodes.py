"""The intermediate form between the parsed tree and Python code: Jinja2's nodes, used for pongo2.

Jinja2's code generator walks Jinja2's own node classes, and Jinja2 forbids subclasses of them. Some facts
about pongo2 have no field there, so this module stores them in fields that Jinja2 uses for something else.
No other module depends on these encodings: it calls the constructors and accessors below. It makes and reads
a node directly only if every field of that node means what Jinja2's documentation says.

A place is the number of a token in ``Emitter.places``. ``lineno`` holds it.
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

# The values that the code generator supplies. No variable has these names, since an identifier contains no
# blank.
#: the dict of all names that the template binds
SCOPE = " scope"
#: whether autoescape is on
ESCAPING = " escaping"
#: the text that the body of a ``filter`` tag printed
CAPTURED = " captured"
#: in steps, the value of the step before
PREVIOUS = " value"


def place_of(node: Node) -> int:
    """Return the place that messages about this node name."""
    return node.lineno


# --- values


def variable(name: str, place: int) -> Name:
    """Return a variable of the template."""
    return Name(name, "load", lineno=place)


def supplied(name: str) -> Name:
    """Return one of the values that the code generator supplies, such as `SCOPE`."""
    return Name(name, "load")


def is_variable(node: Node) -> bool:
    """Return whether a node is a variable of the template, not a value that the generator supplies."""
    return isinstance(node, Name) and node.name[0] != " "


def member(value: Expr, key: str, place: int) -> Getattr:
    """Return ``value.key``. A key of digits is an index, which Jinja2 has no attribute for."""
    return Getattr(value, key, "load", lineno=place)


def member_key(node: Getattr) -> int | str:
    """Return the index or the name that a member is read by."""
    return int(node.attr) if node.attr.isdecimal() else node.attr


def subscript(value: Expr, key: Expr, place: int) -> Getitem:
    """Return ``value[key]``."""
    return Getitem(value, key, "load", lineno=place)


def call(callee: Expr, arguments: list[Expr], place: int) -> Call:
    """Return a call of a variable or member."""
    return Call(callee, arguments, [], None, None, lineno=place)


def tag_call(function: Callable[..., Any], arguments: list[Expr], place: int) -> Call:
    """Return a call of a tag's function. Generated code passes the render before these arguments.

    The callee is an ``ImportedName`` of the form "module:function".
    """
    return call(ImportedName(f"{function.__module__}:{function.__qualname__}"), arguments, place)


def tag_function(node: Call) -> tuple[str, str] | None:
    """Return the module and name of the tag's function, or None for a call that the template writes."""
    if not isinstance(node.node, ImportedName):
        return None
    module, _, name = node.node.importname.partition(":")
    return module, name


def lazy(expressions: list[Expr]) -> Tuple:
    """Return arguments that a tag's function evaluates itself: a ``Tuple`` with the context "lazy"."""
    return Tuple(expressions, "lazy")


def stored(expression: Expr) -> Tuple:
    """Return an argument with the value that a name would hold: a ``Tuple`` with the context "stored"."""
    return Tuple([expression], "stored")


def stored_expression(node: Tuple) -> Expr | None:
    """Return the argument of `stored`, or None if the node was made by `lazy`."""
    return node.items[0] if node.ctx == "stored" else None


def steps(expressions: list[Expr]) -> List:
    """Return the value of the last of several expressions, each of which uses `PREVIOUS`.

    A long chain of operators or filters becomes such a ``List``, because it would nest too deeply.
    """
    return List(expressions)


def filtered(value: Expr, name: str, arguments: list[Expr], place: int) -> Filter:
    """Return ``value|name`` with no argument or one."""
    return Filter(value, name, arguments, [], None, None, lineno=place)


def unary(operator: str, operand: Expr, place: int) -> Expr:
    """Return an application of "not" or "negative"."""
    return _UNARY[operator](operand, lineno=place)


def binary(operator: str, left: Expr, right: Expr, place: int) -> Expr:
    """Return an application of an operator in `BINARY`."""
    return BINARY[operator](left, right, lineno=place)


def comparison(operator: str, left: Expr, right: Expr, place: int) -> Compare:
    """Return ``left operator right``. Jinja2 stores a list of operands, because Python chains comparisons."""
    return Compare(left, [Operand(_RELATIONS[operator], right)], lineno=place)


def compared(node: Compare) -> tuple[str, Expr, Expr]:
    """Return the operator, as Jinja2 names it ("eq", "lteq", …), and the two operands of a comparison."""
    operand = node.ops[0]
    return operand.op, node.expr, operand.expr


# --- statements


def autoescape(on: bool, body: list[Node]) -> ScopedEvalContextModifier:
    """Return a body for which autoescape is switched on or off."""
    return ScopedEvalContextModifier([Keyword("autoescape", Const(on))], body)


def is_on(node: ScopedEvalContextModifier) -> bool:
    """Return whether `autoescape` switches autoescape on."""
    return bool(node.options[0].value.as_const())


def condition_of(node: If) -> Expr:
    """Return the condition of a branch, which Jinja2 declares as a ``Node``."""
    assert isinstance(node.test, Expr)
    return node.test


def loop(
    names: Sequence[str], iterated: Expr, body: list[Node], empty: list[Node], place: int,
    *, backward: bool, ordered: bool,
) -> For:  # fmt: skip
    """Return a loop that binds one name, or two. ``empty`` runs if there is nothing to iterate over.

    ``test``, which is Jinja2's ``if`` of a loop, holds the constant pair (backward, ordered).
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
    """Return the one or two names that a loop binds."""
    targets = node.target.items if isinstance(node.target, Tuple) else [node.target]
    return [target.name for target in targets if isinstance(target, Name)]


def macro(name: str, parameters: Sequence[tuple[str, Expr | None]], body: list[Node], place: int) -> Macro:
    """Return the definition of a macro with its parameters and their defaults.

    Jinja2 has fewer defaults than parameters if some have none. Here, the default of such a parameter is
    the constant None.
    """
    names = [Name(parameter, "param") for parameter, _ in parameters]
    defaults = [Const(None) if default is None else default for _, default in parameters]
    return Macro(name, names, defaults, body, lineno=place)


def has_default(default: Expr) -> bool:
    """Return whether this item of a macro's ``defaults`` is a default that the template defines."""
    return not (isinstance(default, Const) and default.value is None)


def filter_block(body: list[Node], chain: Expr, place: int) -> FilterBlock:
    """Return a body whose text ``chain`` changes. The innermost value of the chain is `CAPTURED`."""
    return FilterBlock(body, chain, lineno=place)


def filter_chain(node: FilterBlock) -> Expr:
    """Return the filters of `filter_block`. Jinja2 declares one ``Filter``, but `steps` are possible too."""
    chain: Node = node.filter
    assert isinstance(chain, Expr)
    return chain


def capture(function: Call, body: list[Node], otherwise: list[Node]) -> CallBlock:
    """Return a call of a tag's function, with the text that ``body`` prints as its first argument.

    ``otherwise`` runs if the function returns None. It is stored as Jinja2's ``defaults``.
    """
    return CallBlock(function, [], otherwise, body)


def otherwise_of(node: CallBlock) -> Sequence[Node]:
    """Return the statements to run if the function of `capture` returns None."""
    return node.defaults


class Bodies:
    """The bodies of one block in a chain of templates that extend each other, the outermost template first.

    ``found`` is filled once for each block, although several bodies may show it. Jinja2's walkers must not
    see the bodies as child nodes: a may contain b in one template, and b contain a in another.
    """

    def __init__(self) -> None:
        self.found: list[list[Node]] = []


def block(name: str, bodies: Bodies, place: int) -> Block:
    """Return the place where a block is shown. Its ``body`` is empty, and ``scoped`` holds the bodies."""
    return Block(name, [], bodies, False, lineno=place)


def bodies_of(node: Block) -> list[list[Node]]:
    """Return the bodies of a block, the outermost template's first."""
    bodies = node.scoped
    assert isinstance(bodies, Bodies)
    return bodies.found
