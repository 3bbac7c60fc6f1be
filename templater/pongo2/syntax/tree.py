"""The tree of a parsed template. Tags build it; ``emit`` turns it into Jinja2's nodes.

These are plain classes because a cached template imports the modules of its tags, and this one with them.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from ..dialect import Dialect
    from ..library import Library
    from .tokens import Token, Unit

    Body = list["Statement"]


class Expression:
    """An expression. ``token`` is its leftmost atom, at which pongo2 reports errors."""

    __slots__ = ("token",)

    def __init__(self, token: "Token") -> None:
        self.token = token

    def applied(self, name: str) -> bool:
        """Return whether every atom in it has the filter (``safe`` works by syntax)."""
        return False


class Literal(Expression):
    """A number, a string, ``true`` or ``false``."""

    __slots__ = ("value",)

    def __init__(self, token: "Token", value: "str | bool | int | float") -> None:
        self.token = token
        self.value = value


class Part:
    """One step of a path: ``.name``, ``.0`` or ``[expression]``, and the arguments if it is called."""

    __slots__ = ("arguments", "key", "token")

    def __init__(self, key: "str | int | Expression", token: "Token") -> None:
        self.key = key
        self.token = token
        self.arguments: list[Expression] | None = None


class Path(Expression):
    """``name.part(…)[…]``. ``text`` is how pongo2 writes it in messages."""

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
    """``|name:argument``."""

    __slots__ = ("argument", "name", "token")

    def __init__(self, token: "Token", argument: "Expression | None" = None) -> None:
        self.token = token
        self.name = token.value
        self.argument = argument


class Filtered(Expression):
    """An atom and the filters on it."""

    __slots__ = ("atom", "filters")

    def __init__(self, token: "Token", atom: Expression, filters: "list[FilterUse]") -> None:
        self.token = token
        self.atom = atom
        self.filters = filters

    def applied(self, name: str) -> bool:
        return any(use.name == name for use in self.filters)


class Operation(Expression):
    """An operator and its operands: ``and or not negative + - * / % ^ == != < <= > >= in``.

    ``and`` and ``or`` have all operands of one unbroken run.
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
    """Arguments of an `Invoke` that are not evaluated yet.

    The function gets a tuple of functions, each of which takes the scope.
    """

    __slots__ = ("expressions",)

    def __init__(self, expressions: "Sequence[Expression]") -> None:
        self.expressions = expressions


class Scope:
    """An argument of an `Invoke`: the private context, a dict."""

    __slots__ = ()


class Escaping:
    """An argument of an `Invoke`: True if autoescape is on at this place."""

    __slots__ = ()


class Remembered:
    """An argument of an `Invoke`: a value that outlives the tag, as a variable's value does."""

    __slots__ = ("expression",)

    def __init__(self, expression: "Expression") -> None:
        self.expression = expression


class Other:
    """An argument of an `Invoke`: another parsed document. The function gets the number of its unit."""

    __slots__ = ("document",)

    def __init__(self, document: "Document") -> None:
        self.document = document


class Invoke(Expression):
    """A call of a tag's own function: ``function(render, *arguments)``.

    Generated code imports the function by name, so it is a module's. Arguments that are not expressions or
    one of the classes above are constants.
    """

    __slots__ = ("arguments", "function")

    def __init__(self, token: "Token", function: "Callable[..., Any]", *arguments: "Any") -> None:
        self.token = token
        self.function = function
        self.arguments = arguments


class Statement:
    __slots__ = ()


class Text(Statement):
    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value


class Print(Statement):
    """``{{ expression }}``; ``raw`` if autoescape does not apply to it."""

    __slots__ = ("expression", "raw")

    def __init__(self, expression: Expression, raw: bool = False) -> None:
        self.expression = expression
        self.raw = raw


class If(Statement):
    """Bodies with conditions: the first true condition selects the body, otherwise ``otherwise``."""

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
    """An expression that is evaluated for its effect."""

    __slots__ = ("expression",)

    def __init__(self, expression: Expression) -> None:
        self.expression = expression


class With(Statement):
    """A body in a copy of the scope, with more names."""

    __slots__ = ("body", "pairs")

    def __init__(self, pairs: "list[tuple[str, Expression]]", body: "Body") -> None:
        self.pairs = pairs
        self.body = body


class Macro(Statement):
    """A macro: binds the name ``bound`` to a function; error messages call it ``name``."""

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
    """A rendered body that passes through filters. An unknown filter fails when the tag is rendered."""

    __slots__ = ("body", "filters", "token")

    def __init__(self, token: "Token", filters: "list[FilterUse]", body: "Body") -> None:
        self.token = token
        self.filters = filters
        self.body = body


class Capture(Statement):
    """Print the result of ``function(render, body's text, *arguments)``; ``otherwise`` if that is None."""

    __slots__ = ("body", "invoke", "otherwise")

    def __init__(self, invoke: Invoke, body: "Body", otherwise: "Body | None" = None) -> None:
        self.invoke = invoke
        self.body = body
        self.otherwise = otherwise


class Block(Statement):
    """A named block. The whole chain of templates decides which body it shows."""

    __slots__ = ("name", "token")

    def __init__(self, token: "Token", name: str) -> None:
        self.token = token
        self.name = name


class Document:
    """One template during parsing, with the records of its tags.

    ``blocks`` and ``exported`` are its own; ``bound`` collects every name that any template of the
    compilation may bind in a scope, ``numbers`` numbers the tags that have a state,
    ``opened`` are the tags whose bodies are being parsed. ``parent`` and ``child``
    link templates by ``extends``. ``load`` returns the document of another name and ``read`` its text;
    both raise if it is missing, and are None without a loader.
    """

    def __init__(
        self,
        unit: "Unit",
        tokens: "list[Token]",
        dialect: "Dialect",
        library: "Library",
        banned: "frozenset[str]" = frozenset(),
        load: "Callable[[Document, str, Token, bool], Document | None] | None" = None,
        bound: "set[str] | None" = None,
        read: "Callable[[Document, str, Token], str] | None" = None,
        numbers: "Iterator[int] | None" = None,
    ) -> None:
        self.unit = unit
        self.tokens = tokens
        self.dialect = dialect
        self.library = library
        self.banned = banned
        self.load = load
        self.read = read
        self.bound: set[str] = set() if bound is None else bound
        self.numbers: Iterator[int] = iter(range(1 << 62)) if numbers is None else numbers
        self.level = 0
        self.opened: list[Token] = []
        self.parent: Document | None = None
        self.child: Document | None = None
        self.blocks: dict[str, Body] = {}
        self.exported: dict[str, Macro] = {}
        self.body: Body = []


#: every class whose instances can contain instances of the others
NODES = (Expression, Statement, Part, FilterUse, Lazy, Remembered, Other)
