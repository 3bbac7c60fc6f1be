"""Tokens into a tree: pongo2's grammar with its precedence, its order of checks and its error texts."""

from collections.abc import Callable
from itertools import count

from ..errors import LimitError, TemplateSyntaxError
from .dialect import Dialect
from .hints import syntax_hint
from .library import Library
from .tokens import IDENTIFIER, NUMBER, STRING, TEXT, Token, Unit, plain_words, pongo2_text, syntax_error
from .tree import (
    Expression,
    Filtered,
    FilterUse,
    Literal,
    Macro,
    Operation,
    Part,
    Path,
    Print,
    Statement,
    Text,
)

Body = list[Statement]

#: how deep blocks, and brackets and operators, may nest; how long chains may be, and variables
MAX_BLOCKS = 100
MAX_NESTING = 60
MAX_CHAIN = 1000
MAX_PARTS = 100

_RELATIONS = frozenset(("==", "<=", ">=", "!=", "<>", ">", "<"))
_LOGIC = {"and": "and", "&&": "and", "or": "or", "||": "or"}
_MISSING = "Unexpected EOF, expected a number, string, keyword or identifier."
BLANKS = " \n\r\t"


class Document:
    """One template being parsed, and what its tags leave in it.

    ``blocks`` and ``exported`` are its own; ``bound`` collects every name that any template of the
    compilation may bind in a scope, ``numbers`` tells tags with a state apart. ``parent`` and ``child``
    link templates by ``extends``. ``load`` gives the document of another name and ``read`` its text,
    or they raise; None without a loader.
    """

    def __init__(
        self,
        unit: Unit,
        tokens: list[Token],
        dialect: Dialect,
        library: Library,
        banned: frozenset[str] = frozenset(),
        load: "Callable[[Document, str, Token, bool], Document | None] | None" = None,
        bound: set[str] | None = None,
        read: "Callable[[Document, str, Token], str] | None" = None,
        numbers: "count[int] | None" = None,
    ) -> None:
        self.unit = unit
        self.tokens = tokens
        self.dialect = dialect
        self.library = library
        self.banned = banned
        self.load = load
        self.read = read
        self.bound: set[str] = set() if bound is None else bound
        self.numbers = count() if numbers is None else numbers
        self.level = 0
        self.parent: Document | None = None
        self.child: Document | None = None
        self.blocks: dict[str, Body] = {}
        self.exported: dict[str, Macro] = {}
        self.body: Body = []

    def open(self, name: str, token: Token, missing_ok: bool = False) -> "Document | None":
        """Another template, parsed."""
        if self.load is None:
            raise no_loader(self, name, token)
        return self.load(self, name, token, missing_ok)

    def read_text(self, name: str, token: Token) -> str:
        """Another file's text."""
        if self.read is None:
            raise no_loader(self, name, token)
        return self.read(self, name, token)

    def parse(self) -> "Document":
        parser = Parser(self.tokens, self)
        while parser.current is not None:
            self.body.extend(parser.element())
        return self


class Parser:
    """A cursor over tokens: a document's, or only the arguments of one tag.

    ``last`` is the token that pongo2 blames when the tokens run out.
    """

    def __init__(self, tokens: list[Token], document: Document, last: Token | None = None) -> None:
        self.tokens = tokens
        self.document = document
        self.position = 0
        self.last = tokens[-1] if tokens else last
        self.current: Token | None = tokens[0] if tokens else None
        self.depth = 0
        #: the first factor of the expression that is about to be parsed, when that is known already
        self.begun: Expression | None = None
        #: where our own message points when pongo2 names no place: the tag these are the arguments of
        self.origin = self.last

    # --- moving

    def advance(self) -> None:
        self.position += 1
        self.current = self.tokens[self.position] if self.position < len(self.tokens) else None

    def match(self, *kinds: str) -> Token | None:
        """The current token if it is of one of these kinds; then it is consumed."""
        token = self.current
        if token is None or token.kind not in kinds:
            return None
        self.advance()
        return token

    def match_word(self, *words: str) -> Token | None:
        """As `match`, for identifiers of these texts."""
        token = self.current
        if token is None or token.kind != IDENTIFIER or token.value not in words:
            return None
        self.advance()
        return token

    # --- complaining

    def error(self, message: str, token: Token | None = None, hint: str = "") -> TemplateSyntaxError:
        """The error with pongo2's message; without a token it is the current one, then the last one."""
        if token is None:
            token = self.current
        if token is None and self.tokens:
            token = self.tokens[-1]
        return self.error_at(message, token, hint)

    def error_at(self, message: str, token: Token | None, hint: str = "") -> TemplateSyntaxError:
        unit = self.document.unit
        place = token or self.origin or (self.document.tokens[-1] if self.document.tokens else None)
        span = unit.span(0, 1) if place is None else place.span
        position = unit.position(token.start) if token else None
        text = pongo2_text("parser", message, unit.name, position, token.value if token else None)
        ours, found_hint = syntax_hint(message, token, self.document)
        return syntax_error(ours or plain_words(message), span, text, hint or found_hint)

    def finish(self, message: str) -> None:
        """Complain unless every token is consumed."""
        if self.current is not None:
            raise self.error(message)

    def too_deep(self, what: str, limit: int) -> LimitError:
        token = self.current or self.last
        return LimitError(f"more than {limit} {what}", token.span if token else None)

    # --- documents

    def element(self) -> Body:
        """One text, one ``{{ }}`` or one tag, with all its body."""
        token = self.current
        assert token is not None
        if token.kind == TEXT:
            return [Text(self.text(token))]
        if token.kind == "{{":
            return [self.variable()]
        if token.kind == "{%":
            return self.tag()
        raise self.error("Unexpected token (only HTML/tags/filters in templates allowed)", token)

    def text(self, token: Token) -> str:
        before = self.tokens[self.position - 1] if self.position else None
        self.advance()
        value = token.shown
        if before is not None and before.trim:
            value = value.lstrip(BLANKS)
        if self.current is not None and self.current.trim:
            value = value.rstrip(BLANKS)
        return value

    def variable(self) -> Print:
        self.advance()
        expression = self.expression()
        if self.match("}}") is None:
            raise self.error("'}}' expected")
        return Print(expression)

    def tag(self) -> Body:
        self.advance()
        name = self.match(IDENTIFIER)
        if name is None:
            raise self.error("Tag name must be an identifier.")
        document = self.document
        parse = document.library.tags.get(name.value)
        if parse is None:
            raise self.error(f"Tag '{name.value}' not found (or beginning tag not provided)", name)
        if name.value in document.banned:
            raise self.error(
                f"Usage of tag '{name.value}' is not allowed (sandbox restriction active).", name
            )
        tokens = self.until_close()
        if tokens is None:
            raise self.error_at("Unexpectedly reached EOF, no tag end found.", self.last)
        arguments = Parser(tokens, document, name)
        arguments.origin = name
        document.level += 1
        if document.level > MAX_BLOCKS:
            raise LimitError(f"blocks nest deeper than {MAX_BLOCKS}", name.span)
        statement = parse(self, name, arguments)
        document.level -= 1
        return statement if isinstance(statement, list) else [statement]

    def until_close(self) -> list[Token] | None:
        """The tokens up to ``%}``, which is consumed; None when there is none."""
        start = self.position
        while self.current is not None:
            if self.current.kind == "%}":
                tokens = self.tokens[start : self.position]
                self.advance()
                return tokens
            self.advance()
        return None

    def at_tag(self, names: tuple[str, ...]) -> Token | None:
        """The name of the tag here, if it is one of these."""
        if self.current is not None and self.current.kind == "{%" and self.position + 1 < len(self.tokens):
            name = self.tokens[self.position + 1]
            if name.kind == IDENTIFIER and name.value in names:
                return name
        return None

    def body(self, *names: str) -> "tuple[Body, str, Parser]":
        """What stands before one of these tags, that tag's name, and its arguments."""
        body: Body = []
        while self.current is not None:
            name = self.at_tag(names)
            if name is not None:
                self.advance()
                self.advance()
                tokens = self.until_close()
                if tokens is None:
                    raise self.error_at("Unexpected EOF.", self.last)
                arguments = Parser(tokens, self.document)
                arguments.origin = name
                return body, name.value, arguments
            body.extend(self.element())
        raise self.error_at(f"Unexpected EOF, expected tag {' or '.join(names)}.", self.last)

    def plain_body(self, *names: str) -> tuple[Body, str]:
        """As `body`, where the tag that ends it takes no arguments."""
        body, end, arguments = self.body(*names)
        if arguments.tokens:
            raise arguments.error("Arguments not allowed here.")
        return body, end

    # --- expressions, from the loosest operator to the tightest

    def expression(self) -> Expression:
        """Relations joined by and, or: one level, grouped to the right."""
        operands, operators = [self.relation()], []
        while self.current is not None and self.current.kind in _LOGIC:
            operators.append(_LOGIC[self.current.kind])
            self.advance()
            operands.append(self.relation())
            if len(operators) > MAX_CHAIN:
                raise self.too_deep("conditions in one expression", MAX_CHAIN)
        result = operands.pop()
        run: list[Expression] = [result]
        for index in range(len(operators) - 1, -1, -1):
            run.insert(0, operands[index])
            if index == 0 or operators[index - 1] != operators[index]:
                run = [Operation(operators[index], run)]
        return run[0]

    def relation(self) -> Expression:
        left = self.simple()
        token = self.current
        if token is None:
            return left
        if token.kind in _RELATIONS:
            self.advance()
            right = self.nested(self.relation)
            return Operation("!=" if token.kind == "<>" else token.kind, [left, right])
        if token.kind == "in":
            self.advance()
            return Operation("in", [left, self.simple()])
        return left

    def simple(self) -> Expression:
        begun = self.begun is not None
        sign = None if begun else self.match("+", "-")
        negated = None if begun else self.match("!", "not")
        left = self.term()
        if negated is not None:
            left = Operation("not", [left])
        if sign is not None and sign.kind == "-":
            left = Operation("negative", [left])
        return self.chain(left, ("+", "-"), self.term)

    def term(self) -> Expression:
        return self.chain(self.power(), ("*", "/", "%"), self.power)

    def chain(
        self, left: Expression, kinds: tuple[str, ...], operand: Callable[[], Expression]
    ) -> Expression:
        """Operands joined by operators of one rank, grouped to the left."""
        links = 0
        while self.current is not None and self.current.kind in kinds:
            operator = self.current.kind
            self.advance()
            left = Operation(operator, [left, operand()])
            links += 1
            if links > MAX_CHAIN:
                raise self.too_deep("operators in one expression", MAX_CHAIN)
        return left

    def power(self) -> Expression:
        base = self.factor()
        if self.current is not None and self.current.kind == "^":
            self.advance()
            return Operation("^", [base, self.nested(self.power)])
        return base

    def nested(self, parse: Callable[[], Expression]) -> Expression:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise self.too_deep("nested operators or brackets", MAX_NESTING)
        result = parse()
        self.depth -= 1
        return result

    def factor(self) -> Expression:
        if self.begun is not None:
            begun, self.begun = self.begun, None
            return begun
        if self.match("("):
            return self.brackets()
        atom = self.atom()
        if self.current is None or self.current.kind != "|":
            return atom
        filters: list[FilterUse] = []
        while self.match("|") is not None:
            filters.append(self.filter())
            if len(filters) > MAX_CHAIN:
                raise self.too_deep("filters in one chain", MAX_CHAIN)
        return Filtered(atom.token, atom, filters)

    def brackets(self) -> Expression:
        """An expression in brackets. A run of opening ones is taken at once: each closing one ends what
        is, or begins, the expression in the next. So their number does not matter to the stack."""
        opened = 1
        while self.match("("):
            opened += 1
            if opened > MAX_CHAIN:
                raise self.too_deep("nested brackets", MAX_CHAIN)
        expression = self.nested(self.expression)
        while True:
            if self.match(")") is None:
                raise self.error("Closing bracket expected after expression")
            opened -= 1
            if not opened:
                return expression
            if self.current is None or self.current.kind != ")":
                self.begun = expression
                expression = self.nested(self.expression)

    def filter(self) -> FilterUse:
        name = self.match(IDENTIFIER)
        if name is None:
            raise self.error("Filter name must be an identifier.")
        if name.value not in self.document.library.filters:
            raise self.error(f"Filter '{name.value}' does not exist.", name)
        if self.match(":") is None:
            return FilterUse(name)
        if self.current is not None and self.current.kind == "}}":
            raise self.error("Filter parameter required after ':'.")
        return FilterUse(name, self.atom())

    def atom(self) -> Expression:
        token = self.current
        if token is None:
            raise self.error(_MISSING, self.last)
        if token.kind == IDENTIFIER:
            return self.path(token)
        if token.kind == STRING:
            self.advance()
            return Literal(token, token.value)
        if token.kind == NUMBER:
            return self.number(token)
        if token.kind in ("true", "false"):
            self.advance()
            return Literal(token, token.kind == "true")
        if token.kind in ("in", "and", "or", "not", "as", "export"):
            self.advance()
            raise self.error("This keyword is not allowed here.")
        raise self.error("Expected either a number, string, keyword or identifier.", token)

    def number(self, token: Token) -> Literal:
        self.advance()
        if self.match(".") is None:
            return Literal(token, self.integer(token))
        fraction = self.match(NUMBER)
        if fraction is None:
            raise self.error("Expected a number after the '.'.")
        value = float(f"{token.value}.{fraction.value}")
        if value == float("inf"):
            text = f"{token.value}.{fraction.value}"
            raise self.error(f'strconv.ParseFloat: parsing "{text}": value out of range', token)
        return Literal(token, value)

    def integer(self, token: Token) -> int:
        digits = token.value.lstrip("0") or "0"
        value = int(digits) if len(digits) < 20 else 1 << 64
        if value >= 1 << 63:
            raise self.error(f'strconv.Atoi: parsing "{token.value}": value out of range', token)
        return value

    def path(self, token: Token) -> Path:
        self.advance()
        parts = [Part(token.value)]
        while self.current is not None:
            kind = self.current.kind
            if kind == ".":
                self.advance()
                parts.append(self.part())
            elif kind == "(":
                self.advance()
                if parts[-1].arguments is None:
                    parts[-1].arguments = []
                self.arguments(parts[-1].arguments)
            else:
                if kind == "[":
                    self.advance()
                    parts.append(self.subscript())
                break
            if len(parts) > MAX_PARTS:
                raise self.too_deep("parts in one variable", MAX_PARTS)
        return Path(token, parts)

    def part(self) -> Part:
        token = self.current
        if token is None:
            raise self.error_at("Unexpected EOF, expected either IDENTIFIER or NUMBER after DOT.", self.last)
        if token.kind == IDENTIFIER:
            self.advance()
            return Part(token.value)
        if token.kind == NUMBER:
            index = self.integer(token)
            self.advance()
            return Part(index)
        raise self.error("This token is not allowed within a variable name.", token)

    def arguments(self, found: list[Expression]) -> None:
        """Expressions and the closing bracket; a second pair of brackets goes on with the same list."""
        while True:
            if self.current is None:
                raise self.error_at("Unexpected EOF, expected function call argument list.", self.last)
            if self.match(")") is not None:
                return
            found.append(self.nested(self.expression))
            if len(found) > MAX_CHAIN:
                raise self.too_deep("arguments in one call", MAX_CHAIN)
            if self.match(")") is not None:
                return
            if self.match(",") is None:
                raise self.error("Missing comma or closing bracket after argument.")

    def subscript(self) -> Part:
        if self.current is None:
            raise self.error_at("Unexpected EOF, expected subscript subscript.", self.last)
        part = Part(self.nested(self.expression))
        if self.match("]") is None:
            raise self.error("Missing closing bracket after subscript argument.")
        return part

    # --- for tags

    def bind(self, *names: str) -> None:
        """Say that the template may bind these names, so that a scope keeps them."""
        self.document.bound.update(names)

    def pair(self) -> tuple[str, Expression]:
        """``name=expression``."""
        name = self.match(IDENTIFIER)
        if name is None:
            raise self.error("Expected an identifier")
        if self.match("=") is None:
            raise self.error("Expected '='.")
        return name.value, self.expression()


def no_loader(document: Document, name: str, token: Token) -> TemplateSyntaxError:
    unit = document.unit
    text = pongo2_text(
        "fromfile", "unable to resolve template", name, unit.position(token.start), token.value
    )
    return syntax_error(f"no template {name!r}: there is no folder to load it from", token.span, text)


def trim_blocks(tokens: list[Token], trim: bool, lstrip: bool) -> None:
    """Apply the options TrimBlocks and LStripBlocks to the texts around tags."""
    previous: Token | None = None
    for token in tokens:
        if lstrip and token.kind == "{%" and previous is not None and previous.kind == TEXT:
            previous.shown = previous.shown.rstrip("\t ")
        if trim and token.kind == TEXT and previous is not None and previous.kind == "%}":
            token.shown = token.shown.removeprefix("\n")
        previous = token
