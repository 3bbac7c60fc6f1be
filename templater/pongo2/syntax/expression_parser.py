"""The grammar of expressions, with one method for each precedence. The lowest precedence comes first."""

from collections.abc import Callable

from .cursor import Cursor
from .tokens import IDENTIFIER, NUMBER, STRING, Token
from .tree import Document, Expression, Filtered, FilterUse, Literal, Operation, Part, Path

#: limits on the depth of brackets and operators, the length of a chain, and the parts of a variable
MAX_NESTING = 60
MAX_CHAIN = 1000
MAX_PARTS = 100

RELATIONS = frozenset(("==", "<=", ">=", "!=", "<>", ">", "<"))
LOGIC = {"and": "and", "&&": "and", "or": "or", "||": "or"}
_MISSING = "Unexpected EOF, expected a number, string, keyword or identifier."


class ExpressionParser(Cursor):
    def __init__(self, tokens: list[Token], document: Document, last: Token | None = None) -> None:
        super().__init__(tokens, document, last)
        self.depth = 0
        #: the first factor of the next expression, if that factor is parsed already
        self.begun: Expression | None = None

    def expression(self) -> Expression:
        """Parse relations joined by ``and`` and ``or``.

        ``and`` and ``or`` have the same precedence and group to the right: ``a and b or c`` means
        ``a and (b or c)``.
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

        A loop consumes a sequence of opening brackets, without recursion. After a closing bracket, the
        expression in these brackets may be the first factor of an outer expression, as in ``((a) + b)``.
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
