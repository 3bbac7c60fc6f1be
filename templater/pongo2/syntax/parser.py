"""The parser: it turns tokens into a tree of documents, tags, bodies and expressions.

The parser makes its checks in the same order as pongo2, so that both report the same error first. Each error
has both pongo2's message and templater's message.
"""

from collections.abc import Callable

from ...model.errors import LimitError, TemplateSyntaxError
from .hints import syntax_hint
from .tokens import IDENTIFIER, NUMBER, STRING, TEXT, Token, plain_words, pongo2_text, syntax_error
from .tree import (
    Document,
    Expression,
    Filtered,
    FilterUse,
    Literal,
    Operation,
    Part,
    Path,
    Print,
    Statement,
    Text,
)

Body = list[Statement]

#: the maximum depth of tags inside each other
MAX_BLOCKS = 100
#: the maximum depth of brackets and operators
MAX_NESTING = 60
#: the maximum number of conditions, operators or brackets in an expression, of filters in a chain, and of
#: arguments of a call
MAX_CHAIN = 1000
#: the maximum number of parts of a variable
MAX_PARTS = 100

RELATIONS = frozenset(("==", "<=", ">=", "!=", "<>", ">", "<"))
LOGIC = {"and": "and", "&&": "and", "or": "or", "||": "or"}
_MISSING = "Unexpected EOF, expected a number, string, keyword or identifier."
BLANKS = " \n\r\t"


def parse(document: Document) -> Document:
    """Parse the document's tokens into its body, and return the document.

    Raises TemplateSyntaxError for the first mistake, and LimitError if a limit is exceeded.
    """
    parser = Parser(document.tokens, document)
    while parser.current is not None:
        document.body.extend(parser.element())
    return document


class Cursor:
    """A position in the tokens of a document, or in the arguments of one tag.

    ``last`` is the token whose position pongo2 reports for an error at the end of the input.
    """

    def __init__(self, tokens: list[Token], document: Document, last: Token | None = None) -> None:
        self.tokens = tokens
        self.document = document
        self.position = 0
        self.last = tokens[-1] if tokens else last
        self.current: Token | None = tokens[0] if tokens else None
        #: the tag's name, to which templater's message points if pongo2 reports no position
        self.origin = self.last

    # --- moving

    def advance(self) -> None:
        self.position += 1
        self.current = self.tokens[self.position] if self.position < len(self.tokens) else None

    def match(self, *kinds: str) -> Token | None:
        """Consume and return the current token if it has one of these kinds. Otherwise, return None."""
        token = self.current
        if token is None or token.kind not in kinds:
            return None
        self.advance()
        return token

    def match_word(self, *words: str) -> Token | None:
        """Consume and return the current token if it is one of these identifiers. Otherwise, return None."""
        token = self.current
        if token is None or token.kind != IDENTIFIER or token.value not in words:
            return None
        self.advance()
        return token

    # --- errors

    def error(self, message: str, token: Token | None = None, hint: str = "") -> TemplateSyntaxError:
        """Return an error with pongo2's message, at the position of ``token``.

        The default is the current token, or the last token at the end of the input.
        """
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
        ours, found_hint = syntax_hint(
            message, token, self.before(token), self.document.library, self.document.dialect.subscripts
        )
        return syntax_error(ours or plain_words(message), span, text, hint or found_hint)

    def before(self, token: Token | None) -> list[Token]:
        """Return the two tokens in front of a token, or fewer tokens at the start."""
        index = next((i for i, other in enumerate(self.tokens) if other is token), 0)
        return self.tokens[max(0, index - 2) : index]

    def finish(self, message: str) -> None:
        """Raise TemplateSyntaxError unless every token is consumed."""
        if self.current is not None:
            raise self.error(message)

    def too_deep(self, what: str, limit: int) -> LimitError:
        token = self.current or self.last
        return LimitError(f"more than {limit} {what}", token.span if token else None)


class ExpressionParser(Cursor):
    """The grammar of expressions, with one method for each precedence. The lowest precedence comes first."""

    def __init__(self, tokens: list[Token], document: Document, last: Token | None = None) -> None:
        super().__init__(tokens, document, last)
        self.depth = 0
        #: the first factor of the next expression, if that factor is parsed already
        self.begun: Expression | None = None

    def expression(self) -> Expression:
        """Parse relations joined by ``and`` and ``or``.

        Both have the same precedence and group to the right: ``a and b or c`` means ``a and (b or c)``.
        """
        operands, operators = [self.relation()], []
        while self.current is not None and self.current.kind in LOGIC:
            operators.append(LOGIC[self.current.kind])
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
        if token.kind in RELATIONS:
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
        """Parse operands joined by operators of the same precedence, which group to the left."""
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
        """Parse the rest of an expression in brackets, after the first opening bracket.

        An expression in brackets can begin an outer expression, as in ``((a) + b)``.
        """
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
        parts = [Part(token.value, token)]
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
            return Part(token.value, token)
        if token.kind == NUMBER:
            index = self.integer(token)
            self.advance()
            return Part(index, token)
        raise self.error("This token is not allowed within a variable name.", token)

    def arguments(self, found: list[Expression]) -> None:
        """Parse arguments and the closing bracket, and append the arguments to ``found``.

        As in pongo2, a second pair of brackets, as in ``f(1)(2)``, appends to the same list.
        """
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
        expression = self.nested(self.expression)
        part = Part(expression, expression.token)
        if self.match("]") is None:
            raise self.error("Missing closing bracket after subscript argument.")
        return part

    def pair(self) -> tuple[str, Expression]:
        """Parse ``name=expression``, and return the name and the expression."""
        name = self.match(IDENTIFIER)
        if name is None:
            raise self.error("Expected an identifier")
        if self.match("=") is None:
            raise self.error("Expected '='.")
        return name.value, self.expression()


class Parser(ExpressionParser):
    """A parser for a document, or for the arguments of one tag.

    The arguments are the tokens between the tag's name and ``%}``.
    """

    def element(self) -> Body:
        """Parse one text, one ``{{ }}`` or one tag with its whole body."""
        token = self.current
        assert token is not None
        if token.kind == TEXT:
            return [self.text(token)]
        if token.kind == "{{":
            return [self.variable()]
        if token.kind == "{%":
            return self.tag()
        raise self.error("Unexpected token (only HTML/tags/filters in templates allowed)", token)

    def text(self, token: Token) -> Text:
        before = self.tokens[self.position - 1] if self.position else None
        self.advance()
        return Text(*trimmed(token, before, self.current))

    def open(self, name: str, token: Token) -> Document:
        """Parse and return the template ``name``. Raises TemplateSyntaxError if it is missing."""
        found = self.open_if_exists(name, token, False)
        assert found is not None
        return found

    def open_if_exists(self, name: str, token: Token, missing_ok: bool) -> Document | None:
        """Parse and return the template ``name``.

        If the template is missing, return None if ``missing_ok`` is true, else raise TemplateSyntaxError.
        """
        if self.document.load is None:
            raise no_loader(self.document, name, token)
        return self.document.load(self.document, name, token, missing_ok)

    def read_text(self, name: str, token: Token) -> str:
        """Return the text of the file ``name``. Raises TemplateSyntaxError if it is missing."""
        if self.document.read is None:
            raise no_loader(self.document, name, token)
        return self.document.read(self.document, name, token)

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
        if parse is None and self.unclosed(name):
            raise self.never_closed(f"Tag '{name.value}' not found (or beginning tag not provided)", name)
        if parse is None:
            raise self.error(f"Tag '{name.value}' not found (or beginning tag not provided)", name)
        if name.value in document.banned:
            fixed = document.dialect.fixed
            reason = "tag is banned for this template set" if fixed else "sandbox restriction active"
            raise self.error(f"Usage of tag '{name.value}' is not allowed ({reason}).", name)
        tokens = self.until_close()
        if tokens is None:
            raise self.error_at("Unexpectedly reached EOF, no tag end found.", self.last)
        arguments = Parser(tokens, document, name)
        arguments.origin = name
        document.level += 1
        if document.level > MAX_BLOCKS:
            raise LimitError(f"blocks nest deeper than {MAX_BLOCKS}", name.span)
        document.opened.append(name)
        statement = parse(self, name, arguments)
        document.opened.pop()
        document.level -= 1
        return statement if isinstance(statement, list) else [statement]

    def until_close(self) -> list[Token] | None:
        """Consume the tokens up to ``%}``. Return the tokens before ``%}``, or None if ``%}`` is missing."""
        start = self.position
        while self.current is not None:
            if self.current.kind == "%}":
                tokens = self.tokens[start : self.position]
                self.advance()
                return tokens
            self.advance()
        return None

    def at_tag(self, names: tuple[str, ...]) -> Token | None:
        """Return the token with the name of the tag at this position.

        Return None if no tag with one of ``names`` is at this position.
        """
        if self.current is not None and self.current.kind == "{%" and self.position + 1 < len(self.tokens):
            name = self.tokens[self.position + 1]
            if name.kind == IDENTIFIER and name.value in names:
                return name
        return None

    def body(self, *names: str) -> "tuple[Body, str, Parser]":
        """Parse a body up to the first of the tags ``names``.

        Return the body, the name of the tag after the body, and a parser for that tag's arguments.
        """
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
        raise self.never_closed(f"Unexpected EOF, expected tag {' or '.join(names)}.", self.last)

    def unclosed(self, name: Token) -> bool:
        """Return whether an end tag is the daemon's, and a tag of the user's template is still open.

        ``name`` is the token with the name of the end tag.
        """
        unit = self.document.unit
        return (
            # The daemons put every template inside ``{% autoescape off %} … {% endautoescape %}``.
            unit.shift > 0
            and name.start >= unit.shift + len(unit.source.text)
            and len(self.document.opened) > 1
        )

    def never_closed(self, message: str, token: Token | None) -> TemplateSyntaxError:
        """Return pongo2's error for a missing end tag. Templater's message names the open block."""
        error = self.error_at(message, token)
        if self.document.opened:
            tag = self.document.opened[-1]
            error.message = f"{{% {tag.value} %}} is never closed"
            error.notes = (f"{tag.span.place}: the tag begins here",)
            error.hint = ""
        return error

    def plain_body(self, *names: str) -> tuple[Body, str]:
        """Parse a body up to the first of the tags ``names``. The tag must have no arguments.

        Return the body, and the name of the tag.
        """
        body, end, arguments = self.body(*names)
        if arguments.tokens:
            raise arguments.error("Arguments not allowed here.")
        return body, end

    # --- for tags

    def bind(self, *names: str) -> None:
        """Record that the template may bind these names, so that every scope contains them."""
        self.document.bound.update(names)


def no_loader(document: Document, name: str, token: Token) -> TemplateSyntaxError:
    unit = document.unit
    text = pongo2_text(
        "fromfile", "unable to resolve template", name, unit.position(token.start), token.value
    )
    return syntax_error(f"cannot load template {name!r} without a loader", token.span, text)


def trimmed(token: Token, before: Token | None, after: Token | None) -> tuple[str, int]:
    """Return the text that a token prints, and the offset of this text in `Unit.text`.

    The neighbour tokens ``before`` and ``after`` can be delimiters that remove blanks, such as ``-%}``.
    """
    value, start = token.shown, token.start
    if before is not None and before.trim:
        value = value.lstrip(BLANKS)
        start += len(token.shown) - len(value)
    if after is not None and after.trim:
        value = value.rstrip(BLANKS)
    return value, start


def trim_blocks(tokens: list[Token], trim: bool, lstrip: bool) -> None:
    """Apply pongo2's options TrimBlocks and LStripBlocks to the text tokens around tags."""
    previous: Token | None = None
    for token in tokens:
        if lstrip and token.kind == "{%" and previous is not None and previous.kind == TEXT:
            previous.shown = previous.shown.rstrip("\t ")
        if trim and token.kind == TEXT and previous is not None and previous.kind == "%}":
            token.shown = token.shown.removeprefix("\n")
        previous = token
