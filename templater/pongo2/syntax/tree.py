"""The tree of a parsed template. The parsers of tags build it; ``codegen`` turns it into Jinja2's nodes.

The classes are not dataclasses, which are slow to import. Even a render from the cache imports this module.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from ..dialect import Dialect
    from ..filters_and_tags import Library
    from .tokens import Token, Unit

    Body = list["Statement"]


class Expression:
    """An expression. Errors have the position of ``token``, which belongs to the leftmost operand."""

    __slots__ = ("token",)

    def __init__(self, token: "Token") -> None:
        self.token = token

    def applied(self, name: str) -> bool:
        """Return whether the template applies the filter ``name`` to every operand of the expression."""
        # To decide whether ``safe`` applies, pongo2 looks at the syntax of the expression, not at its value.
        return False


class Literal(Expression):
    """A number, a string, ``true`` or ``false``."""

    __slots__ = ("value",)

    def __init__(self, token: "Token", value: "str | bool | int | float") -> None:
        self.token = token
        self.value = value


class Part:
    """One step of a path: ``.name``, ``.0`` or ``[expression]``.

    ``arguments`` is a list if the template calls this step, as in ``.Get(1)``.
    """

    __slots__ = ("arguments", "key", "token")

    def __init__(self, key: "str | int | Expression", token: "Token") -> None:
        self.key = key
        self.token = token
        self.arguments: list[Expression] | None = None


class Path(Expression):
    """A variable with its members, such as ``name.part(…)[…]``. ``text`` is its text in pongo2's messages."""

    __slots__ = ("parts",)

    def __init__(self, token: "Token", parts: "list[Part]") -> None:
        self.token = token
        self.parts = parts

    @property
    def text(self) -> str:
        return ".".join(str(part.key) for part in self.parts if not isinstance(part.key, Expression))

    @property
    def name(self) -> str:
        return str(self.parts[0].key)


class FilterUse:
    """One application of a filter: ``|name:argument``."""

    __slots__ = ("argument", "name", "token")

    def __init__(self, token: "Token", argument: "Expression | None" = None) -> None:
        self.token = token
        self.name = token.value
        self.argument = argument


class Filtered(Expression):
    """An expression in ``atom``, and the filters that the template applies to this expression."""

    __slots__ = ("atom", "filters")

    def __init__(self, token: "Token", atom: Expression, filters: "list[FilterUse]") -> None:
        self.token = token
        self.atom = atom
        self.filters = filters

    def applied(self, name: str) -> bool:
        return any(use.name == name for use in self.filters)


class Operation(Expression):
    """An operator and its operands: ``and or not negative + - * / % ^ == != < <= > >= in``.

    ``a and b and c`` is a single operation. The same applies to ``or``.
    """

    __slots__ = ("operands", "operator")

    def __init__(self, operator: str, operands: "list[Expression]") -> None:
        self.token = operands[0].token
        self.operator = operator
        self.operands = operands

    def applied(self, name: str) -> bool:
        node: Expression = self
        while isinstance(node, Operation):
            if not all(operand.applied(name) for operand in node.operands[1:]):
                return False
            node = node.operands[0]
        return node.applied(name)


class Lazy:
    """Arguments of an `Invoke`, which the called function evaluates.

    The called function gets a tuple with a function for each argument. This function takes the scope and
    returns the argument's value.
    """

    __slots__ = ("expressions",)

    def __init__(self, expressions: "Sequence[Expression]") -> None:
        self.expressions = expressions


class Scope:
    """An argument of an `Invoke`: the scope. The scope is a dict of the names that the template binds."""

    __slots__ = ()


class Escaping:
    """An argument of an `Invoke`: True if autoescape is on where the tag is, otherwise False."""

    __slots__ = ()


class Remembered:
    """An argument of an `Invoke`: the value of an expression, which the called function can store.

    A field of ``forloop`` becomes a LoopField, whose value changes in each round.
    """

    __slots__ = ("expression",)

    def __init__(self, expression: "Expression") -> None:
        self.expression = expression


class Other:
    """An argument of an `Invoke`: another parsed document. The function gets the document's number."""

    __slots__ = ("document",)

    def __init__(self, document: "Document") -> None:
        self.document = document


class Invoke(Expression):
    """A call of a function that a tag's module defines: ``function(render, *arguments)``.

    The function must be a global. Each argument is an Expression, an instance of a class above, or a
    constant.
    """

    # Generated code imports the function by name.

    __slots__ = ("arguments", "function")

    def __init__(self, token: "Token", function: "Callable[..., Any]", *arguments: "Any") -> None:
        self.token = token
        self.function = function
        self.arguments = arguments


class Statement:
    __slots__ = ()


class Text(Statement):
    """A text to print. ``start`` is the offset of the text, or of the tag that prints it, in `Unit.text`."""

    __slots__ = ("start", "value")

    def __init__(self, value: str, start: int) -> None:
        self.value = value
        self.start = start


class Print(Statement):
    """``{{ expression }}``. If ``raw`` is true, autoescape does not apply to the expression."""

    __slots__ = ("expression", "raw")

    def __init__(self, expression: Expression, raw: bool = False) -> None:
        self.expression = expression
        self.raw = raw


class If(Statement):
    """Bodies with conditions. The first true condition selects its body.

    If no condition is true, the body ``otherwise`` runs.
    """

    __slots__ = ("branches", "otherwise")

    def __init__(self, branches: "list[tuple[Expression, Body]]", otherwise: "Body | None" = None) -> None:
        self.branches = branches
        self.otherwise = otherwise


class For(Statement):
    __slots__ = ("body", "empty", "expression", "key", "ordered", "reverse", "value")

    def __init__(
        self,
        key: str,
        value: "str | None",
        expression: Expression,
        reverse: bool,
        ordered: bool,
        body: "Body",
        empty: "Body | None",
    ) -> None:
        self.key = key
        self.value = value
        self.expression = expression
        self.reverse = reverse
        self.ordered = ordered
        self.body = body
        self.empty = empty


class Set(Statement):
    __slots__ = ("expression", "name")

    def __init__(self, name: str, expression: Expression) -> None:
        self.name = name
        self.expression = expression


class Do(Statement):
    """An expression that is evaluated for its effect and prints nothing."""

    __slots__ = ("expression",)

    def __init__(self, expression: Expression) -> None:
        self.expression = expression


class With(Statement):
    """A body that runs in a new scope: a copy of the current scope, plus the names in ``pairs``."""

    __slots__ = ("body", "pairs")

    def __init__(self, pairs: "list[tuple[str, Expression]]", body: "Body") -> None:
        self.pairs = pairs
        self.body = body


class Macro(Statement):
    """A macro definition, which binds the name ``bound`` to a function.

    Error messages show ``name``. ``{% import … name as bound %}`` gives two different names.
    """

    __slots__ = ("body", "bound", "name", "parameters", "token")

    def __init__(
        self,
        token: "Token",
        name: str,
        parameters: "list[tuple[str, Expression | None]]",
        body: "Body",
    ) -> None:
        self.token = token
        self.name = self.bound = name
        self.parameters = parameters
        self.body = body


class Autoescape(Statement):
    __slots__ = ("body", "on")

    def __init__(self, on: bool, body: "Body") -> None:
        self.on = on
        self.body = body


class FilterBlock(Statement):
    """A body whose output passes through filters. An unknown filter fails only when the tag is rendered."""

    __slots__ = ("body", "filters", "token")

    def __init__(self, token: "Token", filters: "list[FilterUse]", body: "Body") -> None:
        self.token = token
        self.filters = filters
        self.body = body


class Capture(Statement):
    """A call of a function with the `Render` object, the text of ``body``, and the arguments in ``invoke``.

    The statement prints the result. If it is None, the statement runs ``otherwise``.
    """

    __slots__ = ("body", "invoke", "otherwise")

    def __init__(self, invoke: Invoke, body: "Body", otherwise: "Body | None" = None) -> None:
        self.invoke = invoke
        self.body = body
        self.otherwise = otherwise


class Block(Statement):
    """A named block.

    If a template extends another template and both define the block, the extending template supplies the
    body.
    """

    __slots__ = ("name", "token")

    def __init__(self, token: "Token", name: str) -> None:
        self.token = token
        self.name = name


class Document:
    """One template during parsing, with the data that the parsers of its tags record.

    * ``blocks`` and ``exported``: the blocks and the exported macros of this template
    * ``bound``: every name that any template of the compilation may bind in a scope
    * ``numbers``: supplies a number for each tag that stores data during a render
    * ``opened``: the tokens of the tags whose bodies are being parsed
    * ``parent``: the template that this template extends
    * ``child``: the template that extends this template
    * ``load``: a function that parses another template, or None without a loader
    * ``read``: a function that returns the text of another file, or None without a loader

    Both functions raise TemplateSyntaxError if a required file is missing.
    """

    def __init__(
        self,
        unit: "Unit",
        tokens: "list[Token]",
        dialect: "Dialect",
        library: "Library",
        banned: "frozenset[str]",
        load: "Callable[[Document, str, Token, bool], Document | None] | None",
        bound: "set[str]",
        read: "Callable[[Document, str, Token], str] | None",
        numbers: "Iterator[int]",
    ) -> None:
        self.unit = unit
        self.tokens = tokens
        self.dialect = dialect
        self.library = library
        self.banned = banned
        self.load = load
        self.read = read
        self.bound = bound
        self.numbers = numbers
        self.level = 0
        self.opened: list[Token] = []
        self.parent: Document | None = None
        self.child: Document | None = None
        self.blocks: dict[str, Body] = {}
        self.exported: dict[str, Macro] = {}
        self.body: Body = []


#: every class whose instances can contain other parts of the tree
NODES = (Expression, Statement, Part, FilterUse, Lazy, Remembered, Other)
