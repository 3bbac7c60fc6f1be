"""Tokens into a tree: documents, tags and their bodies, with pongo2's order of checks."""

from collections.abc import Callable
from itertools import count

from ..errors import LimitError, TemplateSyntaxError
from .dialect import Dialect
from .grammar import ExpressionParser
from .library import Library
from .tokens import IDENTIFIER, TEXT, Token, Unit, pongo2_text, syntax_error
from .tree import Expression, Macro, Print, Statement, Text

Body = list[Statement]

MAX_BLOCKS = 100
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

    def open(self, name: str, token: Token) -> "Document":
        """Another template, parsed."""
        found = self.open_if_exists(name, token, False)
        assert found is not None
        return found

    def open_if_exists(self, name: str, token: Token, missing_ok: bool) -> "Document | None":
        """Another template, or None where there is none and that is no error."""
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


class Parser(ExpressionParser):
    """Reads a document, or the arguments of one tag: then it stands behind the tag's name and ends at
    the ``%}``."""

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
